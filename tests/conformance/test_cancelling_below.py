"""DESIGN.md section 3, *Deadlines and cancellation*: what a cancel reaches, and what not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Cancelled,
    ExecutionCancelledError,
    ExecutionState,
    OrchestratorError,
    Retry,
    UnknownExecutionError,
    current_context,
    use_context,
)
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    Gate,
    Meter,
    child,
    children,
    ends_of,
    here,
    here_async,
    quiet,
)

Run = Callable[..., Any]


def test_cancelling_one_child_leaves_its_siblings_alone(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        given = [child("t:gated_async", {"gate": gate, "value": n}) for n in range(3)]
        group = await orchestrator.emit_children(given)
        await orchestrator.cancel(given[1].id, "only this")
        gate.open()
        outputs = await orchestrator.await_group(group, return_exceptions=True)
        assert outputs[::2] == [0, 2]
        assert isinstance(outputs[1], ExecutionCancelledError)
        assert outputs[1].reason == "only this"

    run_body(body)


def test_cancelling_what_has_ended_does_nothing_and_an_unknown_id_is_refused(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        given = child("t:echo", 1)
        group = await orchestrator.emit_one(given)
        assert await orchestrator.await_group(group) == [1]
        await orchestrator.cancel(given.id)
        assert await orchestrator.await_group(group) == [1]
        with pytest.raises(UnknownExecutionError, match="nobody"):
            await orchestrator.cancel("nobody")

    run_body(body)


def test_a_cancel_reaches_everything_below_whatever_it_was_doing(  # noqa: C901, PLR0915
    actions: ActionRegistry, make_runtime: Run
) -> None:
    """Running, waiting in each way, between attempts, and queued."""
    meter = Meter()
    gates = {name: Gate() for name in ("sleeps", "calls", "awaits", "retries", "async")}

    @actions.register("t:sleeps")
    def sleeps() -> None:
        with meter:
            gates["sleeps"].open()
            here().sleep(FOREVER)

    @actions.register("t:calls")
    def calls() -> None:
        with meter:
            gates["calls"].open()
            here().call(child("t:forever"))

    @actions.register("t:awaits")
    def awaits() -> None:
        with meter:
            orchestrator = here()
            group = orchestrator.emit_children(children("t:forever", [None] * 2))
            gates["awaits"].open()
            orchestrator.await_group(group)

    @actions.register("t:async")
    async def waits() -> None:
        with meter:
            orchestrator = here_async()
            await orchestrator.emit_children(children("t:forever_async", [None] * 2))
            gates["async"].open()
            await orchestrator.await_resume()

    @actions.register("t:retries", retry=Retry(max_attempts=2, delay=FOREVER))
    def retries() -> None:
        gates["retries"].open()
        raise ValueError("again")

    @actions.register("t:limited", max_concurrency=1)
    def limited() -> None:
        here().sleep(0)
        raise AssertionError("it must never run")

    @actions.register("t:holds", max_concurrency=1)
    def holds() -> None:
        here().sleep(FOREVER)

    @actions.register("t:root")
    def root() -> None:
        orchestrator = here()
        names = ("t:sleeps", "t:calls", "t:awaits", "t:async", "t:retries")
        given = [child(name) for name in names]
        given += children("t:holds", [None] * 3)
        orchestrator.await_group(orchestrator.emit_children(given))

    runtime = make_runtime(workers=8)
    ends: dict[str, list[str]] = {}

    def watch(event: Any) -> None:
        if event.execution.state.ended:
            ends.setdefault(event.execution.id, []).append(event.execution.state.value)

    subscription = runtime.subscribe(watch)
    handle = runtime.spawn("t:root")
    for gate in gates.values():
        gate.wait()
    handle.cancel("everything")
    with pytest.raises(ExecutionCancelledError, match="everything"):
        handle.result(LIMIT)
    runtime.close(LIMIT)
    subscription.close()
    stats = runtime.stats()
    assert meter.inside == 0
    assert quiet(stats)
    assert stats.cancelled == stats.emitted
    assert list(ends.values()) == [["cancelled"]] * stats.emitted  # each once


def test_a_queued_execution_that_is_cancelled_never_starts(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    gate, started = Gate(), Gate()
    ran: list[int] = []

    @actions.register("t:hold")
    def hold() -> None:
        started.open()
        gate.wait()

    @actions.register("t:never")
    def never() -> None:
        ran.append(1)

    runtime = make_runtime(workers=1)
    runtime.spawn("t:hold")
    started.wait()
    queued = runtime.spawn("t:never")
    queued.cancel("not now")
    with pytest.raises(ExecutionCancelledError, match="not now"):
        queued.result(LIMIT)
    gate.open()
    runtime.close(LIMIT)
    assert ran == []
    snapshot = queued.snapshot()
    assert (snapshot.attempts, snapshot.started_at) == (0, None)


def test_a_cancelled_asyncio_waiter_cancels_nothing_but_itself(runtime: Any) -> None:
    gate = Gate()

    async def main() -> None:
        handle = runtime.spawn("t:gated_async", {"gate": gate, "value": 1})
        async with runtime.execution() as orchestrator:
            group = await orchestrator.emit_one(child("t:gated_async", {"gate": gate, "value": 2}))

            async def wait() -> Any:
                return await handle

            waiters = [
                asyncio.create_task(wait()),
                asyncio.create_task(orchestrator.await_group(group)),
            ]
            await asyncio.sleep(0)
            for waiter in waiters:
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
            gate.open()
            assert await handle == 1
            assert await orchestrator.await_group(group) == [2]

    asyncio.run(main())
    assert runtime.stats().completed == 3


def test_when_an_execution_ends_for_any_reason_everything_below_it_ends(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:fails_above")
    def fails_above(started: Gate) -> None:
        here().emit_children([child("t:forever", {"started": started})])
        started.wait()
        raise ValueError("its children are out")

    failing = child("t:fails_above", {"started": Gate()})
    with runtime.execution() as orchestrator, pytest.raises(ValueError, match="children are out"):
        orchestrator.call(failing)
    stats = runtime.stats()
    assert quiet(stats)
    assert (stats.failed, stats.cancelled) == (1, 1)


def test_a_parent_that_returns_with_a_call_of_another_thread_out_takes_it_along(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:returns")
    def returns(started: Gate) -> str:
        context, orchestrator = current_context(), here()

        def calls() -> None:
            # It is cancelled, or told that it is late.
            with use_context(context), contextlib.suppress(Cancelled, OrchestratorError):
                orchestrator.call(child("t:forever", {"started": started}))

        threading.Thread(target=calls, daemon=True).start()
        started.wait()
        return "done"

    with runtime.execution() as orchestrator:
        assert orchestrator.call(child("t:returns", {"started": Gate()})) == "done"
    assert runtime.stats().cancelled == 1


def test_the_reason_is_told_to_everyone_below(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children([child("t:forever"), child("t:forever_async")])
        await orchestrator.cancel_group(group, "because I say so")
        ends = await ends_of(orchestrator, group)
        assert {end.state for end in ends} == {ExecutionState.CANCELLED}
        assert all(isinstance(end.error, ExecutionCancelledError) for end in ends)

    run_body(body)
