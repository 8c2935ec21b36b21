"""The actor that admits executions: one per runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, assert_never

import attrs

from actors.admission import Admission, Returning
from actors.emission import Emission, cancelled_snapshot, snapshot
from actors.environment import Environment
from actors.execution import ExecutionActor
from actors.group import open_group
from actors.live import Batch, GroupEntry, Live, OpenGroup, Phase
from actors.messages import (
    AdmitNext,
    Admitted,
    AllocatorMessage,
    AwaitUnblock,
    Cancel,
    CancelExecution,
    CancelMembers,
    ChildEnded,
    ChildFinished,
    ChildrenCancelled,
    CodeOver,
    Decided,
    Drain,
    Forget,
    ForgetGroups,
    GroupEnded,
    GroupSealed,
    ReadSnapshot,
    ReadStats,
    Refused,
    Requeue,
    Seal,
    Settled,
    SnapshotOther,
    Stamped,
    Start,
    SubmitGroup,
    SubmitMore,
    SubmitOne,
    UnblockOther,
    WaitBegan,
    WaitEnded,
    WaitHurried,
)
from actors.protocol_actor import ProtocolActor, ask, tell
from actors.ready import Queued
from actors.stats import Stats
from actors.system import Future, dropped_waiters
from actors.waits import GroupNode, Target, WaitGraph
from orchestrator.errors import (
    DeadlockError,
    DuplicateExecutionError,
    RuntimeClosedError,
    UnknownExecutionError,
)
from orchestrator.protocols import Subject
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

__all__ = ["AllocatorActor"]

_STARTS_PER_TURN = 512  # an emit of a million async children must not hold up everything else


class AllocatorActor(ProtocolActor):
    """Owns the queue, the slots, the limits and the graph of waits.

    It makes an execution's actor when the execution is admitted (roots and called children at
    once), so a million pending children cost values and no actors.

    Args:
        environment: The runtime's.
        workers: How many blocking actions may run their code at once.
        directory: Groups that can be awaited, by id; written by this actor's turns alone, read by
            anyone.
    """

    def __init__(
        self, environment: Environment, workers: int, directory: dict[str, GroupEntry]
    ) -> None:
        super().__init__()
        self._environment = environment
        self._admission = Admission(workers)
        self._directory = directory
        self._live: dict[str, Live] = {}
        self._open: dict[str, OpenGroup] = {}
        self._nodes: dict[str, GroupNode] = {}
        self._graph = WaitGraph(self._live, self._nodes)
        self._seq = 0
        self._counts = [0] * len(Phase)
        self._ended: Counter[ExecutionState] = Counter()
        self._emitted = 0
        self._queued_since: dict[Queued, float] = {}
        self._draining = False
        self._drains: list[Drain] = []
        self._rate_timer: Any = None

    def on_receive(self, message: AllocatorMessage) -> None:  # noqa: C901, PLR0912 - an index
        """The allocator's protocol."""
        match message:
            case Settled():
                self._on_settled(message)
            case WaitBegan():
                self._on_wait_began(message)
            case WaitEnded():
                self._on_wait_ended(message)
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
                self._on_forget_groups(message.group_ids)
            case Drain():
                self._on_drain(message)
            case UnblockOther():
                self._forward(message, AwaitUnblock(message.reply))
            case SnapshotOther():
                self._forward(message, ReadSnapshot(message.reply))
            case ReadStats():
                message.reply.set(self._stats())
            case AdmitNext():
                pass
            case _:
                assert_never(message)
        self._admit()

    # Submitting

    def _on_submit_one(self, message: SubmitOne) -> None:
        child = message.child
        root = message.emission.parent_id is None
        refusal: Exception | None = None
        if root and self._draining:
            refusal = RuntimeClosedError(
                "the runtime is closed or closing: it takes no new executions; make another one"
            )
        elif child.id in self._live:
            refusal = DuplicateExecutionError(child.id, "has the id of one that is running")
        elif not child.claim():
            refusal = DuplicateExecutionError(child.id)
        if refusal is not None:
            message.reply.set_error(refusal)
            if message.scope is not None:
                message.scope.set_error(refusal)
            if message.settled is not None:
                message.settled.set(None)
            if message.emission.parent is not None:
                tell(message.emission.parent, ChildEnded(child.id, settled=True))
            return
        live = self._incarnate(
            message.emission, child, message.action, None, message.reply, message.scope,
            message.settled,
        )  # fmt: skip
        if message.scope is not None:
            live.is_scope = True
            live.needs_worker = live.needs_slot = False
            self._count(live, Phase.RUNNING)
            tell(live.ref, _START)
        elif self._admission.take_if_first(live):
            self._admission.turns.served(live.emission.process.id)
            live.rate_reserved = message.action.rate_limit is not None
            self._count(live, Phase.RUNNING)
            tell(live.ref, _START)
        else:
            self._queue(live, new_root=root)

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
        self._queue_children(group, emission, message.children, message.actions)

    def _claim(self, children: Sequence[Execution]) -> Exception | None:
        """Take every child's claim, or none."""
        seen: set[str] = set()
        for place, child in enumerate(children):
            refusal: Exception | None = None
            if child.id in seen:
                refusal = DuplicateExecutionError(child.id, "shares its id with another child")
            elif child.id in self._live:
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
        emission: Emission,
        children: Sequence[Execution],
        actions: Sequence[Action],
    ) -> None:
        now = self._environment.clock.now()
        self._emitted += len(children)
        self._counts[Phase.PENDING] += len(children)
        for action, priority, indexes in _kinds(emission, children, actions):
            batch = Batch(emission, children, action, now)
            queued = self._queued(emission, priority, batch, indexes)
            group.queued.append(queued)
            self._admission.push(action, queued)
        if self._environment.publisher.active:
            for index, child in enumerate(children):
                self._publish_scheduled(emission, child, index, now)

    def _on_submit_more(self, message: SubmitMore) -> None:
        group = self._open[message.emission.group_id or ""]
        if message.child.id in self._live:
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

    def _incarnate(  # noqa: PLR0913 - what an execution is
        self,
        emission: Emission,
        child: Execution,
        action: Action,
        index: int | None,
        reply: Future[Execution] | None = None,
        scope: Any = None,
        over: Future[None] | None = None,
        scheduled_at: float | None = None,
    ) -> Live:
        now = self._environment.clock.now() if scheduled_at is None else scheduled_at
        ref = self._environment.system.spawn(
            ExecutionActor,
            self._environment,
            emission,
            child,
            action,
            index,
            now,
            reply,
            scope,
            over,
            admitted=scheduled_at is not None,
        )
        live = Live(
            action,
            needs_worker=not action.is_async,
            needs_slot=action.max_concurrency is not None,
            ref=ref,
            emission=emission,
            execution_id=child.id,
            index=index,
            parent_id=emission.parent_id,
            group_id=emission.group_id,
            can_expire=emission.deadline is not None or emission.own_timeout is not None,
            priority=emission.priority if child.priority is None else child.priority,
        )
        self._live[child.id] = live
        if emission.group_id is not None:
            self._open[emission.group_id].live[child.id] = live
        if scheduled_at is None:
            self._emitted += 1
            self._counts[Phase.PENDING] += 1
            if self._environment.publisher.active:
                self._publish_scheduled(emission, child, index, now)
        return live

    def _publish_scheduled(
        self, emission: Emission, child: Execution, index: int | None, now: float
    ) -> None:
        execution = snapshot(emission, child, index, ExecutionState.SCHEDULED, scheduled_at=now)
        self._environment.publisher.changed(execution, ExecutionState.PENDING, now)

    def _queue(self, live: Live, *, new_root: bool) -> None:
        live.queued = self._queued(
            live.emission, live.priority, live, (0,), new_root=new_root
        )
        self._admission.push(live.action, live.queued)

    def _queued(
        self,
        emission: Emission,
        priority: int,
        payload: Any,
        indexes: Sequence[int],
        *,
        new_root: bool = False,
    ) -> Queued:
        self._seq += 1
        queued = Queued(
            priority, emission.process.id, emission.depth, self._seq, new_root, payload, indexes
        )
        self._queued_since[queued] = self._environment.clock.now()
        return queued

    # Starting

    def _admit(self) -> None:
        """Let waiters return and start what comes next, as far as there is room."""
        admission = self._admission
        if admission.any_returning:
            for returning in admission.returners():
                returning.handle.grant()
        now = self._environment.clock.now()
        for _ in range(_STARTS_PER_TURN):
            queued = admission.next(now)
            if queued is None:
                if admission.any_rated:
                    self._wait_for_rate(now)
                return
            self._start_next(queued)
        tell(self.actor_ref, AdmitNext())

    def _start_next(self, queued: Queued) -> None:
        payload = queued.payload
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
            )
        else:
            live = payload
            live.queued = None
        live.rate_reserved = live.action.rate_limit is not None
        self._admission.take(live)
        self._count(live, Phase.RUNNING)
        if not isinstance(payload, Batch):
            tell(live.ref, _START)

    def _wait_for_rate(self, now: float) -> None:
        due = self._admission.due()
        if due is None:
            return
        timer = self._rate_timer
        if timer is not None and timer.when <= due and timer.when > now:
            return
        if timer is not None:
            timer.cancel()
        self._rate_timer = self._environment.clock.call_at(
            due, tell, self.actor_ref, AdmitNext()
        )

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
        self._count(live, Phase.WAITING)
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

    def _member_ended(self, group: OpenGroup) -> None:
        group.node.out -= 1
        while group.node.blocked:  # one end may close several cycles
            found = self._graph.member_ended(group.node.group_id)
            if found is None or not self._refuse_one(found[1]):
                return

    def _free(self, live: Live) -> None:
        self._admission.free(live)
        if live.rate_reserved:
            live.rate_reserved = False
            self._admission.give_back_rate(live.action)

    def _on_group_sealed(self, group_id: str) -> None:
        node = self._nodes.get(group_id)
        if node is not None:
            node.open_ended = False
            self._break_cycles(node)

    def _on_group_ended(self, group_id: str) -> None:
        self._open.pop(group_id, None)
        self._nodes.pop(group_id, None)

    def _on_forget_groups(self, group_ids: Sequence[str]) -> None:
        for group_id in group_ids:
            entry = self._directory.pop(group_id, None)
            if entry is not None:
                tell(entry.ref, _FORGET)

    # Waiting

    def _on_wait_began(self, message: WaitBegan) -> None:
        wait = message.wait
        live = self._live.get(wait.attempt.execution_id)
        if live is None:
            return
        live.waits += 1
        if message.subject is not None and self._would_deadlock(live, message):
            return
        if wait.main:
            live.main_wait = wait
            self._admission.free(live, worker_only=wait.worker_only)
            if live.phase is Phase.RUNNING:
                self._count(live, Phase.WAITING)

    def _would_deadlock(self, live: Live, message: WaitBegan) -> bool:
        """Enter the wait into the graph; refuse it where it could never end."""
        assert message.subject is not None  # noqa: S101 - the caller looks
        wait = message.wait
        target = self._target(message.subject)
        can_expire = message.can_expire or live.can_expire
        cycle = self._graph.forbidden(live.execution_id, target, can_expire=can_expire)
        if cycle is None and live.waits > 1:
            self._graph.unblock(live.execution_id)  # several waits at once are no edges
        elif cycle is None and wait.main and not can_expire:
            cycle = self._graph.block(live.execution_id, target)
        if cycle is not None:
            wait.refuse(DeadlockError(cycle))
        return cycle is not None

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
            case _:
                return Target((subject.id,))

    def _has_decided(self, group_id: str) -> bool:
        entry = self._directory.get(group_id)
        return entry is None or entry.decided.done()

    def _refuse_one(self, cycle: Sequence[str]) -> bool:
        """Break a cycle that closed without a new wait: one of its waiters is told."""
        for name in cycle:
            live = self._live.get(name)
            if live is not None and live.main_wait is not None:
                self._graph.unblock(name)
                live.main_wait.refuse(DeadlockError(tuple(cycle)))
                return True
        return False

    def _on_wait_ended(self, message: WaitEnded) -> None:
        wait = message.wait
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
        wait.returning = Returning(live, wait)
        if live.phase is Phase.CANCELLING:
            self._admission.take(live)  # its code only unwinds
            wait.grant()
        elif self._admission.comes_back(wait.returning):
            wait.grant()

    def _on_wait_hurried(self, message: WaitHurried) -> None:
        wait = message.wait
        if wait.returning is not None and self._admission.hurry(
            wait.returning, unwinding=message.unwinding
        ):
            wait.grant()

    # Cancelling

    def _on_cancel_members(self, message: CancelMembers) -> None:
        group = self._open.get(message.group_id)
        if group is None:
            return
        now = self._environment.clock.now()
        for queued in group.queued:
            indexes = queued.drop_all()
            self._queued_since.pop(queued, None)
            if not indexes:
                continue
            self._counts[Phase.PENDING] -= len(indexes)
            self._ended[ExecutionState.CANCELLED] += len(indexes)
            group.node.out -= len(indexes)
            self._publish_cancelled(queued.payload, indexes, message.reason, now)
            tell(group.ref, ChildrenCancelled(indexes, message.reason, now))
        group.queued.clear()
        for live in tuple(group.live.values()):
            tell(live.ref, Cancel(message.reason))

    def _publish_cancelled(
        self, batch: Batch, indexes: Sequence[int], reason: str, now: float
    ) -> None:
        publisher = self._environment.publisher
        if publisher.active:
            for index in indexes:
                child = batch.children[index]
                publisher.changed(
                    cancelled_snapshot(batch.emission, child, index, reason, now),
                    ExecutionState.SCHEDULED,
                    now,
                )

    def _on_cancel_execution(self, message: CancelExecution) -> None:
        live = self._live.get(message.execution_id)
        if live is not None:
            tell(live.ref, Cancel(message.reason))
        found = live is not None or self._cancel_queued(message.execution_id, message.reason)
        if message.reply is not None:
            message.reply.set(found)

    def _cancel_queued(self, execution_id: str, reason: str) -> bool:
        """Cancel a child that has no actor yet."""
        for group in self._open.values():
            for queued in group.queued:
                batch: Batch = queued.payload
                if batch.ids is None:
                    batch.ids = {batch.children[index].id: index for index in queued.indexes}
                index = batch.ids.get(execution_id)
                if index is not None and index in queued.left:
                    queued.drop(index)
                    now = self._environment.clock.now()
                    self._counts[Phase.PENDING] -= 1
                    self._ended[ExecutionState.CANCELLED] += 1
                    self._publish_cancelled(batch, (index,), reason, now)
                    end = cancelled_snapshot(
                        batch.emission, batch.children[index], index, reason, now
                    )
                    tell(group.ref, ChildFinished(index, end, settled=True))
                    self._member_ended(group)
                    return True
        return False

    def _forward(self, message: UnblockOther | SnapshotOther, question: Any) -> None:
        live = self._live.get(message.execution_id)
        if live is None:
            message.reply.set_error(UnknownExecutionError(message.execution_id))
        else:
            ask(live.ref, question)

    # Closing and counting

    def _on_drain(self, message: Drain) -> None:
        self._draining = True
        self._drains.append(message)
        if message.cancel:
            for live in tuple(self._live.values()):
                if live.parent_id is None:
                    tell(live.ref, Cancel(message.reason))
        self._note_drained()

    def _note_drained(self) -> None:
        if self._draining and not self._live:
            drains, self._drains = self._drains, []
            for drain in drains:
                drain.reply.set(None)

    def _count(self, live: Live, phase: Phase) -> None:
        self._counts[live.phase] -= 1
        self._counts[phase] += 1
        live.phase = phase

    def _stats(self) -> Stats:
        counts, ended = self._counts, self._ended
        oldest = min(self._queued_since.values(), default=None)
        return Stats(
            pending=counts[Phase.PENDING],
            running=counts[Phase.RUNNING],
            waiting=counts[Phase.WAITING],
            cancelling=counts[Phase.CANCELLING],
            completed=ended[ExecutionState.COMPLETED],
            failed=ended[ExecutionState.FAILED],
            cancelled=ended[ExecutionState.CANCELLED],
            emitted=self._emitted,
            queue_age=0.0 if oldest is None else max(0.0, self._environment.clock.now() - oldest),
            dropped_waiters=dropped_waiters(),
            dead_letters=self._environment.system.dead_letters,
        )


_START = Start()
_FORGET = Forget()


def _kinds(
    emission: Emission, children: Sequence[Execution], actions: Sequence[Action]
) -> Sequence[tuple[Action, int, Sequence[int]]]:
    """The children by action and priority, each kind with its indexes in the order of emission."""
    default = emission.priority
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

