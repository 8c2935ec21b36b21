"""The actor that admits executions: one per runtime."""

from __future__ import annotations

from typing import Any, assert_never

from actors.batch import Batch
from actors.live import Live, Phase
from actors.messages import (
    AdmitNext,
    AllocatorMessage,
    AwaitUnblock,
    Cancel,
    CancelExecution,
    CancelMembers,
    CodeOver,
    Decided,
    Drain,
    EndsConfirmed,
    Forget,
    ForgetGroups,
    GroupEnded,
    GroupSealed,
    Lending,
    NapBegan,
    Promoted,
    ReadSnapshot,
    ReadStats,
    Requeue,
    RunOver,
    Settled,
    SnapshotOther,
    Stamped,
    Start,
    SubmitCall,
    SubmitGroup,
    SubmitMore,
    SubmitOne,
    UnblockOther,
    WaitBegan,
    WaitEnded,
    WaitHurried,
)
from actors.protocol_actor import ask, tell
from actors.ready import NOBODY, Queued
from actors.submitter import Submitter
from actors.waits import Target
from orchestrator.errors import (
    UnknownExecutionError,
)

__all__ = ["AllocatorActor"]

_STARTS_PER_TURN = 256


class AllocatorActor(Submitter):
    """Owns the queue, the slots, the limits and the graph of waits.

    It makes an execution's actor when the execution is admitted (roots and called children at
    once), so a million pending children cost values and no actors.
    """

    def on_start(self) -> None:
        """Let callers ask whether an id is taken."""
        self._environment.loans.is_running = self._is_running
        self._note_front()

    def on_stop(self) -> None:
        """Let go of what callers were told; those that still come are refused."""
        self._environment.loans.close()

    def on_receive(self, message: AllocatorMessage) -> None:  # noqa: C901, PLR0912, PLR0915 - an index
        """The allocator's protocol."""
        match message:
            case RunOver():
                self._on_run_over(message)
            case Settled():
                self._on_settled(message)
            case SubmitCall():
                self._on_submit_call(message)
            case Lending():
                self._on_lending(message)
            case Promoted():
                self._on_promoted(message)
            case WaitBegan():
                self._on_wait_began(message)
            case NapBegan():
                self._on_nap_began(message)
            case WaitEnded():
                self._on_wait_ended(message)
                self._note_front()
                if not self._environment.loans.kept:
                    return  # it takes slots and frees none
            case SubmitOne():
                self._on_submit_one(message)
            case SubmitGroup():
                self._on_submit_group(message)
            case SubmitMore():
                if self._on_submit_more(message):
                    return  # it is behind others that can't start: as nearly all of a lazy source
            case CodeOver():
                self._on_code_over(message)
            case Decided():
                self._on_decided(message)
            case Requeue():
                self._on_requeue(message)
            case Stamped():
                self._on_stamped(message)
            case WaitHurried():
                self._on_wait_hurried(message)
            case CancelMembers():
                self._on_cancel_members(message)
            case CancelExecution():
                self._on_cancel_execution(message)
            case GroupSealed():
                self._on_group_sealed(message.group_id)
            case GroupEnded():
                self._on_group_ended(message.group_id)
            case EndsConfirmed():
                self._on_ends_confirmed(message)
            case ForgetGroups():
                self._on_forget_groups(message)
            case Drain():
                self._on_drain(message)
            case UnblockOther():
                self._forward(message, AwaitUnblock(message.reply))
            case SnapshotOther():
                self._forward(message, ReadSnapshot(message.reply))
            case ReadStats():
                self._begin_kept_groups()
                message.reply.set(self._stats())
            case AdmitNext():
                self._admitting = False
            case _:
                assert_never(message)
        if self._environment.loans.sideways:
            self._environment.loans.sideways = bool(self._graph.sideways)
        if self._is_calm():  # as mostly, for a call: nothing to start, nobody to let return
            loans = self._environment.loans
            at_all = self._environment.longest_run and not self._draining
            loans.front, loans.only = None if at_all else NOBODY, None
        else:
            self._admit()
            self._note_front()
            if self._environment.loans.kept and self._take_kept():  # looked at behind the front
                self._admit()
                self._note_front()

    # Starting

    def _admit(self) -> None:
        """Let waiters return and start what comes next, as far as there is room."""
        admission = self._admission
        if admission.any_returning:
            for returning in admission.returners():
                returning.handle.grant()
        now = self._environment.clock.now()
        started = 0
        while started < _STARTS_PER_TURN:
            queued = admission.next(now, async_too=not self._admitting)
            if queued is not None:
                started += self._start_next(queued)
            elif not self._share():
                if admission.any_rated:
                    self._wait_for_rate(now)
                return
        # The rest in a later turn: children that end at once never pile up, and a million starts
        # hold up nobody.
        self._admitting = True
        self._environment.place.after_starts(self._admit_later)

    def _admit_later(self) -> None:
        tell(self.actor_ref, AdmitNext())

    def _start_next(self, queued: Queued) -> int:
        """Start what is next; how many children that were."""
        payload = queued.payload
        if isinstance(payload, Batch) and payload.leaves:
            return self._start_run(queued, payload)
        index = queued.take()
        if queued.empty:
            self._queued_since.pop(queued, None)
        if isinstance(payload, Batch):
            live = self._incarnate(
                payload.emission,
                payload.children[index],
                payload.action,
                index,
                scheduled_at=payload.scheduled_at,
                admitted=True,
            )
        else:
            live = payload
            live.queued = None
        live.rate_reserved = live.action.rate_limit is not None
        self._admission.take(live)
        self._count(live, Phase.RUNNING)
        if not isinstance(payload, Batch):
            tell(live.ref, _START)
        return 1

    def _wait_for_rate(self, now: float) -> None:
        due = self._admission.due()
        if due is None:
            return
        timer = self._rate_timer
        if timer is not None and timer.when <= due and timer.when > now:
            return
        if timer is not None:
            timer.cancel()
        self._rate_timer = self._environment.clock.call_at(due, tell, self.actor_ref, AdmitNext())

    def _on_stamped(self, message: Stamped) -> None:
        live = self._live.get(message.execution_id)
        if live is not None and live.rate_reserved:
            live.rate_reserved = False
            self._admission.stamp(live.action, message.at)

    def _on_requeue(self, message: Requeue) -> None:
        live = self._live.get(message.execution_id)
        if live is not None:
            self._count(live, Phase.PENDING)
            self._queue(live, new_root=False)

    # Ending

    def _on_code_over(self, message: CodeOver) -> None:
        live = self._live.get(message.execution_id)
        if live is None:
            return
        self._free(live)
        if live.phase is Phase.CANCELLING:
            return
        self._count(live, Phase.PENDING if message.pausing else Phase.WAITING)
        if not message.waiting_for:
            self._graph.unblock(live.execution_id)  # it is decided, or about to begin again
        elif not live.can_expire:
            cycle = self._block(live.execution_id, Target(message.waiting_for))
            if cycle is not None:
                self._refuse_one(cycle)

    def _on_decided(self, message: Decided) -> None:
        live = self._live.get(message.execution_id)
        if live is not None:
            self._graph.unblock(live.execution_id)
            self._admission.mark_cancelling(live)
            self._count(live, Phase.CANCELLING)

    def _on_settled(self, message: Settled) -> None:
        live = self._live.pop(message.execution_id, None)
        if live is None:
            return
        if live.queued is not None:
            live.queued.drop_all()
            self._queued_since.pop(live.queued, None)
        self._free(live)
        self._counts[live.phase] -= 1
        self._ended[message.state] += 1
        if live.ledger is not None:
            self._count_loans(live)
            del self._lenders[live]
        if self._graph.any_blocked:
            self._graph.unblock(live.execution_id)
        if live.group_id is not None:
            group = self._open.get(live.group_id)
            if group is not None:
                group.live.pop(live.execution_id, None)
                self._member_ended(group)
        if live.parent_id is None:
            self._admission.turns.forget(live.emission.process.id)
        if self._draining:
            self._note_drained()

    def _free(self, live: Live) -> None:
        self._admission.free(live)
        if live.rate_reserved:
            live.rate_reserved = False
            self._admission.give_back_rate(live.action)

    def _on_group_sealed(self, group_id: str) -> None:
        node = self._nodes.get(group_id)
        if node is not None:
            node.open_ended = False
            self._break_cycles(group_id)

    def _on_group_ended(self, group_id: str) -> None:
        group = self._open.pop(group_id, None)
        self._nodes.pop(group_id, None)
        if group is not None:
            group.queued.clear()  # they hold its batches, which hold it
            self._release_chosen(group, group.chosen)
            self._blocks.pop(group.block, None)

    def _on_forget_groups(self, message: ForgetGroups) -> None:
        for group_id in message.group_ids:
            entry = self._directory.pop(group_id, None)
            if entry is not None:
                tell(entry.ref, _FORGET)
        if message.reply is not None:
            message.reply.set(None)

    # Closing

    def _forward(self, message: UnblockOther | SnapshotOther, question: Any) -> None:
        live = self._live.get(message.execution_id)
        ref = self._leaf_ref(message.execution_id) if live is None else live.ref
        if ref is None:
            message.reply.set_error(UnknownExecutionError(message.execution_id))
        else:
            ask(ref, question)

    def _on_drain(self, message: Drain) -> None:
        self._draining = True
        self._drains.append(message)
        if message.cancel:
            for live in tuple(self._live.values()):
                if live.parent_id is None:
                    tell(live.ref, Cancel(message.reason))
        self._note_drained()

    def _note_drained(self) -> None:
        if self._draining and not self._live and not self._runs:
            drains, self._drains = self._drains, []
            for drain in drains:
                drain.reply.set(None)


_START = Start()
_FORGET = Forget()
