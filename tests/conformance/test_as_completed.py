"""DESIGN.md section 3, *Await*: the ends of a group, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    AsyncOrchestrator,
    AwaitTimeoutError,
    ExecutionState,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    Orchestrator,
)
from tests.conformance.support import (
    LIMIT,
    SOON,
    Boom,
    Gate,
    child,
    children,
    ends_of,
    in_thread,
)

Run = Callable[..., Any]


def test_ends_come_in_the_order_of_ending(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gates = [Gate() for _ in range(4)]
        given = [child("t:gated_async", {"gate": gate, "value": n}) for n, gate in enumerate(gates)]
        group = await orchestrator.emit_children(given)
        ends = orchestrator.as_completed(group)
        for place in (2, 0, 3, 1):
            gates[place].open()
            end = await anext(ends)
            assert (end.index, end.output) == (place, place)
            assert end.state is ExecutionState.COMPLETED
        with pytest.raises(StopAsyncIteration):
            await anext(ends)

    run_body(body)


def test_every_reader_gets_every_end_whenever_it_comes(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        gates = [Gate() for _ in range(3)]
        given = [child("t:gated_async", {"gate": gate}) for gate in gates]
        group = orchestrator.emit_children(given)

        def read() -> list[int | None]:
            return [end.index for end in Orchestrator(runtime).as_completed(group, LIMIT)]

        async def read_async() -> list[int | None]:
            ends = AsyncOrchestrator(runtime).as_completed(group, LIMIT)
            return [end.index async for end in ends]

        early = [in_thread(read), in_thread(lambda: asyncio.run(read_async()))]
        first = orchestrator.as_completed(group)
        gates[1].open()
        assert next(first).index == 1
        middle = in_thread(read)
        gates[0].open()
        assert next(first).index == 0
        gates[2].open()
        assert next(first).index == 2
        late = [read(), asyncio_in_thread(read_async), read()]
        readings = [future.result(LIMIT) for future in (*early, middle)] + late

    assert readings == [[1, 0, 2]] * 6


def asyncio_in_thread(make: Callable[[], Any]) -> Any:
    return in_thread(lambda: asyncio.run(make())).result(LIMIT)


def test_ends_hold_failed_and_cancelled_children_too_and_then_the_groups_error_is_raised(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:echo", 1), child("t:fail", "two"), child("t:forever")]
        group = await orchestrator.emit_children(given)
        states: dict[Any, str] = {}
        with pytest.raises(GroupFailedError) as caught:  # noqa: PT012 - after the last end
            async for end in orchestrator.as_completed(group):
                states[end.index] = end.state.value
                if len(states) == 2:
                    await orchestrator.cancel(given[2].id, "enough")
        assert states == {0: "completed", 1: "failed", 2: "cancelled"}
        assert any(isinstance(error, Boom) for error in caught.value.exceptions)

    run_body(body)


def test_what_is_cancelled_by_an_early_decision_is_an_end_as_well(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:forever"), child("t:echo", "winner"), child("t:forever_async")]
        group = await orchestrator.emit_children(given, mode="any")
        ends = await ends_of(orchestrator, group)
        assert sorted(end.index for end in ends) == [0, 1, 2]
        assert ends[0].output == "winner"
        assert [end.state.value for end in ends[1:]] == ["cancelled", "cancelled"]

    run_body(body)


def test_reading_a_cancelled_or_expired_group_to_its_end_raises_what_await_group_would(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        cancelled = await orchestrator.emit_children([child("t:forever")])
        await orchestrator.cancel_group(cancelled, "not needed")
        with pytest.raises(GroupCancelledError, match="not needed"):
            async for _ in orchestrator.as_completed(cancelled):
                pass
        expired = await orchestrator.emit_children([child("t:forever")], timeout=SOON)
        with pytest.raises(GroupTimeoutError):
            async for _ in orchestrator.as_completed(expired):
                pass

    run_body(body)


def test_leaving_early_consumes_nothing(runtime: Any) -> None:
    def parent() -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_children(children("t:echo", [1, 2, 3]))
        for _ in orchestrator.as_completed(group):
            break

    assert runtime.run(parent) == [1, 2, 3]  # merged at the end, so it was not consumed


def test_reading_to_the_end_consumes(runtime: Any) -> None:
    def parent() -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_children(children("t:echo", [1, 2, 3]))
        assert len(list(orchestrator.as_completed(group))) == 3

    assert runtime.run(parent) is None


def test_the_timeout_is_one_deadline_for_the_whole_reading(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        given = [child("t:echo", 0), child("t:gated_async", {"gate": gate, "value": 1})]
        group = await orchestrator.emit_children(given)
        await anext(orchestrator.as_completed(group))  # the first end is there to be read
        seen = []
        with pytest.raises(AwaitTimeoutError):  # noqa: PT012 - after the first end
            async for end in orchestrator.as_completed(group, SOON):
                seen.append(end.index)  # noqa: PERF401 - what came before the error counts
        assert seen == [0]
        gate.open()
        assert [end.index for end in await ends_of(orchestrator, group)] == [0, 1]

    run_body(body)


def test_of_a_group_that_keeps_nothing_ends_are_seen_from_the_readers_arrival_on(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        given = [child("t:gated_async", {"gate": gate, "value": n}) for n in range(3)]
        group = await orchestrator.emit_children(given, keep=False)
        reader = orchestrator.as_completed(group)
        gate.open()
        seen = {end.index: end.output async for end in reader}
        assert seen == {0: 0, 1: 1, 2: 2}
        assert await orchestrator.await_group(group) == []
        assert await ends_of(orchestrator, group) == []

    run_body(body)
