"""A check that a runtime keeps its promises, from what can be seen of it while it runs.

On any runtime `runtime.check_invariants()` switches it on: published changes of state and the
counters are checked. In a simulation it is on by default and sees every message too, so it follows
each group, each attempt and each wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from actors.environment import Publisher
from actors.stats import Stats
from orchestrator.values import Execution, ExecutionState
from runtime.checking.executions import ExecutionChecks
from runtime.checking.groups import GroupChecks
from runtime.checking.handlers import by_kind
from runtime.checking.limits import LimitChecks
from runtime.checking.states import StateChecks
from runtime.checking.violations import Invariant, InvariantViolation, Violation
from runtime.checking.waits import WaitChecks
from runtime.observing import Fact

__all__ = ["ChangeTap", "Invariant", "InvariantChecker", "InvariantViolation", "Violation"]

# Executions come before groups: an end is compared with what the group was before it.
_HANDLERS = by_kind(
    [part.handlers for part in (ExecutionChecks, GroupChecks, WaitChecks, LimitChecks)]
)


class InvariantChecker:
    """Collects what happens in one runtime and says what should not have.

    Give it changes of state, or facts that an `Observer` has written down, in the order in which
    they happened; `on_change` may be called on any thread, the rest on one. What it is given is
    looked at by `verify`.

    Args:
        workers: How many blocking actions may run their code at once; ``None``: not checked.
        more: Asked whenever it looks: the facts that an observer of the runtime has written down
            since the last time.
    """

    def __init__(
        self, *, workers: int | None = None, more: Callable[[], Iterable[Fact]] | None = None
    ) -> None:
        self._more = more
        self.violations: list[Violation] = []
        self._changes: deque[tuple[Execution, ExecutionState, float]] = deque()
        self._facts: list[Fact] = []
        self._last = -math.inf  # when the last fact was
        # No method of its own: checks that referred back to it would be freed by no count.
        report = self._report = partial(_report, self.violations)
        self._groups = GroupChecks(report)
        self._executions = ExecutionChecks(report, self._groups)
        self._waits = WaitChecks(report, self._groups)
        self._limits = LimitChecks(report, workers)
        self._states = StateChecks(report)
        self._parts = self._executions, self._groups, self._waits, self._limits  # as _HANDLERS

    # What happens

    def on_change(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        """An execution, now *execution*, was *previous* until *at*."""
        self._changes.append((execution, previous, at))

    def on_fact(self, fact: Fact) -> None:
        """What an observer of the same runtime has written down."""
        self._facts.append(fact)

    def on_stats(self, stats: Stats) -> None:
        """The last counters of a runtime in which nothing runs any more."""
        self._states.verify_stats(stats)

    # What should not have

    def look(self, *, drained: bool = False) -> list[Violation]:
        """Look at what has happened since the last time; all violations so far.

        Args:
            drained: Nothing runs any more: also see that everything has come to its end.
        """
        while self._changes:
            self._states.on_change(*self._changes.popleft())
        facts, self._facts[:] = self._facts[:], []
        if self._more is not None:
            facts.extend(self._more())
        parts, last = self._parts, self._last
        for fact in facts:
            if fact[1] < last:
                self._report(
                    Invariant.TIME, fact[1], f"it was {last:.3f} s before it was {fact[1]:.3f} s"
                )
            last = fact[1]
            for index, handler in _HANDLERS.get(fact[0], ()):
                handler(parts[index], fact)
        self._last = last
        self._groups.verify(drained=drained)
        self._executions.verify(drained=drained)
        self._waits.verify(drained=drained)
        self._states.verify(drained=drained)
        return self.violations

    def verify(self, *, drained: bool = False) -> None:
        """As `look`.

        Raises:
            InvariantViolation: there are violations; it names each, with whom and when.
        """
        violations = self.look(drained=drained)
        if violations:
            raise InvariantViolation(tuple(violations))


def _report(
    violations: list[Violation],
    invariant: Invariant,
    at: float | None,
    what: str,
    *subjects: str,
) -> None:
    violations.append(Violation(invariant, what, subjects, at))


class ChangeTap:
    """A publisher that tells a checker what it publishes."""

    active = (True,)  # somebody always listens

    def __init__(self, publisher: Publisher, checker: InvariantChecker) -> None:
        self._publisher = publisher
        self._checker = checker

    def changed(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        """As `Publisher.changed`."""
        self._checker.on_change(execution, previous, at)
        if self._publisher.active:
            self._publisher.changed(execution, previous, at)
