"""A thread that does, as a whole, what a Ctrl-C could break in half on the main thread."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.system.parking import Parker

_logger = logging.getLogger("actors.system")


class Relay:
    """Makes calls, one by one and in their order, on a daemon thread of its own.

    Handing a call over is one atomic step, with a wake-up that follows it in any case. So where a
    signal handler raises in the middle of `call`, the call is made whole, or not at all.
    """

    def __init__(self, name: str = "relay") -> None:
        """Make a relay; *name* is what its thread is called."""
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._parker = Parker()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._thread.start()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args)`` soon; it must not block. What it raises is logged."""
        try:
            self._calls.append((function, args))
        finally:
            self._parker.unpark()
            if self._closed:  # the thread may have looked for the last time before
                self._work()

    def close(self) -> None:
        """Make the calls that are left and end the thread; later ones are made by their callers."""
        self._closed = True
        self._parker.unpark()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._parker.park()
            self._work()
        self._work()

    def _work(self) -> None:
        while self._calls:
            try:
                function, args = self._calls.popleft()
            except IndexError:
                return  # another thread has made it
            try:
                function(*args)
            except BaseException:  # it must not take the other calls with it
                _logger.exception("A relayed call of %r failed", function)
            del function, args  # or they would live until the next one comes
