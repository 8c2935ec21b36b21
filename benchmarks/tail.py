"""How long do calls take while a large fan-out runs beside them?

    python -m benchmarks.tail [--children N]

Calls are made one after another from a process of their own until the fan-out has ended; shown are
their median, their 99th percentile and the longest. A queue in order of arrival, which is what the
peers have, makes the first call wait for all of the fan-out, and then there is none.

And how late does another thread wake up, which sleeps for 2 ms time and again, beside a fan-out on
an event loop?
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, fan_out_async, here, here_async, opened
from benchmarks.peers import inc, inc_async
from orchestrator import Execution, Task

QUESTION = "How long does a call take beside a large fan-out?"
PARTS = {"median": 0.5, "99th percentile": 0.99, "longest": 1.0}
Times = list[float]  # of every call, in seconds


def blocking(children: int) -> Times:
    with opened() as runtime:

        def calls() -> Times:
            orchestrator, found, emitted = here(), Times(), threading.Event()

            def fan_out() -> None:
                mine = here()
                group = mine.emit_for_each(range(children), "x", Task("bench:inc"))
                emitted.set()
                mine.await_group(group)

            beside = runtime.spawn(fan_out)
            with orchestrator.blocking():
                emitted.wait()
            while not beside.done():
                began = time.perf_counter()
                orchestrator.call(Execution.ad_hoc("bench:inc", 1))
                found.append(time.perf_counter() - began)
            return found

        found: Times = runtime.run(calls)
        return found


def on_the_loop(children: int) -> Times:
    with opened() as runtime:

        async def calls() -> Times:
            orchestrator, found, emitted = here_async(), Times(), asyncio.Event()

            async def fan_out() -> None:
                mine = here_async()
                group = await mine.emit_for_each(range(children), "x", Task("bench:inc_async"))
                emitted.set()
                await mine.await_group(group)

            beside = runtime.spawn(fan_out)
            await emitted.wait()
            while not beside.done():
                began = time.perf_counter()
                await orchestrator.call(Execution.ad_hoc("bench:inc_async", 1))
                found.append(time.perf_counter() - began)
            return found

        found: Times = runtime.run(calls)
        return found


def pool(children: int) -> Times:
    found = Times()
    with ThreadPoolExecutor(2) as executor:
        emitted = threading.Event()
        holding = [executor.submit(emitted.wait) for _ in range(2)]
        beside = [executor.submit(inc, index) for index in range(children)]
        emitted.set()
        assert all(held.result() for held in holding)
        while not beside[-1].done():
            began = time.perf_counter()
            executor.submit(inc, 1).result()
            found.append(time.perf_counter() - began)
    return found


def gather(children: int) -> Times:
    async def run() -> Times:
        found = Times()
        beside = asyncio.gather(*[inc_async(index) for index in range(children)])
        while not beside.done():
            began = time.perf_counter()
            await asyncio.create_task(inc_async(1))
            found.append(time.perf_counter() - began)
        await beside
        return found

    return asyncio.run(run())


class Sleeper(threading.Thread):
    """Sleeps time and again while it is entered, and notes how late it woke up."""

    _NAP = 0.002

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late = Times()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            began = time.perf_counter()
            time.sleep(self._NAP)
            self.late.append(time.perf_counter() - began - self._NAP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def thread_beside(children: int) -> Times:
    with opened() as runtime, Sleeper() as sleeper:
        runtime.run(fan_out_async, children)
    return sleeper.late


def thread_beside_gather(children: int) -> Times:
    async def run() -> None:
        await asyncio.gather(*[inc_async(index) for index in range(children)])

    with Sleeper() as sleeper:
        asyncio.run(run())
    return sleeper.late


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, help="by default 20000, --full 100000")


def measure(options: argparse.Namespace) -> list[Row]:
    children = options.children or (100_000 if options.full else 20_000)
    kinds: dict[str, dict[str, Callable[[int], Times]]] = {
        "blocking": {OURS: blocking, "ThreadPoolExecutor(2)": pool},
        "async": {OURS: on_the_loop, "asyncio": gather},
        "another thread's wake-up": {
            OURS: thread_beside,
            "asyncio": thread_beside_gather,
        },
    }

    # The parts of one round are of the same calls, so the first of them makes the calls.
    taken: dict[Callable[[int], Times], Times] = {}

    def part(function: Callable[[int], Times], share: float) -> float:
        if share == PARTS["median"]:
            taken[function] = sorted(function(children)) or [0.0]
        found = taken[function]
        return found[min(len(found) - 1, int(share * len(found)))] * 1e6

    return take(
        [
            Case(
                what=f"{kind}, {name}",
                system=system,
                size=children,
                unit="us/call",
                warm=True,
                bars=(Bar(peer=next(peer for peer in systems if peer != OURS)),)
                if system == OURS
                else (),
                measure=functools.partial(part, function, share),
            )
            for kind, systems in kinds.items()
            for name, share in PARTS.items()
            for system, function in systems.items()
        ],
        options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
