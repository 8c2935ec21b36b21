"""The same fan-out elsewhere: what a user would pick instead, each as its documentation shows.

A `Fan` takes a number of children, runs that many ``x + 1`` and gives the seconds that it took with
the outputs, in order. Opening and closing a peer, and a few children to warm up, are not timed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import pykka
from attrs import frozen

__all__ = ["ASYNC", "BLOCKING", "Fan", "Peer", "inc", "inc_async", "ray_cluster"]

Fan: TypeAlias = Callable[[int], tuple[float, list[int]]]

WORKERS = 2
_WARM_UP = 200


def inc(x: int) -> int:
    """The trivial child."""
    return x + 1


async def inc_async(x: int) -> int:
    """The trivial async child."""
    return x + 1


@frozen(kw_only=True)
class Peer:
    """One way to run the fan-out."""

    name: str
    open: Callable[[], AbstractContextManager[Fan]]
    needs: tuple[str, ...] = ()  # modules
    at_most: int | None = None  # children: more would take minutes, or more threads than there are
    heavy: bool = False  # slow or long to open: few rounds, and large sizes only when asked for


def _timed(outputs: Callable[[int], list[int]]) -> Fan:
    """Make a `Fan` of a function that returns the outputs, and warm it up."""

    def fan(children: int) -> tuple[float, list[int]]:
        began = time.perf_counter()
        found = outputs(children)
        return time.perf_counter() - began, found

    fan(_WARM_UP)
    return fan


# Blocking children


@contextmanager
def _pool() -> Iterator[Fan]:
    with ThreadPoolExecutor(WORKERS) as pool:
        yield _timed(lambda children: list(pool.map(inc, range(children))))


class _Adder(pykka.ThreadingActor):
    def on_receive(self, message: int) -> int:
        return message + 1


@contextmanager
def _pykka_each() -> Iterator[Fan]:
    def outputs(children: int) -> list[int]:
        actors = [_Adder.start() for _ in range(children)]
        asked = [actor.ask(index, block=False) for index, actor in enumerate(actors)]
        found = pykka.get_all(asked)
        for actor in actors:
            actor.stop()
        return list(found)

    yield _timed(outputs)


@contextmanager
def _pykka_pool() -> Iterator[Fan]:
    pool = [_Adder.start() for _ in range(WORKERS)]

    def outputs(children: int) -> list[int]:
        turns = zip(range(children), itertools.cycle(pool), strict=False)
        return list(pykka.get_all([actor.ask(index, block=False) for index, actor in turns]))

    try:
        yield _timed(outputs)
    finally:
        for actor in pool:
            actor.stop()


@contextmanager
def _dask_threads() -> Iterator[Fan]:
    import dask  # noqa: PLC0415 - not everyone has it

    child = dask.delayed(inc)

    def outputs(children: int) -> list[int]:
        tasks = [child(index) for index in range(children)]
        return list(dask.compute(*tasks, scheduler="threads", num_workers=WORKERS))

    yield _timed(outputs)


@contextmanager
def _dask_distributed() -> Iterator[Fan]:
    from distributed import Client  # noqa: PLC0415

    with Client(
        n_workers=1, threads_per_worker=WORKERS, processes=False, dashboard_address=None
    ) as client:

        def outputs(children: int) -> list[int]:
            return list(client.gather(client.map(inc, range(children), pure=False)))

        yield _timed(outputs)


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Ray on this machine, without its dashboard."""
    import ray  # noqa: PLC0415

    ray.init(
        num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _ray_tasks() -> Iterator[Fan]:
    with ray_cluster() as ray:
        child = ray.remote(lambda x: x + 1)
        yield _timed(lambda n: list(ray.get([child.remote(index) for index in range(n)])))


@contextmanager
def _ray_pool() -> Iterator[Fan]:
    with ray_cluster() as ray:
        from ray.util import ActorPool  # noqa: PLC0415

        class Adder:
            def inc(self, x: int) -> int:
                return x + 1

        adder = ray.remote(Adder)
        pool = ActorPool([adder.remote() for _ in range(WORKERS)])

        def outputs(children: int) -> list[int]:
            return list(pool.map(lambda actor, x: actor.inc.remote(x), range(children)))

        yield _timed(outputs)


# Async children


def _on_asyncio(outputs: Callable[[int], Coroutine[Any, Any, list[int]]]) -> Any:
    async def timed(children: int) -> tuple[float, list[int]]:
        began = time.perf_counter()
        found = await outputs(children)
        return time.perf_counter() - began, found

    @contextmanager
    def opening() -> Iterator[Fan]:
        with asyncio.Runner() as runner:

            def fan(children: int) -> tuple[float, list[int]]:
                return runner.run(timed(children))

            fan(_WARM_UP)
            yield fan

    return opening


async def _gather(children: int) -> list[int]:
    return await asyncio.gather(*[inc_async(index) for index in range(children)])


async def _task_group(children: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(inc_async(index)) for index in range(children)]
    return [task.result() for task in tasks]


async def _any_task_group(children: int) -> list[int]:
    import anyio  # noqa: PLC0415

    found = [0] * children

    async def child(index: int) -> None:
        found[index] = await inc_async(index)

    async with anyio.create_task_group() as group:
        for index in range(children):
            group.start_soon(child, index)
    return found


@contextmanager
def _trio() -> Iterator[Fan]:
    import trio  # noqa: PLC0415

    async def outputs(children: int) -> tuple[float, list[int]]:
        found = [0] * children

        async def child(index: int) -> None:
            found[index] = await inc_async(index)

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for index in range(children):
                nursery.start_soon(child, index)
        return time.perf_counter() - began, found

    def fan(children: int) -> tuple[float, list[int]]:
        return trio.run(outputs, children)

    fan(_WARM_UP)
    yield fan


def _xoscar(*, batch: bool) -> Any:
    @contextmanager
    def opening() -> Iterator[Fan]:
        import xoscar  # noqa: PLC0415

        class Adder(xoscar.Actor):  # type: ignore[misc]
            @xoscar.extensible  # type: ignore[untyped-decorator]
            async def inc(self, x: int) -> int:
                return x + 1

        async def outputs(adder: Any, children: int) -> list[int]:
            if batch:
                return list(await adder.inc.batch(*[adder.inc.delay(x) for x in range(children)]))
            return await asyncio.gather(*[adder.inc(index) for index in range(children)])

        async def timed(adder: Any, children: int) -> tuple[float, list[int]]:
            began = time.perf_counter()
            found = await outputs(adder, children)
            return time.perf_counter() - began, found

        async def started() -> tuple[Any, Any]:
            pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
            return pool, await xoscar.create_actor(Adder, address=pool.external_address, uid="a")

        with asyncio.Runner() as runner:
            pool, adder = runner.run(started())
            try:
                runner.run(timed(adder, _WARM_UP))
                yield lambda children: runner.run(timed(adder, children))
            finally:
                runner.run(pool.stop())

    return opening


BLOCKING = (
    Peer(name="ThreadPoolExecutor(2).map", open=_pool),
    Peer(name="Pykka, an actor per child", open=_pykka_each, at_most=1_000),
    Peer(name="Pykka, a pool of two", open=_pykka_pool),
    Peer(
        name="Dask delayed, two threads",
        open=_dask_threads,
        needs=("dask",),
        at_most=10_000,
        heavy=True,
    ),
    Peer(
        name="Dask distributed, map and gather",
        open=_dask_distributed,
        needs=("distributed",),
        at_most=10_000,
        heavy=True,
    ),
    Peer(name="Ray tasks", open=_ray_tasks, needs=("ray",), at_most=10_000, heavy=True),
    Peer(name="Ray, ActorPool of two", open=_ray_pool, needs=("ray",), at_most=10_000, heavy=True),
)
ASYNC = (
    Peer(name="asyncio.gather", open=_on_asyncio(_gather)),
    Peer(name="asyncio.TaskGroup", open=_on_asyncio(_task_group)),
    Peer(name="Trio nursery", open=_trio, needs=("trio",)),
    Peer(name="AnyIO task group", open=_on_asyncio(_any_task_group), needs=("anyio",)),
    Peer(
        name="xoscar, calls gathered",
        open=_xoscar(batch=False),
        needs=("xoscar",),
        at_most=10_000,
    ),
    Peer(name="xoscar, one batch", open=_xoscar(batch=True), needs=("xoscar",), at_most=10_000),
)
