"""What the allocator knows of all executions and groups of its runtime, and what it counts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

from actors.admission import Admission
from actors.batch import Batch
from actors.emission import Emission, snapshot
from actors.environment import Environment
from actors.execution import ExecutionActor
from actors.live import GroupEntry, Live, OpenGroup, Phase
from actors.messages import Drain, WaitBegan
from actors.protocol_actor import ProtocolActor
from actors.ready import Queued
from actors.run import Run
from actors.stats import Stats
from actors.system import Future, dropped_waiters
from actors.wait import CallWait, Wait
from actors.waits import GroupNode, WaitGraph
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

__all__ = ["AllocatorRecord"]


class AllocatorRecord(ProtocolActor):
    """The state of the allocator: the part that every other part of it reads and writes.

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
        self._runs: dict[Run, None] = {}
        # Of these, all whose children any worker may start, if there are some left.
        self._shared: dict[Run, None] = {}
        self._learned: dict[str, int] = {}  # how long runs of an action may be
        self._lenders: dict[Live, None] = {}  # whose code has called children in its place
        self._named: dict[str, tuple[Run, int]] = {}  # other children that are handed out
        self._blocks: dict[str, Batch] = {}  # children of templates, by what their ids begin with
        self._chosen: dict[str, OpenGroup] = {}  # who has, or had, children of ids made up
        self._open: dict[str, OpenGroup] = {}
        self._nodes: dict[str, GroupNode] = {}
        self._graph = WaitGraph(self._live, self._nodes)
        self._seq = 0
        self._counts = [0] * len(Phase)
        self._ended: Counter[ExecutionState] = Counter()
        self._emitted = 0
        self._queued_since: dict[Queued, float] = {}
        self._admitting = False  # more async starts come in a later turn
        self._draining = False
        self._drains: list[Drain] = []
        self._rate_timer: Any = None

    def _incarnate(
        self,
        emission: Emission,
        child: Execution,
        action: Action,
        index: int | None,
        reply: Future[Execution] | None = None,
        scope: Any = None,
        over: Future[None] | None = None,
        scheduled_at: float | None = None,
        *,
        admitted: bool = False,
    ) -> Live:
        now = self._environment.clock.now() if scheduled_at is None else scheduled_at
        if scheduled_at is None and self._environment.publisher.active:
            self._publish_scheduled(emission, child, index, now)  # before it can start
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
            admitted=admitted,
        )
        timeout = action.timeout if child.timeout is None else child.timeout
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
            can_expire=emission.deadline is not None
            or emission.own_timeout is not None
            or (timeout is not None and timeout != math.inf),
            priority=emission.priority if child.priority is None else child.priority,
        )
        self._live[child.id] = live
        if emission.group_id is not None:
            self._open[emission.group_id].live[child.id] = live
        if scheduled_at is None:
            self._emitted += 1
            self._counts[Phase.PENDING] += 1
        return live

    def _publish_scheduled(
        self, emission: Emission, child: Execution, index: int | None, now: float
    ) -> None:
        execution = snapshot(emission, child, index, ExecutionState.SCHEDULED, scheduled_at=now)
        self._environment.publisher.changed(execution, ExecutionState.PENDING, now)

    def _queue(self, live: Live, *, new_root: bool) -> None:
        live.queued = self._queued(live.emission, live.priority, live, (0,), new_root=new_root)
        self._admission.push(live.action, live.queued)
        if not live.action.is_async:
            self._recall_for(live, new_root=new_root)

    @abstractmethod
    def _recall_for(self, work: Batch | Live, *, new_root: bool = False) -> None:
        """Take back what work that is queued now goes ahead of, or takes turns with."""

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

    def _requeue_rest(self, batch: Batch, indexes: Sequence[int]) -> Queued:
        """Queue children of *batch* again, in the place that it had."""
        emission = batch.emission
        queued = Queued(
            batch.priority,
            emission.process.id,
            emission.depth,
            batch.seq,
            new_root=False,
            payload=batch,
            indexes=indexes,
        )
        self._queued_since[queued] = batch.scheduled_at
        self._admission.push(batch.action, queued)
        return queued

    def _count_runs(self) -> None:
        for run in tuple(self._runs):
            self._count_run(run)

    @abstractmethod
    def _count_run(self, run: Run) -> None:
        """Add up what has happened in the run since the last time."""

    @abstractmethod
    def _end_wait(self, wait: Wait) -> None:
        """A waiter is back: give it its slots, now or as soon as there are some."""

    @abstractmethod
    def _note_blocked(self, wait: CallWait, child_id: str) -> None:
        """The child that *wait* is for may wait itself from now on."""

    @abstractmethod
    def _begin_wait(self, message: WaitBegan) -> None:
        """Code waits: its slots are free, unless it waits for what could never be."""

    @abstractmethod
    def _begin_call_wait(self, live: Live, wait: CallWait) -> None:
        """The code of *live* waits for a child that it has called."""

    @abstractmethod
    def _count_loans(self, live: Live) -> None:
        """Add up what has become of children in their caller's place since the last time."""

    @abstractmethod
    def _break_cycles(self, group_id: str) -> None:
        """Refuse a waiter of every cycle that a change of the group has closed."""

    @abstractmethod
    def _note_drained(self) -> None:
        """Answer who waits for the end, if this was it."""

    def _count(self, live: Live, phase: Phase) -> None:
        self._counts[live.phase] -= 1
        self._counts[phase] += 1
        live.phase = phase

    def _stats(self) -> Stats:
        self._count_runs()
        counts = list(self._counts)
        for live in self._lenders:
            self._count_loans(live)
            if live.ledger is not None and live.ledger.is_open:
                if live.phase is Phase.RUNNING:  # the child runs in its place
                    counts[Phase.WAITING] += 1
                else:
                    counts[Phase.RUNNING] += 1
        for run in self._runs:
            counts[Phase.WAITING] += sum(1 for ledger in list(run.ledgers) if ledger.is_open)
        # They are counted as running; one may have just ended, hence no more than run.
        asleep = min(len(self._environment.asleep), counts[Phase.RUNNING])
        counts[Phase.RUNNING] -= asleep
        counts[Phase.WAITING] += asleep
        ended = self._ended
        handed_out = [(run.batch, list(run.pending)) for run in self._runs]
        waiting = [batch.scheduled_at_of(left[0]) for batch, left in handed_out if left]
        queued = [_since(*pair) for pair in self._queued_since.items()]
        oldest = min((*queued, *waiting), default=None)
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


def _since(queued: Queued, at: float) -> float:
    """Since when the oldest of it has waited."""
    payload = queued.payload
    if isinstance(payload, Batch) and payload.times is not None:
        return payload.scheduled_at_of(queued.left[0])
    return at
