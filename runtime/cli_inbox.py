"""What the command's main thread waits for: news, some of it from the handler of a signal."""

from __future__ import annotations

import queue
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

__all__ = ["Inbox"]

N = TypeVar("N")


class Inbox(Generic[N]):
    """A queue whose reader waits at a socket.

    A handler runs between two steps of the main thread. One that waits for a lock, as an ordinary
    queue does, takes no step when the signal comes just before it waits, or to another thread. A
    signal writes to the socket by itself, so that wait always ends.
    """

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[N] = queue.SimpleQueue()  # its put may interrupt itself
        self._receiver, self._sender = socket.socketpair()
        self._sender.settimeout(0)  # it never blocks

    def put(self, news: N) -> None:
        """Add something. Never blocks; any thread may, and the handler of a signal."""
        self._news.put(news)
        with suppress(OSError):  # it is full, and so the reader is about to look; or closed
            self._sender.send(b"\0")

    def get(self, timeout: float | None = None) -> N:
        """The oldest news; waits for them *timeout* seconds.

        Raises:
            queue.Empty: none has come.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with suppress(queue.Empty):
                return self._news.get_nowait()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise queue.Empty
            self._receiver.settimeout(left)
            with suppress(TimeoutError):
                self._receiver.recv(4096)

    @contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Within the block signals end a wait; for the main thread."""
        before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def close(self) -> None:
        """Let go of the socket; what is put from now on is never read."""
        self._receiver.close()
        self._sender.close()
