"""Makes a failing schedule small: as few choices as possible that differ from the plain order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from attrs import field, frozen

from runtime.simulation.choices import Deviation

__all__ = ["Choice", "Failure", "minimise"]

Choice: TypeAlias = tuple[int, Deviation]  # of which simulation of the test, counted from 0

T = TypeVar("T")


@frozen(kw_only=True)
class Failure(Generic[T]):
    """A run that failed in the way that is looked for."""

    choices: Sequence[Choice]  # those that were not the plain ones
    preemptions: int = 0
    steps: int = 0
    detail: T = field(eq=False)  # whatever the caller wants to know of the one that is left

    @property
    def size(self) -> tuple[int, int, int]:
        """What is to be small."""
        return len(self.choices), self.preemptions, self.steps


def minimise(
    failure: Failure[T],
    replay: Callable[[Sequence[Choice]], Failure[T] | None],
    others: Iterable[Failure[T] | None] = (),
    *,
    budget: float = math.inf,
    clock: Callable[[], float] = time.process_time,
) -> Failure[T]:
    """The smallest failure that can be had from *failure*, and from *others* that fail alike.

    No choice of it can be left out, unless the budget was spent before that was known.

    Args:
        failure: Where to begin.
        replay: Runs the test with these choices and the plain ones everywhere else. ``None``: it
            does not fail, or in another way.
        others: Runs of other schedules, made while this is iterated; ``None``: no such failure.
        budget: Seconds of *clock* after which the smallest so far has to do.
        clock: Tells seconds; by default those that this process has been busy, so that others on
            the machine make no difference.
    """
    deadline = clock() + budget

    def has_time() -> bool:
        return clock() < deadline

    best = _reduce(failure, replay, has_time)
    if len(best.choices) > 1 and has_time():
        for other in others:
            if other is not None:
                best = min(best, _reduce(other, replay, has_time), key=lambda each: each.size)
            if len(best.choices) <= 1 or not has_time():
                break
    return best


def _reduce(
    failure: Failure[T],
    replay: Callable[[Sequence[Choice]], Failure[T] | None],
    has_time: Callable[[], bool],
) -> Failure[T]:
    """Leave out ever smaller parts of the choices, until none can be left out alone."""
    tried: set[frozenset[Choice]] = set()
    length = max(1, len(failure.choices))
    while True:
        smaller = _without_a_part(failure, length, replay, tried, has_time)
        if smaller is not None:
            failure = smaller
            length = max(1, min(length, len(failure.choices)))
        elif length == 1 or not has_time():
            return failure
        else:
            length = (length + 1) // 2


def _without_a_part(
    failure: Failure[T],
    length: int,
    replay: Callable[[Sequence[Choice]], Failure[T] | None],
    tried: set[frozenset[Choice]],
    has_time: Callable[[], bool],
) -> Failure[T] | None:
    """A smaller failure without some *length* choices in a row; the last ones are tried first."""
    choices = failure.choices
    for end in range(len(choices), 0, -length):
        left = [*choices[: max(0, end - length)], *choices[end:]]
        key = frozenset(left)
        if key in tried:
            continue
        if not has_time():
            return None
        tried.add(key)
        smaller = replay(left)  # which may have met with even fewer of them
        if smaller is not None and len(smaller.choices) < len(choices):
            return smaller
    return None
