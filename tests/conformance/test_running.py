"""DESIGN.md section 4: spawn, run, handles, scopes, several runtimes."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitTimeoutError,
    DuplicateExecutionError,
    Execution,
    ExecutionCancelledError,
    ExecutionContext,
    GroupFailedError,
    MissingExecutionError,
    Orchestrator,
    UnknownActionError,
    current_context,
)
from tests.conformance.support import (
    LIMIT,
    SOON,
    Boom,
    Gate,
    child,
    here,
    here_async,
    in_thread,
)

Run = Callable[..., Any]


def test_run_takes_a_name_an_execution_or_a_plain_function(runtime: Any) -> None:
    async def waiting(value: int) -> int:
        return value

    assert runtime.run("t:echo", 1) == 1
    assert runtime.run(Execution.ad_hoc("t:echo", 2)) == 2
    assert runtime.run(lambda value: value, 3) == 3
    assert runtime.run(waiting, 4) == 4
    assert runtime.run(functools.partial(max, 5), 3) == 5
    assert runtime.run(len, "four") == 4


def test_run_async_is_awaited_on_any_loop(runtime: Any) -> None:
    async def main() -> list[Any]:
        assert await runtime.run_async("t:echo", 1) == 1
        with pytest.raises(Boom, match="async"):
            await runtime.run_async("t:fail", "async")
        return await asyncio.gather(*(runtime.run_async("t:echo_async", n) for n in range(10)))

    assert asyncio.run(main()) == list(range(10))


def test_run_raises_the_actions_own_exception(runtime: Any) -> None:
    for action in ("t:fail", "t:fail_async"):
        with pytest.raises(Boom, match="mine"):
            runtime.run(action, "mine")


def test_run_async_cancels_what_it_started_when_it_is_cancelled(runtime: Any) -> None:
    async def main() -> None:
        for action in ("t:forever", "t:forever_async"):
            started = Gate()
            task = asyncio.create_task(runtime.run_async(action, {"started": started}))
            await started
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    runtime.close(LIMIT)
    assert runtime.stats().cancelled == 2


def test_spawn_detaches_and_its_handle_can_be_read_in_every_way(runtime: Any) -> None:
    handle = runtime.spawn("t:echo", "value")

    async def main() -> Any:
        return await handle

    assert handle.result(LIMIT) == "value"
    assert asyncio.run(main()) == "value"
    assert in_thread(lambda: handle.result(LIMIT)).result(LIMIT) == "value"
    assert handle.result(0) == "value"
    snapshot = handle.snapshot()
    assert (snapshot.id, snapshot.state, snapshot.output) == (handle.id, "completed", "value")


def test_a_handle_that_is_asked_too_early_says_so_and_the_execution_goes_on(runtime: Any) -> None:
    gate = Gate()
    handle = runtime.spawn("t:gated_async", {"gate": gate, "value": 1})
    for timeout in (0, SOON):
        with pytest.raises(AwaitTimeoutError):
            handle.result(timeout)
    assert handle.snapshot().state in ("scheduled", "running")
    gate.open()
    assert handle.result(LIMIT) == 1


def test_a_handle_cancels_its_execution(runtime: Any) -> None:
    started = Gate()
    handle = runtime.spawn("t:forever", {"started": started})
    started.wait()
    handle.cancel("enough")
    for _ in range(2):
        with pytest.raises(ExecutionCancelledError, match="enough"):
            handle.result(LIMIT)
    handle.cancel("again")
    assert handle.snapshot().state == "cancelled"


def test_spawn_inside_an_action_makes_a_root_of_its_own(
    runtime: Any, actions: ActionRegistry
) -> None:
    gate = Gate()

    @actions.register("t:spawner")
    def spawner() -> Any:
        return runtime.spawn("t:gated_async", {"gate": gate, "value": "outlived it"})

    handle = runtime.run("t:spawner")  # returns though its root is out
    gate.open()
    assert handle.result(LIMIT) == "outlived it"
    assert handle.snapshot().parent_id is None


def test_entries_are_seen_by_the_action_and_the_caller_keeps_its_own(runtime: Any) -> None:
    entries = {"tenant": "a"}

    def look(context: ExecutionContext) -> dict[str, Any]:
        return {key: context[key] for key in context if key in entries}

    assert runtime.run(look, context=entries) == {"tenant": "a"}
    assert runtime.run(look) == {}
    assert entries == {"tenant": "a"}


def test_current_context_is_there_in_an_execution_and_nowhere_else(runtime: Any) -> None:
    with pytest.raises(MissingExecutionError):
        current_context()
    assert runtime.run(lambda: current_context().execution.state) == "running"
    with runtime.execution("mine"):
        assert current_context().execution.id == "mine"
    with pytest.raises(MissingExecutionError):
        current_context()


def test_an_unknown_action_is_refused_and_the_nearest_named(runtime: Any) -> None:
    with pytest.raises(UnknownActionError, match="t:echo"):
        runtime.run("t:ecko")
    with pytest.raises(UnknownActionError, match="nothing like it"):
        runtime.spawn("nothing like it")
    assert runtime.stats().emitted == 0


@pytest.mark.parametrize("target", [None, 3, object(), ["t:echo"]])
def test_what_cannot_be_run_is_refused(runtime: Any, target: Any) -> None:
    with pytest.raises(TypeError):
        runtime.spawn(target)


def test_an_execution_can_be_run_once_only(runtime: Any) -> None:
    once = Execution.ad_hoc("t:echo", 1)
    assert runtime.run(once) == 1
    with pytest.raises(DuplicateExecutionError):
        runtime.run(once)
    with pytest.raises(DuplicateExecutionError):
        runtime.spawn(once)


def test_an_execution_that_is_refused_for_its_id_leaves_the_one_that_has_it_alone(
    runtime: Any,
) -> None:
    gate = Gate()
    original = child("t:gated_async", {"gate": gate, "value": "unharmed"}, id="same")
    handle = runtime.spawn(original)

    async def main() -> None:
        with pytest.raises(DuplicateExecutionError, match="same"):
            await runtime.run_async(child("t:echo", 1, id="same"))

    with pytest.raises(DuplicateExecutionError, match="same"):
        runtime.run(child("t:echo", 1, id="same"))
    with pytest.raises(DuplicateExecutionError, match="same"):
        runtime.spawn(child("t:echo", 1, id="same"))
    with pytest.raises(DuplicateExecutionError, match="same"):
        Orchestrator(runtime).call(child("t:echo", 1, id="same"))
    asyncio.run(main())
    with runtime.execution() as orchestrator:
        with pytest.raises(DuplicateExecutionError, match="same"):
            orchestrator.emit_one(child("t:echo", 1, id="same"))
        with pytest.raises(DuplicateExecutionError, match="same"):
            orchestrator.call(child("t:echo", 1, id="same"))
    gate.open()
    assert handle.result(LIMIT) == "unharmed"


@pytest.mark.parametrize("how", ["eagerly", "lazily", "with a timeout"])
@pytest.mark.parametrize("async_too", [True, False])
def test_an_id_is_taken_while_its_execution_is_queued_and_free_when_it_has_ended(
    actions: ActionRegistry, make_runtime: Callable[..., Any], how: str, *, async_too: bool
) -> None:
    gate, started = Gate(), Gate()

    def hold() -> None:
        started.open()
        gate.wait()

    actions.register("t:hold", max_concurrency=1)(hold)

    @actions.register("t:in_line", max_concurrency=1)
    async def in_line(value: Any = None) -> Any:
        started.open()
        await gate
        return value

    action = "t:in_line" if async_too else "t:echo"
    policy: dict[str, Any] = {"max_in_flight": 600} if how == "lazily" else {}
    more: dict[str, Any] = {"timeout": LIMIT} if how == "with a timeout" else {}
    runtime = make_runtime(workers=1)
    with runtime.execution() as orchestrator:
        first = orchestrator.emit_one(child("t:in_line" if async_too else "t:hold"))
        started.wait()
        names = [f"name {number}" for number in range(600)]
        mine = [child(action, name, id=name, **more) for name in names]
        queued = orchestrator.emit_children(mine, **policy)
        while runtime.stats().pending < len(mine):
            orchestrator.sleep(0)  # a lazy source is still being drawn
        again = [child(action, 1, id=name) for name in (names[0], names[-1])]
        for one in again:
            with pytest.raises(DuplicateExecutionError, match=one.id):
                orchestrator.emit_children([child(action, 2), one])
            with pytest.raises(DuplicateExecutionError, match=one.id):
                orchestrator.call(one)
            lazily = orchestrator.emit_children([one], max_in_flight=1)
            with pytest.raises(GroupFailedError) as failed:
                orchestrator.await_group(lazily)
            assert isinstance(failed.value.exceptions[0], DuplicateExecutionError)
        gate.open()
        orchestrator.await_group(first)
        assert orchestrator.await_group(queued) == names
        free = orchestrator.emit_children([child(action, 3, id=name) for name in names])
        assert orchestrator.await_group(free) == [3] * len(names)


def test_the_same_function_can_be_registered_in_two_registries_of_two_runtimes(
    make_runtime: Run,
) -> None:
    def shared() -> str:
        return "shared"

    registries = [ActionRegistry(), ActionRegistry()]
    for registry in registries:
        registry.register("t:shared")(shared)
    assert [make_runtime(registry).run("t:shared") for registry in registries] == ["shared"] * 2


def test_several_runtimes_live_side_by_side(make_runtime: Run) -> None:
    first, second = make_runtime(), make_runtime()

    def across() -> Any:
        return second.run("t:echo", "across")

    assert first.run(across) == "across"
    with first.execution("same") as one, second.execution("same") as other:
        assert other.call(child("t:echo", 1)) == 1
        group = other.emit_one(child("t:echo", 2))
        assert other.await_group(group) == [2]
        assert one is not other
    first.close(LIMIT)
    assert second.run("t:echo", 3) == 3


def test_actions_may_be_registered_later(runtime: Any, actions: ActionRegistry) -> None:
    actions.register("t:late")(lambda: "late")
    assert runtime.run("t:late") == "late"


def test_async_actions_run_on_the_applications_own_loop_inside_async_with(
    make_runtime: Run, actions: ActionRegistry
) -> None:
    @actions.register("t:loop")
    async def loop() -> Any:
        return asyncio.get_running_loop(), threading.get_ident()

    async def main() -> None:
        async with make_runtime() as runtime:
            where = await runtime.run_async("t:loop")
            assert where == (asyncio.get_running_loop(), threading.get_ident())
            assert await runtime.run_async("t:echo", 1) == 1
            assert await here_outside(runtime) == 2

    async def here_outside(runtime: Any) -> Any:
        return await AsyncOrchestrator(runtime).call(child("t:echo", 2))

    asyncio.run(main())


def test_an_async_action_and_a_blocking_one_call_each_other(
    runtime: Any, actions: ActionRegistry
) -> None:
    @actions.register("t:ping")
    def ping(depth: int) -> int:
        return here().call(child("t:pong", depth - 1)) + 1 if depth else 0

    @actions.register("t:pong")
    async def pong(depth: int) -> int:
        return await here_async().call(child("t:ping", depth - 1)) + 1 if depth else 0

    assert runtime.run("t:ping", 21) == 21
