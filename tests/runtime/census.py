"""Counts what a runtime, and the process around it, holds: for tests that nothing is left over."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

LIMIT = 30.0
_LIBRARY = ("actors.", "orchestrator.", "runtime.")
_NEVER = "runtime.simulation.patches.locks"  # they stand for locks in C, which are not counted
_ALWAYS = (asyncio.Future, asyncio.Task, threading.Thread)

# What is cleared out now and then, and not at once: a heap of timers and a queue hold some that
# were cancelled, a dispatcher some threads that have nothing to do, and the last that have ended.
_CANCELLED, _IDLE, _KINDS = 70, 8, 4
SLACK = Counter(
    {
        "actors.system.clock.Timer": _CANCELLED,
        # Made for each kind of work when something of it first has to queue.
        "actors.admission._Lane": _KINDS,
        "actors.ready.ReadyQueue": _KINDS,
        "the allocator's tables": _KINDS,
        "actors.ready.Queued": _CANCELLED,
        "threading.Thread": _IDLE,
        "threads": _IDLE,
        "actors.system.worker.Worker": _IDLE,
        "actors.system.worker._Blocking": _IDLE,
        "actors.system.worker._Keeping": _IDLE,
        "actors.system.parking.Parker": _IDLE,
        "actors.system.parking.ThreadHooks": _IDLE,
    }
)


def objects() -> Counter[str]:
    """The live objects by type: those of the library's classes, and asyncio's tasks and futures."""
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        if kind.__module__ == _NEVER:
            continue
        if kind.__module__.startswith(_LIBRARY) or kind in _ALWAYS:
            found[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return found


def descriptors() -> int:
    """The open file descriptors of this process."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


def census(runtime: Any = None) -> Counter[str]:
    """Everything that can be left over, by what it is."""
    if runtime is not None:
        runtime.stats()  # the allocator handles what was put aside for it until its next turn
    found = objects()
    found["file descriptors"] = descriptors()
    found["threads"] = threading.active_count()
    if runtime is not None:
        environment = runtime._environment
        allocator = environment.allocator._actor_weakref()
        found["live timers"] = environment.clock.pending
        found["actors in the system"] = environment.system.actors
        found["groups that can be awaited"] = len(runtime._groups)
        found["attempts under way"] = len(runtime._places.running)
        found["sources"] = len(runtime._feeders.threads) + len(runtime._feeders._tasks)
        found["tasks of the loop"] = len(runtime._loops._tasks)
        found["the allocator's tables"] = sum(
            len(table)
            for table in (
                allocator._live,
                allocator._open,
                allocator._nodes,
                allocator._queued_since,
                allocator._graph._targets,
                allocator._graph._entered,
                allocator._admission.turns.last,
                allocator._admission._limits,
                allocator._admission._lanes,
                allocator._admission._returning,
            )
        )
    return found


def becomes(
    expected: Counter[str], now: Callable[[], Counter[str]], slack: Counter[str] = SLACK
) -> None:
    """Wait until a census is no more than *expected*; else fail with what is left over.

    Threads end, and tasks are let go, a moment after what they did is answered.
    """
    pause = threading.Event()
    deadline = time.monotonic() + LIMIT
    while left := now() - (expected + slack):
        if time.monotonic() > deadline:
            raise AssertionError(f"left over: {dict(left)}")
        pause.wait(0.01)


def nothing_stays(once: Callable[[], object], times: int, runtime: Any = None) -> None:
    """Do something *times* times, and see that what lives then is what lived after a few times."""
    for _ in range(5):
        once()
    before = census(runtime)
    for _ in range(times):
        once()
    becomes(before, lambda: census(runtime))
