"""How long does the garbage collector stop everything during a large fan-out?

python -m benchmarks.gc_pauses [--children N] [--full]
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, fan_out, fan_out_async, runs
from benchmarks.peers import ASYNC, BLOCKING, Fan

QUESTION = "How long does the garbage collector stop everything in a large fan-out?"


class Pauses:
    """Listens to the collector: ``with Pauses() as pauses``."""

    def __init__(self) -> None:
        self.all: list[float] = []  # seconds
        self._began = 0.0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _about: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._began = now
        else:
            self.all.append(now - self._began)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, help="by default 50000, --full 1000000")


def measure(options: argparse.Namespace) -> list[Row]:
    children = options.children or (1_000_000 if options.full else 50_000)
    systems: dict[str, dict[str, Callable[[], AbstractContextManager[Fan]]]] = {
        "blocking": {OURS: runs(fan_out), BLOCKING[0].name: BLOCKING[0].open},
        "async": {OURS: runs(fan_out_async), ASYNC[0].name: ASYNC[0].open},
    }
    shares: dict[Callable[[], AbstractContextManager[Fan]], float] = {}

    def longest(opening: Callable[[], AbstractContextManager[Fan]]) -> float:
        with opening() as fan:
            gc.collect()
            with Pauses() as pauses:
                seconds, _ = fan(children)
        shares[opening] = sum(pauses.all) / seconds * 100
        return max(pauses.all, default=0.0) * 1e3

    return take(
        [
            Case(
                what=f"{kind} children, {part}",
                system=system,
                size=children,
                unit=unit,
                warm=True,
                bars=(Bar(peer=next(peer for peer in each if peer != OURS)),)
                if system == OURS
                else (),
                measure=lambda figure=figure, opening=opening: figure(opening),
            )
            for kind, each in systems.items()
            for part, unit, figure in (
                ("the longest pause", "ms", longest),
                ("all pauses, of the time", "%", lambda opening: shares[opening]),
            )
            for system, opening in each.items()
        ],
        1 if options.full else options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=2)
