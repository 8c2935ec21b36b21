"""DESIGN.md section 3, *Call*."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.loans import Loans
from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitTimeoutError,
    DuplicateExecutionError,
    Execution,
    ExecutionCancelledError,
    Orchestrator,
    current_context,
)
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    SOON,
    Gate,
    Meter,
    child,
    children,
    here,
    here_async,
)

Run = Callable[..., Any]


def test_a_call_gives_the_childs_output(run_body: Run) -> None:
    async def body(orchestrator: Any) -> list[Any]:
        actions = ("t:echo", "t:echo_async")
        return [await orchestrator.call(child(action, 1)) for action in actions]

    assert run_body(body) == [1, 1]


def test_a_caller_stays_running_and_makes_no_group(actions: ActionRegistry, run_body: Run) -> None:
    states: list[str] = []

    @actions.register("t:look")
    def look() -> Any:
        return current_context().execution

    async def body(orchestrator: Any) -> None:
        execution = await orchestrator.call(child("t:look"))
        mine = current_context().execution
        states.append(mine.state.value)
        assert execution.parent_id == mine.id
        assert execution.group_id is None
        assert execution.process_id == mine.process_id
        assert await orchestrator.await_resume(0) is None  # nothing to merge

    run_body(body)
    assert states == ["running"]


def test_a_caller_is_never_wait_async(runtime: Any, run_body: Run) -> None:
    states: set[str] = set()
    subscription = runtime.subscribe(lambda event: states.add(event.execution.state.value))

    async def body(orchestrator: Any) -> None:
        await orchestrator.call(child("t:echo", 1))

    run_body(body)
    subscription.close()
    assert "waitAsync" not in states


def test_outside_an_execution_the_child_is_a_root(runtime: Any, actions: ActionRegistry) -> None:
    @actions.register("t:look")
    def look() -> Any:
        return current_context().execution

    assert Orchestrator(runtime).call(child("t:look")).parent_id is None
    twin = AsyncOrchestrator(runtime)
    assert asyncio.run(twin.call(child("t:look"))).parent_id is None


def test_on_timeout_the_child_is_cancelled_and_the_caller_told(
    actions: ActionRegistry, run_body: Run
) -> None:
    @actions.register("t:endless")
    def endless(started: Gate, cancelled: Gate) -> None:
        started.open()
        try:
            here().sleep(FOREVER)
        finally:
            if current_context().cancelled:
                cancelled.open()

    async def body(orchestrator: Any) -> None:
        started, cancelled = Gate(), Gate()
        given = child("t:endless", {"started": started, "cancelled": cancelled})
        with pytest.raises(AwaitTimeoutError) as caught:
            await orchestrator.call(given, LIMIT / 100)
        assert isinstance(caught.value, TimeoutError)
        if started.is_open:  # else it was cancelled before it could start
            await cancelled

    run_body(body)


def test_a_call_that_timed_out_outside_an_execution_cancels_its_root(runtime: Any) -> None:
    with pytest.raises(AwaitTimeoutError):
        Orchestrator(runtime).call(child("t:forever"), SOON)
    runtime.close(LIMIT)

    assert runtime.stats().cancelled == 1


def test_when_the_caller_is_cancelled_the_child_is_cancelled(
    runtime: Any, actions: ActionRegistry
) -> None:
    started = Gate()

    @actions.register("t:caller")
    def caller() -> None:
        here().call(child("t:forever", {"started": started}))

    @actions.register("t:caller_async")
    async def caller_async() -> None:
        await here_async().call(child("t:forever_async", {"started": started}))

    for action in ("t:caller", "t:caller_async"):
        started = Gate()
        handle = runtime.spawn(action)
        started.wait()
        handle.cancel("enough")
        with pytest.raises(ExecutionCancelledError, match="enough"):
            handle.result(LIMIT)
    runtime.close(LIMIT)

    assert runtime.stats().cancelled == 4


def test_an_asyncio_task_that_is_cancelled_in_a_call_cancels_the_child(runtime: Any) -> None:
    async def main() -> None:
        started = Gate()
        async with runtime.execution() as orchestrator:
            given = child("t:forever", {"started": started})
            task = asyncio.create_task(orchestrator.call(given))
            await started
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())  # the scope ends, so the child has
    assert runtime.stats().cancelled == 1


def test_several_calls_at_once_are_answered_each(runtime: Any) -> None:
    async def main() -> list[Any]:
        async with runtime.execution() as orchestrator:
            calls = [orchestrator.call(child("t:echo", n)) for n in range(10)]
            return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(10))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("action", ["t:nested", "t:nested_async"])
def test_nested_calls_of_any_depth_finish_however_few_workers_there_are(
    actions: ActionRegistry, make_runtime: Run, workers: int, action: str
) -> None:
    @actions.register("t:nested")
    def nested(depth: int) -> int:
        return here().call(child("t:nested", depth - 1)) + 1 if depth else 0

    @actions.register("t:nested_async")
    async def nested_async(depth: int) -> int:
        if not depth:
            return 0
        return await here_async().call(child("t:nested_async", depth - 1)) + 1

    assert make_runtime(workers=workers).run(action, 100) == 100


def test_nested_groups_of_any_depth_finish_with_one_worker(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    @actions.register("t:tree")
    def tree(depth: int) -> int:
        if not depth:
            return 1
        orchestrator = here()
        group = orchestrator.emit_children(children("t:tree", [depth - 1] * 2))
        return sum(orchestrator.await_group(group))

    assert make_runtime(workers=1).run("t:tree", 6) == 64


def test_a_call_of_anything_but_an_execution_is_refused(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        with pytest.raises(TypeError, match="Execution"):
            await orchestrator.call("t:echo")
        with pytest.raises(TypeError, match="ad_hoc"):
            await orchestrator.emit_one("t:echo")

    run_body(body)


def test_the_id_of_a_called_child_is_the_one_it_was_made_with(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = Execution.ad_hoc("t:echo", 1)
        await orchestrator.call(given)
        await orchestrator.cancel(given.id)  # it has ended, so nothing happens

    run_body(body)


def test_a_child_can_be_cancelled_once_its_begin_has_been_told(
    runtime: Any, actions: ActionRegistry
) -> None:
    inside, told, publisher = child("t:echo", 1), list[str](), runtime._environment.publisher

    class Early:
        """Cancels the child as the first that is told of it."""

        active = ("a listener",)

        def changed(self, execution: Execution, previous: Any, at: float) -> None:
            if execution.id == inside.id:
                if not told:
                    told.append("cancel")
                    runtime.cancel(inside.id)
                told.append(execution.state.value)
            publisher.changed(execution, previous, at)

    @actions.register("t:calls")
    def calls() -> Any:
        return here().call(inside)

    runtime._environment.publisher = Early()
    assert runtime.run("t:calls") == 1
    assert told == ["cancel", "scheduled", "running", "completed"]


def test_a_worker_that_is_taken_from_a_caller_as_it_calls_is_given_back(
    make_runtime: Run, actions: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, begun = make_runtime(workers=1), Gate()
    keep = Loans.keep

    def keep_and_lose(loans: Loans, wait: Any) -> bool:
        kept = keep(loans, wait)
        works.append(runtime.spawn("t:works"))
        begun.wait()  # it has the worker now
        return kept

    @actions.register("t:works")
    def works_on() -> None:
        begun.open()

    @actions.register("t:calls")
    def calls() -> Any:
        here().sleep(0.001)  # it is an actor from now on
        here().call(child("t:echo_async", 1))
        works[0].result()
        return runtime.stats()

    works: list[Any] = []
    monkeypatch.setattr(Loans, "keep", keep_and_lose)
    stats = runtime.run("t:calls", timeout=LIMIT)
    assert (len(works), stats.running, stats.waiting) == (1, 1, 0)


def test_the_id_of_a_leaf_is_taken_even_while_it_becomes_an_actor(
    runtime: Any, actions: ActionRegistry
) -> None:
    started, gate = Gate(), Gate()
    runtime.stats()  # behind the begin of the allocator, which says whom to ask
    allocator = runtime._environment.loans.is_running.__self__

    class Live(dict[str, Any]):
        """Looked at, on a caller's thread, just before the leaf is in it."""

        def __contains__(self, name: object) -> bool:
            found = super().__contains__(name)
            for attempt in runtime._places.running:
                attempt.become_actor()
            runtime.stats()  # behind what the allocator has been told
            return found

    @actions.register("t:waits")
    def waits() -> None:
        started.open()
        gate.wait()

    @actions.register("t:emits")
    def emits() -> Any:
        return here().await_group(here().emit_children([child("t:waits", id="c")]))

    handle = runtime.spawn("t:emits")
    started.wait()
    live = allocator._live
    allocator._live = Live(live)
    assert runtime._environment.loans.is_running("c")
    live.update(allocator._live)
    allocator._live = live
    gate.open()
    assert handle.result(LIMIT) == [None]


def test_of_two_that_call_children_of_one_id_at_the_same_moment_one_is_refused(
    runtime: Any, actions: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    loans = runtime._environment.loans
    runtime.stats()  # behind the begin of the allocator, which says whom to ask
    is_running, gate, started = loans.is_running, Gate(), Gate()
    meter, others = Meter(), []

    def answered_late(name: str) -> bool:
        """The answer to the first caller is right when it is found, and old when it comes."""
        found: bool = is_running(name)
        if name == "same" and not others:
            others.append(runtime.spawn("t:calls"))
            started.wait()
        return found

    @actions.register("t:holds")
    def holds() -> None:
        with meter:
            started.open()
            gate.wait()

    @actions.register("t:calls")
    def calls() -> None:
        here().call(child("t:holds", id="same"))

    monkeypatch.setattr(loans, "is_running", answered_late)
    one = runtime.spawn("t:calls")
    started.wait()
    other = others[0] if others else runtime.spawn("t:calls")
    with pytest.raises(DuplicateExecutionError):
        other.result(LIMIT)
    gate.open()
    one.result(LIMIT)
    assert (meter.highest, meter.total) == (1, 1)
