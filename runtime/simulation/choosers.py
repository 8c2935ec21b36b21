"""Ways to choose a schedule, and the portfolio that draws one of them for each run.

What each of them finds, and how soon, differs by orders of magnitude from fault to fault; together
they find every kind. All draw from something like ``random.Random``, so that a seed and Hypothesis
can both be behind it, and all draw so that smaller numbers give a plainer schedule: with nothing
but zeros each is the plain order. They draw rarely (how many choices until the next that is not
plain), because what is drawn is what Hypothesis has to shrink.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from runtime.simulation.tasks import SimTask

__all__ = [
    "MODES",
    "Deviating",
    "Draws",
    "Plain",
    "Prioritised",
    "SeededDraws",
    "Starving",
    "Uniform",
    "portfolio",
]

_NEVER = 1 << 60  # choices


class Draws(Protocol):
    """Where the numbers come from: ``random.Random``, or Hypothesis in its disguise.

    One that has a true attribute ``shrinks`` lowers its numbers while the run fails.
    """

    def randrange(self, start: int, /) -> int:
        """A number from 0 to *start* - 1; smaller is plainer."""
        ...


class SeededDraws:
    """Numbers from a seed, for less than half of what ``Random.randrange`` costs."""

    def __init__(self, seed: int | str) -> None:
        self._random = Random(seed).random  # noqa: S311 - no secrets here

    def randrange(self, start: int, /) -> int:
        """As `Draws.randrange`; so much less than 2**53 that each is as likely as the others."""
        return int(self._random() * start)


class Plain:
    """Every task runs for as long as it can; time moves when none can."""

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """The first."""
        return 0

    def decide(self, current: SimTask, what: str, options: int) -> int:  # noqa: ARG002
        """The plain answer."""
        return 0


class _Drawing(ABC):
    """What they share: how they answer questions about faults."""

    def __init__(self, draws: Draws) -> None:
        self._randrange = draws.randrange

    @abstractmethod
    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: FBT001
        """As the protocol `Chooser` says."""

    def decide(self, current: SimTask, what: str, options: int) -> int:  # noqa: ARG002
        """Mostly the plain answer: many faults at once hide one another."""
        drawn = self._randrange(4 * (options - 1) + 1) if options > 1 else 0
        return max(0, drawn - 3 * (options - 1))


class Uniform(_Drawing):
    """Any option, each as likely as the others."""

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """Any."""
        return self._randrange(len(options) + clock)


_PLACES = 256  # into which a distribution is cut: few, so that shrinking has few values to try


def _gaps(every: float) -> tuple[int, ...]:
    """The lengths of the plain stretches between deviations that come once in *every* choices.

    From the longest to the shortest, each as likely as the others; the first never ends. Many are
    alike, most of all the short ones.
    """
    if every <= 1:
        return (1,) * _PLACES
    rate = -math.log(1 - 1 / every)
    lengths = [1 + int(-math.log(place / _PLACES) / rate) for place in range(1, _PLACES)]
    return (_NEVER, *lengths)


_EVERY = (64, 32, 16, 8, 4, 2, 4 / 3)  # choices; the plainest first
_GAPS = [_gaps(every) for every in _EVERY]
# For what shrinks, the shortest first behind the one that never ends: of those that are alike, the
# lowest is a step or two away, where it takes twenty through the few long ones.
_GAPS_THAT_SHRINK = [(first, *reversed(rest)) for first, *rest in _GAPS]


class Deviating(_Drawing):
    """The plain order, but for a deviation once in so many choices; how many is drawn.

    Args:
        draws: Where numbers come from.
        clock: How many options the clock counts for, where a deviation is drawn; 0: it is none.
    """

    def __init__(self, draws: Draws, *, clock: int = 1) -> None:
        super().__init__(draws)
        self._clock = clock
        gaps = _GAPS_THAT_SHRINK if getattr(draws, "shrinks", False) else _GAPS
        self._gaps = gaps[self._randrange(len(gaps))]
        self._left = self._gaps[self._randrange(_PLACES)]

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """The first, until it is time for another one."""
        self._left -= 1
        if self._left:
            return 0
        self._left = self._gaps[self._randrange(_PLACES)]
        # 0 is drawn too, so that one deviation can be taken back without shifting the others.
        ways = len(options) + (self._clock if clock else 0)
        return min(self._randrange(ways), len(options) - 1 + clock)


class Prioritised(_Drawing):
    """Probabilistic concurrency testing: the task of the highest priority runs.

    Each task gets a priority when it is first seen. At a few points, drawn beforehand, the one that
    would go on falls below all others. The clock is one of the tasks; letting a timer fire takes
    its priority away for a while, or it would fire them all.

    Args:
        draws: Where numbers come from.
        depth: How many orderings a fault may need: one more than the points.
        length: How many choices a run has, roughly; drawn if it is unknown.
    """

    LEVELS = 16

    def __init__(self, draws: Draws, *, depth: int, length: int | None = None) -> None:
        super().__init__(draws)
        if length is None:
            length = 16 << self._randrange(6)
        self._points = {self._randrange(length + 1) for _ in range(depth - 1)}  # 0 is no point
        self._clock = self._randrange(self.LEVELS) - 1
        self._step = 0
        self._lowest = -1
        self._priorities: dict[str, int] = {}

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """The highest; the plainest of equals."""
        self._step += 1
        best = self._best(options)
        if self._step in self._points:
            self._lowest -= 1
            self._priorities[options[best].name] = self._lowest
            best = self._best(options)
        if clock and self._clock > self._priorities[options[best].name]:
            self._lowest -= 1
            self._clock = self._lowest
            return len(options)
        return best

    def _best(self, options: Sequence[SimTask]) -> int:
        priorities = self._priorities
        best, highest = 0, -_NEVER
        for index, task in enumerate(options):
            priority = priorities.get(task.name)
            if priority is None:
                priority = priorities[task.name] = self._randrange(self.LEVELS)
            if priority > highest:
                best, highest = index, priority
        return best


class Starving(_Drawing):
    """Keeps one task waiting for very long, while the others go on and, may be, time passes."""

    VICTIMS = 16  # the first so many tasks that are seen
    TIMES = (10, 30, 100, 300, 1000, _NEVER)  # choices that it may be kept waiting for

    def __init__(self, draws: Draws) -> None:
        super().__init__(draws)
        self._victim = self._randrange(self.VICTIMS) - 1
        self._patience = self.TIMES[self._randrange(len(self.TIMES))]
        self._fires = (0, 1, 3, 10, _NEVER)[self._randrange(5)]  # timers that fire instead of it
        self._inner = Deviating(draws)
        self._seen: dict[str, int] = {}

    def choose(self, current: SimTask, options: Sequence[SimTask], clock: bool) -> int:  # noqa: FBT001
        """As `Deviating`, unless that is the victim."""
        choice = self._inner.choose(current, options, clock)
        seen = self._seen
        for task in options:
            if task.name not in seen:
                seen[task.name] = len(seen)
        if choice == len(options) or seen[options[choice].name] != self._victim:
            return choice
        if self._patience <= 0:
            return choice
        self._patience -= 1
        if len(options) > 1:
            return 1 if choice == 0 else 0
        if self._fires and clock:
            self._fires -= 1
            return 1
        return choice


Maker = Callable[[Draws, "int | None"], "_Drawing"]

MODES: Mapping[str, Maker] = {
    "few": lambda draws, _: Deviating(draws),
    "uniform": lambda draws, _: Uniform(draws),
    "pct-2": lambda draws, length: Prioritised(draws, depth=2, length=length),
    "pct-3": lambda draws, length: Prioritised(draws, depth=3, length=length),
    "clock": lambda draws, _: Deviating(draws, clock=4),
    "still": lambda draws, _: Deviating(draws, clock=0),
    "starve": lambda draws, _: Starving(draws),
}


def portfolio(draws: Draws, modes: Sequence[str], length: int | None = None) -> _Drawing:
    """The chooser of one run, of a mode that is drawn first.

    Args:
        draws: Where numbers come from.
        modes: Names of `MODES`; one that is there twice is drawn twice as often.
        length: How many choices a run has, where that is known.
    """
    return MODES[modes[draws.randrange(len(modes))]](draws, length)
