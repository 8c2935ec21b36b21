"""The handle of one wait, by which the allocator answers whoever waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.admission import Returning
    from actors.attempt import Attempt
    from orchestrator.errors import DeadlockError

__all__ = ["Wait"]


class Wait:
    """One wait of one thread or task of an attempt.

    The allocator writes `granted` and `refused`, each at most once and before it wakes the
    waiter, who only reads them. `returning` is the allocator's own.
    """

    __slots__ = ("attempt", "granted", "main", "refused", "returning", "wake", "worker_only")

    def __init__(
        self,
        attempt: Attempt,
        wake: Callable[[], object],
        *,
        main: bool,
        worker_only: bool = False,
    ) -> None:
        self.attempt = attempt
        self.wake = wake
        self.main = main  # the attempt's own thread or task: its slots are free meanwhile
        self.worker_only = worker_only  # the user's own wait keeps the action slot
        self.granted = False
        self.refused: DeadlockError | None = None
        self.returning: Returning | None = None

    def grant(self) -> None:
        """The waiter has its slots back."""
        self.granted = True
        self.wake()

    def refuse(self, error: DeadlockError) -> None:
        """The wait could never end."""
        self.refused = error
        self.wake()
