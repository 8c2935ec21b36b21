"""Where the property tests of the simulation get their schedules from: one place to swap."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

import runtime.simulation

__all__ = ["schedules"]


class _Mixed:
    """Leaves the plain order now and then, or always, as was drawn."""

    def __init__(self, random: Random, chance: float, clock_chance: float) -> None:
        self._random = random
        self._chance = chance
        self._clock_chance = clock_chance

    def choose(self, current: Any, options: list[Any], clock: bool) -> int:  # noqa: ARG002
        random = self._random
        if self._chance < 1 and random.random() >= self._chance:
            return 0
        if clock and random.random() < self._clock_chance:
            return len(options)
        return random.randrange(len(options))

    def decide(self, current: Any, what: str, options: int) -> int:  # noqa: ARG002
        return self._random.randrange(options)


def _schedules() -> st.SearchStrategy[Any]:
    from runtime.simulation.schedule import Schedule  # noqa: PLC0415 - the stand-in's alone

    return st.builds(
        lambda random, chance, clock: Schedule(lambda: _Mixed(random, chance, clock)),
        st.randoms(use_true_random=False),
        st.sampled_from([1.0, 0.3, 0.08]),
        st.sampled_from([0.1, 0.02, 0.5]),
    )


schedules = getattr(runtime.simulation, "schedules", _schedules)
