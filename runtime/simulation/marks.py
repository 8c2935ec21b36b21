"""The choices of a schedule, and its faults, as lines of a story."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from runtime.observing import Fact
from runtime.simulation.facts import CHOICE, FAULT, Spot
from runtime.simulation.naming import Names, spot_text

__all__ = ["Line", "Marks"]

CLOCK = "clock!"  # as in `world`, which imports what this is made from
FEW = 8  # choices of which the story also tells when the task that was taken off comes back
TOGETHER = 2  # choices in a row that are told one by one


@frozen
class Line:
    """One line of a story."""

    at: float
    text: str
    mark: bool = False  # a choice of the schedule, or a fault


class Marks:
    """Collects choices until something else happens, since many in a row are told in one line."""

    def __init__(self, facts: Iterable[Fact], path: list[str]) -> None:
        self._path = path
        self._run: list[Fact] = []
        taken_off = [fact for fact in facts if fact[0] == CHOICE and fact[5] and fact[4] != CLOCK]
        self._back: list[tuple[int, str, Spot | None]] = []  # switches, task, where it goes on
        if len(taken_off) <= FEW:
            for fact in taken_off:
                back = self._when_back(fact[2], fact[3])
                if back is not None:
                    self._back.append((back, fact[3], fact[6]))
            self._back.sort(key=lambda each: each[0])

    def _when_back(self, switches: int, task: str) -> int | None:
        try:
            return self._path.index(task, switches) + 1
        except ValueError:
            return None

    def before(self, fact: Fact, names: Names) -> list[Line]:
        """Tasks that have come back before *fact*, with the choices that came before that."""
        told: list[Line] = []
        while self._back and self._back[0][0] <= fact[2]:
            _switches, task, spot = self._back.pop(0)
            told += self.rest(fact[1], names)
            if spot is not None or names.task(task) != task:
                told.append(Line(fact[1], f"{names.task(task)} went on{spot_text(spot)}"))
        return told

    def choices(self, fact: Fact, names: Names) -> list[Line]:
        """The lines that have to be told now that *fact* has happened."""
        if fact[0] == FAULT:
            told = self.rest(fact[1], names)
            _kind, at, _switches, task, what, answer, spot = fact
            text = (
                f"here the schedule chose for {names.task(task)}{spot_text(spot)}:"
                f" {what}, answer {answer}"
            )
            told.append(Line(at, text, mark=True))
            return told
        if fact[0] != CHOICE:
            return self.rest(fact[1], names)
        self._run.append(fact)
        return []

    def rest(self, now: float, names: Names) -> list[Line]:
        """The choices that have not been told, at *now* or before."""
        run, self._run = self._run, []
        if len(run) <= TOGETHER:
            # A clock that is let fire moves the time, so its line has the time that follows.
            after = [*(fact[1] for fact in run[1:]), now]
            times = [
                then if fact[4] == CLOCK else fact[1]
                for fact, then in zip(run, after, strict=False)
            ]
            return [
                Line(at, _choice(fact, names), mark=True)
                for at, fact in zip(times, run, strict=True)
            ]
        went_on = ["the clock" if fact[4] == CLOCK else names.task(fact[4]) for fact in run]
        text = f"here {len(run)} choices in a row: {', '.join(went_on)}"
        return [Line(now, text, mark=True)]


def _choice(fact: Fact, names: Names) -> str:
    _kind, _at, _switches, task, chosen, runnable, spot = fact
    name, where = names.task(task), spot_text(spot)
    if chosen == CLOCK:
        if runnable:
            return f"here the clock fired, though {name} could go on{where}"
        return "here the clock fired, though others could go on"
    other = names.task(chosen)
    if runnable:
        return f"here {name} was taken off{where}, and {other} went on"
    return f"here {other} went on out of turn, when {name} could not"
