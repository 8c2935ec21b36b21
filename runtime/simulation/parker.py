"""How a task of a simulation sleeps until another wakes it."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from actors.system.parking import Parker
from runtime.simulation.facts import WAKE_UP
from runtime.simulation.here import real_ident, worlds

if TYPE_CHECKING:
    from runtime.simulation.tasks import SimTask
    from runtime.simulation.world import World

__all__ = ["SimParker"]


class SimParker(Parker):
    """A `Parker` whose waits are switch points, in virtual time."""

    __slots__ = ("_permit", "_task", "_world")

    def __init__(self, world: World) -> None:  # not Parker's, which makes a real lock
        self._world = world
        self._permit = False
        self._task: SimTask | None = None  # parked here

    def park(self, timeout: float | None = None) -> bool:
        """As `Parker.park`."""
        if self._permit:
            self._permit = False
            return True
        if timeout is not None:
            if math.isnan(timeout):
                message = f"timeout must be a number of seconds or None, not {timeout!r}"
                raise ValueError(message)
            if timeout <= 0:
                return False
        world = self._world
        self._task = world.current
        try:
            world.wait(timeout, WAKE_UP)
        finally:
            self._task = None
        permit, self._permit = self._permit, False
        return permit

    def unpark(self) -> None:
        """As `Parker.unpark`. On a thread outside the simulation it is an error, and told."""
        world = self._world
        if worlds.get(real_ident()) is not world:
            if world.entered:
                world.note_foreign(
                    f"thread {threading.current_thread().name!r}, which is outside the simulation,"
                    " woke a task in it: start what the code under test needs inside the"
                    " simulation, with threading.Thread or an executor made there"
                )
            return
        if not self._permit:
            self._permit = True
            if self._task is not None:
                world.make_ready(self._task)
