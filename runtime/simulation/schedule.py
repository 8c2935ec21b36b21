"""Where the choices of one simulated run come from."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from runtime.simulation.choosers import Plain, Uniform

if TYPE_CHECKING:
    from runtime.simulation.world import Chooser, World

__all__ = ["Schedule"]


class Schedule:
    """The choices of one run of a test, however many simulations it holds, one after another."""

    def __init__(self, make: Callable[[], Chooser]) -> None:
        self._make = make
        self.worlds: list[World] = []  # that were run by it, in their order

    @classmethod
    def plain(cls) -> Schedule:
        """The undisturbed order."""
        return cls(Plain)

    @classmethod
    def seeded(cls, seed: int) -> Schedule:
        """Any order, the same for the same seed."""
        random = Random(seed)  # noqa: S311 - no secrets here
        return cls(lambda: Uniform(random))

    def chooser(self) -> Chooser:
        """The chooser of the next simulation."""
        return self._make()
