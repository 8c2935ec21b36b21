"""Faults on request: drawn like every other choice, told and replayed like them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Execution,
    ExecutionCancelledError,
    GroupTimeoutError,
    Orchestrator,
    Retry,
)
from runtime.simulation import Faults, InjectedFaultError, Schedule, SimulatedRuntime
from runtime.simulation.story import render_story
from tests.simulation import fault_actions

actions = ActionRegistry()


@actions.register("tools:blocking")
def blocking(value: int) -> int:
    return value


@actions.register("tools:async")
async def awaited(value: int) -> int:
    return value


@actions.register("tools:retried", retry=Retry(max_attempts=50))
def retried(value: int) -> int:
    return value


actions.register("tools:process", runs_in="process")(fault_actions.square)


def plan() -> list[Any]:
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    names = ("tools:blocking", "tools:async", "tools:process")
    group = orchestrator.emit_children([Execution.ad_hoc(name, 3) for name in names], timeout=30)
    return orchestrator.await_group(group, return_exceptions=True)


def outcomes(faults: Faults | None, function: Any = plan, schedules: int = 150) -> Counter[str]:
    """What comes of the plan, over many schedules: by kind of answer, for every child."""
    seen: Counter[str] = Counter()
    for seed in range(schedules):
        with SimulatedRuntime(actions, Schedule.seeded(seed), faults=faults) as runtime:
            try:
                answer = runtime.run(function)
            except (ExecutionCancelledError, GroupTimeoutError, InjectedFaultError) as error:
                seen[type(error).__name__] += 1
            else:
                for each in answer if isinstance(answer, list) else [answer]:
                    seen[type(each).__name__] += 1
    return seen


def test_without_faults_nothing_goes_wrong() -> None:
    assert set(outcomes(None)) == {"int"}


def test_in_the_plain_order_nothing_goes_wrong() -> None:
    with SimulatedRuntime(actions, Schedule.plain(), faults=Faults.all()) as runtime:
        assert runtime.run(plan) == [3, 3, 9]


def test_an_action_can_raise() -> None:
    seen = outcomes(Faults(raises=True, actions=["tools:*"]))
    assert set(seen) == {"int", "InjectedFaultError"}
    assert seen["int"] > seen["InjectedFaultError"] > 0


def test_an_action_can_hang_until_its_group_ends() -> None:
    assert set(outcomes(Faults(hangs=True, actions=["tools:*"]))) == {"int", "GroupTimeoutError"}


def test_an_action_can_be_slow() -> None:
    assert set(outcomes(Faults(slow=[1], actions=["tools:*"]))) == {"int"}
    assert "GroupTimeoutError" in outcomes(Faults(slow=[100], actions=["tools:*"]))


def test_an_execution_can_be_cancelled_at_any_point() -> None:
    seen = outcomes(Faults(cancels=True, actions=["tools:*"]))
    assert set(seen) == {"int", "ExecutionCancelledError"}


def test_a_process_can_die() -> None:
    seen = outcomes(Faults(process_deaths=True))
    assert set(seen) == {"int", "OrchestratorError"}


def test_faults_keep_to_the_actions_they_are_for() -> None:
    seen = outcomes(Faults(raises=True, actions=["nobody:*"]))
    assert set(seen) == {"int"}


def test_each_attempt_may_fail_by_itself() -> None:
    def run() -> int:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        return int(orchestrator.call(Execution.ad_hoc("tools:retried", 1)))

    attempts: list[int] = []
    for seed in range(100):
        with SimulatedRuntime(
            actions, Schedule.seeded(seed), faults=Faults(raises=True, actions=["tools:*"])
        ) as runtime:
            handle = runtime.spawn(Execution.ad_hoc("tools:retried", 1))
            handle.result()
            attempts.append(handle.snapshot().attempts)
    assert len(set(attempts)) > 1


def test_a_fault_is_told_and_replayed() -> None:
    faults = Faults(raises=True, actions=["tools:*"])
    for seed in range(1000):
        schedule = Schedule.seeded(seed)
        with SimulatedRuntime(actions, schedule, faults=faults) as runtime:
            first = runtime.run(plan)
        if any(isinstance(each, InjectedFaultError) for each in first):
            break
    assert "fault in tools:" in render_story(runtime.world)
    replay = Schedule.replay(schedule.token)
    with SimulatedRuntime(actions, replay, faults=faults) as runtime:
        again = runtime.run(plan)
    assert [str(each) for each in again] == [str(each) for each in first]
    assert replay.difference() is None


def test_faults_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="lets nothing go wrong"):
        Faults()
    with pytest.raises(TypeError, match="actions="):
        Faults(raises=True, actions="tools:*")
