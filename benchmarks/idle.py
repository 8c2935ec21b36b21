"""How much of a processor does a runtime use whose children all wait?

python -m benchmarks.idle [--children N] [--seconds S]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.memory import wait
from benchmarks.ours import OURS, opened
from orchestrator import Task

QUESTION = "How much of a processor do waiting children use?"


def ours(children: int, seconds: float) -> float:
    with opened() as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(children), "x", Task("bench:wait"))
        while runtime.stats().waiting < children:
            time.sleep(0.01)
        time.sleep(0.1)  # for the last of them to go to sleep
        used = _used_while(lambda: time.sleep(seconds))
        orchestrator.cancel_group(group)
    return used / seconds * 100


def tasks(children: int, seconds: float) -> float:
    async def run() -> float:
        gathered = asyncio.gather(*[asyncio.sleep(3600.0, index) for index in range(children)])
        await asyncio.sleep(0.1)
        used = time.process_time()
        await asyncio.sleep(seconds)
        used = time.process_time() - used
        gathered.cancel()
        await asyncio.gather(gathered, return_exceptions=True)
        return used

    return asyncio.run(run()) / seconds * 100


def _used_while(waits: Callable[[], object]) -> float:
    before = time.process_time()
    waits()
    return time.process_time() - before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, help="by default 10000, --full 100000")
    parser.add_argument("--seconds", type=float, default=1.0, help="to wait, by default 1")


def measure(options: argparse.Namespace) -> list[Row]:
    assert wait is not None  # its module registers bench:wait
    children = options.children or (100_000 if options.full else 10_000)
    return take(
        [
            Case(
                system=system,
                size=children,
                unit="% of one",
                measure=lambda function=function: function(children, options.seconds),
                bars=(Bar(limit=1.0),) if system == OURS else (),
                warm=True,
            )
            for system, function in ((OURS, ours), ("asyncio.gather", tasks))
        ],
        options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=2)
