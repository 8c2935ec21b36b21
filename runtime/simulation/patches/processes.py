"""What a process knows of itself, and how it ends, where it is a task of a simulation."""

from __future__ import annotations

import os
import sys
from types import FrameType

from runtime.simulation.here import current_task, current_world
from runtime.simulation.processes import ProcessExit

__all__ = ["current_frames", "exit_", "getpid", "real_current_frames"]

_real_getpid = os.getpid
_real_exit = os._exit
real_current_frames = sys._current_frames  # noqa: SLF001 - it is replaced


def getpid() -> int:
    """As ``os.getpid``."""
    task = current_task()
    return _real_getpid() if task is None or task.process is None else task.process.pid


def exit_(status: int) -> None:
    """As ``os._exit``; it ends a simulated process and no real one."""
    task = current_task()
    if task is None or task.process is None:
        _real_exit(status)
    task.process.note_exit(status)  # whatever the function does with the exception
    raise ProcessExit(status)


def current_frames() -> dict[int, FrameType]:
    """As ``sys._current_frames``, the tasks of the calling simulation included."""
    world = current_world()
    frames = real_current_frames()
    return frames if world is None else frames | world.frames()
