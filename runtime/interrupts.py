"""Ctrl-C on the application's own event loop: between two steps of the loop, never inside ours.

Python's handler for SIGINT, and asyncio's from its second Ctrl-C on, raise `KeyboardInterrupt`
wherever the main thread happens to be. In the code that starts a child, ends one or is an actor's
turn, that would lose what was at hand, and the runtime would wait for it for ever; in the loop's
own, a task's step. So while a runtime is open on a loop of the main thread, an interrupt that comes
there is raised by the loop, as the next thing that it does. In the application's code it is raised
where it comes, as ever.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from asyncio import base_events
from types import FrameType
from typing import Any

from actors.system.interrupts import raises_now

__all__ = ["hold_back", "let_go", "pass_on"]

_OURS = frozenset({"actors", "orchestrator", "runtime"})
_LOOP = base_events.__name__
# Called by us and by the application: whose an interrupt is shows further out.
_ANYBODYS = sys.stdlib_module_names | {"attr", "attrs", "cattrs", "pykka"}


def _getsignal() -> Any:
    return signal.getsignal(signal.SIGINT)


class _Handler:
    """Stands in front of the handler that was set, for all runtimes that are open on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, behind: Any) -> None:
        self.loop = loop
        self.behind = behind
        self.runtimes = 0
        self.raised: KeyboardInterrupt | None = None  # the last one

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.loop.is_running():  # a runtime was left open on it
            self.give_back()
            self.behind(number, frame)
        elif raises_now(self.behind) and _would_cut(frame):
            self.loop.call_soon_threadsafe(self._interrupt, number)
        else:  # asyncio's first one raises nothing: it cancels the main task
            self._interrupt(number, frame)

    def _interrupt(self, number: int, frame: FrameType | None = None) -> None:
        try:
            self.behind(number, frame)
        except KeyboardInterrupt as interrupt:
            self.raised = interrupt
            raise

    def give_back(self) -> None:
        """Take it away, unless the application has set another one since."""
        if _getsignal() is self:
            # One of asyncio's that only raises from now on may be over: the loop would have taken
            # it away, had it been there.
            over = raises_now(self.behind)
            signal.signal(signal.SIGINT, signal.default_int_handler if over else self.behind)


def hold_back(loop: asyncio.AbstractEventLoop) -> None:
    """A runtime is open on *loop*, which is the calling thread's."""
    if threading.current_thread() is not threading.main_thread():
        return
    handler = _getsignal()
    if isinstance(handler, _Handler) and handler.loop is not loop:
        handler.give_back()
        handler = _getsignal()
    if not isinstance(handler, _Handler):
        if raises_now(handler) is None:
            return  # the application's own, which knows what it does
        handler = _Handler(loop, handler)
        signal.signal(signal.SIGINT, handler)
    handler.runtimes += 1


def let_go(loop: asyncio.AbstractEventLoop) -> None:
    """It is open no more."""
    if threading.current_thread() is threading.main_thread():
        handler = _getsignal()
        if isinstance(handler, _Handler) and handler.loop is loop:
            handler.runtimes -= 1
            if not handler.runtimes:
                handler.give_back()


def pass_on(raised: BaseException) -> None:
    """Let the loop raise it too, if it is a Ctrl-C that came in code whose failure ends no more."""
    if isinstance(raised, KeyboardInterrupt):
        handler = _getsignal()
        if isinstance(handler, _Handler) and handler.raised is raised:
            handler.loop.call_soon_threadsafe(_raise, raised)


def _raise(interrupt: KeyboardInterrupt) -> None:
    raise interrupt


def _would_cut(frame: FrameType | None) -> bool:
    """Whether the code that runs is this library's or the loop's own, and not the application's."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "attr")  # attrs writes methods without a module
        package = module.partition(".")[0]
        if package in _OURS or module == _LOOP:
            return True
        if package not in _ANYBODYS:
            return False
        frame = frame.f_back
    return True
