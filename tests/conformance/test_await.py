"""DESIGN.md section 3, *Await*: order, many waiters, patience and deadlines, release."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitTimeoutError,
    GroupTimeoutError,
    Orchestrator,
    UnknownGroupError,
    current_context,
    use_context,
)
from tests.conformance.support import (
    LIMIT,
    SOON,
    Gate,
    child,
    children,
    ends_of,
    here,
    in_thread,
)

Run = Callable[..., Any]


def gated(gates: list[Gate], action: str = "t:gated_async") -> list[Any]:
    return [child(action, {"gate": gate, "value": place}) for place, gate in enumerate(gates)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_outputs_come_in_the_order_of_emission_whatever_order_the_children_ended_in(
    run_body: Run, order: tuple[int, ...]
) -> None:
    async def body(orchestrator: Any) -> None:
        gates = [Gate() for _ in order]
        group = await orchestrator.emit_children(gated(gates))
        ends = orchestrator.as_completed(group)
        for place in order:
            gates[place].open()
            assert (await anext(ends)).index == place
        assert await orchestrator.await_group(group) == [0, 1, 2]

    run_body(body)


def test_a_child_that_returned_none_keeps_its_place(run_body: Run) -> None:
    async def body(orchestrator: Any) -> list[Any]:
        group = await orchestrator.emit_children(children("t:echo", [None, 1, None, 2, None]))
        return await orchestrator.await_group(group)

    assert run_body(body) == [None, 1, None, 2, None]


def test_waiting_again_gives_the_same_answer_in_a_list_of_ones_own(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", [1, 2]))
        first = await orchestrator.await_group(group)
        first.append("mine")
        assert await orchestrator.await_group(group) == [1, 2]

    run_body(body)


def test_any_number_of_waiters_before_and_after_the_end_get_the_same_answer(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        gate = Gate()
        group = orchestrator.emit_children(gated([gate, gate]))
        outside = Orchestrator(runtime)
        context = current_context()

        async def tasks() -> list[Any]:
            twin = AsyncOrchestrator(runtime)
            waiters = [asyncio.create_task(twin.await_group(group, LIMIT)) for _ in range(5)]
            await asyncio.sleep(0)  # they have begun to wait
            gate.open()
            return await asyncio.gather(*waiters)

        def inside() -> Any:
            with use_context(context):
                return orchestrator.await_group(group, LIMIT)

        before = [in_thread(lambda: outside.await_group(group, LIMIT)) for _ in range(5)]
        before += [in_thread(inside) for _ in range(3)]
        answers = in_thread(lambda: asyncio.run(tasks())).result(LIMIT)
        answers += [future.result(LIMIT) for future in before]
        answers += [outside.await_group(group, 0), orchestrator.await_group(group, 0)]

    assert answers == [[0, 1]] * 15


def test_a_group_can_be_awaited_by_any_execution_until_its_emitter_ends(
    actions: ActionRegistry, runtime: Any
) -> None:
    told: list[str] = []

    @actions.register("t:reader")
    def reader(group: str) -> Any:
        return here().await_group(group, LIMIT)

    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", [1, 2]))
        told.append(group)
        assert orchestrator.call(child("t:reader", group)) == [1, 2]
        assert runtime.run("t:reader", group) == [1, 2]

    with pytest.raises(UnknownGroupError, match=group):
        Orchestrator(runtime).await_group(group)
    with pytest.raises(UnknownGroupError):
        runtime.run("t:reader", group)


def test_an_unknown_group_is_refused_at_once(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        for wait in (orchestrator.await_group, orchestrator.cancel_group):
            with pytest.raises(UnknownGroupError, match="no-such-group"):
                await wait("no-such-group")
        with pytest.raises(UnknownGroupError):
            await orchestrator.release_group("no-such-group")
        with pytest.raises(UnknownGroupError):
            async for _ in orchestrator.as_completed("no-such-group"):
                pass

    run_body(body)


def test_a_waiters_timeout_is_its_own_patience_and_the_group_goes_on(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        group = await orchestrator.emit_children(gated([gate]))
        for timeout in (0, SOON):
            with pytest.raises(AwaitTimeoutError, match=r"0\b.* s") as caught:
                await orchestrator.await_group(group, timeout)
            assert isinstance(caught.value, TimeoutError)
        gate.open()
        assert await orchestrator.await_group(group, LIMIT) == [0]
        assert await orchestrator.await_group(group, 0) == [0]  # looks once

    run_body(body)


def test_one_waiter_that_gives_up_changes_nothing_for_another(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        gate = Gate()
        group = orchestrator.emit_children(gated([gate]))
        patient = in_thread(lambda: Orchestrator(runtime).await_group(group, LIMIT))
        with pytest.raises(AwaitTimeoutError):
            orchestrator.await_group(group, SOON)
        gate.open()
        assert patient.result(LIMIT) == [0]


def test_an_infinite_timeout_is_none(run_body: Run) -> None:
    async def body(orchestrator: Any) -> list[Any]:
        group = await orchestrator.emit_children(children("t:echo", [1]), timeout=float("inf"))
        return await orchestrator.await_group(group, float("inf"))

    assert run_body(body) == [1]


def test_the_groups_own_timeout_is_a_deadline_that_cancels_what_is_still_out(
    runtime: Any, run_body: Run
) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:echo", "in time"), child("t:forever"), child("t:forever_async")]
        group = await orchestrator.emit_children(given, timeout=5 * SOON)
        outside = in_thread(lambda: Orchestrator(runtime).await_group(group, LIMIT))
        with pytest.raises(GroupTimeoutError) as caught:
            await orchestrator.await_group(group)
        with pytest.raises(GroupTimeoutError):
            await outside
        error = caught.value
        assert isinstance(error, TimeoutError)
        assert error.group_id == group
        assert len(error.outputs) == 3
        assert error.outputs[0] in ("in time", None)  # None on a machine that slow
        assert error.outputs[1:] == [None, None]
        assert {1, 2} <= set(error.missing)
        ends = await ends_of(orchestrator, group)
        assert len(ends) == 3
        assert {end.state for end in ends if end.index} == {"cancelled"}

    run_body(body)


def test_what_had_arrived_by_the_groups_deadline_is_in_the_errors_outputs(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        timeout, arrived = 0.1, None
        while arrived is None:  # a slow machine may need more time to get there
            given = [child("t:forever"), child("t:echo", "in time"), child("t:forever")]
            group = orchestrator.emit_children(given, timeout=timeout)
            arrived = next(iter(orchestrator.as_completed(group))).output
            if arrived is None:
                orchestrator.cancel_group(group)  # it is consumed, so nobody is told
            timeout *= 2
        with pytest.raises(GroupTimeoutError) as caught:
            orchestrator.await_group(group)

    assert caught.value.outputs == [None, "in time", None]
    assert caught.value.missing == (0, 2)


def test_a_group_with_no_time_at_all_has_missed_its_deadline(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children([child("t:forever_async")], timeout=0)
        with pytest.raises(GroupTimeoutError):
            await orchestrator.await_group(group)

    run_body(body)


def test_each_waiter_is_raised_an_error_of_its_own(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children([child("t:forever")], timeout=SOON)
        errors = []
        for _ in range(2):
            with pytest.raises(GroupTimeoutError) as caught:
                await orchestrator.await_group(group)
            errors.append(caught.value)
        assert errors[0] is not errors[1]
        assert str(errors[0]) == str(errors[1])

    run_body(body)


def test_a_released_group_is_unknown_from_then_on(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", [1]))
        await orchestrator.await_group(group)
        await orchestrator.release_group(group)
        with pytest.raises(UnknownGroupError):
            await orchestrator.await_group(group)
        with pytest.raises(UnknownGroupError):
            await orchestrator.release_group(group)

    run_body(body)


def test_an_open_group_cannot_be_released(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        group = await orchestrator.emit_children(gated([gate]))
        with pytest.raises(ValueError, match="open"):
            await orchestrator.release_group(group)
        gate.open()
        assert await orchestrator.await_group(group) == [0]

    run_body(body)


def test_two_groups_are_awaited_in_any_order(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        groups = [await orchestrator.emit_children(children("t:echo", [n, -n])) for n in range(3)]
        for order in itertools.permutations(range(3)):
            for n in order:
                assert await orchestrator.await_group(groups[n]) == [n, -n]

    run_body(body)
