"""Ctrl-C in a simulation: it is the main task's, as it is the main thread's outside one.

All tasks run on the thread that Python interrupts, and an action that happens to run then would
take the `KeyboardInterrupt` for its own failure.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # those of signal make enums of everything
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from runtime.simulation.here import real_ident

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["Interrupts"]

_SIGINT = int(signal.SIGINT)
_IGNORED: Any = _signal.SIG_IGN  # as in a process that a script has started in the background


class Interrupts:
    """The handler of one world, while it is entered on Python's main thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told = False
        self._previous: Any = None
        if threading.main_thread().ident == real_ident():
            before = _signal.getsignal(_SIGINT)
            if before is signal.default_int_handler or before == _IGNORED:
                self._previous = _signal.signal(_SIGINT, self._handle)

    def give_back(self) -> None:
        """The world is left."""
        if self._previous is not None:
            _signal.signal(_SIGINT, self._previous)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        world = self._world
        if self._previous == _IGNORED and world.blocked_for_real is None:
            return  # only the guard's counts, which uses it to wake a sleeper
        now = world.current is world.main or world.blocked_for_real is not None or self._told
        self._told = True
        if now:  # a second one ends whatever runs, wherever it is
            raise KeyboardInterrupt
        world.fail(KeyboardInterrupt())
