"""Ctrl-C in a simulation: it is the main task's, as it is the main thread's outside one.

All tasks run on the thread that Python interrupts, and an action that happens to run then would
take the `KeyboardInterrupt` for its own failure.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from runtime.simulation.here import real_ident

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["Interrupts"]


class Interrupts:
    """The handler of one world, while it is entered on Python's main thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told = False
        self._previous: Any = None
        if (
            threading.main_thread().ident == real_ident()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._previous = signal.signal(signal.SIGINT, self._handle)

    def give_back(self) -> None:
        """The world is left."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        world = self._world
        now = world.current is world.main or world.blocked_for_real is not None or self._told
        self._told = True
        if now:  # a second one ends whatever runs, wherever it is
            raise KeyboardInterrupt
        world.fail(KeyboardInterrupt())
