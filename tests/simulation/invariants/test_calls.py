"""Calls: a child in its caller's place ends once, whoever gives up, is cancelled or comes late."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitTimeoutError,
    Execution,
    ExecutionCancelledError,
    Orchestrator,
)
from runtime.simulation import SimulatedRuntime
from runtime.simulation.strategies import delays
from tests.simulation.harness import INSTANT, Errors, still_there
from tests.simulation.schedules import orders


class Called(NamedTuple):
    """A child: how long it takes, and whether it is a leaf all the while or becomes an actor."""

    takes: float
    naps: bool


CALLED = st.lists(
    st.builds(Called, st.integers(0, 2).map(float), st.booleans()), min_size=1, max_size=3
)


class Caller:
    """The actions, and what the calling code was told."""

    def __init__(self, children: list[Called], patience: float) -> None:
        self.actions = actions = ActionRegistry()
        self.told: list[tuple[str, float]] = []  # and after how many seconds
        self.inside = 0
        self._children = children
        self._patience = patience
        actions.register("t:child")(self.child)
        actions.register("t:child_async")(self.child_async)
        actions.register("t:calls")(self.calls)
        actions.register("t:calls_async")(self.calls_async)

    def child(self, takes: float, naps: bool) -> str:
        self.inside += 1
        try:
            if naps:
                orchestrator = Orchestrator.from_context()
                assert orchestrator is not None
                orchestrator.sleep(takes)
            else:
                time.sleep(takes)
        finally:
            self.inside -= 1
        return "value"

    async def child_async(self, takes: float, naps: bool) -> str:
        self.inside += 1
        try:
            if naps:
                orchestrator = AsyncOrchestrator.from_context()
                assert orchestrator is not None
                await orchestrator.sleep(takes)
            else:
                await asyncio.sleep(takes)
        finally:
            self.inside -= 1
        return "value"

    def calls(self) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        for child in self._children:
            began = time.monotonic()
            try:
                answer = orchestrator.call(self._child("t:child", child), self._patience)
            except AwaitTimeoutError:
                answer = "gave up"
            self.told.append((answer, time.monotonic() - began))

    async def calls_async(self) -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        for child in self._children:
            began = time.monotonic()
            try:
                answer = await orchestrator.call(
                    self._child("t:child_async", child), self._patience
                )
            except AwaitTimeoutError:
                answer = "gave up"
            self.told.append((answer, time.monotonic() - began))

    def _child(self, action: str, child: Called) -> Execution:
        return Execution.ad_hoc(action, child._asdict())


@given(
    CALLED,
    st.sampled_from([1.0, 2.0]),
    st.none() | delays(2),
    st.booleans(),
    st.booleans(),
    orders(),
)
def test_9_a_called_child_ends_once_whoever_gives_up(
    children: list[Called],
    patience: float,
    cancel: float | None,
    is_async: bool,
    strict: bool,
    schedule: Any,
) -> None:
    caller, ends = Caller(children, patience), list[str]()
    clock = "jump" if strict else "choose"
    with (
        Errors() as errors,
        SimulatedRuntime(caller.actions, schedule, workers=2, clock=clock) as runtime,
    ):
        subscription = runtime.subscribe(
            lambda event: ends.append(event.execution.id) if event.execution.state.ended else None
        )
        handle = runtime.spawn("t:calls_async" if is_async else "t:calls")
        if cancel is not None:
            time.sleep(cancel)
            handle.cancel()
        try:
            handle.result()
        except ExecutionCancelledError:
            assert cancel is not None
        runtime.world.jump = True
        time.sleep(10.0)  # code that was told to end has ended
        stats = runtime.stats()
        subscription.close()
        runtime.close()
        assert still_there(runtime) == []
    assert (stats.pending, stats.running, stats.waiting, stats.cancelling) == (0, 0, 0, 0)
    assert stats.emitted == stats.settled == len(ends) == len(set(ends))
    assert errors.texts == []
    assert caller.inside == 0
    for (answer, after), child in zip(caller.told, children, strict=False):
        assert after >= (child.takes if answer == "value" else patience)
        if strict and not is_async and child.takes != patience:
            assert answer == ("value" if child.takes < patience else "gave up")
        if strict and child.naps:
            assert after <= min(child.takes, patience) + INSTANT
