"""DESIGN.md section 3, *Cycles*: waits that could never end are errors, all others just wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AwaitTimeoutError,
    DeadlockError,
    GroupFailedError,
    current_context,
)
from tests.conformance.support import LIMIT, SOON, Gate, child, children, here, here_async

Run = Callable[..., Any]


@pytest.fixture
def told() -> list[str]:
    """Ids of groups that children are told of."""
    return []


@pytest.fixture
def waiting(actions: ActionRegistry, told: list[str]) -> Gate:
    """Actions that wait for the first group in *told* once the gate is open."""
    known = Gate()

    @actions.register("t:waits")
    def waits(timeout: float | None = None) -> Any:
        known.wait()
        return here().await_group(told[0], timeout)

    @actions.register("t:waits_async")
    async def waits_async(timeout: float | None = None) -> Any:
        await known
        return await here_async().await_group(told[0], timeout)

    @actions.register("t:reads")
    def reads() -> Any:
        known.wait()
        return len(list(here().as_completed(told[0])))

    @actions.register("t:relays")
    def relays(action: str) -> Any:
        return here().call(child(action))

    return known


@pytest.mark.parametrize("action", ["t:waits", "t:waits_async", "t:reads"])
@pytest.mark.parametrize("relayed", [False, True])
def test_a_wait_on_the_group_that_holds_the_waiter_or_its_ancestor_is_an_error_at_once(
    runtime: Any, waiting: Gate, told: list[str], action: str, relayed: bool
) -> None:
    with runtime.execution() as orchestrator:
        given = child("t:relays", action) if relayed else child(action)
        told.append(orchestrator.emit_children([given, child("t:echo", 1)]))
        waiting.open()
        with pytest.raises(GroupFailedError) as caught:
            orchestrator.await_group(told[0], LIMIT)
    (error,) = caught.value.exceptions
    assert isinstance(error, DeadlockError)
    assert told[0] in str(error)
    assert caught.value.outputs == [None, 1]


def test_a_timeout_does_not_excuse_a_wait_on_the_group_that_holds_the_waiter(
    runtime: Any, waiting: Gate, told: list[str]
) -> None:
    with runtime.execution() as orchestrator:
        told.append(orchestrator.emit_one(child("t:waits", {"timeout": LIMIT})))
        waiting.open()
        with pytest.raises(GroupFailedError) as caught:
            orchestrator.await_group(told[0], LIMIT)
    assert isinstance(caught.value.exceptions[0], DeadlockError)


@pytest.mark.parametrize("kinds", [("t:peer", "t:peer"), ("t:peer", "t:peer_async")])
def test_two_executions_that_wait_for_each_others_groups_are_a_cycle_that_is_named(
    actions: ActionRegistry, runtime: Any, kinds: tuple[str, str]
) -> None:
    gates = [Gate(), Gate()]
    groups = ["", ""]

    @actions.register("t:peer")
    def peer(me: int) -> Any:
        orchestrator = here()
        groups[me] = orchestrator.emit_one(child("t:waits_for_other", {"me": me}))
        gates[me].open()
        return orchestrator.await_group(groups[me])

    @actions.register("t:peer_async")
    async def peer_async(me: int) -> Any:
        orchestrator = here_async()
        groups[me] = await orchestrator.emit_one(child("t:waits_for_other", {"me": me}))
        gates[me].open()
        return await orchestrator.await_group(groups[me])

    @actions.register("t:waits_for_other")
    def waits_for_other(me: int) -> Any:
        gates[1 - me].wait()
        return here().await_group(groups[1 - me])

    handles = [runtime.spawn(kind, {"me": me}) for me, kind in enumerate(kinds)]
    deadlocks: list[DeadlockError] = []
    for handle in handles:
        try:
            handle.result(LIMIT)
        except GroupFailedError as error:
            deadlocks += _deadlocks(error)
    assert deadlocks
    for error in deadlocks:
        first, *others = error.cycle
        assert others[-1] == first
        assert len(set(error.cycle)) == len(others) > 1
        assert all(name in str(error) for name in error.cycle)


def _deadlocks(error: BaseException) -> list[DeadlockError]:
    if isinstance(error, BaseExceptionGroup):
        return [found for inner in error.exceptions for found in _deadlocks(inner)]
    return [error] if isinstance(error, DeadlockError) else []


def _text(error: Any) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_text(inner) for inner in error.exceptions)
    return str(error)


def test_a_cycle_that_a_timeout_can_end_is_no_deadlock(
    actions: ActionRegistry, runtime: Any
) -> None:
    gates = [Gate(), Gate()]
    groups = ["", ""]

    @actions.register("t:patient")
    def patient(me: int) -> Any:
        gates[1 - me].wait()
        try:
            return here().await_group(groups[1 - me], SOON if me else None)
        except AwaitTimeoutError:
            return "gave up"

    @actions.register("t:peer")
    def peer(me: int) -> Any:
        orchestrator = here()
        groups[me] = orchestrator.emit_one(child("t:patient", {"me": me}))
        gates[me].open()
        orchestrator.await_group(groups[me])
        return orchestrator.await_group(groups[me])

    handles = [runtime.spawn("t:peer", {"me": me}) for me in (0, 1)]
    assert handles[1].result(LIMIT) == ["gave up"]
    assert handles[0].result(LIMIT) == [["gave up"]]


def test_a_cycle_that_a_deadline_can_end_is_no_deadlock(
    actions: ActionRegistry, runtime: Any
) -> None:
    gates = [Gate(), Gate()]
    groups = ["", ""]

    @actions.register("t:waits_for_other")
    def waits_for_other(me: int) -> Any:
        gates[1 - me].wait()
        return here().await_group(groups[1 - me])

    @actions.register("t:peer")
    def peer(me: int) -> Any:
        orchestrator = here()
        timeout = 5 * SOON if me else None
        groups[me] = orchestrator.emit_one(child("t:waits_for_other", {"me": me}), timeout=timeout)
        gates[me].open()
        return orchestrator.await_group(groups[me])

    handles = [runtime.spawn("t:peer", {"me": me}) for me in (0, 1)]
    for handle in handles:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - told apart below
            handle.result(LIMIT)
        assert "could never end" not in _text(caught.value)
        assert "closed after" in _text(caught.value)


def test_a_sibling_may_wait_for_another_group_of_its_parent(
    runtime: Any, waiting: Gate, told: list[str]
) -> None:
    with runtime.execution() as orchestrator:
        gate = Gate()
        told.append(orchestrator.emit_one(child("t:gated_async", {"gate": gate, "value": 1})))
        waiting.open()
        other = orchestrator.emit_children(children("t:waits", [None] * 3))
        gate.open()
        assert orchestrator.await_group(other, LIMIT) == [[1]] * 3


def test_a_child_may_wait_for_a_later_group_of_its_parent_though_the_parent_waits_for_it(
    runtime: Any, waiting: Gate, told: list[str]
) -> None:
    with runtime.execution() as orchestrator:
        waits = orchestrator.emit_one(child("t:waits"))
        told.append(orchestrator.emit_one(child("t:echo", 1)))
        waiting.open()
        assert orchestrator.await_group(waits, LIMIT) == [[1]]


def test_a_wait_that_something_outside_can_end_is_no_cycle(
    actions: ActionRegistry, runtime: Any
) -> None:
    """`first` needs one child only, and the other one is outside of the cycle."""
    known, gate = Gate(), Gate()
    told: list[str] = []

    @actions.register("t:waits")
    def waits() -> Any:
        known.wait()
        return here().await_group(told[0])

    @actions.register("t:emitter")
    def emitter() -> Any:
        orchestrator = here()
        given = [child("t:gated_async", {"gate": gate, "value": "outside"}), child("t:forever")]
        told.append(orchestrator.emit_children(given, mode="first"))
        waits = orchestrator.emit_one(child("t:waits"))
        known.open()
        outputs = orchestrator.await_group(waits)
        return [outputs, orchestrator.await_group(told[0])]

    handle = runtime.spawn("t:emitter")
    known.wait()
    gate.open()
    assert handle.result(LIMIT) == [[["outside"]], ["outside"]]


def test_several_waits_of_one_execution_at_once_are_no_edges(runtime: Any) -> None:
    async def parent() -> list[Any]:
        orchestrator = here_async()
        gate = Gate()
        groups = [
            await orchestrator.emit_one(child("t:gated_async", {"gate": gate, "value": n}))
            for n in range(3)
        ]
        waits = [asyncio.create_task(orchestrator.await_group(group)) for group in groups]
        await asyncio.sleep(0)
        gate.open()
        return await asyncio.gather(*waits)

    assert runtime.run(parent, timeout=LIMIT) == [[0], [1], [2]]


def test_a_child_may_run_a_root_to_its_end_while_its_parent_waits_for_it(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:below")
    def below(parent: str) -> Any:
        orchestrator = here()
        assert orchestrator is not None
        return runtime.run("t:echo", parent)

    @actions.register("t:parent")
    def parent() -> Any:
        orchestrator = here()
        mine = current_context().execution.id
        return orchestrator.await_group(orchestrator.emit_one(child("t:below", {"parent": mine})))

    handle = runtime.spawn("t:parent")
    assert handle.result(LIMIT) == [handle.id]


def test_a_wait_for_the_root_that_the_waiter_belongs_to_is_an_error(
    actions: ActionRegistry, runtime: Any
) -> None:
    handles: list[Any] = []
    known = Gate()

    @actions.register("t:waits_for_root")
    def waits_for_root() -> Any:
        known.wait()
        return handles[0].result()

    @actions.register("t:root")
    def root() -> Any:
        return here().call(child("t:waits_for_root"))

    handles.append(runtime.spawn("t:root"))
    known.open()
    with pytest.raises(DeadlockError):
        handles[0].result(LIMIT)


def test_an_action_that_closes_its_own_runtime_is_told_that_it_would_wait_for_itself(
    runtime: Any,
) -> None:
    def closes() -> None:
        runtime.close()

    with pytest.raises(DeadlockError):
        runtime.run(closes)
    assert runtime.run("t:echo", 1) == 1
