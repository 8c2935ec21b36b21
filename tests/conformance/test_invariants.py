"""DESIGN.md section 5, the invariants that need no simulation, over generated fan-outs.

Nothing here depends on how fast a machine is: delays and timeouts only vary what happens first,
and each property holds of whatever that is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    AsyncOrchestrator,
    AwaitTimeoutError,
    GroupFailedError,
    GroupTimeoutError,
    InvalidInputError,
    Orchestrator,
    OrchestratorError,
    Rate,
    Retry,
    Task,
    UnknownActionError,
)
from tests.conformance.planned import Record, made, planned_actions
from tests.conformance.support import (
    LIMIT,
    Boom,
    Gate,
    Meter,
    child,
    children,
    here,
    in_thread,
    standard_actions,
)
from tests.strategies import (
    Leaf,
    Policy,
    decision,
    leaves,
    policies,
)

pytestmark = pytest.mark.usefixtures("_threads_cross_often")

Make = Callable[..., Any]
milliseconds = st.integers(0, 5)
PATIENCE = LIMIT  # for a whole plan, which takes milliseconds


def watched(make: Make, **options: Any) -> tuple[Any, Record]:
    record = Record()
    runtime = make(planned_actions(record), **options)
    runtime.subscribe(record.events.append)
    return runtime, record


def answer(wait: Callable[[], Any]) -> Any:
    """What a waiter was told, comparable."""
    try:
        return wait()
    except GroupFailedError as error:
        return ("failed", error.outputs, tuple(map(str, error.exceptions)))
    except OrchestratorError as error:
        return (type(error).__name__, str(error))


@st.composite
def staged(draw: st.DrawFn) -> tuple[Policy, list[bool], list[int]]:
    """A group: its policy, whether each child succeeds, and the order in which they end."""
    successes = draw(st.lists(st.booleans(), max_size=5))
    policy = draw(policies(len(successes)))
    order = draw(st.permutations(range(len(successes))))
    return evolve(policy, cancel_rest=False), successes, list(order)


@given(group=staged(), early=st.integers(0, 2), late=st.integers(0, 2))
def test_1_2_5_14_a_group_decides_once_at_the_first_report_at_which_it_can(
    runtime_factory: Make, group: tuple[Policy, list[bool], list[int]], early: int, late: int
) -> None:
    policy, successes, order = group
    with runtime_factory(standard_actions()) as runtime, runtime.execution() as orchestrator:
        gates = [Gate() for _ in successes]
        given_children = [
            child(
                "t:gated_async",
                {"gate": gate, "value": place, "error": None if good else Boom(str(place))},
            )
            for place, (gate, good) in enumerate(zip(gates, successes, strict=True))
        ]
        group_id = orchestrator.emit_children(given_children, **policy.options())
        outside, twin = Orchestrator(runtime), AsyncOrchestrator(runtime)

        def wait() -> Any:
            return answer(lambda: outside.await_group(group_id, LIMIT))

        def wait_async() -> Any:
            return answer(lambda: asyncio.run(twin.await_group(group_id, LIMIT)))

        waiters = [in_thread(one) for _ in range(early) for one in (wait, wait_async)]
        reader = orchestrator.as_completed(group_id)
        ends: list[tuple[int, bool]] = []
        told: list[Any] = []
        for step in range(len(order) + 1):
            expected = decision(policy, len(successes), ends)
            if expected is None:  # not before
                assert answer(lambda: outside.await_group(group_id, 0))[0] == "AwaitTimeoutError"
            else:  # and then at once, though the others are out
                told.append(wait())
                if expected.succeeded:
                    assert told[-1] == list(expected.indexes)
                else:
                    assert told[-1][0] == "failed"
            if step < len(order):
                gates[order[step]].open()
                end = next(reader)
                assert end.index == order[step]
                ends.append((end.index, end.state == "completed"))
        waiters += [in_thread(one) for _ in range(late) for one in (wait, wait_async)]
        told += [waiter.result(LIMIT) for waiter in waiters]
        assert told == [told[0]] * len(told)  # late reports have changed nothing
        answer(lambda: orchestrator.await_group(group_id))


@given(plans=st.lists(leaves(), max_size=6), order=st.permutations(range(6)))
def test_3_outputs_are_in_the_order_of_emission_for_every_order_of_ending(
    runtime_factory: Make, plans: list[Leaf], order: list[int]
) -> None:
    with runtime_factory(standard_actions()) as runtime, runtime.execution() as orchestrator:
        gates = [Gate() for _ in plans]
        given_children = [
            child("t:gated_async" if plan.is_async else "t:gated", {"gate": gate, "value": place})
            for place, (plan, gate) in enumerate(zip(plans, gates, strict=True))
        ]
        group = orchestrator.emit_children(given_children)
        for place in order:
            for gate in gates[place : place + 1]:
                gate.open()
        assert orchestrator.await_group(group, LIMIT) == list(range(len(plans)))


@given(
    groups=st.lists(
        st.tuples(st.sampled_from(["append", "replace", "sum"]), st.integers(0, 3)), max_size=4
    ),
    order=st.permutations(range(4)),
    returned=st.none() | st.integers() | st.lists(st.integers(), max_size=2),
)
def test_4_the_merge_is_a_function_of_the_outputs_and_of_the_order_of_emission(
    runtime_factory: Make, groups: list[tuple[str, int]], order: list[int], returned: Any
) -> None:
    calls: list[int] = []

    def total(outputs: list[int]) -> int:
        calls.append(1)
        return sum(outputs)

    rules: dict[str, Any] = {"append": "append", "replace": "replace", "sum": total}
    expected = returned
    for number, (rule, count) in enumerate(groups):
        outputs = [10 * number + place for place in range(count)]
        if rule == "append":
            before = [] if expected is None else expected
            expected = [*(before if isinstance(before, list) else [before]), *outputs]
        elif rule == "replace":
            expected = outputs[-1] if outputs else expected
        else:
            expected = sum(outputs)

    def parent() -> Any:
        orchestrator = here()
        gates = []
        for number, (rule, count) in enumerate(groups):
            gates.append(Gate())
            given_children = [
                child("t:gated_async", {"gate": gates[-1], "value": 10 * number + place})
                for place in range(count)
            ]
            orchestrator.emit_children(given_children, merge=rules[rule])
        for place in order:
            for gate in gates[place : place + 1]:
                gate.open()
        return returned

    with runtime_factory(standard_actions()) as runtime:
        assert runtime.run(parent) == expected
    assert len(calls) == sum(rule == "sum" for rule, _ in groups)


@given(patience=milliseconds, plan=leaves(), is_async=st.booleans())
def test_6_a_waiters_timeout_never_fires_early_and_changes_nothing(
    runtime_factory: Make, patience: int, plan: Leaf, is_async: bool
) -> None:
    record = Record()
    with runtime_factory(planned_actions(record)) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_one(made(plan))
        outside, twin = Orchestrator(runtime), AsyncOrchestrator(runtime)
        other = in_thread(lambda: answer(lambda: outside.await_group(group, LIMIT)))
        began = time.monotonic()
        try:
            if is_async:
                first = in_thread(lambda: asyncio.run(twin.await_group(group, patience / 1000)))
                first.result(LIMIT)
            else:
                outside.await_group(group, patience / 1000)
        except AwaitTimeoutError:
            assert time.monotonic() - began >= patience / 1000
        except GroupFailedError:
            pass
        last = answer(lambda: orchestrator.await_group(group, LIMIT))
        assert other.result(LIMIT) == last
        assert (last[0] == "failed") == (not plan.outcome.succeeds)


@given(plans=st.lists(leaves(stuck=True), min_size=1, max_size=4), deadline=milliseconds)
def test_7_decision_and_deadline_race_to_exactly_one_of_them(
    runtime_factory: Make, plans: list[Leaf], deadline: int
) -> None:
    record = Record()
    with runtime_factory(planned_actions(record)) as runtime, runtime.execution() as orchestrator:
        began = time.monotonic()
        given_children = [made(plan) for plan in plans]
        group = orchestrator.emit_children(given_children, timeout=deadline / 1000)
        outside = Orchestrator(runtime)
        waits = [
            in_thread(lambda: answer(lambda: outside.await_group(group, LIMIT))) for _ in range(2)
        ]
        expired: GroupTimeoutError | None = None
        try:
            outputs = orchestrator.await_group(group, LIMIT)
        except GroupTimeoutError as error:
            assert time.monotonic() - began >= deadline / 1000
            expired, outputs = error, error.outputs
        except GroupFailedError as error:
            outputs = error.outputs
        assert len(outputs) == len(plans)
        for plan, output, given_child in zip(plans, outputs, given_children, strict=True):
            assert output is None or (plan.outcome == "value" and output == given_child.id)
        if expired is None:
            assert all(plan.outcome != "stuck" for plan in plans)  # whole
        else:
            assert expired.missing
            assert all(outputs[index] is None for index in expired.missing)
        told = [wait.result(LIMIT) for wait in waits]
        assert told[0] == told[1] == answer(lambda: orchestrator.await_group(group, 0))


@given(counts=st.lists(st.integers(0, 3), max_size=4), delay=milliseconds, resumes=st.booleans())
def test_8_a_parent_resumes_once_and_never_while_one_of_its_groups_is_open(
    runtime_factory: Make, counts: list[int], delay: int, resumes: bool
) -> None:
    meter = Meter()
    actions = standard_actions()

    @actions.register("t:counted")
    def counted() -> None:
        with meter:
            here().sleep(delay / 1000)

    resumed: list[int] = []

    @actions.register("t:parent")
    def parent() -> None:
        orchestrator = here()
        for count in counts:
            orchestrator.emit_children(children("t:counted", [None] * count))
        if resumes:
            orchestrator.await_resume()
            resumed.append(meter.total)
            assert meter.inside == 0

    with runtime_factory(actions) as runtime, runtime.execution() as orchestrator:
        outputs = orchestrator.call(child("t:parent"))
        assert (meter.inside, meter.total) == (0, sum(counts))
        assert outputs == ([None] * sum(counts) if counts else None)
    assert resumed == ([sum(counts)] if resumes else [])


@given(
    count=st.integers(0, 8), most=st.integers(1, 3), workers=st.integers(1, 4), lazy=st.booleans()
)
def test_15_limits_are_never_exceeded_and_never_leave_work_waiting_with_room_free(
    runtime_factory: Make, count: int, most: int, workers: int, lazy: bool
) -> None:
    together = min(most, workers)
    meter, barrier = Meter(), threading.Barrier(together)
    actions = standard_actions()

    @actions.register("t:meets", max_concurrency=None if lazy else most)
    def meets(n: int) -> int:
        with meter:
            if n < count // together * together:
                barrier.wait(LIMIT)  # passes only where as many run at once as may
        return n

    with runtime_factory(actions, workers=workers) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(
            range(count), "n", Task("t:meets"), max_in_flight=most if lazy else None
        )
        assert orchestrator.await_group(group, LIMIT) == list(range(count))
    assert meter.highest <= together
    assert meter.total == count


@given(limit=st.integers(1, 3), count=st.integers(0, 6), attempts=st.integers(1, 2))
def test_15_rate_limits_hold_in_every_window_with_retries_among_the_starts(
    runtime_factory: Make, limit: int, count: int, attempts: int
) -> None:
    rate = Rate(limit, 0.005)
    actions = standard_actions()

    @actions.register("t:rated", rate_limit=rate, retry=Retry(max_attempts=attempts))
    async def rated() -> None:
        raise Boom

    starts: list[float] = []
    with runtime_factory(actions) as runtime:
        subscription = runtime.subscribe(
            lambda event: (
                starts.append(event.execution.started_at)
                if event.execution.state == "running" and event.execution.action == "t:rated"
                else None
            )
        )
        with runtime.execution() as orchestrator:
            group = orchestrator.emit_children(children("t:rated", [None] * count))
            outcomes = orchestrator.await_group(group, LIMIT, return_exceptions=True)
        subscription.close()
    assert len(outcomes) == count
    assert len(starts) == count * attempts
    starts.sort()
    assert all(
        later - first >= rate.per for first, later in zip(starts, starts[limit:], strict=False)
    )


@given(
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    bad=st.sampled_from(["action", "input", "type", "twice", "source"]),
)
def test_16_an_emit_that_raises_has_queued_nothing(
    runtime_factory: Make, before: int, after: int, bad: str
) -> None:
    ran: list[int] = []
    actions = standard_actions()
    actions.register("t:notes")(ran.append)
    with runtime_factory(actions) as runtime, runtime.execution() as orchestrator:
        good = children("t:notes", range(before + after + 1))

        def source() -> Any:
            yield from good[:before]
            match bad:
                case "action":
                    yield child("t:nobody")
                case "input":
                    yield child("t:echo", {"wrong": 1})
                case "type":
                    yield "no execution"
                case "twice":
                    yield good[-1]
                case "source":
                    raise LookupError
            yield from good[before:]

        emitted = runtime.stats().emitted
        try:
            orchestrator.emit_children(source())
        except (UnknownActionError, InvalidInputError, OrchestratorError, TypeError, LookupError):
            pass
        else:
            raise AssertionError("it was taken")
        assert runtime.stats().emitted == emitted
        assert ran == []
        group = orchestrator.emit_children(good)  # nothing of them was used up
        orchestrator.await_group(group)
        assert sorted(ran) == list(range(len(good)))
