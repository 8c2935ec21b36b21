"""The list of what is replaced, once and for good."""

from __future__ import annotations

import _thread
import _threading_local
import asyncio
import asyncio.events
import concurrent.futures.thread
import os
import queue
import sys
import threading
import time
from types import FunctionType, ModuleType
from typing import Any

import actors.attempt
import actors.system.clock
import actors.system.parking
import actors.system.relay
import actors.system.worker
import runtime.leaves
import runtime.places
import runtime.scope
import runtime.subscriptions
from actors.system.parking import ThreadHooks
from runtime.simulation.here import real_ident, task_ident, worlds
from runtime.simulation.patches import loop, processes, threads, times
from runtime.simulation.patches.locks import Lock

__all__ = ["REAL", "install"]

REAL: dict[tuple[str, str], Any] = {}  # by module and name, what stood there before


class _Hooks:
    """Stands for ``parking``'s thread-local: a task's hooks are its own."""

    def __init__(self, real: Any) -> None:
        self._real = real

    @property
    def hooks(self) -> ThreadHooks:
        world = worlds.get(real_ident())
        if world is None:
            hooks: ThreadHooks = self._real.hooks
            return hooks
        return world.current.hooks

    @hooks.setter
    def hooks(self, hooks: ThreadHooks) -> None:
        world = worlds.get(real_ident())
        if world is None:
            self._real.hooks = hooks
        else:
            world.current.hooks = world.hooks_with(hooks.blocker)


def install() -> None:
    """Replace them; a second call does nothing."""
    if REAL:
        return
    for name, clock in times.CLOCKS.items():
        _replace(time, name, clock)
    _replace(time, "sleep", times.sleep)
    _replace(queue, "time", times.CLOCKS["monotonic"])
    _replace(queue, "SimpleQueue", queue._PySimpleQueue)  # type: ignore[attr-defined]  # noqa: SLF001
    _install_threading()
    _replace(asyncio.events, "new_event_loop", loop.new_event_loop)
    _replace(asyncio, "new_event_loop", loop.new_event_loop)
    _replace(os, "getpid", processes.getpid)
    _replace(os, "_exit", processes.exit_)
    _replace(sys, "_current_frames", processes.current_frames)
    # What the library itself has bound, for speed.
    _replace(actors.attempt, "get_ident", task_ident)
    _replace(runtime.leaves, "get_ident", task_ident)
    _replace(runtime.places, "get_ident", task_ident)
    _replace(runtime.scope, "get_ident", task_ident)
    _replace(runtime.subscriptions, "start_new_thread", threads.start_new_thread)
    _replace(actors.system.parking, "_local", _Hooks(actors.system.parking._local))  # noqa: SLF001
    # Its actor systems and runtimes that are made in a simulation, as production makes them.
    for module in (actors.system.clock, actors.system.relay, actors.system.worker):
        _replace(module, "Parker", _make_parker)
    _replace(actors.system.clock.Clock, "now", staticmethod(times.CLOCKS["monotonic"]))


def _make_parker() -> actors.system.parking.Parker:
    return actors.system.parking.new_parker()


def _install_threading() -> None:
    _replace(threading, "Lock", Lock)
    _replace(threading, "_allocate_lock", Lock)
    _replace(threading, "_CRLock", None)  # so that RLock() makes the one that is built on a Lock
    _replace(threading, "get_ident", task_ident)
    _replace(threading, "_time", times.CLOCKS["monotonic"])
    _replace(threading, "local", _threading_local.local)
    _replace(_threading_local, "RLock", _thread.RLock)  # nothing switches while it is held
    _replace(threading.Thread, "start", threads.start)
    _replace(threading.Thread, "join", threads.join)
    _replace(threading.Thread, "is_alive", threads.is_alive)
    # Held while a submitted call is queued, which is a switch point.
    _replace(concurrent.futures.thread, "_global_shutdown_lock", Lock())
    executor = concurrent.futures.ThreadPoolExecutor
    _replace(executor, "__init__", threads.with_threads_in_order(executor.__init__))


def _replace(place: ModuleType | type, name: str, stand_in: Any) -> None:
    REAL[place.__name__, name] = getattr(place, name)
    if isinstance(stand_in, FunctionType) and isinstance(place, ModuleType):
        stand_in.__module__ = place.__name__  # pickle and error texts find it where it stands
        stand_in.__name__ = stand_in.__qualname__ = name
    setattr(place, name, stand_in)
