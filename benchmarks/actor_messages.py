"""What do the messages of the actor system cost beside Pykka's own actors with a thread each?

python -m benchmarks.actor_messages [--messages N] [--actors N]
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

import pykka

from actors.system import PooledActor
from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, seconds_of, take

QUESTION = "What do actors and their messages cost, beside pykka.ThreadingActor?"


class Pooled(PooledActor):
    def on_receive(self, message: int) -> int:
        return message


class Threading(pykka.ThreadingActor):
    def on_receive(self, message: int) -> int:
        return message


def tell(actor_class: type[Any], messages: int) -> float:
    """Messages without a reply, and one with, which comes behind them."""
    actor = actor_class.start()

    def run() -> None:
        for index in range(messages):
            actor.tell(index)
        assert actor.ask(messages) == messages

    try:
        return seconds_of(run)
    finally:
        actor.stop()


def ask(actor_class: type[Any], messages: int) -> float:
    """One round trip after another."""
    actor = actor_class.start()

    def run() -> None:
        for index in range(messages):
            assert actor.ask(index) == index

    try:
        return seconds_of(run)
    finally:
        actor.stop()


def start_and_stop(actor_class: type[Any], number: int) -> float:
    """All are started, then all are stopped."""

    def run() -> None:
        actors = [actor_class.start() for _ in range(number)]
        for stopping in [actor.stop(block=False) for actor in actors]:
            stopping.get()

    return seconds_of(run)


def xoscar_messages(messages: int, *, tells: bool) -> float:
    import xoscar  # noqa: PLC0415

    class Echo(xoscar.Actor):  # type: ignore[misc]
        async def echo(self, message: int) -> int:
            return message

    async def run() -> float:
        pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        async with pool:
            echo = await xoscar.create_actor(Echo, address=pool.external_address, uid="echo")
            loop = asyncio.get_running_loop()
            began = loop.time()
            for index in range(messages):
                if tells:
                    await echo.echo.tell(index)
                else:
                    assert await echo.echo(index) == index
            if tells:
                await echo.echo(messages)
            return loop.time() - began

    return asyncio.run(run())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--actors", type=int, help="by default 1000, --full 10000")


def measure(options: argparse.Namespace) -> list[Row]:
    messages = options.messages
    asks = max(1, messages // 10)
    actors = options.actors or (10_000 if options.full else 1_000)
    parts: list[tuple[str, str, int, float, int | None, Callable[[type[Any], int], float]]] = [
        ("tell", "us/message", messages, 1 / 4, None, tell),
        ("ask, one after another", "us/message", asks, 1.0, 1, ask),
        ("ask, one after another", "us/message", asks, 1.0, 2, ask),
        ("start and stop", "us/actor", actors, 1 / 20, None, start_and_stop),
    ]
    cases = [
        Case(
            what=what,
            system=actor_class.__base__.__name__,
            size=size,
            unit=unit,
            cores=cores,
            bars=(Bar(peer="ThreadingActor", limit=limit),) if actor_class is Pooled else (),
            measure=lambda part=part, kind=actor_class, size=size: part(kind, size) / size * 1e6,
        )
        for what, unit, size, limit, cores, part in parts
        for actor_class in (Pooled, Threading)
    ]
    cases += [
        Case(
            what=what,
            system="xoscar",
            size=size,
            unit="us/message",
            needs=("xoscar",),
            measure=lambda tells=tells, size=size: xoscar_messages(size, tells=tells) / size * 1e6,
        )
        for what, tells, size in (("tell", True, messages), ("ask, one after another", False, asks))
    ]
    return sorted(take(cases, options.rounds), key=lambda row: row.what, reverse=True)


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
