"""Where the property tests of the simulation get their schedules from: one place to swap."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

import runtime.simulation

__all__ = ["schedules"]


class _Mixed:
    """Leaves the plain order now and then, or always, as was drawn."""

    def __init__(self, random: Random, plain: int, clock: int) -> None:
        self._random = random
        self._plain = plain  # how many times as often as any other the plain choice is made
        self._clock = clock  # every so manieth choice where time could pass, it does

    def choose(self, current: Any, options: list[Any], clock: bool) -> int:  # noqa: ARG002
        if clock and self._random.randrange(self._clock) == self._clock - 1:
            return len(options)
        choice = self._random.randrange(len(options) * self._plain)
        return choice if choice < len(options) else 0

    def decide(self, current: Any, what: str, options: int) -> int:  # noqa: ARG002
        return self._random.randrange(options)


def _schedules() -> st.SearchStrategy[Any]:
    from runtime.simulation.schedule import Schedule  # noqa: PLC0415 - the stand-in's alone

    return st.builds(
        lambda random, plain, clock: Schedule(lambda: _Mixed(random, plain, clock)),
        st.randoms(use_true_random=False),
        st.sampled_from([1, 3, 10]),
        st.sampled_from([8, 40, 2]),
    )


schedules = getattr(runtime.simulation, "schedules", _schedules)
