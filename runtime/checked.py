"""A runtime that can be asked to check its own invariants while it runs."""

from __future__ import annotations

from typing import Any

from actors.stats import Stats
from runtime.invariants import ChangeTap, InvariantChecker
from runtime.port import RuntimePort

__all__ = ["CheckedRuntime"]


class CheckedRuntime(RuntimePort):
    """Switches the check on; whoever closes the runtime ends it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._checker: InvariantChecker | None = None

    def check_invariants(self) -> InvariantChecker:
        """Check from now on that the runtime keeps its promises; see `runtime.invariants`.

        What is found is raised when the runtime is closed, as `InvariantViolation`; the checker
        that is returned can be asked before, with ``verify()``. It costs a snapshot for every
        change of state, and keeps them: meant for tests. A second call returns the same checker.

        Raises:
            RuntimeClosedError: the runtime is closed.
        """
        self.check()
        if self._checker is None:
            self._checker = self._make_checker()
        environment = self._environment
        if not isinstance(environment.publisher, ChangeTap):
            environment.publisher = ChangeTap(environment.publisher, self._checker)
        return self._checker

    def _make_checker(self) -> InvariantChecker:
        return InvariantChecker()

    def _end_check(self, stats: Stats | None) -> None:
        """The runtime is closed: look at it once more.

        Raises:
            InvariantViolation: it has broken its promises.
        """
        checker, self._checker = self._checker, None
        if checker is not None:
            if stats is not None:
                checker.on_stats(stats)
            checker.verify(drained=True)
