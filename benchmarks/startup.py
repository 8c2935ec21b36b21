"""How long do the import, the start and the close take, and how soon does a first child run?

python -m benchmarks.startup

Installed modules are compiled once, when they are installed. So the processes share compiled ones,
made by the round that warms up, also where this one was told to leave none behind.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable

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


def timed(compiled: str, before: str, code: str) -> float:
    """Milliseconds that *code* takes in a new process, after *before*."""
    return in_a_process(
        "-c",
        TIMED.format(before=before, timed=code.strip()),
        environment={"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled},
    )


def start_and_close() -> float:
    """Milliseconds, of a runtime in which nothing runs."""
    times = 20

    def run() -> None:
        for _ in range(times):
            LocalRuntime(actions, workers=2).close()

    return seconds_of(run) / times * 1e3


def measure(options: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory() as compiled:
        return take(cases(functools.partial(timed, compiled)), options.rounds)


def cases(timed: Callable[[str, str], float]) -> list[Case]:
    pool = "ThreadPoolExecutor"
    ours = "from orchestrator import ActionRegistry, Execution; from runtime import LocalRuntime"
    beyond = "import attrs, pykka"
    first = "the first child of a new process, imports not counted"
    return [
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
    ]


if __name__ == "__main__":
    main(QUESTION, measure, rounds=3)
