"""What does one call after another cost, in its forms, beside the same in a pool or a loop?

    python -m benchmarks.calls [--calls N]

Handing over between threads costs about ten microseconds on one processor and several times that
across two; so each figure is taken on one and on two.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pykka

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, here, here_async, opened
from benchmarks.peers import inc, inc_async, ray_cluster
from orchestrator import Execution

QUESTION = "What does a call of one child cost?"


def from_blocking(action: str, calls: int) -> float:
    """One call after another, from a blocking action; seconds in all."""
    orchestrator = here()
    began = time.perf_counter()
    for index in range(calls):
        assert orchestrator.call(Execution.ad_hoc(action, index)) == index + 1
    return time.perf_counter() - began


async def from_async(action: str, calls: int) -> float:
    """The same from an async one."""
    orchestrator = here_async()
    began = time.perf_counter()
    for index in range(calls):
        assert await orchestrator.call(Execution.ad_hoc(action, index)) == index + 1
    return time.perf_counter() - began


def ours(caller: Callable[..., Any], action: str, calls: int) -> float:
    """Seconds of a runtime of its own."""
    with opened() as runtime:
        return float(runtime.run(caller, {"action": action, "calls": calls}))


def one_by_one(call: Callable[[int], int], calls: int) -> float:
    """Seconds of one blocking call after another."""
    began = time.perf_counter()
    for index in range(calls):
        assert call(index) == index + 1
    return time.perf_counter() - began


async def one_by_one_async(call: Callable[[int], Awaitable[int]], calls: int) -> float:
    """The same, awaited."""
    began = time.perf_counter()
    for index in range(calls):
        assert await call(index) == index + 1
    return time.perf_counter() - began


def pool(calls: int) -> float:
    with ThreadPoolExecutor(2) as executor:
        return one_by_one(lambda x: executor.submit(inc, x).result(), calls)


def create_task(calls: int) -> float:
    return asyncio.run(one_by_one_async(lambda x: asyncio.create_task(inc_async(x)), calls))


def to_thread(calls: int) -> float:
    return asyncio.run(one_by_one_async(lambda x: asyncio.to_thread(inc, x), calls))


@contextmanager
def loop_on_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def into_loop(calls: int) -> float:
    with loop_on_a_thread() as loop:
        return one_by_one(
            lambda x: asyncio.run_coroutine_threadsafe(inc_async(x), loop).result(), calls
        )


class _Adder(pykka.ThreadingActor):
    def on_receive(self, message: int) -> int:
        return message + 1


def pykka_ask(calls: int) -> float:
    actor = _Adder.start()
    try:
        return one_by_one(actor.ask, calls)
    finally:
        actor.stop()


def nursery(calls: int) -> float:
    import trio  # noqa: PLC0415

    async def call(x: int) -> int:
        found = []

        async def child() -> None:
            found.append(await inc_async(x))

        async with trio.open_nursery() as opened_nursery:
            opened_nursery.start_soon(child)
        return found[0]

    return float(trio.run(one_by_one_async, call, calls))


def any_task_group(calls: int) -> float:
    import anyio  # noqa: PLC0415

    async def call(x: int) -> int:
        found = []

        async def child() -> None:
            found.append(await inc_async(x))

        async with anyio.create_task_group() as group:
            group.start_soon(child)
        return found[0]

    return asyncio.run(one_by_one_async(call, calls))


def xoscar_call(calls: int) -> float:
    import xoscar  # noqa: PLC0415

    class Adder(xoscar.Actor):  # type: ignore[misc]
        async def inc(self, x: int) -> int:
            return x + 1

    async def run() -> float:
        actors = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        async with actors:
            adder = await xoscar.create_actor(Adder, address=actors.external_address, uid="adder")
            return await one_by_one_async(adder.inc, calls)

    return asyncio.run(run())


def ray_get(calls: int) -> float:
    with ray_cluster() as ray:
        child = ray.remote(lambda x: x + 1)
        ray.get([child.remote(index) for index in range(10)])
        return one_by_one(lambda x: ray.get(child.remote(x)), calls)


FORMS: dict[str, dict[str, tuple[Callable[[int], float], tuple[Bar, ...], tuple[str, ...]]]] = {
    "a blocking child from a blocking action": {
        OURS: (
            lambda calls: ours(from_blocking, "bench:inc", calls),
            (Bar(peer="submit().result()", limit=1.5),),
            (),
        ),
        "submit().result()": (pool, (), ()),
        "Pykka, ask": (pykka_ask, (), ()),
    },
    "an async child from an async action": {
        OURS: (
            lambda calls: ours(from_async, "bench:inc_async", calls),
            (Bar(peer="create_task and await", limit=4.0),),
            (),
        ),
        "create_task and await": (create_task, (), ()),
        "Trio, a nursery each": (nursery, (), ("trio",)),
        "AnyIO, a task group each": (any_task_group, (), ("anyio",)),
        "xoscar, one actor": (xoscar_call, (), ("xoscar",)),
    },
    "a blocking child from an async action": {
        OURS: (
            lambda calls: ours(from_async, "bench:inc", calls),
            (Bar(peer="asyncio.to_thread", limit=1.5),),
            (),
        ),
        "asyncio.to_thread": (to_thread, (), ()),
    },
    "an async child from a blocking action": {
        OURS: (
            lambda calls: ours(from_blocking, "bench:inc_async", calls),
            (Bar(peer="run_coroutine_threadsafe().result()", limit=1.5),),
            (),
        ),
        "run_coroutine_threadsafe().result()": (into_loop, (), ()),
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=1_000)


def measure(options: argparse.Namespace) -> list[Row]:
    cases = [
        Case(
            what=what,
            system=system,
            size=options.calls,
            unit="us/call",
            cores=cores,
            bars=bars,
            needs=needs,
            measure=lambda function=function: function(options.calls) / options.calls * 1e6,
        )
        for what, systems in FORMS.items()
        for cores in (1, 2)
        for system, (function, bars, needs) in systems.items()
    ]
    few = min(options.calls, 200)
    ray = Case(
        what="a blocking child from a blocking action",
        system="Ray, get of one task",
        size=few,
        unit="us/call",
        needs=("ray",),
        rounds=1,
        warm=True,
        measure=lambda: ray_get(few) / few * 1e6,
    )
    return take([*cases, ray], options.rounds)


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
