"""What a runtime counts."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Stats"]


@frozen
class Stats:
    """A runtime's counters at one moment.

    Every execution that was ever emitted, roots included, is in exactly one of *pending*,
    *running*, *waiting*, *cancelling*, *completed*, *failed* and *cancelled*.
    """

    pending: int  # queued, or between two attempts
    running: int
    waiting: int  # in a wait, or its code has returned and its groups are out
    cancelling: int  # ended for everyone, while code of it that can't be stopped runs on
    completed: int
    failed: int
    cancelled: int
    emitted: int
    queue_age: float  # seconds that the oldest queued work has waited; 0.0 with none
    dropped_waiters: int = 0  # awaiters of this process whose event loop had closed
    dead_letters: int = 0  # messages that came to an actor that had ended

    @property
    def settled(self) -> int:
        """Executions that are over: completed, failed or cancelled, and no code of them left."""
        return self.completed + self.failed + self.cancelled
