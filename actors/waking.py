"""How many threads are woken at once: a few at a time, however many are told to end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.wait import Wait

__all__ = ["WakeUps"]

_AT_ONCE = 8


class WakeUps:
    """Wakes parked threads whose attempts were interrupted, in the order in which that was asked.

    Thousands of threads that wake at the same moment all want the interpreter's lock, ask for it
    again every few milliseconds, and hardly let the one run that has it. So no more than a few are
    on their way; each that comes out of its wait has the next one woken. It does so before any
    user code of it goes on, so that nobody waits for what such code does.

    Any thread may call anything. A wait that is over says so before it looks whether it is among
    those on their way, and whoever puts it there looks whether it is over after that.
    """

    def __init__(self) -> None:
        self.on_their_way: dict[Wait, None] = {}
        self._next: deque[Wait] = deque()

    def wake(self, wait: Wait) -> None:
        """Wake who waits, now or when there is room. It has to tell when it is `over`."""
        self._next.append(wait)
        self._go_on()

    def over(self, wait: Wait) -> None:
        """The wait has ended, by this or by anything else; its `parked` is false."""
        if self.on_their_way.pop(wait, self) is None:
            self._go_on()

    def _go_on(self) -> None:
        while len(self.on_their_way) < _AT_ONCE:
            try:
                wait = self._next.popleft()
            except IndexError:
                return
            self.on_their_way[wait] = None
            wait.waker.unpark()
            if not wait.parked:
                self.on_their_way.pop(wait, None)
