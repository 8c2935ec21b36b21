"""What asyncio keeps for each thread, kept for each task instead.

Greenlets share a thread, so the event loop that "runs on this thread", and the hooks for async
generators, change hands with them.
"""

from __future__ import annotations

import sys
from asyncio import _set_running_loop
from typing import Any

from runtime.simulation.tasks import SimTask

__all__ = ["LoopState"]


class LoopState:
    """The running loops of one world's tasks."""

    def __init__(self) -> None:
        self._hooks: dict[SimTask, Any] = {}  # of tasks that run a loop, while they have no control

    def leave(self, task: SimTask) -> None:
        """*task*, which runs a loop, gives up control."""
        self._hooks[task] = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        _set_running_loop(None)

    def come_back(self, task: SimTask) -> None:
        """*task* has control again."""
        _set_running_loop(task.loop)
        sys.set_asyncgen_hooks(*self._hooks.pop(task))

    def forget(self, task: SimTask) -> None:
        """*task* is over."""
        self._hooks.pop(task, None)
