"""Runs a test under many schedules, and says all about the one under which it fails."""

from __future__ import annotations

import random
import sys
import unittest
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from types import TracebackType
from typing import TypeAlias

from attrs import define, field, frozen
from attrs.validators import ge, in_, instance_of

from runtime.simulation.backends import BACKENDS
from runtime.simulation.errors import NotDeterministicError, SimulationError
from runtime.simulation.minimise import Choice, Failure, minimise
from runtime.simulation.schedule import Schedule, lag_of
from runtime.simulation.telling import describe

__all__ = [
    "Exploration",
    "Options",
    "Totals",
    "current_schedule",
    "explore",
    "new_seed",
    "running",
    "totals",
]

Test: TypeAlias = Callable[[Schedule], object]
OnRun: TypeAlias = Callable[[Schedule], object]

BUDGET = 2.0  # seconds of processor time for making a failure small
_OTHERS = 300  # more schedules, in which a smaller failure is looked for
_OTHER_MODES = ("few", "few", "pct-2", "pct-3", "starve")  # those with few choices to leave out


@frozen(kw_only=True)
class Options:
    """How a test is run."""

    schedules: int = field(default=500, validator=[instance_of(int), ge(1)])
    seed: int | None = None
    clock: str | float = field(default="choose", validator=lambda _i, _a, clock: lag_of(clock))
    backend: str = field(default="greenlet", validator=in_(tuple(BACKENDS)))
    minimise: bool = True


@define
class Totals:
    """What was run since the process began, and what the command line asks for instead."""

    tests: int = 0
    schedules: int = 0
    asked_schedules: int | None = None  # for every test
    asked_seed: int | None = None  # for every test
    default_seed: int | None = None  # for the tests that have none of their own


totals = Totals()


def new_seed() -> int:
    """One that nobody has chosen."""
    return random.SystemRandom().randrange(1 << 32)


_running: list[Schedule] = []


@contextmanager
def running(schedule: Schedule) -> Iterator[None]:
    """Make it the `current_schedule` of the ``with`` block."""
    _running.append(schedule)
    try:
        yield
    finally:
        _running.pop()


def current_schedule() -> Schedule | None:
    """The schedule under which the test is run just now."""
    return _running[-1] if _running else None


@frozen
class _Detail:
    error: BaseException
    schedule: Schedule


class Exploration:
    """One test, run under one schedule after the other.

    Args:
        test: Called with the schedule for each run; raises if the test fails.
        options: How many, from which seed, and so on. The command line's come first.
    """

    def __init__(self, test: Test, options: Options) -> None:
        self._test = test
        self._options = options
        self._number = totals.asked_schedules or options.schedules
        seeds = (totals.asked_seed, options.seed, totals.default_seed, new_seed())
        self.seed = next(seed for seed in seeds if seed is not None)
        self._length = 0
        self._kind: tuple[object, ...] = ()  # of failure that is looked for

    def run(self, on_run: OnRun | None = None) -> None:
        """Run them all, the plain order first.

        Args:
            on_run: Told of each schedule under which the test has passed.

        Raises:
            NotDeterministicError: a failure is gone, or another one, when the same choices are made
                again.
            BaseException: what the test raised, with notes on the schedule; the smallest is run
                last, and this is its failure.
        """
        __tracebackhide__ = True
        totals.tests += 1
        for number in range(self._number):
            schedule = self._schedule(number)
            totals.schedules += 1
            error = self._attempt(schedule)
            if error is not None:
                self._report(number, schedule, error)
            if number == 0:
                self._length = max(8, schedule.steps)
            if on_run is not None:
                on_run(schedule)

    def _schedule(self, number: int) -> Schedule:
        options = self._options
        if number == 0:
            return Schedule.plain(clock=options.clock, backend=options.backend)
        return Schedule.seeded(
            f"{self.seed}/{number}",
            length=self._length,
            clock=options.clock,
            backend=options.backend,
        )

    def _attempt(self, schedule: Schedule) -> BaseException | None:
        """What the test raises; ``None`` if it passes."""
        with running(schedule):
            try:
                self._test(schedule)
            except BaseException as error:
                if _is_no_failure(error):
                    raise
                return error
        return None

    def _report(self, number: int, schedule: Schedule, error: BaseException) -> None:
        """Raise the failure, with all that is to be said about it."""
        __tracebackhide__ = True
        self._kind = _kind(error)
        failure = self._again(schedule, error)
        tried = "the plain order" if number == 0 else f"schedule {number}"
        if self._options.minimise and failure.choices:
            before = len(failure.choices)
            failure = minimise(failure, self._replay, self._others(), budget=BUDGET)
            were = "1 choice that was" if before == 1 else f"{before} choices that were"
            tried += f", made smaller from {were} not the plain one"
        raised = failure.detail.error
        if not failure.detail.schedule.worlds:
            raise raised  # before any simulation: there is nothing to run again, and no story
        raised.add_note(
            f"found by {tried}, of {self._number} with seed={self.seed}\n"
            f"{describe(failure.detail.schedule)}"
        )
        raise raised

    def _again(self, schedule: Schedule, error: BaseException) -> Failure[_Detail]:
        """Make the same choices again: the same has to come of it."""
        __tracebackhide__ = True
        replay = self._replayed(schedule.deviations)
        again = self._attempt(replay)
        difference = _first_difference(schedule, replay)
        if again is None or _kind(again) != self._kind or difference is not None:
            outcome = "the test passed" if again is None else f"it raised {again!r}"
            raise NotDeterministicError(
                f"the test failed with {error!r}, but when the same choices were made again,"
                f" {outcome}{'' if difference is None else f', and {difference}'}. Something"
                " outside the simulation decides: real time, a random number without a seed, the"
                " order of a set or of id(), a thread that was started outside, or what a run of"
                " the test leaves behind for the next (a global, a cache, a fixture)"
            ) from error
        return _failure(replay, again)

    def _replayed(self, worlds: Sequence[Sequence[tuple[str, int, int, str]]]) -> Schedule:
        options = self._options
        return Schedule.replaying(worlds, clock=options.clock, backend=options.backend)

    def _replay(self, choices: Sequence[Choice]) -> Failure[_Detail] | None:
        worlds = [
            [each for world, each in choices if world == number]
            for number in range(1 + max((world for world, _ in choices), default=-1))
        ]
        return self._same_failure(self._replayed(worlds))

    def _others(self) -> Iterator[Failure[_Detail] | None]:
        options = self._options
        for number in islice(count(1), _OTHERS):
            yield self._same_failure(
                Schedule.seeded(
                    f"{self.seed}/smaller/{number}",
                    modes=_OTHER_MODES,
                    length=self._length,
                    clock=options.clock,
                    backend=options.backend,
                )
            )

    def _same_failure(self, schedule: Schedule) -> Failure[_Detail] | None:
        error = self._attempt(schedule)
        if error is None or _kind(error) != self._kind:
            return None
        return _failure(schedule, error)


def explore(test: Test, options: Options, on_run: OnRun | None = None) -> None:
    """`Exploration.run`."""
    __tracebackhide__ = True
    Exploration(test, options).run(on_run)


def _failure(schedule: Schedule, error: BaseException) -> Failure[_Detail]:
    return Failure(
        choices=[
            (number, each)
            for number, deviations in enumerate(schedule.deviations)
            for each in deviations
        ],
        preemptions=schedule.preemptions,
        steps=schedule.steps,
        detail=_Detail(error, schedule),
    )


def _is_no_failure(error: BaseException) -> bool:
    """Whether it ends the whole test, or says that there is none."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | unittest.SkipTest):
        return True
    pytest = sys.modules.get("pytest")  # whose own exceptions can only come from itself
    return pytest is not None and isinstance(
        error, pytest.skip.Exception | pytest.xfail.Exception | pytest.exit.Exception
    )


def _kind(error: BaseException) -> tuple[object, ...]:
    """What two failures have in common that are the same fault: their class and their line."""
    if isinstance(error, SimulationError):
        return (type(error),)  # it is raised wherever the main task happens to be
    return (type(error), *_line(error.__traceback__))


def _line(traceback: TracebackType | None) -> tuple[object, ...]:
    if traceback is None:
        return ()
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)


def _first_difference(one: Schedule, other: Schedule) -> str | None:
    """Where two runs part, in words."""
    if len(one.worlds) != len(other.worlds):
        return f"there were {len(one.worlds)} simulations and then {len(other.worlds)}"
    for number, (mine, its) in enumerate(zip(one.worlds, other.worlds, strict=True), start=1):
        for switch, (first, second) in enumerate(zip(mine.path, its.path, strict=False), start=1):
            if first != second:
                return f"switch {switch} of simulation {number} was to {first} and then to {second}"
        if (len(mine.path), mine.steps, mine.now) != (len(its.path), its.steps, its.now):
            return (
                f"simulation {number} ended at {mine.now:g} s after {mine.steps} choices, and then"
                f" at {its.now:g} s after {its.steps}"
            )
    return None
