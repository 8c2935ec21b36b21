"""Faults that the property tests have found, each with the smallest plan that showed it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from orchestrator import ActionRegistry, DeadlockError
from runtime import LocalRuntime
from runtime.simulation import SimulatedRuntime
from runtime.simulation.plans import FanOutPlan, Fault
from runtime.simulation.schedule import Schedule
from tests.simulation.checks import check_all
from tests.simulation.harness import play


@pytest.mark.parametrize("seed", range(60))
def test_a_lazy_emit_whose_execution_is_cancelled_on_its_way_is_closed_and_forgotten(
    seed: int,
) -> None:
    # Its source was never started and so never closed, and the group stayed known.
    child = FanOutPlan(max_in_flight=1, is_async=True)
    check_all(
        play(FanOutPlan(children=(child,), timeout=0.0, fails_first=1), Schedule.seeded(seed))
    )


@pytest.mark.parametrize("seed", range(30))
def test_a_group_that_is_admitted_after_its_emitters_end_is_forgotten(seed: int) -> None:
    check_all(play(FanOutPlan(), Schedule.seeded(seed), faults=[Fault()]))


@pytest.mark.parametrize("make", [LocalRuntime, SimulatedRuntime])
def test_a_wait_that_is_refused_does_not_wait_for_the_worker_that_it_has(make: Any) -> None:
    actions, handles = ActionRegistry(), []

    @actions.register("t:waits_for_itself")
    def waits_for_itself(handle: Any) -> None:
        handle.get(timeout=30).result()

    with make(actions, workers=1) as runtime:
        from actors.system import Future  # noqa: PLC0415 - met by the two

        handle: Any = Future()
        handles.append(runtime.spawn("t:waits_for_itself", {"handle": handle}))
        handle.set(handles[0])
        with pytest.raises(DeadlockError):
            handles[0].result(30)


@pytest.mark.parametrize("seed", range(60))
def test_nor_does_it_queue_behind_another_that_comes_back_for_that_worker(seed: int) -> None:
    actions, handles, told = ActionRegistry(), list[Any](), list[int]()
    graph = [None, 2, None, 3]  # whom each waits for

    @actions.register("t:waits")
    def waits(number: int) -> None:
        started.wait()
        target = graph[number]
        if target is not None:
            try:
                handles[target].result()
            except DeadlockError:
                told.append(number)

    with SimulatedRuntime(actions, Schedule.seeded(seed), workers=1) as runtime:
        started = threading.Event()
        handles.extend([runtime.spawn("t:waits", {"number": number}) for number in range(4)])
        started.set()
        for handle in handles:
            handle.result()
    assert told == [3]
