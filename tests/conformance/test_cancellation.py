"""DESIGN.md section 3, *Deadlines and cancellation*: the cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Cancelled,
    ExecutionCancelledError,
    ExecutionContext,
    Task,
)
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    Gate,
    Meter,
    child,
    children,
    here,
    here_async,
    quiet,
)

Run = Callable[..., Any]


def test_cancelled_is_a_base_exception_that_no_except_exception_swallows() -> None:
    assert issubclass(Cancelled, BaseException)
    assert not issubclass(Cancelled, Exception)


def test_who_is_cancelled_as_it_looks_for_a_group_of_its_own_is_told_so(runtime: Any) -> None:
    groups, told, spawned = runtime._groups, list[type[BaseException]](), Gate()

    class Slow(dict[str, Any]):
        """Finds a group only when its emitter has been cancelled, and the group forgotten."""

        def get(self, group_id: str, default: Any = None) -> Any:
            handle.cancel("meanwhile")
            while group_id in groups:
                runtime.stats()  # behind what the allocator has been told
            return groups.get(group_id, default)

    def awaits() -> None:
        spawned.wait()
        group = here().emit_children(children("t:forever", [None]))
        runtime._groups = Slow()
        try:
            here().await_group(group)
        except BaseException as error:
            told.append(type(error))
            raise
        finally:
            runtime._groups = groups

    handle = runtime.spawn(awaits)
    spawned.open()
    with pytest.raises(ExecutionCancelledError):
        handle.result(LIMIT)
    runtime.close(LIMIT)
    assert told == [Cancelled]


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
    except Exception:  # noqa: BLE001 - the group's own
        pass
    return ends
