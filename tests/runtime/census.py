"""Counts what a runtime, and the process around it, holds: for tests that nothing is left over."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LIMIT = 30.0
_LIBRARY = ("actors.", "orchestrator.", "runtime.")
_ALWAYS = (asyncio.Future, asyncio.Task, threading.Thread)


def objects() -> Counter[str]:
    """The live objects by type: those of the library's classes, and asyncio's tasks and futures."""
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        if kind.__module__.startswith(_LIBRARY) or kind in _ALWAYS:
            found[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return found


def descriptors() -> int:
    """The open file descriptors of this process."""
    return len(os.listdir("/dev/fd"))


def census(runtime: Any = None) -> Counter[str]:
    """Everything that can leak, under one roof."""
    found = objects()
    found["file descriptors"] = descriptors()
    found["threads"] = threading.active_count()
    if runtime is not None:
        environment = runtime._environment
        found["timers"] = environment.clock.pending
        found["actors"] = environment.system.actors
        found["directory"] = len(runtime._groups)
        found["actions under way"] = len(runtime._places.running)
        found["sources"] = len(runtime._feeders.threads) + len(runtime._feeders._tasks)
        found["tasks"] = len(runtime._loops._tasks)
    return found


def becomes(expected: Counter[str], now: Callable[[], Counter[str]]) -> None:
    """Wait until a census is no more than *expected*; else fail with what is left over.

    Threads end, and tasks are let go, a moment after what they did is answered.
    """
    pause = threading.Event()
    deadline = time.monotonic() + LIMIT
    while left := now() - expected:
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


def swallow(kind: type[BaseException], function: Callable[[], object]) -> None:
    """Call *function*, which must raise *kind*; the exception is let go."""
    with suppress(kind):
        function()
        raise AssertionError(f"it did not raise {kind.__name__}")
