"""What there is to choose in a simulation, and who chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, overload

from runtime.simulation.tasks import SimTask

__all__ = ["CLOCK", "MANY", "Chooser", "Deviation", "Options"]

CLOCK = "clock!"  # the name of the choice that lets the earliest timer fire
MANY = 32  # tasks that can run: more of them are not copied for every choice

Deviation = tuple[str, int, int, str]  # task, its step, which choice at that step, what was chosen


class Chooser(Protocol):
    """Makes every choice of one simulation."""

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: FBT001
        """The index of who goes on: one of *options*, or their number for the clock.

        Called only where there is a choice. Index 0 is the plain order: *current* goes on where
        it can, else whoever has been runnable for longest.

        Args:
            current: The task at the switch point.
            options: Who can run; *current* first where it can.
            clock: Whether letting the earliest timer fire is one more option.
        """
        ...

    def decide(self, current: SimTask, what: str, options: int) -> int:
        """Choose one of *options* for something else than a turn, such as a fault.

        0 is the plain answer. *what* names the question, in a few words.
        """
        ...


class Options(Sequence[SimTask]):
    """The current task and all others that can run, without a copy of them."""

    def __init__(self, current: SimTask, ready: list[SimTask]) -> None:
        self._current = current
        self._ready = ready

    def __len__(self) -> int:
        return 1 + len(self._ready)

    @overload
    def __getitem__(self, index: int) -> SimTask: ...

    @overload
    def __getitem__(self, index: slice) -> list[SimTask]: ...

    def __getitem__(self, index: int | slice) -> SimTask | list[SimTask]:
        if isinstance(index, slice):
            return [self._current, *self._ready][index]
        return self._ready[index - 1] if index else self._current
