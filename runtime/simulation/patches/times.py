"""``time`` in a simulation: its clocks stand still, and a sleep takes none of the real one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from runtime.simulation.here import real_ident, worlds

__all__ = ["CLOCKS", "real_monotonic", "sleep"]

N = TypeVar("N", int, float)

_real_sleep = time.sleep
real_monotonic = time.monotonic
EPOCH = 1_000_000_000  # seconds: what time.time() says when a simulation begins
NS = 1_000_000_000


def sleep(seconds: float, /) -> None:
    """As ``time.sleep``."""
    world = worlds.get(real_ident())
    if world is None:
        _real_sleep(seconds)
        return
    if seconds < 0:
        message = "sleep length must be non-negative"
        raise ValueError(message)
    if seconds == 0:
        world.pause()
        return
    deadline = world.now + seconds
    while world.now < deadline:
        world.wait(deadline - world.now, lambda: f"the end of a sleep at {deadline:.3f} s")


def _virtual(real: Callable[[], N], convert: Callable[[float], N], name: str) -> Callable[[], N]:
    def read() -> N:
        world = worlds.get(real_ident())
        return real() if world is None else convert(world.now)

    read.__name__ = read.__qualname__ = name
    read.__doc__ = f"As ``time.{name}``; in a simulation it tells virtual time."
    return read


def _seconds(now: float) -> float:
    return now


def _nanoseconds(now: float) -> int:
    return round(now * NS)


CLOCKS: dict[str, Callable[[], Any]] = {
    "time": _virtual(time.time, lambda now: EPOCH + now, "time"),
    "time_ns": _virtual(time.time_ns, lambda now: EPOCH * NS + _nanoseconds(now), "time_ns"),
    "monotonic": _virtual(time.monotonic, _seconds, "monotonic"),
    "monotonic_ns": _virtual(time.monotonic_ns, _nanoseconds, "monotonic_ns"),
    "perf_counter": _virtual(time.perf_counter, _seconds, "perf_counter"),
    "perf_counter_ns": _virtual(time.perf_counter_ns, _nanoseconds, "perf_counter_ns"),
}
