"""What does a child of a fan-out cost, and a call, beside a bare thread pool and asyncio?

    python -m benchmarks.fan_out [--children N] [--calls N] [--rounds N]

Every round measures each system once, one after the other; printed are the medians over the
rounds in microseconds, with the fastest and slowest round, and the ratio of the medians to the
peer's. The child is ``x + 1``. Machines are noisy: quote the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from orchestrator import ActionRegistry, AsyncOrchestrator, Execution, Orchestrator, Task
from runtime import LocalRuntime

actions = ActionRegistry()


@actions.register("bench:inc")
def inc(x: int) -> int:
    """The trivial child."""
    return x + 1


@actions.register("bench:inc_async")
async def inc_async(x: int) -> int:
    """The trivial async child."""
    return x + 1


@actions.register("bench:fan_out")
def fan_out(children: int) -> int:
    """Emit and await."""
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    group = orchestrator.emit_for_each(range(children), "x", Task("bench:inc"))
    return len(orchestrator.await_group(group))


@actions.register("bench:fan_out_async")
async def fan_out_async(children: int) -> int:
    """Emit and await, on the event loop."""
    orchestrator = AsyncOrchestrator.from_context()
    assert orchestrator is not None
    group = await orchestrator.emit_for_each(range(children), "x", Task("bench:inc_async"))
    return len(await orchestrator.await_group(group))


@actions.register("bench:calls")
def calls(times: int) -> float:
    """One call after another; seconds in all."""
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    began = time.perf_counter()
    for index in range(times):
        orchestrator.call(Execution.ad_hoc("bench:inc", index))
    return time.perf_counter() - began


@actions.register("bench:calls_async")
async def calls_async(times: int) -> float:
    """One async call after another; seconds in all."""
    orchestrator = AsyncOrchestrator.from_context()
    assert orchestrator is not None
    began = time.perf_counter()
    for index in range(times):
        await orchestrator.call(Execution.ad_hoc("bench:inc_async", index))
    return time.perf_counter() - began


def seconds_of(function: Callable[[], object]) -> float:
    """How long one call of *function* takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def pool_map(children: int) -> None:
    """The peer of a blocking fan-out."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(inc, range(children)))


def pool_calls(times: int) -> None:
    """The peer of a blocking call."""
    with ThreadPoolExecutor(2) as pool:
        for index in range(times):
            pool.submit(inc, index).result()


async def gather(children: int) -> None:
    """The peer of an async fan-out."""
    await asyncio.gather(*[inc_async(index) for index in range(children)])


async def task_calls(times: int) -> None:
    """The peer of an async call."""
    for index in range(times):
        await asyncio.create_task(inc_async(index))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    n, c = options.children, options.calls
    with LocalRuntime(actions, workers=2) as runtime:
        measures: dict[str, tuple[int, Callable[[], float]]] = {
            "ThreadPoolExecutor(2).map": (n, lambda: seconds_of(lambda: pool_map(n))),
            "fan-out, blocking children": (
                n,
                lambda: seconds_of(lambda: runtime.run("bench:fan_out", n)),
            ),
            "asyncio.gather": (n, lambda: seconds_of(lambda: asyncio.run(gather(n)))),
            "fan-out, async children": (
                n,
                lambda: seconds_of(lambda: runtime.run("bench:fan_out_async", n)),
            ),
            "submit().result()": (c, lambda: seconds_of(lambda: pool_calls(c))),
            "call, blocking": (c, lambda: float(runtime.run("bench:calls", c))),
            "create_task and await": (c, lambda: seconds_of(lambda: asyncio.run(task_calls(c)))),
            "call, async": (c, lambda: float(runtime.run("bench:calls_async", c))),
        }
        taken: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(options.rounds + 1):
            for name, (count, measure) in measures.items():
                seconds = measure()
                if number:  # the first round warms up
                    taken[name].append(seconds / count * 1e6)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cpus, {sys.platform};"
        f" {n} children, {c} calls, {options.rounds} rounds"
    )
    print(f"{'':30}{'us each':>9}{'fastest':>9}{'slowest':>9}{'ratio':>8}")
    peer = 1.0
    for place, (name, times) in enumerate(taken.items()):
        median = statistics.median(times)
        ratio = ""
        if place % 2 == 0:
            peer = median
        else:
            ratio = f"{median / peer:.2f}"
        print(f"{name:30}{median:9.1f}{min(times):9.1f}{max(times):9.1f}{ratio:>8}")


if __name__ == "__main__":
    main()
