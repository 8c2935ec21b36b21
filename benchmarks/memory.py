"""How much memory does one child, or one actor, take while it does nothing?

    python -m benchmarks.memory [--number N]

Each figure comes from a process of its own, which makes so many of them and divides. *Allocated* is
what Python has allocated (tracemalloc); *resident* is what the process has grown by, stacks of
threads included. The items and outputs are the same small integers everywhere and count for nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykka
from attrs import frozen

from actors.protocol_actor import ProtocolActor
from actors.system import ActorSystem, CallingThreadDispatcher, Dispatcher, PooledActor
from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, actions, here_async, opened
from benchmarks.peers import inc
from benchmarks.separate import Gauge, in_a_process
from orchestrator import Task

QUESTION = "How much memory does one that waits take?"
_FOREVER = 3600.0
_PAUSE = 0.01  # seconds between two looks at whether all of them wait
_KINDS = ("allocated", "resident")


@actions.register("bench:wait")
async def wait(x: int) -> int:
    await here_async().sleep(_FOREVER)
    return x


# Each of these prints its figure and ends the process, without clearing away what was made.


def printed(gauge: Gauge, number: int) -> None:
    print(gauge.kilobytes() / number, flush=True)
    os._exit(0)


def pending(number: int, kind: str) -> None:
    """Children of a template, queued behind a busy worker."""
    busy = threading.Event()

    def hold() -> None:
        busy.set()
        threading.Event().wait()

    items = list(range(number))
    with opened(workers=1) as runtime:
        runtime.spawn(hold)
        busy.wait()
        with runtime.execution() as orchestrator:
            gauge = Gauge(kind)
            orchestrator.emit_for_each(items, "x", Task("bench:inc"))
            runtime.stats()
            printed(gauge, number)


def pooled_futures(number: int, kind: str) -> None:
    """Futures of a pool, queued behind a busy worker."""
    items = list(range(number))
    pool = ThreadPoolExecutor(1)
    pool.submit(threading.Event().wait)
    gauge = Gauge(kind)
    held = [pool.submit(inc, item) for item in items]
    printed(gauge, len(held))


def live(number: int, kind: str) -> None:
    """Async children of a template, each in a wait."""
    items = list(range(number))
    with opened() as runtime, runtime.execution() as orchestrator:
        gauge = Gauge(kind)
        orchestrator.emit_for_each(items, "x", Task("bench:wait"))
        while runtime.stats().waiting < number:
            threading.Event().wait(_PAUSE)
        printed(gauge, number)


def gathered(number: int, kind: str) -> None:
    """Tasks of `asyncio.gather`, each asleep."""

    async def child(x: int) -> int:
        await asyncio.sleep(_FOREVER)
        return x

    async def run() -> None:
        items = list(range(number))
        gauge = Gauge(kind)
        held = asyncio.gather(*[child(item) for item in items])
        await asyncio.sleep(0.1)
        printed(gauge, number)
        del held

    asyncio.run(run())


def nursery(number: int, kind: str) -> None:
    """Tasks of a Trio nursery, each asleep."""
    import trio  # noqa: PLC0415

    async def run() -> None:
        items = list(range(number))
        async with trio.open_nursery() as opened_nursery:
            gauge = Gauge(kind)
            for _item in items:
                opened_nursery.start_soon(trio.sleep, _FOREVER)
            await trio.testing.wait_all_tasks_blocked()
            printed(gauge, number)

    import trio.testing  # noqa: PLC0415

    trio.run(run)


def any_task_group(number: int, kind: str) -> None:
    """Tasks of an AnyIO task group, each asleep."""
    import anyio  # noqa: PLC0415

    async def run() -> None:
        items = list(range(number))
        async with anyio.create_task_group() as group:
            gauge = Gauge(kind)
            for _item in items:
                group.start_soon(anyio.sleep, _FOREVER)
            await anyio.wait_all_tasks_blocked()
            printed(gauge, number)

    asyncio.run(run())


class _Pooled(PooledActor):
    pass


class _Own(ProtocolActor):
    def on_receive(self, message: Any) -> None:
        raise NotImplementedError


class _Threading(pykka.ThreadingActor):
    pass


def system_actors(number: int, kind: str) -> None:
    """Actors of the kind that the runtime is made of."""
    system = ActorSystem(dispatcher=CallingThreadDispatcher(Dispatcher(2)))
    system.spawn(_Own)
    gauge = Gauge(kind)
    held = [system.spawn(_Own) for _ in range(number)]
    printed(gauge, len(held))


def pooled_actors(number: int, kind: str) -> None:
    """`PooledActor.start()`."""
    _Pooled.start()
    gauge = Gauge(kind)
    held = [_Pooled.start() for _ in range(number)]
    printed(gauge, len(held))


def threading_actors(number: int, kind: str) -> None:
    """`pykka.ThreadingActor.start()`."""
    _Threading.start()
    gauge = Gauge(kind)
    held = [_Threading.start() for _ in range(number)]
    printed(gauge, len(held))


def xoscar_actors(number: int, kind: str) -> None:
    """Actors of one xoscar pool."""
    import xoscar  # noqa: PLC0415

    class Idle(xoscar.Actor):  # type: ignore[misc]
        pass

    async def run() -> None:
        pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        address = pool.external_address
        gauge = Gauge(kind)
        held = [await xoscar.create_actor(Idle, address=address, uid=f"{n}") for n in range(number)]
        printed(gauge, len(held))

    asyncio.run(run())


@frozen
class Subject:
    what: str
    system: str
    make: Callable[[int, str], Coroutine[Any, Any, None] | None]
    bars: tuple[Bar, ...] = ()
    needs: tuple[str, ...] = ()
    at_most: int = 100_000


CHILD, WAITING, IDLE = "a pending child", "a live, waiting async child", "an idle actor"
SUBJECTS = (
    Subject(CHILD, OURS, pending, (Bar(limit=0.6), Bar(peer="submit()"))),
    Subject(CHILD, "submit()", pooled_futures),
    Subject(WAITING, OURS, live, (Bar(limit=3.0), Bar(peer="asyncio.gather"))),
    Subject(WAITING, "asyncio.gather", gathered),
    Subject(WAITING, "Trio nursery", nursery, needs=("trio",)),
    Subject(WAITING, "AnyIO task group", any_task_group, needs=("anyio",)),
    Subject(IDLE, "an actor of the runtime", system_actors, (Bar(limit=1.0),)),
    Subject(IDLE, "PooledActor", pooled_actors, (Bar(limit=2.0), Bar(peer="ThreadingActor"))),
    Subject(IDLE, "ThreadingActor", threading_actors, at_most=2_000),
    Subject(IDLE, "xoscar actor", xoscar_actors, needs=("xoscar",), at_most=2_000),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--number", type=int, help="by default 10000, --full 100000")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # name:kind, in a process of its own


def measure(options: argparse.Namespace) -> list[Row]:
    number = options.number or (100_000 if options.full else 10_000)
    if options.only:
        name, _, kind = options.only.partition(":")
        subject = next(each for each in SUBJECTS if each.make.__name__ == name)
        subject.make(number, kind)
    return take(
        [
            Case(
                what=f"{subject.what}, {kind}",
                system=subject.system,
                size=number,
                unit="KB each",
                measure=_separately(subject, min(number, subject.at_most), kind),
                # What Python has allocated is exact, and what the bars are about.
                bars=tuple(bar for bar in subject.bars if kind == "allocated" or bar.peer),
                needs=subject.needs,
                warm=True,
            )
            for kind in _KINDS
            for subject in SUBJECTS
        ],
        options.rounds,
    )


def _separately(subject: Subject, number: int, kind: str) -> Callable[[], float]:
    only = f"{subject.make.__name__}:{kind}"
    command = ("-m", "benchmarks.memory", "--number", f"{number}", "--only", only)
    return lambda: in_a_process(*command)


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=1)
