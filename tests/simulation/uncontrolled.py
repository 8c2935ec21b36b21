"""What an application's module binds too early: imported before the patches, so to speak."""

from __future__ import annotations

import functools
import threading
from typing import Any

from runtime.simulation.patches.install import REAL

real_sleep = REAL["time", "sleep"]  # as after `from time import sleep`
real_lock = REAL["threading", "Lock"]()
real_now = REAL["time", "monotonic"]


class Cache:
    """Has a real lock inside."""

    def __init__(self) -> None:
        self._lock = REAL["threading", "_CRLock"]()

    def get(self) -> int:
        with self._lock:
            return 1


class Slotted:
    __slots__ = ("guards",)

    def __init__(self) -> None:
        self.guards = {"one": [REAL["threading", "Lock"]()]}


cache = Cache()
slotted = Slotted()
local = REAL["threading", "local"]()
items = REAL["queue", "SimpleQueue"]()
event = threading.Event()
event._cond = REAL["threading", "Lock"]()  # type: ignore[attr-defined]  # made before the patches


def uses_a_lock() -> None:
    with real_lock:
        pass


def sleeps() -> None:
    real_sleep(0.001)


async def reads_the_clock() -> float:
    return real_now()


def uses_a_cache() -> int:
    return cache.get()


def uses_slots() -> int:
    return len(slotted.guards)


def uses_a_local() -> Any:
    return local


def takes() -> Any:
    return items.get()


def waits() -> None:
    event.wait()


def calls_another() -> None:
    uses_a_lock()


def has_inner() -> Any:
    return [sleeps() for _ in range(1)]


def has_a_default(lock: Any = real_lock) -> None:
    with lock:
        pass


def closed_over() -> Any:
    lock = real_lock

    def inner() -> None:
        with lock:
            pass

    return inner


@functools.wraps(uses_a_lock)
def wrapped() -> None:
    """Leads to what it wraps."""


def fit() -> int:
    lock = threading.Lock()
    with lock:
        return len(__name__)


CASES = {
    "uses_a_lock": (uses_a_lock, r"uncontrolled\.real_lock is a real threading\.Lock"),
    "sleeps": (sleeps, r"uncontrolled\.real_sleep is the real time\.sleep"),
    "reads_the_clock": (reads_the_clock, r"real_now is the real time\.monotonic"),
    "uses_a_cache": (uses_a_cache, r"cache\._lock is a real threading\.RLock"),
    "uses_slots": (uses_slots, r"slotted\.guards\['one'\]\[0\] is a real threading\.Lock"),
    "uses_a_local": (uses_a_local, r"local is a real threading\.local"),
    "takes": (takes, r"items is a real queue\.SimpleQueue"),
    "waits": (waits, r"event\._cond is a real threading\.Lock"),
    "calls_another": (calls_another, r"real_lock is a real threading\.Lock"),
    "has_inner": (has_inner, r"real_sleep is the real time\.sleep"),
    "has_a_default": (has_a_default, r"a default of .*has_a_default is a real threading\.Lock"),
    "closed_over": (closed_over(), r"lock in the closure of .*inner is a real threading\.Lock"),
    "wrapped": (wrapped, r"real_lock is a real threading\.Lock"),
    "method": (cache.get, r"_lock is a real threading\.RLock"),
    "partial": (functools.partial(has_a_default, lock=real_lock), r"a real threading\.Lock"),
}
