"""`Rate` as a rule: at most so many starts in any window, without a clock of its own."""

from __future__ import annotations

from collections import deque

from orchestrator.values import Rate

__all__ = ["RateWindow"]

_SLACK = 1e-6  # seconds: what rounding may take off the distance of two times


class RateWindow:
    """The starts of one action.

    A permit is *reserved* when the allocator admits a start and *stamped* by the worker just
    before the call. It blocks others until a window after its stamp, so however long a start
    takes to reach the code, no window of stamps ever holds more than the limit.
    """

    def __init__(self, rate: Rate) -> None:
        self._limit = rate.limit
        self._per = rate.per + _SLACK
        self._reserved = 0
        self._stamps: deque[float] = deque()

    def reserve(self, now: float) -> bool:
        """Take a permit if there is one."""
        if not self.free(now):
            return False
        self._reserved += 1
        return True

    def free(self, now: float) -> bool:
        """Whether there is a permit."""
        while self._stamps and self._stamps[0] + self._per <= now:
            self._stamps.popleft()
        return self._reserved + len(self._stamps) < self._limit

    def stamp(self, at: float) -> None:
        """A reserved permit was used at *at*."""
        self._reserved -= 1
        if self._stamps and at < self._stamps[-1]:  # two workers' stamps may arrive swapped
            stamps = sorted([*self._stamps, at])
            self._stamps = deque(stamps)
        else:
            self._stamps.append(at)

    def give_back(self) -> None:
        """A reserved permit was never used."""
        self._reserved -= 1

    def due(self) -> float | None:
        """When the next permit comes by itself; ``None`` if it hangs on a stamp or is there."""
        if self._stamps and self._reserved + len(self._stamps) >= self._limit:
            return self._stamps[0] + self._per
        return None
