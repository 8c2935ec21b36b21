"""How long do the import, the start and the close take, and how soon does a first child run?

python -m benchmarks.startup
"""

from __future__ import annotations

import argparse

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, seconds_of, take
from benchmarks.ours import OURS, actions
from benchmarks.separate import in_a_process
from runtime import LocalRuntime

QUESTION = "How long do import, start and close take?"

TIMED = """
import time
{before}
began = time.perf_counter()
{timed}
print((time.perf_counter() - began) * 1e3)
"""
FIRST = """
registry = ActionRegistry()
registry.register("first:inc")(lambda x: x + 1)
with LocalRuntime(registry, workers=2) as runtime, runtime.execution() as orchestrator:
    assert orchestrator.call(Execution.ad_hoc("first:inc", 1)) == 2
"""
FIRST_OF_POOL = """
with ThreadPoolExecutor(2) as pool:
    assert pool.submit(lambda x: x + 1, 1).result() == 2
"""


def timed(before: str, code: str) -> float:
    """Milliseconds that *code* takes in a new process, after *before*."""
    return in_a_process("-c", TIMED.format(before=before, timed=code.strip()))


def start_and_close() -> float:
    """Milliseconds, of a runtime in which nothing runs."""
    times = 20

    def run() -> None:
        for _ in range(times):
            LocalRuntime(actions, workers=2).close()

    return seconds_of(run) / times * 1e3


def measure(options: argparse.Namespace) -> list[Row]:
    pool = "ThreadPoolExecutor"
    ours = "from orchestrator import ActionRegistry, Execution; from runtime import LocalRuntime"
    beyond = "import attrs, pykka"
    first = "the first child of a new process, imports not counted"
    return take(
        [
            Case(
                what="import, beyond that of attrs and Pykka",
                system="orchestrator",
                unit="ms",
                bars=(Bar(limit=20.0),),
                measure=lambda: timed(beyond, "import orchestrator"),
            ),
            Case(
                what="import, beyond that of attrs and Pykka",
                system="orchestrator and runtime",
                unit="ms",
                measure=lambda: timed(beyond, "import orchestrator, runtime"),
            ),
            Case(
                what="start and close of a runtime",
                system=OURS,
                unit="ms",
                bars=(Bar(limit=5.0),),
                measure=start_and_close,
            ),
            Case(
                what=first,
                system=OURS,
                unit="ms",
                bars=(Bar(peer=pool),),
                measure=lambda: timed(ours, FIRST),
            ),
            Case(
                what=first,
                system=pool,
                unit="ms",
                measure=lambda: timed(
                    "from concurrent.futures import ThreadPoolExecutor", FIRST_OF_POOL
                ),
            ),
        ],
        options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, rounds=3)
