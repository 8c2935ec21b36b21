"""DESIGN.md section 3, *Deadlines and cancellation*: the deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Cancelled,
    Execution,
    ExecutionCancelledError,
    ExecutionContext,
    ExecutionTimeoutError,
    GroupFailedError,
    GroupTimeoutError,
    Retry,
    Task,
    current_context,
)
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    SOON,
    Boom,
    Gate,
    child,
    children,
    ends_of,
    here,
    here_async,
    quiet,
)

Run = Callable[..., Any]


def test_remaining_is_none_where_there_is_no_deadline(run_body: Run) -> None:
    async def body(_orchestrator: Any) -> Any:
        return current_context().remaining()

    assert run_body(body) is None


def test_remaining_tells_the_time_left_and_never_grows(run_body: Run) -> None:
    async def body(_orchestrator: Any) -> tuple[float | None, float | None]:
        return current_context().remaining(), current_context().remaining()

    first, second = run_body(body, timeout=FOREVER)
    assert 0 <= second <= first <= FOREVER


def test_a_childs_deadline_is_never_later_than_its_parents(
    actions: ActionRegistry, run_body: Run
) -> None:
    @actions.register("t:remaining")
    def remaining(depth: int, context: ExecutionContext) -> Any:
        mine = context.remaining()
        if not depth:
            return [mine]
        return [mine, *here().call(child("t:remaining", {"depth": depth - 1}))]

    async def body(orchestrator: Any) -> None:
        mine = current_context().remaining()
        called = await orchestrator.call(child("t:remaining", {"depth": 2}))
        times = [mine, *called]
        assert times == sorted(times, reverse=True)
        for timeout in (None, FOREVER / 2, 2 * FOREVER):
            group = await orchestrator.emit_children(
                [child("t:remaining", {"depth": 1})], timeout=timeout
            )
            ((first, second),) = await orchestrator.await_group(group)
            assert 0 < second <= first <= mine
            if timeout == FOREVER / 2:
                assert first <= FOREVER / 2

    run_body(body, timeout=FOREVER)


def test_a_groups_deadline_is_that_of_its_children(actions: ActionRegistry, run_body: Run) -> None:
    @actions.register("t:remaining")
    async def remaining(context: ExecutionContext) -> Any:
        return context.remaining()

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_one(child("t:remaining"), timeout=FOREVER)
        (left,) = await orchestrator.await_group(group)
        assert 0 < left <= FOREVER

    run_body(body)


@pytest.mark.parametrize("action", ["t:forever", "t:forever_async"])
def test_an_execution_that_misses_the_deadline_of_its_run_has_failed(
    runtime: Any, action: str
) -> None:
    with pytest.raises(ExecutionTimeoutError, match=action) as caught:
        runtime.run(action, timeout=SOON)
    assert isinstance(caught.value, TimeoutError)

    handle = runtime.spawn(action, timeout=SOON)
    with pytest.raises(ExecutionTimeoutError):
        handle.result(LIMIT)
    assert handle.snapshot().state == "failed"


def test_only_the_execution_that_was_given_the_deadline_fails_by_it(
    actions: ActionRegistry, runtime: Any
) -> None:
    ends: dict[str, str] = {}
    begun, over = Gate(), Gate()

    def watch(event: Any) -> None:
        ends[event.execution.action] = event.execution.state.value

    @actions.register("t:top")
    def top() -> None:
        here().call(child("t:middle"))

    @actions.register("t:middle")
    async def middle() -> None:
        orchestrator = here_async()
        group = await orchestrator.emit_one(child("t:bottom"))
        await orchestrator.await_group(group)

    @actions.register("t:bottom")
    def bottom() -> None:
        begun.open()
        try:
            here().sleep(FOREVER)
        finally:
            over.open()

    subscription = runtime.subscribe(watch)
    handle = runtime.spawn("t:top", timeout=LIMIT / 60)
    with pytest.raises(ExecutionTimeoutError, match="t:top"):
        handle.result(LIMIT)
    runtime.close(LIMIT)
    subscription.close()
    assert begun.is_open == over.is_open
    assert ends.pop("t:top") == "failed"
    assert set(ends.values()) <= {"cancelled"}
    assert quiet(runtime.stats())


def test_code_that_runs_when_the_deadline_passes_is_told_that_it_is_cancelled(
    runtime: Any,
) -> None:
    seen: list[Any] = []
    over = Gate()
    started: list[int] = []

    def waits(context: ExecutionContext) -> None:
        started.append(1)
        try:
            here().sleep(FOREVER)
        except BaseException as error:
            seen.extend([type(error), context.cancelled])
            over.open()
            raise

    timeout = SOON
    while not started:  # a slow machine may need more time to get there
        with pytest.raises(ExecutionTimeoutError):
            runtime.run(waits, timeout=timeout)
        timeout *= 2
    over.wait()
    assert seen == [Cancelled, True]


def test_a_deadline_of_no_time_has_passed(runtime: Any) -> None:
    with pytest.raises(ExecutionTimeoutError):
        runtime.run("t:forever", timeout=0)


def test_the_deadline_counts_while_it_is_queued(actions: ActionRegistry, make_runtime: Run) -> None:
    gate, started = Gate(), Gate()

    @actions.register("t:hold")
    def hold() -> None:
        started.open()
        gate.wait()

    runtime = make_runtime(workers=1)
    holder = runtime.spawn("t:hold")
    started.wait()
    queued = runtime.spawn("t:echo", 1, timeout=SOON)
    with pytest.raises(ExecutionTimeoutError):
        queued.result(LIMIT)
    assert queued.snapshot().attempts == 0
    gate.open()
    assert holder.result(LIMIT) is None


@pytest.mark.parametrize("action", ["t:forever", "t:forever_async"])
def test_the_timeout_of_an_execution_is_for_each_attempt(run_body: Run, action: str) -> None:
    async def body(orchestrator: Any) -> None:
        given = child(action, timeout=SOON, retry=Retry(max_attempts=3))
        group = await orchestrator.emit_one(given)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        (error,) = caught.value.exceptions
        assert isinstance(error, ExecutionTimeoutError)
        assert caught.value.executions[0].attempts == 3

    run_body(body)


def test_a_timeout_that_is_not_in_retry_on_is_not_retried(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        retry = Retry(max_attempts=3, retry_on=(Boom,))
        group = await orchestrator.emit_one(child("t:forever", timeout=SOON, retry=retry))
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert caught.value.executions[0].attempts == 1

    run_body(body)


def test_of_the_timeouts_of_an_attempt_the_most_specific_wins(
    actions: ActionRegistry, run_body: Run
) -> None:
    @actions.register("t:slow", timeout=FOREVER)
    async def slow() -> None:
        await here_async().sleep(FOREVER)

    @actions.register("t:quick", timeout=SOON)
    async def quick(gate: Gate) -> str:
        await gate
        return "in time"

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_for_each([None], "x", Task("t:slow", timeout=SOON))
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert isinstance(caught.value.exceptions[0], ExecutionTimeoutError)
        gate = Gate()
        late = await orchestrator.emit_one(child("t:quick", {"gate": gate}))
        with pytest.raises(GroupFailedError):
            await orchestrator.await_group(late)
        patient = child("t:quick", {"gate": gate}, timeout=float("inf"))
        group = await orchestrator.emit_one(patient)
        gate.open()
        assert await orchestrator.await_group(group) == ["in time"]

    run_body(body)


def test_an_attempt_that_times_out_takes_what_is_below_it_along(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:parent", timeout=LIMIT / 100)
    def parent() -> None:
        orchestrator = here()
        orchestrator.await_group(orchestrator.emit_children(children("t:forever", [None] * 2)))

    with runtime.execution() as orchestrator, pytest.raises(ExecutionTimeoutError):
        orchestrator.call(child("t:parent"))
    assert quiet(runtime.stats())


def test_a_timeout_never_fires_early(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        began = time.monotonic()
        group = await orchestrator.emit_one(child("t:forever_async"), timeout=SOON)
        with pytest.raises(GroupTimeoutError):
            await orchestrator.await_group(group)
        assert time.monotonic() - began >= SOON
        began = time.monotonic()
        await orchestrator.sleep(SOON)
        assert time.monotonic() - began >= SOON
        (end,) = await ends_of(orchestrator, group)
        assert end.state == "cancelled"

    run_body(body)


def test_the_deadline_of_a_scope_raises_in_its_waits(runtime: Any) -> None:
    seen: list[BaseException] = []
    scope = runtime.execution(timeout=SOON)
    with pytest.raises(ExecutionTimeoutError), scope as orchestrator:  # noqa: PT012
        try:
            orchestrator.sleep(FOREVER)
        except BaseException as error:
            seen.append(error)
            raise
    # It does not get out of the scope.
    assert [type(error) for error in seen] in ([], [Cancelled])


def test_an_execution_that_was_expired_is_no_cancelled_one_for_its_reader(runtime: Any) -> None:
    handle = runtime.spawn(Execution.ad_hoc("t:forever"), timeout=SOON)
    with pytest.raises(ExecutionTimeoutError):
        handle.result(LIMIT)
    handle.cancel("too late")
    with pytest.raises(ExecutionTimeoutError):
        handle.result(LIMIT)
    assert not isinstance(handle.snapshot().error, ExecutionCancelledError)
