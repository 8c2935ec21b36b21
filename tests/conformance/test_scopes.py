"""DESIGN.md section 4: the caller's own code as an execution."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    DuplicateExecutionError,
    ExecutionCancelledError,
    GroupFailedError,
    Orchestrator,
    current_context,
)
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    Gate,
    child,
    children,
    here,
    in_thread,
    quiet,
)

Run = Callable[..., Any]


def test_a_scope_makes_the_callers_code_an_execution(runtime: Any) -> None:
    with runtime.execution("import-42", context={"tenant": "a"}) as orchestrator:
        assert isinstance(orchestrator, Orchestrator)
        execution = current_context().execution
        assert (execution.id, execution.task_id, execution.state) == (
            "import-42",
            "import-42",
            "running",
        )
        assert current_context()["tenant"] == "a"
        assert orchestrator.call(child("t:echo", 1)) == 1


def test_a_scope_ends_only_when_everything_in_it_has_ended(runtime: Any) -> None:
    entered, gate = Gate(), Gate()
    order: list[str] = []

    def scope() -> None:
        with runtime.execution() as orchestrator:
            orchestrator.emit_one(child("t:gated", {"gate": gate}))
            entered.open()
        order.append("left")

    left = in_thread(scope)
    entered.wait()
    assert not left.done()
    order.append("opened")
    gate.open()
    left.result(LIMIT)
    assert order == ["opened", "left"]
    assert quiet(runtime.stats())


def test_an_async_scope_gives_the_twin_and_waits_without_blocking_the_loop(runtime: Any) -> None:
    gate = Gate()

    async def main() -> None:
        async def opener() -> None:
            gate.open()

        async with runtime.execution() as orchestrator:
            assert isinstance(orchestrator, AsyncOrchestrator)
            await orchestrator.emit_one(child("t:gated", {"gate": gate}))
            opening = asyncio.create_task(opener())  # runs while the scope waits to end
        await opening

    asyncio.run(main())
    assert quiet(runtime.stats())


def test_scopes_nest_as_roots_of_their_own(runtime: Any) -> None:
    with runtime.execution("outer") as outer:
        with runtime.execution("inner") as inner:
            group = inner.emit_one(child("t:echo", 1))
            assert inner.await_group(group) == [1]
            assert current_context().execution.id == "inner"
        assert current_context().execution.id == "outer"
        assert outer.await_group(outer.emit_one(child("t:echo", 2))) == [2]


def test_two_scopes_of_one_name_cannot_run_at_once_but_one_after_the_other(runtime: Any) -> None:
    with runtime.execution("same"), pytest.raises(DuplicateExecutionError, match="same"):
        runtime.execution("same").__enter__()
    with runtime.execution("same") as orchestrator:
        assert orchestrator.call(child("t:echo", 1)) == 1


def test_leaving_a_cancelled_scope_raises_execution_cancelled_error(runtime: Any) -> None:
    scope = runtime.execution("mine")
    with pytest.raises(ExecutionCancelledError, match="stop"), scope as orchestrator:  # noqa: PT012
        in_thread(lambda: Orchestrator(runtime).cancel("mine", "stop")).result(LIMIT)
        orchestrator.sleep(FOREVER)

    async def main() -> None:
        async with runtime.execution("mine") as orchestrator:
            in_thread(lambda: Orchestrator(runtime).cancel("mine", "stop")).result(LIMIT)
            await orchestrator.sleep(FOREVER)

    with pytest.raises(ExecutionCancelledError, match="stop"):
        asyncio.run(main())


def test_a_scope_that_is_left_in_an_async_cancel_takes_its_children_along(runtime: Any) -> None:
    async def main() -> None:
        started = Gate()

        async def scope() -> None:
            async with runtime.execution() as orchestrator:
                group = await orchestrator.emit_one(child("t:forever", {"started": started}))
                await orchestrator.await_group(group)

        task = asyncio.create_task(scope())
        await started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert runtime.stats().running == 0

    asyncio.run(main())
    assert quiet(runtime.stats())


def test_a_scopes_orchestrator_serves_threads_of_the_application(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", [1, 2]))
        futures = [in_thread(lambda: orchestrator.await_group(group, LIMIT)) for _ in range(5)]
        futures += [in_thread(lambda: [orchestrator.call(child("t:echo", 3))])]
        answers = [future.result(LIMIT) for future in futures]
    assert answers == [[1, 2]] * 5 + [[3]]


def test_an_unread_failure_in_a_nested_execution_reaches_the_end_of_the_scope(
    runtime: Any, actions: ActionRegistry
) -> None:
    @actions.register("t:middle")
    def middle() -> None:
        here().emit_one(child("t:fail", "deep"))

    with pytest.raises(GroupFailedError) as caught, runtime.execution() as orchestrator:
        orchestrator.emit_one(child("t:middle"))
    (middle_error,) = caught.value.exceptions
    assert isinstance(middle_error, GroupFailedError)
    assert str(middle_error.exceptions[0]) == "deep"
