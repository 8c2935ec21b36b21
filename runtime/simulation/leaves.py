"""Leaves in a simulation: the steps at which threads may cross each other in production.

Who has a child's start token, what it ends as, and where its end lies until its group takes it in:
each is one atomic step on a shared dict or deque. Here these are switch points, and tell an
observer which leaf has begun, returned and reported.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import ref

from actors.batch import Batch, Reports
from actors.group import CorrelationGroupActor
from actors.leaf import LEAF, LeafAttempt
from actors.messages import AttemptEnded
from actors.run import Run
from orchestrator.errors import Cancelled
from orchestrator.expansion import is_template
from orchestrator.values import ExecutionState
from runtime import observing
from runtime.leaves import Leaves
from runtime.observing import Observer

if TYPE_CHECKING:
    from actors.fan_in import Completed
    from runtime.simulation.world import World

__all__ = ["WatchedLeaves"]


_INTERRUPTIONS = (Cancelled, asyncio.CancelledError)


class LeafEnd:
    """What a child came to that has completed as a leaf: an `observing.End`."""

    __slots__ = ("id", "output")

    state = ExecutionState.COMPLETED
    error = None
    attempts = 1

    def __init__(self, execution_id: str, output: Any) -> None:
        self.id = execution_id
        self.output = output


class WatchedLeaves(Leaves):
    """Notes when a leaf's code begins and ends, and lets others go between any two of its steps."""

    observer: Observer  # these are set by the runtime, before anything starts
    world: World

    def watch(self, run: Run) -> None:
        """See to a run that is about to start."""
        world, batch = self.world, run.batch
        if run.ledger is None:  # else it is one child, of which nobody else knows
            run.pending = _Pending(world, run.pending)
        run.owners = _Owners(world, run.owners)
        run.fates = _Fates(self, batch, run.owners)
        reports = batch.reports
        if isinstance(reports, Reports) and not isinstance(reports.ends, _Ends):
            group = reports.group._actor_weakref()  # noqa: SLF001 - it is alive: its emitter is
            reports.ends = _Ends(world, self.observer, batch.children, reports.ends, group)
            reports.__class__ = _Reports  # the same object: others may have it already
        if run.ledger is not None:  # it is told to nobody
            child, emission = batch.children[0], batch.emission
            is_scope = False
            self.observer.note(
                observing.SUBMITTED, child, emission.parent_id, emission.deadline, None, is_scope
            )

    def _step_aside(self) -> None:
        """Nobody waits for the interpreter."""

    def _note_start(self, attempt: LeafAttempt, run: Run) -> float:
        self.observer.note(
            observing.STARTED,
            attempt.execution_id,
            attempt.number,
            self.world.current.name,
            attempt.action,
            run.batch.emission.deadline,
            attempt.is_async,
        )
        if run.environment.publisher.active:
            self.world.pause()  # its start has still to be told, and others can make it an actor
        return super()._note_start(attempt, run)

    def _leaf_fails(self, attempt: LeafAttempt, ended: AttemptEnded) -> None:
        if attempt.started_at is not None:  # else its code never ran
            self.note_return(attempt, interrupted=isinstance(ended.raised, _INTERRUPTIONS))
            self.world.pause()
        super()._leaf_fails(attempt, ended)

    def note_return(self, attempt: Any, *, interrupted: bool = False) -> None:
        """A leaf's code is over."""
        self.observer.note(
            observing.RETURNED,
            attempt.execution_id,
            attempt.number,
            self.world.current.name,
            interrupted,
        )


class _Pending(deque[int]):
    """Children that nobody has looked at: the worker takes the first, others the last."""

    def __init__(self, world: World, indexes: deque[int]) -> None:
        super().__init__(indexes)
        self._world = world

    def pop(self) -> int:  # type: ignore[override]  # it has no argument
        self._world.pause()
        return super().pop()


class _Owners(dict[int, object]):
    """Start tokens."""

    def __init__(self, world: World, owners: dict[int, object]) -> None:
        super().__init__(owners)
        self._world = world

    def setdefault(self, index: int, owner: object) -> object:  # type: ignore[override]
        self._world.pause()
        return super().setdefault(index, owner)

    def __setitem__(self, index: int, owner: object) -> None:
        self._world.pause()  # its fate is settled, and nothing has been told of it
        super().__setitem__(index, owner)


class _Fates(dict[int, object]):
    """What children end as. It does not refer to its run, or no count would free the two."""

    def __init__(self, leaves: WatchedLeaves, batch: Batch, owners: dict[int, object]) -> None:
        super().__init__()
        self._leaves = leaves
        self._batch = batch
        self._owners = owners

    def setdefault(self, index: int, fate: object) -> object:  # type: ignore[override]
        leaves, batch = self._leaves, self._batch
        if fate is LEAF:  # its code has returned
            leaves.note_return(self._owners[index])
        leaves.world.pause()
        settled = super().setdefault(index, fate)
        if fate is not LEAF:
            leaves.world.pause()  # it is an actor, and the allocator has not been told
        if fate is LEAF and settled is LEAF and batch.group is None:
            # A called child is over with that.
            name = batch.id_of(index)
            leaves.observer.note(observing.SETTLED, name, ExecutionState.COMPLETED)
        return settled


class _Reports(Reports):
    """Where they lie: others may add to it before the group has said that it hears of each."""

    __slots__ = ()

    @property
    def each(self) -> bool:
        return _EACH.__get__(self)  # type: ignore[no-any-return]

    @each.setter
    def each(self, each: bool) -> None:
        ends = self.ends
        assert isinstance(ends, _Ends)  # noqa: S101 - both are set at once
        ends.pause()
        _EACH.__set__(self, each)


_EACH: Any = Reports.__dict__["each"]  # the slot


class _Ends(deque["Completed"]):
    """The ends of leaves that their group has not taken in."""

    def __init__(
        self,
        world: World,
        observer: Observer,
        children: Any,
        ends: deque[Completed],
        group: CorrelationGroupActor,
    ) -> None:
        super().__init__(ends)
        self._world = world
        self._observer = observer
        self._children = children  # of the group; their batch would refer back to this
        self._group = ref(group)
        self._take_in = group.take_in_reports.__func__  # type: ignore[attr-defined]  # unbound
        group.take_in_reports = self._taken_in  # type: ignore[method-assign]

    def _taken_in(self) -> None:
        group = self._group()
        self._take_in(group)
        if group is not None:
            self._observer.took_in(group)

    def pause(self) -> None:
        self._world.pause()

    def append(self, end: Completed) -> None:
        super().append(end)
        self._world.pause()  # before it is seen whether the group has to be told

    def popleft(self) -> Completed:
        group = self._group()
        assert group is not None  # noqa: S101 - it is in its turn
        self._observer.look(group)  # what it has decided without this one
        end = super().popleft()
        index, drawn = end[0], group.drawn
        children = self._children if drawn is None else drawn
        name = children.id_of(index) if is_template(children) else children[index].id
        child = LeafEnd(name, end[1])
        self._observer.note(observing.REPORTED, group.group_id, index, child)
        return end
