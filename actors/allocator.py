"""The actor that admits executions: one per runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from actors.canceller import Canceller
from actors.emission import Emission, snapshot
from actors.group import OpenedGroup, open_group
from actors.live import GroupEntry, Live, OpenGroup, Phase
from actors.messages import (
    AdmitNext,
    Admitted,
    AllocatorMessage,
    AwaitUnblock,
    CallOut,
    Cancel,
    CancelExecution,
    CancelMembers,
    ChildEnded,
    ChildFinished,
    CodeOver,
    Decided,
    Drain,
    Forget,
    ForgetGroups,
    GroupEnded,
    GroupSealed,
    Lending,
    Promoted,
    ReadSnapshot,
    ReadStats,
    Refused,
    Requeue,
    RunOver,
    Seal,
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
from actors.ready import Queued
from actors.run import Batch
from actors.waits import GroupNode, Target
from orchestrator.errors import (
    DuplicateExecutionError,
    RuntimeClosedError,
    UnknownExecutionError,
)
from orchestrator.expansion import TemplateChildren
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

__all__ = ["AllocatorActor"]

_STARTS_PER_TURN = 256


class AllocatorActor(Canceller):
    """Owns the queue, the slots, the limits and the graph of waits.

    It makes an execution's actor when the execution is admitted (roots and called children at
    once), so a million pending children cost values and no actors.
    """

    def on_receive(self, message: AllocatorMessage) -> None:  # noqa: C901, PLR0912 - an index
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
            case WaitEnded():
                self._on_wait_ended(message)
                self._note_calm()
                return  # it takes slots and frees none
            case SubmitOne():
                self._on_submit_one(message)
            case SubmitGroup():
                self._on_submit_group(message)
            case SubmitMore():
                self._on_submit_more(message)
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
            case ForgetGroups():
                self._on_forget_groups(message)
            case Drain():
                self._on_drain(message)
            case UnblockOther():
                self._forward(message, AwaitUnblock(message.reply))
            case SnapshotOther():
                self._forward(message, ReadSnapshot(message.reply))
            case ReadStats():
                message.reply.set(self._stats())
            case AdmitNext():
                self._admitting = False
            case _:
                assert_never(message)
        self._admit()
        self._note_calm()

    # Submitting

    def _on_submit_one(self, message: SubmitOne) -> None:
        child = message.child
        root = message.emission.parent_id is None
        refusal: Exception | None = None
        if root and self._draining:
            refusal = RuntimeClosedError(
                "the runtime is closed or closing: it takes no new executions; make another one"
            )
        elif self._is_running(child.id):
            refusal = DuplicateExecutionError(child.id, "has the id of one that is running")
        elif not child.claim():
            refusal = DuplicateExecutionError(child.id)
        if refusal is not None:
            message.reply.set_error(refusal)
            if message.settled is not None:
                message.settled.set(None)
            if message.emission.parent is not None:
                tell(message.emission.parent, ChildEnded(child.id, settled=True))
            return
        scope = message.scope is not None
        at_once = scope or self._admission.may_start(message.action)
        live = self._incarnate(
            message.emission, child, message.action, None, message.reply, message.scope,
            message.settled, admitted=at_once,
        )  # fmt: skip
        if not at_once:
            self._queue(live, new_root=root)
            return
        live.is_scope = scope
        if scope:
            live.needs_worker = live.needs_slot = False
        self._admission.take(live)
        self._admission.turns.served(live.emission.process.id)
        self._count(live, Phase.RUNNING)

    def _on_submit_call(self, message: SubmitCall) -> None:
        child, action, emission, wait = (
            message.child, message.action, message.emission, message.wait
        )  # fmt: skip
        if self._is_running(child.id):
            wait.set_error(DuplicateExecutionError(child.id, "has the id of one that is running"))
        elif not child.claim():
            wait.set_error(DuplicateExecutionError(child.id))
        else:
            caller = self._live.get(emission.parent_id or "")
            if caller is not None:
                self._begin_call_wait(caller, wait)
            now = self._environment.clock.now()
            priority = emission.priority if child.priority is None else child.priority
            batch = Batch(emission, (child,), action, priority, now, None, wait)
            if batch.leaves and self._admission.may_start(action):
                self._emitted += 1
                self._counts[Phase.PENDING] += 1
                if self._environment.publisher.active:
                    self._publish_scheduled(emission, child, None, now)
                self._begin_run(batch, (0,))
                self._admission.turns.served(emission.process.id)
                return
            tell(emission.parent, CallOut(child.id))
            reply: Any = wait  # it takes the answer as a future would
            self._queue(self._incarnate(emission, child, action, None, reply), new_root=False)
            self._note_blocked(wait, child.id)

    def _on_submit_group(self, message: SubmitGroup) -> None:
        emission = message.emission
        refusal = self._claim(message.children)
        if refusal is not None:
            tell(emission.parent, Refused(message.reply, refusal))
            return
        group_id = emission.group_id or ""
        opened = open_group(message, self._environment)
        ref, emission = opened.ref, opened.emission
        self._directory[group_id] = GroupEntry(
            ref, opened.decided, opened.log, emission.parent_id or "", emission.parent
        )
        node = GroupNode(
            group_id,
            emission.parent_id,
            message.policy.mode,
            len(message.children),
            open_ended=message.lazy,
            can_expire=message.deadline is not None,
        )
        self._nodes[group_id] = node
        group = self._open[group_id] = OpenGroup(ref, node)
        tell(emission.parent, Admitted(group_id, ref, message.policy.merge, message.reply))
        self._queue_children(group, opened, message.children, message.actions)

    def _claim(self, children: Sequence[Execution]) -> Exception | None:
        """Take every child's claim, or none."""
        if isinstance(children, TemplateChildren):
            return None  # made for this emit, under ids of its own
        seen: set[str] = set()
        for place, child in enumerate(children):
            refusal: Exception | None = None
            if child.id in seen:
                refusal = DuplicateExecutionError(child.id, "shares its id with another child")
            elif self._is_running(child.id):
                refusal = DuplicateExecutionError(child.id, "has the id of one that is running")
            elif not child.claim():
                refusal = DuplicateExecutionError(child.id)
            if refusal is not None:
                for claimed in children[:place]:
                    claimed.unclaim()
                return refusal
            seen.add(child.id)
        return None

    def _queue_children(
        self,
        group: OpenGroup,
        opened: OpenedGroup,
        children: Sequence[Execution],
        actions: Sequence[Action],
    ) -> None:
        emission = opened.emission
        now = emission.emitted_at or 0.0
        self._emitted += len(children)
        self._counts[Phase.PENDING] += len(children)
        for action, priority, indexes in _kinds(emission, children, actions):
            batch = Batch(emission, children, action, priority, now, group, opened.reports)
            queued = self._queued(emission, priority, batch, indexes)
            batch.seq = queued.seq
            group.queued.append(queued)
            self._admission.push(action, queued)
            if isinstance(children, TemplateChildren):
                group.block = children.block
                self._blocks[children.block] = batch
            if not action.is_async:
                self._recall_for(batch)
        if self._environment.publisher.active:
            for index, child in enumerate(children):
                self._publish_scheduled(emission, child, index, now)

    def _on_submit_more(self, message: SubmitMore) -> None:
        group = self._open[message.emission.group_id or ""]
        if self._is_running(message.child.id):
            error = DuplicateExecutionError(message.child.id, "has the id of one that is running")
            end = snapshot(
                message.emission, message.child, message.index, ExecutionState.FAILED, error=error
            )
            tell(group.ref, Seal(error))
            tell(group.ref, ChildFinished(message.index, end, settled=True))
            return
        group.node.out += 1
        live = self._incarnate(message.emission, message.child, message.action, message.index)
        self._queue(live, new_root=False)

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
        if message.waiting_for and not live.can_expire:
            cycle = self._graph.block(live.execution_id, Target(message.waiting_for))
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
        if group is not None and group.block:
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


def _kinds(
    emission: Emission, children: Sequence[Execution], actions: Sequence[Action]
) -> Sequence[tuple[Action, int, Sequence[int]]]:
    """The children by action and priority, each kind with its indexes in the order of emission."""
    default = emission.priority
    if isinstance(children, TemplateChildren):
        priority = children.template.priority
        own = default if priority is None else priority
        return ((actions[0], own, range(len(children))),) if children else ()
    if len(actions) == 1 and all(child.priority is None for child in children):
        return ((actions[0], default, range(len(children))),) if children else ()
    kinds: dict[tuple[str, int], tuple[Action, int, list[int]]] = {}
    for index, child in enumerate(children):
        action = actions[0] if len(actions) == 1 else actions[index]
        priority = default if child.priority is None else child.priority
        key = (action.name, priority)
        kind = kinds.get(key)
        if kind is None:
            kind = kinds[key] = (action, priority, [])
        kind[2].append(index)
    return tuple(kinds.values())
