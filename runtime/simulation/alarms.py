"""Virtual time: what happens when, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

__all__ = ["Alarm", "Alarms"]

TICKS = 2.0**30  # in a virtual second: a little less than a nanosecond each


class Alarm:
    """Something that happens at a point in virtual time, unless it is cancelled."""

    __slots__ = ("fire", "live", "when")

    def __init__(self, when: float, fire: Callable[[], object]) -> None:
        self.when = when
        self.fire = fire  # called by the world, between two steps: it must not switch
        self.live = True


class Alarms:
    """The alarms of one world. Of equal times, the one that was set first comes first."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Alarm]] = []  # some of them may be cancelled
        self._order = count()

    def set(self, when: float, fire: Callable[[], object]) -> Alarm:
        """Let *fire* be called at *when*, or a tick later."""
        if when == float("inf"):
            return Alarm(when, fire)
        # A binary fraction: differences of such times are exact, so no wait is ever too short.
        when = math.ceil(when * TICKS) / TICKS
        alarm = Alarm(when, fire)
        heappush(self.heap, (when, next(self._order), alarm))
        return alarm

    def next(self) -> Alarm | None:
        """The earliest one."""
        heap = self.heap
        while heap:
            alarm = heap[0][2]
            if alarm.live:
                return alarm
            heappop(heap)
        return None

    def take(self) -> Alarm:
        """Take the earliest one, which there is."""
        alarm = heappop(self.heap)[2]
        alarm.live = False
        return alarm
