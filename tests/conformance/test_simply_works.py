"""What simply works, and the seed's API over any object that has its four methods."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pykka
import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitTimeoutError,
    Execution,
    ExecutionContext,
    ExecutionState,
    GroupFailedError,
    GroupPolicy,
    GroupResult,
    MissingExecutionError,
    Orchestrator,
    Process,
    Task,
    use_context,
)
from tests.conformance.support import LIMIT, SOON, Boom, child, children, here, here_async

Run = Callable[..., Any]


class Incomparable:
    """As an array is: no truth, no equality, no copy, no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __len__(self) -> int:
        raise ValueError("no length")

    def __copy__(self) -> Any:
        raise ValueError("no copy")

    def __deepcopy__(self, _memo: Any) -> Any:
        raise ValueError("no copy")

    def __reduce__(self) -> Any:
        raise ValueError("no pickle")


def test_outputs_that_cannot_be_compared_copied_or_printed_pass_through(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        with socket.socket() as plug:
            for value in (Incomparable(), threading.Lock(), plug, lambda: None):
                assert await orchestrator.call(child("t:echo", {"value": value})) is value
                given = [child("t:echo", {"value": value}) for _ in range(2)]
                group = await orchestrator.emit_children(given, merge="replace")
                outputs = await orchestrator.await_group(group)
                assert outputs[0] is value
                group = await orchestrator.emit_for_each(
                    [value], "v", Task("t:echo", {"value": "${v}"}), mode="first"
                )
                assert (await orchestrator.await_group(group))[0] is value

    run_body(body)


def test_such_outputs_can_be_merged_and_returned(runtime: Any) -> None:
    value = Incomparable()

    def merges() -> None:
        here().emit_one(child("t:echo", {"value": value}))

    def returns() -> Any:
        here().emit_one(child("t:echo", {"value": 1}), merge="replace")
        return value

    async def returns_async() -> Any:
        await here_async().emit_one(child("t:echo", {"value": 1}))
        return value

    (merged,) = runtime.run(merges)
    assert merged is value
    assert runtime.run(returns) == 1
    first, second = runtime.run(returns_async)
    assert first is value
    assert second == 1


def test_twenty_thousand_children_in_one_emit(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(20_000), "n", Task("t:echo"))
        assert orchestrator.await_group(group) == list(range(20_000))
        assert sum(1 for _ in orchestrator.as_completed(group)) == 20_000
    assert runtime.stats().completed == 20_001


def test_two_thousand_groups_of_one_execution(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        for n in range(2000):
            orchestrator.emit_one(child("t:echo", n))
        assert orchestrator.await_resume() == list(range(2000))


@pytest.mark.parametrize("action", ["t:deep", "t:deep_async"])
def test_calls_nested_a_thousand_deep_with_one_worker(
    actions: ActionRegistry, make_runtime: Run, action: str
) -> None:
    @actions.register("t:deep")
    def deep(depth: int) -> int:
        return here().call(child("t:deep", depth - 1)) + 1 if depth else 0

    @actions.register("t:deep_async")
    async def deep_async(depth: int) -> int:
        return await here_async().call(child("t:deep_async", depth - 1)) + 1 if depth else 0

    assert make_runtime(workers=1).run(action, 1000) == 1000


def test_a_failure_a_hundred_deep_arrives_at_the_top(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    @actions.register("t:deep")
    def deep(depth: int) -> Any:
        if not depth:
            raise Boom("at the bottom")
        orchestrator = here()
        return orchestrator.await_group(orchestrator.emit_one(child("t:deep", depth - 1)))

    error: Any = None
    try:
        make_runtime(workers=1).run("t:deep", 100)
    except GroupFailedError as raised:
        error = raised
    levels = 0
    while isinstance(error, GroupFailedError):
        (error,) = error.exceptions
        levels += 1
    assert (levels, str(error)) == (100, "at the bottom")


# The seed's API over any object with the four methods


class Minimal:
    """A runtime of four methods whose futures are Pykka's own, which have no callbacks."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.emitted: list[tuple[Execution, Sequence[Execution], GroupPolicy]] = []

    def _future(self, value: Any) -> pykka.Future[Any]:
        future: pykka.Future[Any] = pykka.ThreadingFuture()
        if self.answers:
            future.set(value)
        return future

    def emit_executions(
        self, parent: Execution, children: Sequence[Execution], policy: GroupPolicy
    ) -> Any:
        self.emitted.append((parent, children, policy))
        future: pykka.Future[Any] = pykka.ThreadingFuture()
        future.set("group")
        return future

    def wait_for_unblock(self, execution_id: str) -> Any:
        return self._future(Execution(id=execution_id, output="merged"))

    def await_group(self, group_id: str) -> Any:  # noqa: ARG002 - it has one group
        _, given, _ = self.emitted[-1]
        return self._future(GroupResult([end.input for end in given], given))

    def schedule_execution(self, execution: Execution) -> Any:
        state = ExecutionState.COMPLETED
        return self._future(Execution(output=execution.input, state=state))


@pytest.fixture
def context() -> ExecutionContext:
    return ExecutionContext(Execution(id="root"), Process("root"), {})


def test_with_four_methods_the_seeds_api_works(context: ExecutionContext) -> None:
    orchestrator = Orchestrator(Minimal())
    with use_context(context):
        group = orchestrator.emit_for_each([1, 2], "n", Task("any:thing", id="t"), mode="any")
        assert orchestrator.await_group(group, LIMIT) == [1, 2]
        assert orchestrator.emit_children(children("any:thing", [3])) == "group"
        assert orchestrator.await_group("group") == [3]
        assert orchestrator.emit_one(child("any:thing", 4)) == "group"
        assert orchestrator.await_resume(LIMIT) == "merged"
        assert orchestrator.call(child("any:thing", 5), LIMIT) == 5
    with pytest.raises(MissingExecutionError):
        orchestrator.emit_one(child("any:thing", 6))


def test_with_four_methods_the_awaitable_twin_works_too(context: ExecutionContext) -> None:
    runtime = Minimal()

    async def main() -> None:
        orchestrator = AsyncOrchestrator(runtime)
        with use_context(context):
            group = await orchestrator.emit_for_each([1, 2], "n", Task("any:thing", id="t"))
            assert await orchestrator.await_group(group, LIMIT) == [1, 2]
            assert await orchestrator.await_resume(LIMIT) == "merged"
            assert await orchestrator.call(child("any:thing", 5), LIMIT) == 5

    asyncio.run(main())
    parent, given, policy = runtime.emitted[0]
    assert parent.id == "root"
    assert [end.task_id for end in given] == ["root.t[0]", "root.t[1]"]
    assert policy.mode == "all"


def test_with_four_methods_a_waiters_patience_still_ends(context: ExecutionContext) -> None:
    orchestrator = Orchestrator(Minimal(answers=False))

    async def main() -> None:
        with pytest.raises(AwaitTimeoutError):
            await AsyncOrchestrator(Minimal(answers=False)).call(child("any:thing"), SOON)

    with use_context(context):
        orchestrator.emit_one(child("any:thing", 1))
        with pytest.raises(AwaitTimeoutError):
            orchestrator.await_group("group", SOON)
        with pytest.raises(AwaitTimeoutError):
            orchestrator.call(child("any:thing"), SOON)
    asyncio.run(main())
