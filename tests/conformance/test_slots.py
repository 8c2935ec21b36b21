"""DESIGN.md section 3, *Slots*: workers, limits, priorities, the order of starts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, Execution, Orchestrator, Rate, Task
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


class Blocker:
    """Holds the only worker until the test has queued what it wants to see started in order."""

    def __init__(self, actions: ActionRegistry, make_runtime: Run) -> None:
        self.started, self.gate = Gate(), Gate()
        self.order: list[Any] = []
        actions.register("t:block")(self._block)
        actions.register("t:note")(self._note)
        self.runtime = make_runtime(workers=1)
        self.runtime.spawn("t:block")
        self.started.wait()

    def _block(self) -> None:
        self.started.open()
        self.gate.wait()

    def _note(self, name: Any) -> Any:
        self.order.append(name)
        return name

    def finish(self) -> list[Any]:
        self.gate.open()
        self.runtime.close(LIMIT)
        return self.order


@pytest.fixture
def blocker(actions: ActionRegistry, make_runtime: Run) -> Blocker:
    return Blocker(actions, make_runtime)


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


def test_a_higher_priority_starts_first(blocker: Blocker) -> None:
    for priority in (0, 5, -1, 3, 5):
        blocker.runtime.spawn(Execution.ad_hoc("t:note", priority, priority=priority))

    assert blocker.finish() == [5, 5, 3, 0, -1]


def test_among_equals_the_first_to_arrive_starts_first(blocker: Blocker) -> None:
    for name in range(10):
        blocker.runtime.spawn("t:note", name)

    assert blocker.finish() == list(range(10))


def test_a_childs_priority_is_its_parents_unless_it_has_one(
    actions: ActionRegistry, blocker: Blocker
) -> None:
    @actions.register("t:urgent")
    async def urgent(queued: Gate) -> None:
        orchestrator = here_async()
        await orchestrator.emit_children(children("t:note", ["inherits"]))
        await orchestrator.emit_children(children("t:note", ["own"], priority=-5))
        await orchestrator.emit_for_each(["template"], "x", Task("t:note", priority=20))
        queued.open()

    queued = Gate()
    blocker.runtime.spawn(Execution.ad_hoc("t:urgent", {"queued": queued}, priority=10))
    queued.wait()
    blocker.runtime.spawn("t:note", "ordinary")
    blocker.runtime.spawn(Execution.ad_hoc("t:note", "urgent", priority=5))

    assert blocker.finish() == ["template", "inherits", "urgent", "ordinary", "own"]


def test_what_belongs_to_a_running_process_goes_before_a_new_root(
    actions: ActionRegistry, blocker: Blocker
) -> None:
    @actions.register("t:parent")
    async def parent(queued: Gate) -> None:
        await here_async().emit_children(children("t:note", ["child 1", "child 2"]))
        queued.open()

    queued = Gate()
    blocker.runtime.spawn("t:note", "root")
    blocker.runtime.spawn("t:parent", {"queued": queued})
    queued.wait()

    assert blocker.finish() == ["child 1", "child 2", "root"]


def test_within_a_process_the_deepest_goes_first(actions: ActionRegistry, blocker: Blocker) -> None:
    @actions.register("t:level")
    async def level(depth: int, queued: Gate) -> None:
        orchestrator = here_async()
        await orchestrator.emit_children(children("t:note", [f"depth {depth}"]))
        if depth == 3:
            queued.open()
        else:
            await orchestrator.emit_one(child("t:level", {"depth": depth + 1, "queued": queued}))

    queued = Gate()
    blocker.runtime.spawn("t:level", {"depth": 1, "queued": queued})
    queued.wait()

    assert blocker.finish() == ["depth 3", "depth 2", "depth 1"]


def test_running_processes_take_turns(actions: ActionRegistry, blocker: Blocker) -> None:
    @actions.register("t:parent")
    async def parent(name: str, queued: Gate) -> None:
        await here_async().emit_children(children("t:note", [name] * 3))
        queued.open()

    for name in "ab":
        queued = Gate()
        blocker.runtime.spawn("t:parent", {"name": name, "queued": queued})
        queued.wait()
    order = blocker.finish()

    assert sorted(order) == ["a"] * 3 + ["b"] * 3
    assert [set(order[place : place + 2]) for place in (0, 2, 4)] == [{"a", "b"}] * 3


def test_a_waiter_that_returns_goes_ahead_of_every_start(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    """Urgent starts never run out here: a waiter that had to queue among them would starve."""
    runtime = make_runtime(workers=1)
    released, returned = Gate(), Gate()

    @actions.register("t:again")
    def again(count: int) -> None:
        if count == 20:
            released.open()
        if not returned.is_open:
            urgent = Execution.ad_hoc("t:again", {"count": count + 1}, priority=100)
            runtime.spawn(urgent)

    @actions.register("t:waiter")
    def waiter() -> None:
        orchestrator = here()
        group = orchestrator.emit_one(child("t:gated_async", {"gate": released}))
        for _ in range(2):
            runtime.spawn(Execution.ad_hoc("t:again", {"count": 0}, priority=100))
        orchestrator.await_group(group)
        returned.open()

    try:
        runtime.run("t:waiter", timeout=LIMIT)
    finally:
        returned.open()


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


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"limit": 0}, ValueError),
        ({"limit": "3"}, TypeError),
        ({"limit": 1, "per": 0}, ValueError),
        ({"limit": 1, "per": float("nan")}, ValueError),
        ({"limit": 1, "per": float("inf")}, ValueError),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Rate"):
        Rate(**wrong)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_workers_that_make_no_sense_are_refused(runtime_factory: Run, workers: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="workers"):
        runtime_factory(ActionRegistry(), workers=workers)


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
