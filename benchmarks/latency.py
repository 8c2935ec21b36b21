"""How long from the emit to the first child's start, and from the last end to the waiter's return?

    python -m benchmarks.latency [--times N]

A group of one child, emitted while nothing else runs: right after the one before, and when every
thread has slept for 2 ms, by which time the processor's caches hold other things. A figure is the
median of many. Taken on one processor and on two, as handing over between threads differs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, actions, here, here_async, opened
from orchestrator import Execution

QUESTION = "How long does it take to start a child, and to hear of its end?"
_PAUSES = {"right after another": 0.0, "after 2 ms of nothing": 0.002}  # seconds of sleep
Moments = tuple[float, float]  # when the child began, when it ended


@actions.register("bench:moments")
def moments() -> Moments:
    return time.perf_counter(), time.perf_counter()


@actions.register("bench:moments_async")
async def moments_async() -> Moments:
    return time.perf_counter(), time.perf_counter()


def blocking(times: int, pause: float) -> list[Moments]:
    orchestrator = here()
    found = []
    for _ in range(times):
        if pause:
            orchestrator.sleep(pause)
        began = time.perf_counter()
        group = orchestrator.emit_one(Execution.ad_hoc("bench:moments"))
        ((started, ended),) = orchestrator.await_group(group)
        found.append((started - began, time.perf_counter() - ended))
    return found


async def on_the_loop(times: int, pause: float) -> list[Moments]:
    orchestrator = here_async()
    found = []
    for _ in range(times):
        if pause:
            await orchestrator.sleep(pause)
        began = time.perf_counter()
        group = await orchestrator.emit_one(Execution.ad_hoc("bench:moments_async"))
        ((started, ended),) = await orchestrator.await_group(group)
        found.append((started - began, time.perf_counter() - ended))
    return found


def pool(times: int, pause: float) -> list[Moments]:
    found = []
    with ThreadPoolExecutor(2) as executor:
        for _ in range(times):
            if pause:
                time.sleep(pause)
            began = time.perf_counter()
            started, ended = executor.submit(moments).result()
            found.append((started - began, time.perf_counter() - ended))
    return found


def gather(times: int, pause: float) -> list[Moments]:
    async def run() -> list[Moments]:
        found = []
        for _ in range(times):
            if pause:
                await asyncio.sleep(pause)
            began = time.perf_counter()
            ((started, ended),) = await asyncio.gather(moments_async())
            found.append((started - began, time.perf_counter() - ended))
        return found

    return asyncio.run(run())


def ours(action: Callable[..., object]) -> Callable[[int, float], list[Moments]]:
    def run(times: int, pause: float) -> list[Moments]:
        with opened() as runtime:
            found: list[Moments] = runtime.run(action, {"times": times, "pause": pause})
            return found

    return run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=100)


def measure(options: argparse.Namespace) -> list[Row]:
    systems = {
        ("a blocking child", OURS): ours(blocking),
        ("a blocking child", "submit().result()"): pool,
        ("an async child", OURS): ours(on_the_loop),
        ("an async child", "asyncio.gather"): gather,
    }
    peers = {"a blocking child": "submit().result()", "an async child": "asyncio.gather"}
    parts = ("from the emit to its start", "from its end to the waiter's return")

    def median(
        function: Callable[[int, float], list[Moments]], pause: float, part: int
    ) -> Callable[[], float]:
        return lambda: (
            statistics.median(each[part] for each in function(options.times, pause)) * 1e6
        )

    return take(
        [
            Case(
                what=f"{kind}, {parts[part]}, {when}",
                system=system,
                unit="us",
                cores=cores,
                bars=(Bar(limit=100.0), Bar(peer=peer)) if system == OURS else (),
                measure=median(function, pause, part),
            )
            for kind, peer in peers.items()
            for part in (0, 1)
            for when, pause in _PAUSES.items()
            for cores in (1, 2)
            for system, function in ((OURS, systems[kind, OURS]), (peer, systems[kind, peer]))
        ],
        options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
