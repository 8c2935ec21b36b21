"""Who is started next: the order of starts among queued work, without thread or clock.

Higher priority first; among equals what belongs to a running process before a new root, running
processes in turns, and within one process the deepest first, then the first to arrive.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

from attrs import define, field

__all__ = ["NOBODY", "Front", "Queued", "ReadyQueue", "Turns", "frontmost", "goes_ahead"]

Key: TypeAlias = tuple[int, int, int, int, int]

# What is queued, to who might go ahead of all of it: the highest priority, and of that one the
# greatest depth and the only process. Depth -1: new roots; no process: several.
Front: TypeAlias = tuple[float, int, str | None]

NOBODY: Front = (float("inf"), 0, None)  # goes ahead

_SLACK = 64  # cancelled work that is never worth a clearing


@define(eq=False)
class Queued:
    """Work of one kind in the queue: one execution, or the rest of a batch of children.

    Owned by the allocator, which takes from it until it is empty.
    """

    priority: int
    process_id: str
    depth: int
    seq: int  # order of arrival
    new_root: bool
    payload: Any  # what the allocator starts: its own business
    indexes: Sequence[int] = (0,)
    taken: int = 0
    empty: bool = False  # nothing is left to take
    dropped: set[int] | None = field(default=None)  # cancelled one by one

    @property
    def left(self) -> Sequence[int]:
        """The indexes not taken yet."""
        rest = self.indexes[self.taken :]
        return [index for index in rest if index not in self.dropped] if self.dropped else rest

    def has(self, index: int) -> bool:
        """Whether *index* is left."""
        if self.dropped and index in self.dropped:
            return False
        return index in self.indexes[self.taken :]

    def add(self, index: int) -> None:
        """One more, behind the others; its *indexes* are a list of its own."""
        self.indexes.append(index)  # type: ignore[attr-defined]

    def take(self) -> int:
        """Take the next index."""
        index = self.indexes[self.taken]
        self.taken += 1
        self._settle()
        return index

    def take_many(self, most: int) -> Sequence[int]:
        """Take up to *most* of the next indexes, one at least."""
        if self.dropped:
            some: list[int] = []
            while len(some) < most and not self.empty:
                ahead = self.indexes[self.taken : self.taken + most - len(some)]
                some += [index for index in ahead if index not in self.dropped]
                self.taken += len(ahead)
                self._settle()
            return some
        taken = self.indexes[self.taken : self.taken + most]
        self.taken += len(taken)
        self.empty = self.taken >= len(self.indexes)
        return taken

    def drop(self, index: int) -> None:
        """Never take *index*."""
        if self.dropped is None:
            self.dropped = set()
        self.dropped.add(index)
        self._settle()

    def drop_all(self) -> Sequence[int]:
        """Never take anything more, and let go of what it was; what was left."""
        left = self.left
        self.indexes = ()
        self.taken = 0
        self.dropped = None
        self.payload = None
        self.empty = True
        return left

    def _settle(self) -> None:
        """Stand at the next index to take, if there is one."""
        if self.dropped:
            while self.taken < len(self.indexes) and self.indexes[self.taken] in self.dropped:
                self.taken += 1
        self.empty = self.taken >= len(self.indexes)


class Turns:
    """When each running process was last served; shared by all queues of one allocator."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}  # by process; what `of` answers, without a call
        self._tick = 0

    def of(self, process_id: str) -> int:
        """The turn of the process's last start."""
        return self.last.get(process_id, 0)

    def served(self, process_id: str) -> None:
        """The process has just been served: the others come first."""
        self._tick += 1
        self.last[process_id] = self._tick

    def forget(self, process_id: str) -> None:
        """The process has ended."""
        self.last.pop(process_id, None)


# Depth, order of arrival, and a number of its own: what is given back keeps its place.
_Entry: TypeAlias = tuple[int, int, int, Queued]


def frontmost(one: Front | None, other: Front | None) -> Front | None:
    """What to go ahead of both."""
    if one is None or other is None:
        return one or other
    if one[0] != other[0]:
        return max(one, other)
    if one[1] < 0 or other[1] < 0:  # what is running goes before any new root
        return one if other[1] < 0 else other
    return one[0], max(one[1], other[1]), one[2] if one[2] == other[2] else None


def goes_ahead(front: Front, priority: int, depth: int, process_id: str) -> bool:
    """Whether work of a running process would start before all that is queued."""
    if priority != front[0]:
        return priority > front[0]
    return depth > front[1] and (front[1] < 0 or front[2] == process_id)


class _Level:
    """The queued work of one priority."""

    def __init__(self) -> None:
        self.roots: deque[Queued] = deque()
        self.lanes: dict[str, list[_Entry]] = {}  # process: deepest first
        self.order: list[tuple[int, str]] = []  # heap of (turn, process); a turn may be stale


class ReadyQueue:
    """Queued work that competes for the same slots."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._levels: dict[int, _Level] = {}
        # Negated, ascending. Without any, nothing is queued for sure: a look that costs no call.
        self.priorities: list[int] = []
        self._pushed = 0  # since it was last cleared of cancelled work
        self._kept = 0  # of it, by that clearing
        self._ticks = 0

    def push(self, item: Queued) -> None:
        """Queue *item*."""
        self._pushed += 1
        if self._pushed > self._kept + _SLACK:
            self._clear_out()
        level = self._levels.get(item.priority)
        if level is None:
            level = self._levels[item.priority] = _Level()
            insort(self.priorities, -item.priority)
        if item.new_root:
            level.roots.append(item)
            return
        lane = level.lanes.get(item.process_id)
        if lane is None:
            lane = level.lanes[item.process_id] = []
            heapq.heappush(level.order, (self._turns.last.get(item.process_id, 0), item.process_id))
        self._ticks += 1
        heapq.heappush(lane, (-item.depth, item.seq, self._ticks, item))

    def _clear_out(self) -> None:
        """Drop what was cancelled and has not come to the head: nothing may start for long."""
        self._pushed = self._kept = 0
        for level in self._levels.values():
            level.roots = deque(item for item in level.roots if not item.empty)
            self._kept += len(level.roots)
            for process_id, lane in tuple(level.lanes.items()):
                lane[:] = [entry for entry in lane if not entry[3].empty]
                heapq.heapify(lane)
                self._kept += len(lane)
                if not lane:
                    del level.lanes[process_id]
            level.order = [entry for entry in level.order if entry[1] in level.lanes]
            heapq.heapify(level.order)

    def head(self) -> tuple[Key, Queued] | None:
        """The work that is next, and its place in the order of starts; ``None`` if empty."""
        while self.priorities:
            negated = self.priorities[0]
            level = self._levels[-negated]
            found = self._next_lane(level)
            if found is not None:
                turn, (depth, seq, _tick, item) = found
                return (negated, 0, turn, depth, seq), item
            while level.roots:
                item = level.roots[0]
                if not item.empty:
                    return (negated, 1, 0, 0, item.seq), item
                level.roots.popleft()
            del self._levels[-negated]
            self.priorities.pop(0)
        return None

    def front(self) -> Front | None:
        """What to go ahead of; ``None``: nothing."""
        head = self.head()
        if head is None:
            return None
        item = head[1]
        if item.new_root:
            return item.priority, -1, None
        alone = len(self._levels[item.priority].lanes) == 1
        return item.priority, item.depth, item.process_id if alone else None

    def has_rivals(self, item: Queued) -> bool:
        """Whether anything that is queued here would take turns with *item*, which is the head."""
        level = self._levels[item.priority]
        return any(
            process_id != item.process_id and any(not entry[3].empty for entry in lane)
            for process_id, lane in level.lanes.items()
        )

    def _next_lane(self, level: _Level) -> tuple[int, _Entry] | None:
        order = level.order
        while order:
            turn, process_id = order[0]
            lane = level.lanes[process_id]
            while lane and lane[0][3].empty:
                heapq.heappop(lane)
            if not lane:
                heapq.heappop(order)
                del level.lanes[process_id]
                continue
            current = self._turns.last.get(process_id, 0)
            if turn == current:
                return turn, lane[0]
            heapq.heapreplace(order, (current, process_id))
        return None
