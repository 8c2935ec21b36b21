"""How long do many blocking children take that each wait a tenth of a second?

    python -m benchmarks.sleepers [--children N]

Beside a thread pool with a thread for each. The runtime has two workers, which no wait holds.
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, seconds_of, take
from benchmarks.ours import OURS, actions, here, opened
from orchestrator import Task

QUESTION = "How long do many blocking children take that each wait 0.1 s?"
NAP = 0.1  # seconds


@actions.register("bench:nap")
def nap(x: int) -> int:
    here().sleep(NAP)
    return x


def nap_in_pool(x: int) -> int:
    time.sleep(NAP)
    return x


def ours(children: int) -> float:
    with opened() as runtime, runtime.execution() as orchestrator:

        def run() -> None:
            group = orchestrator.emit_for_each(range(children), "x", Task("bench:nap"))
            assert orchestrator.await_group(group) == list(range(children))

        return seconds_of(run)


def pool(children: int) -> float:
    with ThreadPoolExecutor(children) as executor:
        return seconds_of(lambda: list(executor.map(nap_in_pool, range(children))))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, help="by default 2000, --full 10000 too")


def measure(options: argparse.Namespace) -> list[Row]:
    sizes = [options.children] if options.children else [2_000, 10_000][: 1 + options.full]
    threading.stack_size(256 * 1024)  # so that ten thousand of them fit, for both alike
    peer = "a pool with a thread each"
    return take(
        [
            Case(
                system=system,
                size=children,
                unit="s in all",
                measure=lambda function=function, children=children: function(children),
                bars=(Bar(peer=peer, limit=1.2),) if system == OURS else (),
                warm=True,
            )
            for children in sizes
            for system, function in ((OURS, ours), (peer, pool))
        ],
        options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
