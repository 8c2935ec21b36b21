"""Who waits for whom: the part of the allocator that answers waits."""

from __future__ import annotations

from collections.abc import Sequence

from actors.admission import Returning
from actors.live import Live, OpenGroup, Phase
from actors.messages import (
    ConfirmEnds,
    EndsConfirmed,
    NapBegan,
    WaitBegan,
    WaitEnded,
    WaitHurried,
)
from actors.protocol_actor import tell
from actors.run_keeper import RunKeeper
from actors.wait import CallWait, Nap, Wait
from actors.waits import GroupNode, Target
from orchestrator.errors import DeadlockError
from orchestrator.protocols import Subject

__all__ = ["WaitKeeper"]


class WaitKeeper(RunKeeper):
    """Frees the slots of code that waits, gives them back, and refuses waits without an end."""

    def _on_wait_began(self, message: WaitBegan) -> None:
        subject, loans = message.subject, self._environment.loans
        if subject is None or self._graph.is_below(
            message.wait.attempt.execution_id, self._target(subject)
        ):
            self._begin_wait(message)
            return
        loans.sideways = True  # before it looks who keeps its worker
        self._begin_kept_groups()
        self._begin_wait(message)
        loans.sideways = bool(self._graph.sideways)

    def _begin_wait(self, message: WaitBegan) -> None:
        wait = message.wait
        live = self._live.get(wait.attempt.execution_id)
        if live is None:
            return
        wait.begun = True
        live.waits += 1
        if message.subject is not None and self._would_deadlock(live, message):
            return
        if wait.main:
            live.main_wait = wait
            self._admission.free(live, worker_only=wait.worker_only)
            if live.phase is Phase.RUNNING:
                self._count(live, Phase.WAITING)

    def _on_nap_began(self, message: NapBegan) -> None:
        """The worker is free, and what was handed out behind the sleeper is for others."""
        nap = message.nap
        if nap.adopted or nap.is_over:
            return
        run = nap.attempt.run
        if run.nap is None and run.batch.group is not None:
            run.batch.group.alone[nap.attempt.index] = run  # callers look for it meanwhile
            del run.batch.group.runs[run]
        run.nap = nap
        self._learn(run.batch, 1)
        self._give_back(run.batch, run.withdraw())
        self._admission.free(run.slots)

    def _end_nap(self, nap: Nap) -> None:
        """A leaf has slept, and needs its worker if it had one."""
        del self._environment.asleep[nap.attempt]
        self._comes_back(Returning(nap.attempt.run.slots, nap), nap)

    def _would_deadlock(self, live: Live, message: WaitBegan) -> bool:
        """Enter the wait into the graph; refuse it where it could never end."""
        assert message.subject is not None  # noqa: S101 - the caller looks
        wait = message.wait
        target = self._target(message.subject)
        can_expire = message.can_expire or live.can_expire
        cycle = self._graph.forbidden(live.execution_id, target, can_expire=can_expire)
        if cycle is None and live.waits > 1:
            self._graph.unblock(live.execution_id)  # several waits at once are no edges
        elif (
            cycle is None
            and wait.main
            and not can_expire
            and live.phase is not Phase.CANCELLING  # the wait has been told to end, or is about to
        ):
            cycle = self._block(live.execution_id, target)
        if cycle is not None:
            wait.refuse(DeadlockError(cycle))
        return cycle is not None

    def _block(self, waiter: str, target: Target) -> tuple[str, ...] | None:
        """As `WaitGraph.block`; where a group is behind, a cycle may be found when it is not."""
        cycle = self._graph.block(waiter, target)
        if cycle is None:
            for group in self._graph.behind(waiter):
                group.doubted = True
                self._ask(group)
        return cycle

    def _target(self, subject: Subject) -> Target:
        match subject.kind:
            case "execution":
                return Target(executions=(subject.id,))
            case "resume":
                return Target(
                    tuple(
                        group_id
                        for group_id, node in self._nodes.items()
                        if node.parent_id == subject.id and not self._has_decided(group_id)
                    )
                )
            case kind:
                return Target((subject.id,), next_end=kind == "ends")

    def _has_decided(self, group_id: str) -> bool:
        entry = self._directory.get(group_id)
        return entry is None or entry.decided.done()

    def _break_cycles(self, group_id: str) -> None:
        """Refuse a waiter of every cycle that a change of the group has closed."""
        node = self._nodes.get(group_id)
        if node is None or not self._graph.may_be_stuck(node):
            return
        if node.is_behind:
            self._ask(node)
            return
        while (found := self._graph.member_ended(group_id)) is not None:
            if not self._refuse_one(found[1]):
                break
        node.doubted = False

    def _ask(self, group: GroupNode) -> None:
        """Have the group answer when it has heard of all ends that are known here.

        By then it has decided, or nothing that has ended will make it.
        """
        if group.asked < group.ended:
            group.asked = group.ended
            tell(self._open[group.group_id].ref, ConfirmEnds(group.ended))

    def _on_ends_confirmed(self, message: EndsConfirmed) -> None:
        node = self._nodes.get(message.group_id)
        if node is not None:
            node.heard = message.count
            self._break_cycles(message.group_id)

    def _refuse_one(self, cycle: Sequence[str]) -> bool:
        """Break a cycle that closed without a new wait: one of its waiters is told."""
        for name in cycle:
            live = self._live.get(name)
            if live is not None and live.main_wait is not None:
                self._graph.unblock(name)
                live.main_wait.refuse(DeadlockError(tuple(cycle)))
                return True
        return False

    def _begin_call_wait(self, live: Live, wait: CallWait) -> None:
        """As `WaitBegan`; what is called can't be in a cycle before it is an actor and waits."""
        wait.begun = True
        live.waits += 1
        if live.waits > 1:
            self._graph.unblock(live.execution_id)  # several waits at once are no edges
        live.main_wait = wait
        self._admission.free(live)
        if live.phase is Phase.RUNNING:
            self._count(live, Phase.WAITING)

    def _note_blocked(self, wait: CallWait, child_id: str) -> None:
        live = self._live.get(wait.attempt.execution_id)
        if (
            live is None
            or live.main_wait is not wait
            or live.waits > 1
            or live.can_expire
            or wait.can_expire
            or live.phase is Phase.CANCELLING
        ):
            return
        cycle = self._block(live.execution_id, Target(executions=(child_id,)))
        if cycle is not None:
            wait.refuse(DeadlockError(cycle))

    def _on_wait_ended(self, message: WaitEnded) -> None:
        self._end_wait(message.wait)

    def _end_wait(self, wait: Wait) -> None:
        if wait.is_over:
            return
        wait.is_over = True
        if not wait.begun:  # nobody was told of it, or the message is on its way
            wait.grant()
            return
        if isinstance(wait, Nap) and not wait.adopted:
            self._end_nap(wait)
            return
        live = self._live.get(wait.attempt.execution_id)
        if live is None:
            wait.grant()
            return
        live.waits -= 1
        if not wait.main:
            return
        live.main_wait = None
        self._graph.unblock(live.execution_id)
        if live.phase is Phase.WAITING:
            self._count(live, Phase.RUNNING)
        if not (live.needs_worker or live.needs_slot):
            wait.grant()
            return
        if live.phase is Phase.CANCELLING:
            self._admission.take(live)  # its code only unwinds
            wait.grant()
        else:
            self._comes_back(Returning(live, wait), wait)

    def _comes_back(self, returning: Returning, wait: Wait) -> None:
        if self._admission.comes_back(returning):
            wait.grant()
        else:
            wait.returning = returning
            self._recall_all()

    def _on_wait_hurried(self, message: WaitHurried) -> None:
        wait = message.wait
        if wait.returning is not None and self._admission.hurry(
            wait.returning, unwinding=message.unwinding
        ):
            wait.grant()

    def _member_ended(self, group: OpenGroup) -> None:
        group.node.end()
        if group.node.blocked:
            self._break_cycles(group.node.group_id)
