"""The flag that an actor has stopped."""

import threading

from actors.system import parking
from actors.system.parking import Parker

_making = threading.RLock()  # for the dicts of waiters


class StoppedFlag(threading.Event):
    """A ``threading.Event`` that costs nothing until somebody waits for it."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:  # not Event's, which would make a condition and a lock
        """Make a flag that is not set."""
        self._is_set = False
        self._waiters: dict[Parker, None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'set' if self._is_set else 'unset'}>"

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    isSet = is_set  # noqa: N815 -- Event's old name for it

    def set(self) -> None:
        """Set it and let all waiters go on. Never blocks."""
        self._is_set = True
        for parker in list(self._waiters or ()):
            parker.unpark()

    def clear(self) -> None:
        """Make it unset again."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Args:
            timeout: Seconds to wait; zero or less looks once, ``None`` waits without limit.

        Returns:
            Whether it was set in time.
        """
        if self._is_set or (timeout is not None and timeout <= 0):
            return self._is_set
        parker = parking.new_parker()
        with _making:
            if self._waiters is None:
                self._waiters = {}
        waiters = self._waiters
        waiters[parker] = None
        try:
            return self._is_set or parking.park(parker, timeout)
        finally:
            del waiters[parker]
