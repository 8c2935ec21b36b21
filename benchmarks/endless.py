"""Does memory stay flat over an endless source, with `max_in_flight` and without `keep`?

    python -m benchmarks.endless [--children N] [--full]

The process, which does nothing else, is looked at when a tenth of the children has been drawn and
when all have.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, opened
from benchmarks.separate import in_a_process, resident
from orchestrator import Task

QUESTION = "How much does memory grow over a long lazy source?"
_IN_FLIGHT = 100


def grown(children: int) -> float:
    """Megabytes between a tenth of the way and its end."""
    sizes = []

    def source() -> Iterator[int]:
        for index in range(children):
            if index == children // 10:
                sizes.append(resident())
            yield index
        sizes.append(resident())

    with opened() as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(
            source(), "x", Task("bench:inc"), max_in_flight=_IN_FLIGHT, keep=False
        )
        assert orchestrator.await_group(group) == []
    early, late = sizes
    return (late - early) / 1024**2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, help="by default 50000, --full ten million")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> list[Row]:
    children = options.children or (10_000_000 if options.full else 50_000)
    if options.here:
        print(grown(children), flush=True)
        os._exit(0)
    return take(
        [
            Case(
                system=OURS,
                size=children,
                unit="MB grown",
                bars=(Bar(limit=4.0),),
                warm=True,
                measure=lambda: in_a_process(
                    *("-m", "benchmarks.endless", "--here", "--children", f"{children}"),
                    timeout=7200.0,
                ),
            )
        ],
        1 if options.full else options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=2)
