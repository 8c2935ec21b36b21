"""What one simulation writes down about itself: who ran, what was chosen, what happened."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.simulation.facts import BLOCKED, CHOICE, FAULT, OVER, SPAWNED, spot
from runtime.simulation.reach import Reach, count_reach

if TYPE_CHECKING:
    from runtime.observing import Fact
    from runtime.simulation.choices import Deviation
    from runtime.simulation.tasks import SimTask

__all__ = ["WorldLog"]

_SWITCH_POINT = 3  # frames from a choice up to `World`'s method: no line of a user's before it


class WorldLog:
    """The record of a world. Only added to, by the world's own steps."""

    def __init__(self) -> None:
        self.now = 0.0  # virtual seconds
        self.steps = 0  # choices made
        self.preemptions = 0  # choices that took a task off that could have gone on
        self.deviations: list[Deviation] = []  # from the plain order: enough to replay it all
        self.path: list[str] = []  # who ran, one name for each switch
        self.facts: list[Fact] = []  # what happened, for stories and for counting

    @property
    def reach(self) -> Counter[Reach]:
        """How often this run has reached what tests mostly want to see; counted when asked."""
        return count_reach(self.facts)

    def note_spawned(self, task: SimTask) -> None:
        """A task was made."""
        self.facts.append((SPAWNED, self.now, len(self.path), task.name))

    def note_over(self, task: SimTask) -> None:
        """A task has ended."""
        self.facts.append((OVER, self.now, len(self.path), task.name))

    def note_blocked(self, task: SimTask, waiting_for: str | Callable[[], str]) -> None:
        """A task can't go on."""
        place = spot(sys._getframe(1))  # noqa: SLF001 - the cheap way to it
        self.facts.append((BLOCKED, self.now, len(self.path), task.name, waiting_for, place))

    def note_choice(self, task: SimTask, chosen: str, *, runnable: bool) -> None:
        """The chooser has left the plain order: *chosen*, not *task* or whoever came next."""
        self.deviations.append((task.name, task.step, task.visits, chosen))
        place = spot(sys._getframe(_SWITCH_POINT))  # noqa: SLF001
        self.facts.append((CHOICE, self.now, len(self.path), task.name, chosen, runnable, place))

    def note_decision(self, task: SimTask, what: str, choice: int, told: object) -> None:
        """Something else was decided than the plain answer; *told* is what stories call it."""
        self.deviations.append((task.name, task.step, task.visits, f"{what}={choice}"))
        place = spot(sys._getframe(1))  # noqa: SLF001
        self.facts.append((FAULT, self.now, len(self.path), task.name, what, told, place))
