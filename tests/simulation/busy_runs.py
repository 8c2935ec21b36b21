"""Runs in which much happens: trees of groups and calls, of every mode, with every kind of end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitMode,
    Execution,
    Orchestrator,
    Rate,
    Retry,
)
from orchestrator.errors import OrchestratorError

Run = Callable[[Any], object]


class BadError(Exception):
    """What actions fail with."""


def policy(random: Random, children: int) -> dict[str, Any]:
    mode = random.choice(list(AwaitMode))
    chosen: dict[str, Any] = {"mode": mode, "cancel_rest": random.random() < 0.7}
    if mode is AwaitMode.QUORUM:
        chosen["quorum"] = random.randint(0, children)
    if random.random() < 0.3:
        chosen["timeout"] = random.choice([0.0, 1.0, 2.0])
    if random.random() < 0.2:
        chosen["max_in_flight"] = random.randint(1, 3)
    if random.random() < 0.1:
        chosen["keep"] = False
    return chosen


class Busy:
    """Actions whose whole behaviour follows from their input: the shape of a tree."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale  # of every duration
        self.actions = ActionRegistry()
        register = self.actions.register
        register("busy:plain")(self.plain)
        register("busy:few", max_concurrency=2)(self.plain)
        register("busy:rated", rate_limit=Rate(2, 1.0 * scale))(self.plain)
        register("busy:again", retry=Retry(max_attempts=3, delay=1.0 * scale))(self.plain)
        register("busy:short", timeout=1.0 * scale)(self.plain)
        register("busy:async")(self.plain_async)
        register("busy:few_async", max_concurrency=2)(self.plain_async)
        self.leaves = sorted(self.actions)

    def child(self, random: Random, depth: int) -> Execution:
        return Execution.ad_hoc(
            random.choice(self.leaves), {"seed": random.randrange(1 << 30), "depth": depth}
        )

    def policy(self, random: Random, children: int) -> dict[str, Any]:
        chosen = policy(random, children)
        if "timeout" in chosen:
            chosen["timeout"] *= self.scale
        return chosen

    def plain(self, seed: int, depth: int) -> int:  # noqa: C901 - a list of things to do
        random = Random(seed)
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        groups: list[str] = []
        for _ in range(random.randint(1, 3)):
            match random.randrange(9):
                case 0:
                    orchestrator.sleep(random.choice([0, 1, 2]) * self.scale)
                case 1:
                    time.sleep(random.choice([0, 1]) * self.scale)
                case 2 if random.random() < 0.6:
                    raise BadError(seed)
                case 3 if groups:
                    orchestrator.cancel_group(random.choice(groups))
                case 4 if groups:
                    self.tolerate(
                        orchestrator.await_group,
                        random.choice(groups),
                        random.choice([None, 0, self.scale]),
                    )
                case 5:
                    self.tolerate(orchestrator.await_resume, random.choice([None, self.scale]))
                case 6 if depth:
                    self.tolerate(
                        orchestrator.call,
                        self.child(random, depth - 1),
                        random.choice([None, self.scale]),
                    )
                case 7:
                    with orchestrator.blocking():
                        time.sleep(0.5 * self.scale)
                case _ if depth:
                    children = [self.child(random, depth - 1) for _ in range(random.randint(0, 4))]
                    groups.append(
                        orchestrator.emit_children(children, **self.policy(random, len(children)))
                    )
                case _:
                    pass
        return seed

    async def plain_async(self, seed: int, depth: int) -> int:
        random = Random(seed)
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        groups: list[str] = []
        for _ in range(random.randint(1, 3)):
            try:
                match random.randrange(7):
                    case 0:
                        await orchestrator.sleep(random.choice([0, 1, 2]) * self.scale)
                    case 1:
                        await asyncio.sleep(random.choice([0, 1]) * self.scale)
                    case 2 if random.random() < 0.6:
                        raise BadError(seed)
                    case 3 if groups:
                        await orchestrator.await_group(
                            random.choice(groups), random.choice([None, self.scale])
                        )
                    case 4:
                        await orchestrator.await_resume(random.choice([None, self.scale]))
                    case 5 if depth:
                        await orchestrator.call(
                            self.child(random, depth - 1), random.choice([None, self.scale])
                        )
                    case _ if depth:
                        children = [
                            self.child(random, depth - 1) for _ in range(random.randint(0, 4))
                        ]
                        groups.append(
                            await orchestrator.emit_children(
                                children, **self.policy(random, len(children))
                            )
                        )
            except (OrchestratorError, ExceptionGroup):
                pass
        return seed

    @staticmethod
    def tolerate(function: Callable[..., Any], *arguments: Any) -> None:
        with contextlib.suppress(OrchestratorError, ExceptionGroup, BadError):
            function(*arguments)

    def drive(self, runtime: Any, seed: int) -> None:
        """Start some trees, cancel some, wait for all."""
        random = Random(seed)
        handles = [
            runtime.spawn(
                self.child(random, 2), timeout=random.choice([None, None, 3.0 * self.scale])
            )
            for _ in range(2)
        ]
        stop = threading.Thread(
            target=lambda: (time.sleep(random.choice([0, 1]) * self.scale), handles[0].cancel())
        )
        if random.random() < 0.3:
            stop.start()
        for handle in handles:
            with contextlib.suppress(OrchestratorError, ExceptionGroup, BadError):
                handle.result()
        if stop.ident is not None:
            stop.join()
