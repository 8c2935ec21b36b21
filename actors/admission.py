"""Who may run now: worker slots, action slots and rates over the ready queues.

Owned by the allocator. Pure: the time is an argument, what to start is an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from attrs import define, field

from actors.rates import RateWindow
from actors.ready import NOBODY, Front, Queued, ReadyQueue, Turns, frontmost
from orchestrator.registry import Action

__all__ = ["Admission", "Returning", "Slots"]


@define(eq=False)
class Slots:
    """What one attempt needs to run, and what it holds of it. Owned by the allocator."""

    action: Action
    needs_worker: bool
    needs_slot: bool  # the action has a max_concurrency
    has_worker: bool = False
    has_slot: bool = False
    cancelling: bool = False


@define(eq=False)
class Returning:
    """A waiter that is back and needs its slots before its code goes on."""

    slots: Slots
    handle: Any  # the allocator's business
    impatient: bool = False  # its timeout has passed: it no longer waits for a worker


@define(eq=False)
class _Limited:
    """The limits of one action in this runtime."""

    most: int | None
    running: int = 0
    window: RateWindow | None = None

    def free(self) -> bool:
        return self.most is None or self.running < self.most


@define(eq=False)
class _Lane:
    """A ready queue and what its work needs."""

    queue: ReadyQueue
    needs_worker: bool
    limited: _Limited | None = field(default=None)


class Admission:
    """Queued work, returning waiters, and the slots they compete for."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.busy = 0  # workers held, cancelling ones included
        self.cancelling = 0  # of these, by code that was told to end
        self.turns = Turns()
        self._limits: dict[str, _Limited] = {}
        self._lanes: dict[tuple[bool, str | None], _Lane] = {}
        self._free_lanes = 0  # lanes whose work needs no worker
        self._rated: list[tuple[_Lane, RateWindow]] = []
        self._returning: deque[Returning] = deque()
        self._all_wait_for_workers = True  # those that return, since there was none the last time

    def push(self, action: Action, item: Queued) -> None:
        """Queue work of *action*."""
        self._lane(action).queue.push(item)

    def give_back_rate(self, action: Action) -> None:
        """An admitted attempt ended before its call."""
        window = self._limited(action).window
        if window is not None:
            window.give_back()

    def stamp(self, action: Action, at: float) -> None:
        """An admitted attempt's call began at *at*."""
        window = self._limited(action).window
        if window is not None:
            window.stamp(at)

    def due(self) -> float | None:
        """When a rate next has a permit that queued work waits for."""
        times = [
            due
            for lane, window in self._rated
            if (due := window.due()) is not None and lane.queue.head() is not None
        ]
        return min(times, default=None)

    # Slots

    def take(self, slots: Slots) -> None:
        """Hold all that *slots* needs, free or not."""
        if slots.needs_worker and not slots.has_worker:
            slots.has_worker = True
            self.busy += 1
            if slots.cancelling:
                self.cancelling += 1
        if slots.needs_slot and not slots.has_slot:
            slots.has_slot = True
            self._limited(slots.action).running += 1

    def free(self, slots: Slots, *, worker_only: bool = False) -> None:
        """Give back what *slots* holds."""
        if slots.has_worker:
            slots.has_worker = False
            self.busy -= 1
            if slots.cancelling:
                self.cancelling -= 1
        if slots.has_slot and not worker_only:
            slots.has_slot = False
            self._limited(slots.action).running -= 1

    def mark_cancelling(self, slots: Slots) -> None:
        """The code that holds *slots* was told to end."""
        if not slots.cancelling:
            slots.cancelling = True
            if slots.has_worker:
                self.cancelling += 1

    # Waiters that return

    def comes_back(self, returning: Returning) -> bool:
        """Let a waiter go on if its slots are free; else it goes ahead of every start."""
        slots = returning.slots
        if slots.has_worker >= slots.needs_worker and slots.has_slot >= slots.needs_slot:
            return True  # the wait was refused, and has kept them
        if self._can_return(returning) and not self._is_behind(slots):
            self.take(slots)
            return True
        if not self._returning:
            self._all_wait_for_workers = True
        self._returning.append(returning)
        self._all_wait_for_workers &= slots.needs_worker
        return False

    def hurry(self, returning: Returning, *, unwinding: bool) -> bool:
        """A returning waiter's patience is over: it no longer waits for a worker.

        For its action slot it does, unless its code was cancelled and is only *unwinding*.
        Whether it may go on now.
        """
        if returning not in self._returning:
            return False  # let go already
        returning.impatient = True
        if not unwinding and not self._can_return(returning):
            self._all_wait_for_workers = False
            return False
        self._returning.remove(returning)
        self.take(returning.slots)
        return True

    @property
    def any_rated(self) -> bool:
        """Whether some action has a rate."""
        return bool(self._rated)

    @property
    def any_returning(self) -> bool:
        """Whether a waiter is back and has no slots yet."""
        return bool(self._returning)

    def returners(self) -> Iterator[Returning]:
        """The waiters that may go on now, their slots taken."""
        line = self._returning
        while line and self._all_wait_for_workers:  # as mostly; thousands may have slept
            if self.busy - self.cancelling >= self.workers:
                return
            if not self._can_return(line[0]):
                break
            returning = line.popleft()
            self.take(returning.slots)
            yield returning
        for returning in tuple(self._returning):
            if self._can_return(returning):
                self._returning.remove(returning)
                self.take(returning.slots)
                yield returning
            elif self._all_wait_for_workers and self.busy - self.cancelling >= self.workers:
                return  # and so does every other

    def _can_return(self, returning: Returning) -> bool:
        # Code that was told to end keeps its worker from starts, not from waiters: an action that
        # never ends must not hold up the one that has stopped waiting for it.
        slots = returning.slots
        if (
            slots.needs_worker
            and not returning.impatient
            and self.busy - self.cancelling >= self.workers
        ):
            return False
        return self._has_action_slot(slots)

    def _has_action_slot(self, slots: Slots) -> bool:
        return not slots.needs_slot or slots.has_slot or self._limited(slots.action).free()

    def _is_behind(self, slots: Slots) -> bool:
        # What it has kept, as a wait that was refused keeps all, it waits for behind nobody.
        worker = slots.needs_worker and not slots.has_worker
        slot = slots.needs_slot and not slots.has_slot
        return any(
            (worker and other.slots.needs_worker and not other.impatient)
            or (slot and other.slots.action.name == slots.action.name)
            for other in self._returning
        )

    # Starts

    def front(self) -> Front | None:
        """What is queued, to who might go ahead of all of it; ``None``: nothing."""
        if self._returning:
            return NOBODY
        front: Front | None = None
        for lane in self._lanes.values():
            queue = lane.queue
            if queue.priorities:
                front = frontmost(front, queue.front())
        return front

    @property
    def is_calm(self) -> bool:
        """Whether nothing is queued for sure and nobody is back; asked at every message."""
        if self._returning:
            return False
        for lane in self._lanes.values():  # noqa: SIM110 - a generator is twice as dear
            if lane.queue.priorities:  # or it holds what was cancelled, until somebody looks
                return False
        return True

    def may_start(self, action: Action) -> bool:
        """Whether work of *action* that goes ahead of what is queued could start now.

        It saves the way through the queue; the order of starts is the same.
        """
        if self._returning or action.rate_limit is not None:
            return False
        if not action.is_async and self.busy >= self.workers:
            return False
        return action.max_concurrency is None or self._limited(action).free()

    def next(self, now: float, *, async_too: bool = True) -> Queued | None:
        """The queued work that may start now and comes first; take one index from it.

        Its slots are counted by `take`, its rate permit is reserved here. Work that needs no
        worker can be left for later.
        """
        best: tuple[Any, Queued, _Lane] | None = None
        no_worker = self.busy >= self.workers or (
            bool(self._returning) and self._returning_workers()
        )
        if no_worker and not (self._free_lanes and async_too):
            return None
        for lane in self._lanes.values():
            if no_worker if lane.needs_worker else not async_too:
                continue
            limited = lane.limited
            if limited is not None and (
                not limited.free()
                or (limited.window is not None and not limited.window.free(now))
                or self._returning_to(limited)
            ):
                continue
            head = lane.queue.head() if lane.queue.priorities else None
            if head is not None and (best is None or head[0] < best[0]):
                best = (*head, lane)
        if best is None:
            return None
        _key, item, lane = best
        if lane.limited is not None and lane.limited.window is not None:
            lane.limited.window.reserve(now)
        self.turns.served(item.process_id)
        return item

    def has_rivals(self, item: Queued) -> bool:
        """Whether anything but *item*, which is next, may want a worker that would start it.

        Then its children are started one by one, so that the order of starts is what it should be.
        """
        if self._returning:
            return True
        for lane in self._lanes.values():
            queue = lane.queue
            head = queue.head() if lane.needs_worker and queue.priorities else None
            if head is not None and (head[1] is not item or queue.has_rivals(item)):
                return True
        return False

    def _returning_workers(self) -> bool:
        return any(
            item.slots.needs_worker and not item.impatient and self._has_action_slot(item.slots)
            for item in self._returning
        )

    def _returning_to(self, limited: _Limited) -> bool:
        return any(
            item.slots.needs_slot
            and not item.slots.has_slot
            and self._limits.get(item.slots.action.name) is limited
            for item in self._returning
        )

    def _lane(self, action: Action) -> _Lane:
        limited = action.max_concurrency is not None or action.rate_limit is not None
        key = (not action.is_async, action.name if limited else None)
        lane = self._lanes.get(key)
        if lane is None:
            limits = self._limited(action) if limited else None
            lane = self._lanes[key] = _Lane(ReadyQueue(self.turns), not action.is_async, limits)
            self._free_lanes += action.is_async
            if limits is not None and limits.window is not None:
                self._rated.append((lane, limits.window))
        return lane

    def _limited(self, action: Action) -> _Limited:
        limits = self._limits.get(action.name)
        if limits is None:
            rate = action.rate_limit
            limits = self._limits[action.name] = _Limited(
                action.max_concurrency, window=None if rate is None else RateWindow(rate)
            )
        return limits
