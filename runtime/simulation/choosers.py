"""Ways to choose a schedule."""

from __future__ import annotations

from random import Random

from runtime.simulation.tasks import SimTask

__all__ = ["Patient", "Plain", "Uniform"]


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


class Patient:
    """Any task, and the clock only when *patience* choices have passed without it.

    For tests that were written for real time: whoever waits with a timeout gets enough of it.
    """

    def __init__(self, random: Random, patience: int = 5_000) -> None:
        self._random = random
        self._patience = patience
        self._since = 0

    def choose(self, current: SimTask, options: list[SimTask], clock: bool) -> int:  # noqa: ARG002, FBT001
        """Any task, or the clock when it is time."""
        self._since += 1
        if clock and self._since > self._patience:
            self._since = 0
            return len(options)
        return self._random.randrange(len(options))

    def decide(self, current: SimTask, what: str, options: int) -> int:  # noqa: ARG002
        """The plain answer."""
        return 0
