"""DESIGN.md section 3, *Slots*: workers, limits, priorities, the order of starts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, Orchestrator, Rate
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


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_bound_the_blocking_actions_that_run_at_once(
    actions: ActionRegistry, make_runtime: Run, workers: int
) -> None:
    meter, barrier = Meter(), threading.Barrier(workers)

    @actions.register("t:meet")
    def meet() -> None:
        with meter:
            barrier.wait(LIMIT)  # passes only where so many run at once

    with make_runtime(workers=workers).execution() as orchestrator:
        group = orchestrator.emit_children(children("t:meet", [None] * (4 * workers)))
        orchestrator.await_group(group, LIMIT)
    assert (meter.highest, meter.total) == (workers, 4 * workers)


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_who_waits_for_its_group_has_no_worker_that_others_need(
    actions: ActionRegistry, make_runtime: Run, kind: str
) -> None:
    begun, waits_by_now, gate = Gate(), Gate(), Gate()

    @actions.register("t:holds")
    def holds() -> None:
        begun.open()
        gate.wait()

    @actions.register("t:waits")
    def waits() -> None:
        here().await_group(here().emit_one(child("t:holds")))

    @actions.register("t:waits_async")
    async def waits_async() -> None:
        group = await here_async().emit_one(child("t:holds"))
        asyncio.get_running_loop().call_soon(waits_by_now.open)
        await here_async().await_group(group)

    runtime = make_runtime(workers=2)
    waiter = runtime.spawn("t:waits" if kind == "blocking" else "t:waits_async")
    begun.wait()  # one worker is the child's; the other one nobody wants
    assert runtime.run("t:echo", 1, timeout=LIMIT) == 1  # on the worker of the one that waits
    if kind == "async":  # which has none
        waits_by_now.wait()
    stats = runtime.stats()
    assert (stats.running, stats.waiting) == (1, 1)
    gate.open()
    waiter.result(LIMIT)


def test_workers_do_not_bound_async_actions(actions: ActionRegistry, make_runtime: Run) -> None:
    gate = Gate()
    inside: list[int] = []

    @actions.register("t:meet_async")
    async def meet(count: int) -> None:
        inside.append(1)
        if len(inside) == count:
            gate.open()
        await gate

    with make_runtime(workers=1).execution() as orchestrator:
        group = orchestrator.emit_children(children("t:meet_async", [50] * 50))
        orchestrator.await_group(group, LIMIT)


def test_a_worker_is_not_held_inside_our_waits(actions: ActionRegistry, make_runtime: Run) -> None:
    @actions.register("t:waits")
    def waits(how: str, gate: Gate) -> str:
        orchestrator = here()
        given = {"gate": gate}
        if how == "call":
            orchestrator.call(child("t:gated", given))
        elif how == "await":
            orchestrator.await_group(orchestrator.emit_one(child("t:gated", given)))
        elif how == "resume":
            orchestrator.emit_one(child("t:gated", given))
            orchestrator.await_resume()
        elif how == "ends":
            list(orchestrator.as_completed(orchestrator.emit_one(child("t:gated", given))))
        else:
            with orchestrator.blocking():
                gate.wait()
        return how

    hows = ("call", "await", "resume", "ends", "blocking")
    gate = Gate()

    @actions.register("t:opens")
    def opens() -> None:
        gate.open()

    runtime = make_runtime(workers=1)
    handles = [runtime.spawn("t:waits", {"how": how, "gate": gate}) for how in hows]
    runtime.run("t:opens")
    assert [handle.result(LIMIT) for handle in handles] == list(hows)


@pytest.mark.parametrize("how", ["starts", "returns"])
def test_who_needs_the_worker_of_a_caller_of_async_code_has_it(
    actions: ActionRegistry, make_runtime: Run, how: str
) -> None:
    """Nobody does when the call begins, so that the caller may have it still."""
    gate, inside, waits, goes_on = Gate(), Gate(), Gate(), Gate()

    @actions.register("t:inside_async")
    async def inside_async(value: int) -> int:
        inside.open()
        await gate
        return value + 1

    @actions.register("t:calls_async")
    def calls_async(value: int) -> int:
        found = [here().call(child("t:inside_async", value + step)) for step in range(3)]
        return sum(found)

    @actions.register("t:goes_on")
    def goes_on_behind() -> None:
        with here().blocking():
            waits.open()
            goes_on.wait()
        gate.open()  # with a worker

    runtime = make_runtime(workers=1)
    other = runtime.spawn("t:goes_on") if how == "returns" else None
    if other is not None:
        waits.wait()
    caller = runtime.spawn("t:calls_async", 1)
    inside.wait()
    stats = runtime.stats()
    assert (stats.running, stats.waiting) == ((1, 1) if other is None else (1, 2))
    if other is None:
        assert runtime.run("t:echo", "beside it") == "beside it"
        stats = runtime.stats()
        assert (stats.running, stats.waiting, stats.pending) == (1, 1, 0)
        gate.open()
    else:
        goes_on.open()
        other.result(LIMIT)
    assert caller.result(LIMIT) == 9
    stats = runtime.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.emitted == stats.completed


def test_sleeping_holds_no_worker(make_runtime: Run) -> None:
    runtime = make_runtime(workers=1)
    gates = [Gate() for _ in range(20)]
    handles = [runtime.spawn("t:forever", {"started": gate}) for gate in gates]
    for gate in gates:  # all of them are asleep, or about to be
        gate.wait()
    assert runtime.run("t:echo", 1) == 1
    for handle in handles:
        handle.cancel()


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_max_concurrency_bounds_an_action_and_wastes_no_slot(
    actions: ActionRegistry, make_runtime: Run, kind: str
) -> None:
    meter, barrier = Meter(), threading.Barrier(2)
    met: list[Any] = []

    @actions.register("t:blocking", max_concurrency=2)
    def meet() -> None:
        with meter:
            barrier.wait(LIMIT)

    @actions.register("t:async", max_concurrency=2)
    async def meet_async() -> None:
        with meter:
            met.append(asyncio.get_running_loop().create_future())
            if len(met) == 2:  # the two that run at once meet here
                for future in met:
                    future.set_result(None)
                met.clear()
            else:
                await asyncio.wait_for(met[-1], LIMIT)

    with make_runtime(workers=8).execution() as orchestrator:
        group = orchestrator.emit_children(children(f"t:{kind}", [None] * 10))
        orchestrator.await_group(group, LIMIT)
    assert (meter.highest, meter.total) == (2, 10)


def test_max_concurrency_is_each_runtimes_own(actions: ActionRegistry, make_runtime: Run) -> None:
    barrier = threading.Barrier(2)

    @actions.register("t:alone", max_concurrency=1)
    def alone() -> None:
        barrier.wait(LIMIT)

    handles = [make_runtime().spawn("t:alone") for _ in range(2)]
    for handle in handles:
        handle.result(LIMIT)


def test_a_limited_action_does_not_hold_up_others(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    gate, started = Gate(), Gate()

    @actions.register("t:limited", max_concurrency=1)
    def limited() -> None:
        started.open()
        gate.wait()

    runtime = make_runtime(workers=2)
    handles = [runtime.spawn("t:limited") for _ in range(3)]
    started.wait()
    assert runtime.run("t:echo", 1, timeout=LIMIT) == 1
    gate.open()
    for handle in handles:
        handle.result(LIMIT)


def test_a_slot_is_held_while_the_code_runs_cancelling_included(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    gate, started = Gate(), Gate()
    meter = Meter()

    @actions.register("t:alone", max_concurrency=1)
    def alone() -> None:
        with meter:
            started.open()
            gate.wait()

    runtime = make_runtime(workers=4)
    first = runtime.spawn("t:alone")
    started.wait()
    first.cancel()
    second = runtime.spawn("t:alone")
    assert second.snapshot().state == "scheduled"
    gate.open()
    second.result(LIMIT)
    assert meter.highest == 1


def test_a_slot_of_max_concurrency_is_not_held_inside_our_waits(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    @actions.register("t:recursive", max_concurrency=1)
    def recursive(depth: int) -> int:
        return here().call(child("t:recursive", depth - 1)) + 1 if depth else 0

    @actions.register("t:recursive_async", max_concurrency=1)
    async def recursive_async(depth: int) -> int:
        if not depth:
            return 0
        return await here_async().call(child("t:recursive_async", depth - 1)) + 1

    runtime = make_runtime(workers=2)
    assert runtime.run("t:recursive", 10, timeout=LIMIT) == 10
    assert runtime.run("t:recursive_async", 10, timeout=LIMIT) == 10


def test_rate_limit_bounds_the_starts_in_every_window_and_each_attempt_is_one(
    actions: ActionRegistry, runtime: Any
) -> None:
    rate = Rate(limit=3, per=0.1)

    @actions.register("t:rated", rate_limit=rate)
    def rated() -> None:
        pass

    @actions.register("t:rated_async", rate_limit=rate)
    async def rated_async() -> None:
        pass

    for action in ("t:rated", "t:rated_async"):
        with runtime.execution() as orchestrator:
            group = orchestrator.emit_children(children(action, [None] * 8))
            ends = list(orchestrator.as_completed(group, LIMIT))
        starts = sorted(end.started_at for end in ends)
        windows = zip(starts, starts[rate.limit :], strict=False)
        assert all(later - first >= rate.per for first, later in windows)


def test_a_rate_limited_action_can_be_cancelled_while_it_waits_for_its_start(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:rare", rate_limit=Rate(limit=1, per=FOREVER))
    def rare() -> str:
        return "started"

    assert runtime.run("t:rare") == "started"
    late = runtime.spawn("t:rare", timeout=SOON)
    with pytest.raises(TimeoutError):
        late.result(LIMIT)
    later = runtime.spawn("t:rare")
    later.cancel()
    runtime.close(LIMIT)
    assert later.snapshot().state == "cancelled"


def test_blocking_is_a_context_manager_on_every_face(runtime: Any) -> None:
    def inside() -> str:
        with here().blocking():
            return "blocking"

    async def inside_async() -> str:
        async with here_async().blocking():
            return "async"

    assert runtime.run(inside) == "blocking"
    assert runtime.run(inside_async) == "async"
    with Orchestrator(runtime).blocking():
        pass
