"""A counter that many threads may raise."""

import threading


class Tally:
    """Counts events. Safe from any thread; re-entrant, so safe from ``__del__`` too."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._value = 0

    @property
    def value(self) -> int:
        """How many there have been so far."""
        return self._value

    def add(self, number: int = 1) -> None:
        """Count *number* more."""
        with self._lock:
            self._value += number
