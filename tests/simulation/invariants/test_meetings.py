"""Where two things meet in one instant: each test has few tasks, and time that adds no orders."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    ActionRegistry,
    Execution,
    ExecutionCancelledError,
    ExecutionState,
    Orchestrator,
)
from runtime.simulation import SimulatedRuntime
from runtime.simulation.schedule import Schedule

SEEDS = st.integers(0, 2**32)


def here() -> Orchestrator:
    """The orchestrator of the code that runs."""
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    return orchestrator


@given(st.booleans(), SEEDS)
def test_12_who_is_cancelled_as_a_wait_of_it_begins_is_on_no_cycle(below: bool, seed: int) -> None:
    for more in range(4):  # it takes some luck
        waits_for_what_is_cancelled(below, Schedule.seeded(seed + more))


@pytest.mark.parametrize(
    ("below", "token"),
    [
        # Its wait began behind the decision; the other two were slow.
        (
            False,
            (
                "s1-5PvHCouOVjKxME0xSbS0VNIBciAGGSEZZaiEZC3QBEOQHFgZSByi3hSXeqAzjdFsRJYxhDvNCCwH"
                "50BMhDsbVc7QEMk6oEYgAAA"
            ),
        ),
        # It was over but for what it had emitted, to which the cancel was on its way.
        (
            True,
            "s1-AcKH5IuOVrKwME1MM7VMVNIBchAqjdFUIssYwo00QZYzUdIxB-mCK0WVMzRAcqGRUiwQAAA",
        ),
    ],
)
def test_12_nor_under_the_smallest_schedules_that_put_it_on_one(below: bool, token: str) -> None:
    waits_for_what_is_cancelled(below, Schedule.replay(token))


def waits_for_what_is_cancelled(below: bool, schedule: Any) -> None:
    """One waits for a group; a member of that, or what it emitted, waits for the one.

    The member has been cancelled by then.
    """
    actions = ActionRegistry()
    children, groups, handles, told = list[Execution](), list[str](), list[Any](), list[Any]()

    @actions.register("t:waits")
    def waits() -> None:
        time.sleep(1.0)
        handles[0].result()

    @actions.register("t:emits")
    def emits() -> None:
        here().emit_one(Execution.ad_hoc("t:waits"))

    @actions.register("t:takes")
    def takes() -> None:
        time.sleep(5.0)

    @actions.register("t:awaits")
    def awaits() -> None:
        time.sleep(1.0)
        here().cancel(children[0].id)
        cancelled.wait()
        told.extend(here().await_group(groups[0], return_exceptions=True))  # no DeadlockError

    def hear(event: Any) -> None:
        if event.execution.state is ExecutionState.CANCELLED:
            cancelled.set()

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        cancelled = threading.Event()
        runtime.subscribe(hear)
        handles.append(runtime.spawn("t:awaits"))
        with runtime.execution() as orchestrator:
            names = ["t:emits" if below else "t:waits", "t:takes"]
            children.extend(Execution.ad_hoc(name) for name in names)
            groups.append(orchestrator.emit_children(children))
            handles[0].result()
            orchestrator.await_group(groups[0], return_exceptions=True)
    assert [type(each) for each in told] == [ExecutionCancelledError, type(None)]
