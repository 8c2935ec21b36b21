"""DESIGN.md section 3, *Deadlines and cancellation*: the cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Cancelled,
    ExecutionCancelledError,
    ExecutionContext,
    ExecutionState,
    Retry,
    Task,
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


def test_cancelled_is_a_base_exception_that_no_except_exception_swallows() -> None:
    assert issubclass(Cancelled, BaseException)
    assert not issubclass(Cancelled, Exception)


def test_every_wait_in_a_cancelled_blocking_action_raises_at_once_and_ever_again(
    runtime: Any,
) -> None:
    started, told = Gate(), Gate()
    raised: list[type[BaseException]] = []

    def stubborn() -> str:
        orchestrator = here()
        group = orchestrator.emit_children(children("t:forever", [None]))
        started.open()
        waits: list[Callable[[], Any]] = [
            lambda: orchestrator.await_group(group),
            lambda: orchestrator.sleep(FOREVER),
            lambda: orchestrator.sleep(0),
            orchestrator.await_resume,
            lambda: orchestrator.call(child("t:echo", 1)),
            lambda: list(orchestrator.as_completed(group)),
            lambda: orchestrator.emit_children(children("t:echo", [1])),
            lambda: orchestrator.emit_for_each([1], "x", Task("t:echo")),
            lambda: orchestrator.emit_children(children("t:echo", [1]), max_in_flight=1),
        ]
        for wait in waits:
            try:
                wait()
            except BaseException as error:  # noqa: BLE001 - what this is about
                raised.append(type(error))
        told.open()
        return "ignored it all"

    handle = runtime.spawn(stubborn)
    started.wait()
    handle.cancel("stop")
    with pytest.raises(ExecutionCancelledError, match="stop"):
        handle.result(LIMIT)
    told.wait()
    assert raised == [Cancelled] * 9


def test_a_cancelled_async_action_gets_cancelled_error_and_so_do_its_later_waits(
    runtime: Any,
) -> None:
    started, told = Gate(), Gate()
    raised: list[type[BaseException]] = []

    async def stubborn() -> str:
        orchestrator = here_async()
        group = await orchestrator.emit_children(children("t:forever_async", [None]))
        started.open()
        waits: list[Callable[[], Any]] = [
            lambda: orchestrator.await_group(group),
            lambda: orchestrator.sleep(0),
            orchestrator.await_resume,
            lambda: orchestrator.call(child("t:echo", 1)),
            lambda: orchestrator.emit_children(children("t:echo", [1])),
        ]
        for wait in waits:
            try:
                await wait()
            except BaseException as error:  # noqa: BLE001 - what this is about
                raised.append(type(error))
        told.open()
        return "ignored it all"

    handle = runtime.spawn(stubborn)
    started.wait()
    handle.cancel("stop")
    with pytest.raises(ExecutionCancelledError, match="stop"):
        handle.result(LIMIT)
    told.wait()
    assert raised == [asyncio.CancelledError] * 5


def test_an_async_action_that_awaits_something_else_is_cancelled_there(runtime: Any) -> None:
    started = Gate()
    told = Gate()

    async def waits() -> None:
        started.open()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.open()
            raise

    handle = runtime.spawn(waits)
    started.wait()
    handle.cancel()
    told.wait()
    with pytest.raises(ExecutionCancelledError):
        handle.result(LIMIT)


def test_a_blocking_action_that_does_not_wait_sees_that_its_context_is_cancelled(
    runtime: Any,
) -> None:
    started, cancelled, seen = Gate(), Gate(), Gate()

    def computes(context: ExecutionContext) -> None:
        assert not context.cancelled
        started.open()
        cancelled.wait()
        if context.cancelled:
            seen.open()

    handle = runtime.spawn(computes)
    started.wait()
    handle.cancel()
    with pytest.raises(ExecutionCancelledError):  # answered at once, though its code runs on
        handle.result(LIMIT)
    cancelled.open()
    seen.wait()


def test_a_cancelled_execution_stays_cancelled_whatever_its_code_returns(runtime: Any) -> None:
    started, go = Gate(), Gate()

    def computes(fails: bool) -> str:
        started.open()
        go.wait()
        if fails:
            raise ValueError("late")
        return "late"

    for fails in (False, True):
        started, go = Gate(), Gate()
        handle = runtime.spawn(computes, {"fails": fails})
        started.wait()
        handle.cancel("stop")
        with pytest.raises(ExecutionCancelledError):
            handle.result(LIMIT)
        go.open()
    runtime.close(LIMIT)
    assert runtime.stats().cancelled == 2
    assert handle.snapshot().state == "cancelled"


def test_code_that_cannot_be_stopped_is_counted_as_cancelling_until_it_ends(runtime: Any) -> None:
    started, go = Gate(), Gate()

    def computes() -> None:
        started.open()
        go.wait()

    handle = runtime.spawn(computes)
    started.wait()
    handle.cancel()
    with pytest.raises(ExecutionCancelledError):
        handle.result(LIMIT)
    stats = runtime.stats()
    assert (stats.cancelling, stats.cancelled, stats.settled) == (1, 0, 0)
    go.open()
    runtime.close(LIMIT)
    stats = runtime.stats()
    assert (stats.cancelling, stats.cancelled, stats.settled) == (0, 1, 1)


def test_a_scope_waits_for_cancelled_code_that_cannot_be_stopped(
    actions: ActionRegistry, runtime: Any
) -> None:
    started, go = Gate(), Gate()
    meter = Meter()

    @actions.register("t:computes")
    def computes() -> None:
        with meter:
            started.open()
            go.wait()

    with runtime.execution() as orchestrator:
        group = orchestrator.emit_one(child("t:computes"))
        started.wait()
        orchestrator.cancel_group(group)
        assert [end.state.value for end in _ends(orchestrator, group)] == ["cancelled"]
        assert meter.inside == 1  # answered at once
        go.open()
    assert meter.inside == 0
    assert quiet(runtime.stats())


def _ends(orchestrator: Any, group: str) -> list[Any]:
    ends = []
    try:
        for end in orchestrator.as_completed(group):
            ends.append(end)  # noqa: PERF402 - what came before the error counts
    except Exception:  # noqa: BLE001, S110 - the group's own
        pass
    return ends


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


def test_a_cancel_reaches_everything_below_whatever_it_was_doing(
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

    with runtime.execution() as orchestrator:
        with pytest.raises(ValueError, match="its children are out"):
            orchestrator.call(child("t:fails_above", {"started": Gate()}))
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
            with use_context(context):
                try:
                    orchestrator.call(child("t:forever", {"started": started}))
                except BaseException:  # noqa: BLE001, S110 - it is cancelled, or told that it is late
                    pass

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
