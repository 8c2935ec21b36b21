"""`simulate` and `reproduce_schedule`: tests that are run under schedules, without Hypothesis."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from runtime.simulation.errors import ReplayError
from runtime.simulation.exploring import Options, Test, explore, running
from runtime.simulation.hypothesis_schedules import Forced
from runtime.simulation.reach import Reach, ReachReport
from runtime.simulation.schedule import Schedule
from runtime.simulation.simulation import Simulation
from runtime.simulation.tokens import decode

__all__ = ["FIXTURE", "reproduce_schedule", "runs_by_itself", "simulate"]

F = TypeVar("F", bound=Callable[..., Any])

SCHEDULE = "schedule"  # the parameter
FIXTURE = "simulated_runtime"  # the plugin's; a test that has it needs no such parameter
_OPTIONS = "_simulation_options"
_DECORATED = "_simulation_test"


def simulate(
    *,
    schedules: int = 500,
    seed: int | None = None,
    clock: str | float = "choose",
    backend: str = "greenlet",
    minimise: bool = True,
    covers: Iterable[Reach] = (),
) -> Callable[[F], F]:
    """Run a test under many schedules: the plain order first, then those of a portfolio.

    The test takes what it needs from its parameter ``schedule``, and makes a `SimulatedRuntime` or
    a `Simulation` with it; other parameters are fixtures, as ever, made once for all the runs. An
    ``async def`` test runs inside a simulation and needs no ``schedule``.

    When it fails, the same choices are made once more, to see that they are what matters; then as
    many of them as possible are left out, and the failure of the smallest schedule found is raised
    with notes: how it was found, the token to run it again, and its story.

    Args:
        schedules: How many; ``pytest --schedules N`` overrides it.
        seed: Where they come from; a new one for every call if it is left out. ``pytest
            --schedule-seed S`` overrides it.
        clock: ``"choose"``, ``"jump"`` or seconds, see `Schedule`.
        backend: ``"greenlet"``, or ``"threads"`` for real threads that take turns.
        minimise: Whether to make a failing schedule small, which takes at most two seconds of
            processor time.
        covers: What must have happened in at least one of the runs, or the test fails with a
            `NotReachedError`; it is looked at when all have passed.

    Raises:
        TypeError: the test has no parameter ``schedule``, or *covers* holds something else.
        ValueError: *schedules* is not positive, or there is no such clock or back end.
    """
    options = Options(
        schedules=schedules, seed=seed, clock=clock, backend=backend, minimise=minimise
    )
    demanded = ReachReport.check(covers)

    def decorate(function: F) -> F:
        def run(test: Test) -> None:
            __tracebackhide__ = True
            if not demanded:
                explore(test, options)
                return
            report = ReachReport()
            explore(test, options, lambda schedule: report.add_worlds(schedule.worlds))
            report.demand(demanded)

        return _wrap(function, options, run)

    return decorate


def reproduce_schedule(token: str, *, strict: bool = True) -> Callable[[F], F]:
    """Run a test once, under the schedule of a token.

    It goes on top of `simulate`, of Hypothesis' ``given`` (whose other arguments are drawn as
    ever), or of a test that takes a ``schedule`` and has neither. A token is valid as long as the
    code under test comes to the same switch points.

    Args:
        token: What the report on a failure said.
        strict: Whether it is an error if the run is not, to the letter, that of the token. Without,
            as much of it is done as can be, which keeps a schedule as a test of code that changes.

    Raises:
        ReplayError: *token* is none; or, when the test is run, it is not the run of the token.
    """
    decode(token)  # now, not when the test is run

    def decorate(function: F) -> F:
        test = getattr(function, _DECORATED, function)
        if hasattr(test, "hypothesis"):
            return _force(function, token, strict=strict)
        options: Options = getattr(function, _OPTIONS, Options())

        def run(test: Test) -> None:
            __tracebackhide__ = True
            schedule = Schedule.replay(token, clock=options.clock, backend=options.backend)
            with running(schedule):
                _checked(lambda: test(schedule), [schedule], strict=strict)

        return _wrap(test, options, run)

    return decorate


def runs_by_itself(function: Callable[..., Any]) -> bool:
    """Whether a test brings its own schedules."""
    return hasattr(function, _DECORATED) or hasattr(function, "hypothesis")


def _wrap(function: F, options: Options, run: Callable[[Test], None]) -> F:
    """Let *run* call *function*, in a function that hides the parameter ``schedule``."""
    signature = inspect.signature(function)
    wants = SCHEDULE in signature.parameters
    is_async = inspect.iscoroutinefunction(function)
    if not wants and not is_async and FIXTURE not in signature.parameters:
        message = (
            f"{function.__qualname__} has no parameter {SCHEDULE!r}: it needs one, to hand it to"
            " the SimulatedRuntime or Simulation that it makes"
        )
        raise TypeError(message)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True

        def test(schedule: Schedule) -> None:
            __tracebackhide__ = True
            given = {**kwargs, SCHEDULE: schedule} if wants else kwargs
            if is_async:
                with Simulation(schedule):
                    asyncio.run(function(*args, **given))
            else:
                function(*args, **given)

        run(test)

    wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[each for each in signature.parameters.values() if each.name != SCHEDULE],
        return_annotation=None,
    )
    setattr(wrapper, _OPTIONS, options)
    setattr(wrapper, _DECORATED, function)
    return wrapper  # type: ignore[return-value]


def _force(function: F, token: str, *, strict: bool) -> F:
    """Let Hypothesis' `schedules` give the token's."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        forced = Forced(token)
        with forced.in_force():
            _checked(lambda: function(*args, **kwargs), forced.given, strict=strict)

    setattr(wrapper, _DECORATED, function)
    return wrapper  # type: ignore[return-value]


def _checked(test: Callable[[], object], given: Sequence[Schedule], *, strict: bool) -> None:
    """Call *test*, and see that one of the schedules *given* to it was run to the letter."""
    __tracebackhide__ = True
    failure: BaseException | None = None
    try:
        test()
    except Exception as error:  # noqa: BLE001 - raised below
        failure = error
    differences = [each.difference() for each in given] or ["it asked for no schedule"]
    if strict and None not in differences:
        outcome = "passed" if failure is None else f"failed with {failure!r}"
        raise ReplayError(
            f"this is not the run of the token: {differences[-1]}. The test {outcome}. If the code"
            " has changed since, the token is out of date: take the decorator off, or keep it with"
            " strict=False, which makes as many of its choices as can be made"
        ) from failure
    if failure is not None:
        raise failure
