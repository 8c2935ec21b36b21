"""What a test demands to happen in its runs, whoever makes their schedules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.simulation.reach import Reach, ReachReport

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["covers", "note_finished"]

F = TypeVar("F", bound=Callable[..., Any])

_reports: list[ReachReport] = []  # of the tests that run just now and demand something


def note_finished(world: World) -> None:
    """A simulation is over."""
    if _reports:
        reached = world.reach
        for report in _reports:
            report.add(reached)


@contextmanager
def _collecting(report: ReachReport) -> Iterator[None]:
    _reports.append(report)
    try:
        yield
    finally:
        _reports.remove(report)


def covers(*demanded: Reach) -> Callable[[F], F]:
    """Fail a test if one of these things has never happened, in all of its simulations.

    It goes on top of Hypothesis' ``given``, or of any other test that runs simulations; `simulate`
    has an argument for the same.

    Raises:
        NotReachedError: when the test has passed, and something never happened; it names it.
        TypeError: what is demanded is no `Reach`, or the test is ``async def`` without `simulate`.
    """
    ReachReport.check(demanded)

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            message = f"{function.__qualname__} is async: put @covers on top of @simulate"
            raise TypeError(message)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            report = ReachReport()
            with _collecting(report):
                function(*args, **kwargs)
            report.demand(demanded)

        return wrapper  # type: ignore[return-value]

    return decorate
