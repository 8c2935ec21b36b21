"""Lets a schedule switch between tasks at every line of the actor system's own code.

Futures, mailboxes and workers have no switch point of the simulation in them: they are what its
tasks are told apart by. So here each task is a real thread that is traced, and every line of the
modules under test is a switch point.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import actors.system
import actors.system.worker
from runtime.simulation import Simulation

__all__ = ["Stepped", "stepped"]

_FOLDER = Path(actors.system.__file__).parent
_NAMES = ("settled", "future", "mailbox", "dispatcher", "permits", "worker", "waiting")
_TRACED = {str(_FOLDER / f"{name}.py") for name in _NAMES}


class Stepped:
    """A simulation whose threads are taken off at any line."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[[], object]) -> None:
        """Run *function* on a task of its own, stepped."""
        thread = threading.Thread(target=self.wrap(function), daemon=True)
        self._threads.append(thread)
        thread.start()

    def wrap(self, function: Callable[[], object]) -> Callable[[], object]:
        """*function*, stepped on whichever thread runs it."""

        def run() -> object:
            previous = sys.gettrace()
            sys.settrace(self._trace)
            try:
                return function()
            finally:
                sys.settrace(previous)

        return run

    def join(self) -> None:
        """Wait for all."""
        for thread in self._threads:
            thread.join()

    def _trace(self, frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename not in _TRACED:
            return None
        if event == "line":
            self.world.pause()
        return self._trace


@contextmanager
def stepped(schedule: Any, *, clock: str | float = "choose") -> Iterator[Stepped]:
    """Enter a simulation of traced threads."""
    with (
        Simulation(schedule, clock=clock, backend="threads") as simulation,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(actors.system.worker, "Parker", simulation.world.new_parker)
        yield Stepped(simulation.world)
