"""What does a fan-out cost while a subscriber counts its events and a thread cancels children?

    python -m benchmarks.watched [--children N]

The same fan-out three times: alone, watched by one subscriber that counts every event, and with a
thread beside that which cancels random children as well. Checked is that no event was lost, that
every child's end was told as it was, and that cancels took effect.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, ad_hoc, opened
from benchmarks.peers import ASYNC, BLOCKING
from orchestrator import Execution, ExecutionCancelledError, ExecutionState, Orchestrator
from runtime import LocalRuntime

QUESTION = "What does it cost to be watched and interfered with?"
ALONE, COUNTED, CANCELLED = "alone", "with a subscriber", "with a subscriber and a canceller"
_PAUSE = 0.001  # seconds between two cancels
_EVENTS = 3  # of a child that completes: scheduled, running, completed


def ours(kind: str, how: str, children: int) -> float:
    """Microseconds for each child."""
    counts: Counter[Any] = Counter()
    action = "bench:inc" if kind == "blocking" else "bench:inc_async"

    def count(event: Any) -> None:
        counts[event.execution.state] += 1

    with opened() as runtime:
        all_of_them = ad_hoc(action, children)
        subscription = None
        if how != ALONE:
            subscription = runtime.subscribe(count, buffer=10 * children)
        with runtime.execution() as orchestrator:
            canceller = Canceller(runtime, all_of_them) if how == CANCELLED else None
            began = time.perf_counter()
            group = orchestrator.emit_children(all_of_them)
            if canceller is not None:
                canceller.start()
            outputs = orchestrator.await_group(group, return_exceptions=True)
            seconds = time.perf_counter() - began
            if canceller is not None:
                canceller.end()
        if subscription is not None:
            subscription.close()
            assert subscription.lost == 0
            cancelled = sum(isinstance(output, ExecutionCancelledError) for output in outputs)
            assert counts[ExecutionState.CANCELLED] == cancelled
            assert counts[ExecutionState.COMPLETED] == children - cancelled + 1  # the scope
            assert cancelled or how == COUNTED, "no cancel took effect"
    return seconds / children * 1e6


class Canceller(threading.Thread):
    """Cancels random children until it is ended."""

    def __init__(self, runtime: LocalRuntime, children: list[Execution]) -> None:
        super().__init__(daemon=True)
        self._orchestrator = Orchestrator(runtime)
        self._children = children
        self._over = threading.Event()

    def run(self) -> None:
        chosen = random.Random(1)  # noqa: S311 - the same ones in every round
        while not self._over.wait(_PAUSE):
            # Of the later half: those have not ended when their cancel comes.
            place = chosen.randrange(len(self._children) // 2, len(self._children))
            self._orchestrator.cancel(self._children[place].id, "chosen at random")

    def end(self) -> None:
        self._over.set()
        self.join()


def peer(kind: str, children: int) -> float:
    """The same without any of that, elsewhere."""
    opening = BLOCKING[0].open if kind == "blocking" else ASYNC[0].open
    with opening() as fan:
        return fan(children)[0] / children * 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, default=10_000)


def measure(options: argparse.Namespace) -> list[Row]:
    children = options.children
    cases = []
    for kind, name, limit in (
        ("blocking", BLOCKING[0].name, 1.0),
        ("async", ASYNC[0].name, 2.5),
    ):
        measures: dict[str, Callable[[], float]] = {
            f"{OURS} {ALONE}": lambda kind=kind: ours(kind, ALONE, children),
            f"{OURS} {COUNTED}": lambda kind=kind: ours(kind, COUNTED, children),
            f"{OURS} {CANCELLED}": lambda kind=kind: ours(kind, CANCELLED, children),
            name: lambda kind=kind: peer(kind, children),
        }
        bars = (Bar(peer=f"{OURS} {ALONE}"), Bar(peer=name, limit=1.5 * limit))
        cases += [
            Case(
                what=f"{kind} children",
                system=system,
                size=children,
                unit="us/child",
                warm=True,
                measure=taken,
                bars=bars if COUNTED in system else (),
            )
            for system, taken in measures.items()
        ]
    return take(cases, options.rounds)


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
