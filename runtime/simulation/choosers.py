"""Ways to choose a schedule."""

from __future__ import annotations

from random import Random

from runtime.simulation.tasks import SimTask

__all__ = ["Plain", "Uniform"]


class Plain:
    """Every task runs for as long as it can; time moves when none can."""

    def choose(self, current: SimTask, options: list[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """The first."""
        return 0

    def decide(self, current: SimTask, what: str, options: int) -> int:  # noqa: ARG002
        """The plain answer."""
        return 0


class Uniform:
    """Any option, each as likely as the others."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, current: SimTask, options: list[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """Any."""
        return self._random.randrange(len(options) + clock)

    def decide(self, current: SimTask, what: str, options: int) -> int:  # noqa: ARG002
        """Any answer."""
        return self._random.randrange(options)
