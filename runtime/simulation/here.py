"""Which simulation the calling code belongs to, if any: what every patch asks first."""

from __future__ import annotations

from _thread import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.simulation.tasks import SimTask
    from runtime.simulation.world import World

__all__ = ["current_task", "current_world", "real_ident", "task_ident", "worlds"]

# By the identity of an operating system's thread. With greenlets a simulation has one such thread,
# with batons one for each of its tasks. Reading a dict is atomic, so nobody takes a lock.
worlds: dict[int, World] = {}

real_ident = get_ident  # of the thread, whatever runs on it


def current_world() -> World | None:
    """The simulation whose task is calling; ``None`` on any other thread."""
    return worlds.get(get_ident())


def current_task() -> SimTask | None:
    """The calling task of a simulation; ``None`` on any other thread."""
    world = worlds.get(get_ident())
    return None if world is None else world.current


def task_ident() -> int:
    """What ``threading.get_ident()`` answers: a number of the task's own inside a simulation."""
    ident = get_ident()
    world = worlds.get(ident)
    return ident if world is None else world.current.ident
