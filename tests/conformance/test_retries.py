"""DESIGN.md section 3, *Attempts*, and `Retry`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    DeadlockError,
    Execution,
    ExecutionContext,
    ExecutionTimeoutError,
    GroupFailedError,
    MissingExecutionError,
    Orchestrator,
    Retry,
    Task,
    UnknownActionError,
    current_context,
    use_context,
)
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    SOON,
    Boom,
    Gate,
    Meter,
    child,
    children,
    ends_of,
    here,
    here_async,
)

Run = Callable[..., Any]


def attempt() -> int:
    return current_context().execution.attempts


@pytest.fixture
def flaky(actions: ActionRegistry) -> None:
    """Actions that succeed in the attempt they are told."""

    @actions.register("t:flaky")
    def flaky(succeeds_in: int) -> int:
        if attempt() < succeeds_in:
            raise Boom(f"attempt {attempt()}")
        return attempt()

    @actions.register("t:flaky_async")
    async def flaky_async(succeeds_in: int) -> int:
        if attempt() < succeeds_in:
            raise Boom(f"attempt {attempt()}")
        return attempt()


@pytest.mark.usefixtures("flaky")
@pytest.mark.parametrize("action", ["t:flaky", "t:flaky_async"])
def test_the_group_hears_of_a_child_when_its_retry_is_over(run_body: Run, action: str) -> None:
    async def body(orchestrator: Any) -> None:
        retry = Retry(max_attempts=3)
        group = await orchestrator.emit_children(children(action, [1, 2, 3], retry=retry))
        ends = await ends_of(orchestrator, group)
        assert {end.index: (end.output, end.attempts) for end in ends} == {
            0: (1, 1),
            1: (2, 2),
            2: (3, 3),
        }
        assert await orchestrator.await_group(group) == [1, 2, 3]

    run_body(body)


@pytest.mark.usefixtures("flaky")
def test_max_attempts_are_attempts_in_all_and_the_last_error_is_the_childs(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = child("t:flaky", 4, retry=Retry(max_attempts=3))
        group = await orchestrator.emit_one(given)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert [str(error) for error in caught.value.exceptions] == ["attempt 3"]
        assert caught.value.executions[0].attempts == 3

    run_body(body)


@pytest.mark.usefixtures("flaky")
def test_without_a_retry_there_is_one_attempt(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        with pytest.raises(Boom, match="attempt 1"):
            await orchestrator.call(child("t:flaky", 2))

    run_body(body)


def test_the_retry_of_an_execution_comes_before_that_of_its_action(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:counted", retry=Retry(max_attempts=2))
    def counted() -> None:
        raise Boom(f"attempt {attempt()}")

    with runtime.execution() as orchestrator:
        for given, last in ((None, 2), (Retry(max_attempts=4), 4), (Retry(max_attempts=1), 1)):
            with pytest.raises(Boom, match=f"attempt {last}"):
                orchestrator.call(child("t:counted", retry=given))
            group = orchestrator.emit_for_each([None], "x", Task("t:counted", retry=given))
            with pytest.raises(GroupFailedError) as caught:
                orchestrator.await_group(group)
            assert caught.value.executions[0].attempts == last


def test_retry_on_is_matched_against_what_was_raised(actions: ActionRegistry, runtime: Any) -> None:
    @actions.register("t:raises")
    def raises(kind: type[BaseException]) -> None:
        raise kind(f"attempt {attempt()}")

    def attempts(kind: type[BaseException], *retry_on: type[BaseException]) -> int:
        retry = Retry(max_attempts=3, retry_on=retry_on)
        execution = Execution.ad_hoc("t:raises", {"kind": kind}, retry=retry)
        handle = runtime.spawn(execution)
        with pytest.raises(Exception):  # noqa: B017, PT011 - its class is not promised
            handle.result(LIMIT)
        return handle.snapshot().attempts

    assert attempts(Boom, Boom) == 3
    assert attempts(Boom, LookupError, Exception) == 3
    assert attempts(Boom, LookupError) == 1
    assert attempts(KeyError, LookupError) == 3
    assert attempts(KeyboardInterrupt, Exception) == 1
    assert attempts(KeyboardInterrupt, KeyboardInterrupt) == 3


def test_errors_of_wrong_use_are_never_retried(actions: ActionRegistry, runtime: Any) -> None:
    attempts: list[int] = []

    @actions.register("t:misuse", retry=Retry(max_attempts=3))
    def misuse() -> None:
        attempts.append(attempt())
        here().call(child("t:nobody"))

    with pytest.raises(UnknownActionError):
        runtime.run("t:misuse")
    assert attempts == [1]


def test_what_cannot_be_structured_is_not_retried(actions: ActionRegistry, runtime: Any) -> None:
    import attrs  # noqa: PLC0415

    @attrs.frozen
    class Point:
        x: int

    def structured(where: Point) -> Point:
        return where

    structured.__annotations__["where"] = Point
    actions.register("t:structured", retry=Retry(max_attempts=3))(structured)
    handle = runtime.spawn("t:structured", {"where": {"x": "no number"}})
    with pytest.raises(Exception, match="no number"):
        handle.result(LIMIT)
    assert handle.snapshot().attempts == 1


def test_a_deadlock_is_not_retried(actions: ActionRegistry, runtime: Any) -> None:
    attempts: list[int] = []

    @actions.register("t:own", retry=Retry(max_attempts=3))
    def own(group: str) -> None:
        attempts.append(attempt())
        here().await_group(group)

    @actions.register("t:parent")
    def parent() -> None:
        orchestrator = here()
        mine = f"{current_context().execution.id}"
        given = child("t:relay", {"parent": mine})
        group = orchestrator.emit_one(given)
        told.append(group)
        known.open()
        orchestrator.await_group(group)

    @actions.register("t:relay")
    def relay(parent: str) -> None:
        known.wait()
        assert parent
        here().call(child("t:own", told[0]))

    told: list[str] = []
    known = Gate()
    with pytest.raises(GroupFailedError) as caught:
        runtime.run("t:parent")
    assert isinstance(caught.value.exceptions[0], DeadlockError)
    assert attempts == [1]


def test_the_pending_output_and_the_groups_of_a_failed_attempt_are_reset(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:parent", retry=Retry(max_attempts=2))
    def parent() -> None:
        orchestrator = here()
        orchestrator.emit_children(children("t:echo", [f"attempt {attempt()}"]))
        orchestrator.await_resume()
        orchestrator.emit_children(children("t:echo", ["unconsumed"]))
        if attempt() == 1:
            raise Boom

    assert runtime.run("t:parent") == ["attempt 2", "unconsumed"]


def test_before_the_next_attempt_the_last_ones_groups_are_cancelled_and_have_ended(
    actions: ActionRegistry, runtime: Any
) -> None:
    meter = Meter()

    @actions.register("t:inside")
    def inside(started: Gate) -> None:
        with meter:
            started.open()
            here().sleep(FOREVER)

    @actions.register("t:parent", retry=Retry(max_attempts=3))
    def parent() -> int:
        assert meter.inside == 0
        orchestrator = here()
        gates = [Gate(), Gate()]
        orchestrator.emit_children([child("t:inside", {"started": gate}) for gate in gates])
        for gate in gates:
            gate.wait()
        if attempt() < 3:
            raise Boom
        return orchestrator.cancel_group(f"{current_context().execution.id}#3") or meter.total

    with runtime.execution() as orchestrator:
        assert orchestrator.call(child("t:parent")) == 6


def test_attempts_of_one_execution_never_overlap(actions: ActionRegistry, runtime: Any) -> None:
    meter = Meter()

    @actions.register("t:stubborn", retry=Retry(max_attempts=3), timeout=SOON)
    def stubborn(context: ExecutionContext) -> None:
        with meter:
            orchestrator = here()
            while not context.cancelled:  # it looks, but has no wait that would raise
                threading.Event().wait(0.001)
            assert orchestrator is not None

    with pytest.raises(ExecutionTimeoutError):
        runtime.run("t:stubborn")
    assert (meter.highest, meter.total) == (1, 3)


def test_what_an_attempt_left_running_can_emit_or_wait_no_more(
    actions: ActionRegistry, runtime: Any
) -> None:
    go, told = Gate(), Gate()
    errors: list[BaseException] = []

    @actions.register("t:leaves", retry=Retry(max_attempts=2))
    def leaves() -> str:
        if attempt() == 1:
            context, orchestrator = current_context(), here()

            def late() -> None:
                with use_context(context):
                    go.wait()
                    for call in (
                        lambda: orchestrator.emit_one(child("t:echo", 1)),
                        lambda: orchestrator.call(child("t:echo", 1)),
                        orchestrator.await_resume,
                        lambda: orchestrator.sleep(0),
                    ):
                        try:
                            call()
                        except BaseException as error:  # noqa: BLE001 - collected
                            errors.append(error)
                    told.open()

            threading.Thread(target=late, daemon=True).start()
            raise Boom
        go.open()
        told.wait()
        return "second"

    assert runtime.run("t:leaves") == "second"
    assert [type(error) for error in errors] == [MissingExecutionError] * 4
    assert runtime.stats().emitted == 1


def test_an_async_action_is_attempted_again_as_well(actions: ActionRegistry, runtime: Any) -> None:
    @actions.register("t:again", retry=Retry(max_attempts=2, delay=0.001, jitter=1.0))
    async def again() -> list[Any]:
        orchestrator = here_async()
        group = await orchestrator.emit_children(children("t:echo", [attempt()]))
        if attempt() == 1:
            raise Boom
        return await orchestrator.await_group(group)

    assert runtime.run("t:again") == [2]


def test_a_cancel_between_attempts_ends_it_at_once(actions: ActionRegistry, runtime: Any) -> None:
    failed = Gate()

    @actions.register("t:later", retry=Retry(max_attempts=2, delay=FOREVER))
    def later() -> None:
        failed.open()
        raise Boom

    with runtime.execution() as orchestrator:
        given = child("t:later")
        group = orchestrator.emit_one(given)
        failed.wait()
        orchestrator.cancel(given.id, "not again")
        with pytest.raises(GroupFailedError) as caught:
            orchestrator.await_group(group)
    assert caught.value.executions[0].state == "cancelled"
    assert caught.value.executions[0].attempts == 1
    assert caught.value.executions[0].started_at is not None


def test_between_attempts_an_execution_is_scheduled_and_holds_no_slot(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    @actions.register("t:later", retry=Retry(max_attempts=2, delay=FOREVER), max_concurrency=1)
    def later(fails: bool) -> str:
        if fails:
            raise Boom
        return "free"

    runtime = make_runtime(workers=1)
    handle = runtime.spawn("t:later", True)
    paused = Gate()
    subscription = runtime.subscribe(
        lambda event: paused.open() if event.execution.state == "scheduled" else None
    )
    if handle.snapshot().state != "scheduled" or not handle.snapshot().attempts:
        paused.wait()
    assert runtime.run("t:later", False) == "free"
    assert runtime.stats().pending == 1
    handle.cancel()
    subscription.close()


def test_retries_are_told_by_the_events_and_counted_by_the_snapshot(
    runtime: Any, actions: ActionRegistry
) -> None:
    @actions.register("t:third", retry=Retry(max_attempts=3))
    def third() -> int:
        if attempt() < 3:
            raise Boom
        return attempt()

    seen: list[tuple[str, int]] = []
    subscription = runtime.subscribe(
        lambda event: seen.append((event.execution.state.value, event.execution.attempts))
    )
    assert runtime.run("t:third") == 3
    subscription.close()
    assert [state for state, _ in seen if state == "running"] == ["running"] * 3
    assert seen[-1] == ("completed", 3)


def test_an_orchestrator_of_ones_own_can_retry_too(runtime: Any, actions: ActionRegistry) -> None:
    @actions.register("t:second", retry=Retry(max_attempts=2))
    def second() -> int:
        if attempt() < 2:
            raise Boom
        return attempt()

    assert Orchestrator(runtime).call(child("t:second")) == 2
