"""What it means that an invariant does not hold."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias

from attrs import define, frozen

from orchestrator.errors import OrchestratorError

__all__ = ["Invariant", "InvariantViolation", "Report", "Violation"]

_SHOWN = 20  # violations whose text an error shows


class Invariant(enum.Enum):
    """What always holds; the numbers are those of the design."""

    DECIDED_ONCE = 1, "a group decides exactly once and its answer never changes"
    NO_LOST_WAKE_UP = 2, "whoever waits for what happens returns"
    EMISSION_ORDER = 3, "outputs stand in the order of emission"
    MODE_RULES = 5, "a mode decides at the first report at which it can, and not before"
    PATIENCE = 6, "a waiter's timeout never fires early"
    DEADLINE_RACE = 7, "decision and deadline race to exactly one of them, never half"
    RESUMED_ONCE = 8, "a parent resumes once per wait, and never while a group of it is open"
    CONSERVATION = 9, "emitted = completed + failed + cancelled, once drained"
    NO_ORPHANS = 10, "nothing outlives its parent"
    CANCEL_REACHES = 11, "a cancel reaches everything below, and what it reached stays cancelled"
    ATTEMPTS = 13, "an action runs once per attempt, attempts never overlap"
    LATE_REPORTS = 14, "what comes after the end changes nothing"
    LIMITS = 15, "max_concurrency, rate_limit, max_in_flight and workers are never exceeded"
    REFUSED_EMIT = 16, "an emit that raises has queued nothing"
    DEADLINES_NEST = 17, "a child's deadline is never later than its parent's"
    TIME = 18, "time never runs backwards"
    STATES = 21, "an execution's state changes as its life allows"

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text


@frozen
class Violation:
    """One invariant that did not hold, once."""

    invariant: Invariant
    what: str  # with the values that contradict each other
    subjects: tuple[str, ...]  # ids of the executions and groups concerned
    at: float | None  # the runtime clock's seconds; None where it was seen at the end

    def __str__(self) -> str:
        when = "at the end" if self.at is None else f"at {self.at:.3f} s"
        return f"[{self.invariant.number}: {self.invariant.text}] {when}: {self.what}"


# Called with the invariant, when, what, and the ids concerned.
Report: TypeAlias = Callable[..., None]


@define(eq=False)
class InvariantViolation(OrchestratorError, AssertionError):  # noqa: N818 - a name of the design
    """Something that always holds did not: a fault of the runtime, not of the code that uses it."""

    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        shown = self.violations[:_SHOWN]
        lines = [f"  {violation}" for violation in shown]
        if len(self.violations) > len(shown):
            lines.append(f"  and {len(self.violations) - len(shown)} more")
        number = len(self.violations)
        head = "an invariant was" if number == 1 else f"invariants were, {number} times,"
        return f"{head} violated; please report it with this text:\n" + "\n".join(lines)
