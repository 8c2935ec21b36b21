"""Schedules whose every choice Hypothesis makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

from runtime.simulation.choosers import MODES
from runtime.simulation.here import real_ident, worlds
from runtime.simulation.schedule import Schedule
from runtime.simulation.telling import describe
from runtime.simulation.world import World

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["HYPOTHESIS_MODES", "Forced", "schedules"]

# Those that Hypothesis can make small. "uniform" draws at every choice; priorities, once they are
# drawn, go on making choices that are not the plain ones, however few draws are left.
HYPOTHESIS_MODES = ("few", "few", "few", "few", "clock", "still", "starve", "starve")


class _Outside:
    """Draws outside the simulation: what Hypothesis does for it is no part of the run."""

    shrinks = True

    def __init__(self, random: Random) -> None:
        self._randrange = random.randrange

    def randrange(self, start: int, /) -> int:
        ident = real_ident()
        world = worlds.pop(ident, None)
        try:
            return self._randrange(start)
        finally:
            if world is not None:
                worlds[ident] = world


class _NotingSchedule(Schedule):
    """Tells Hypothesis what it was, for the report on the example that is left in the end."""

    def finished(self, world: World) -> None:
        super().finished(world)
        _note(self)


def _note(schedule: Schedule) -> None:
    import hypothesis  # noqa: PLC0415 - an extra

    if hypothesis.currently_in_test_context():
        hypothesis.note(_Told(schedule))


class _Told:
    """The report on a schedule, made only if somebody wants to read it."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def __repr__(self) -> str:
        return describe(self._schedule)


class Forced:
    """Makes `schedules` give the schedule of a token and nothing else, for a while."""

    _innermost: Forced | None = None

    def __init__(self, token: str) -> None:
        self.given: list[Schedule] = []
        self._token = token

    def make(self, *, clock: str | float, backend: str) -> Schedule:
        """A replay, for the next example."""
        schedule = _NotingSchedule.replay(self._token, clock=clock, backend=backend)
        self.given.append(schedule)
        return schedule

    @classmethod
    def current(cls) -> Forced | None:
        """The one that is in force."""
        return cls._innermost

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """For the ``with`` block."""
        before, Forced._innermost = Forced._innermost, self
        try:
            yield
        finally:
            Forced._innermost = before


def schedules(
    *,
    modes: Sequence[str] = HYPOTHESIS_MODES,
    clock: str | float = "choose",
    backend: str = "greenlet",
) -> SearchStrategy[Schedule]:
    """A strategy: schedules whose every choice Hypothesis makes, plain ones first.

    Hand what it gives to `SimulatedRuntime` or `Simulation`. When the test fails, Hypothesis
    reports the smallest schedule that it has found: its token and its story.

    Args:
        modes: Which ways of choosing may be drawn, by their names in `choosers.MODES`. The first
            is the one to which Hypothesis shrinks; one that is there twice is drawn twice as often.
        clock: ``"choose"``, ``"jump"`` or seconds, see `Schedule`.
        backend: ``"greenlet"``, or ``"threads"`` for real threads that take turns.

    Raises:
        ImportError: Hypothesis is not installed; `simulate` does without it.
        ValueError: no such mode.
    """
    from hypothesis import strategies  # noqa: PLC0415 - an extra

    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        message = f"modes={modes!r}: needed are some of {', '.join(map(repr, MODES))}"
        raise ValueError(message)

    @strategies.composite
    def schedules(draw: DrawFn) -> Schedule:
        forced = Forced.current()
        if forced is not None:
            return forced.make(clock=clock, backend=backend)
        draws = _Outside(draw(strategies.randoms(use_true_random=False)))
        return _NotingSchedule.drawn(
            draws, "<schedule, told below>", modes=modes, clock=clock, backend=backend
        )

    return schedules()
