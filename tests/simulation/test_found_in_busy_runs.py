"""Faults of the runtime that simulations have found, each under a schedule that shows it."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from orchestrator import (
    ActionRegistry,
    AwaitTimeoutError,
    Execution,
    UnknownExecutionError,
)
from runtime.simulation import SimulatedRuntime
from runtime.simulation.schedule import Schedule
from tests.simulation.busy_runs import Busy
from tests.simulation.shop import here


@pytest.mark.parametrize("seed", [6, 181, 250, 284])
def test_a_lazy_group_that_is_forgotten_at_once_still_settles(seed: int) -> None:
    """Its emitter's attempt ended between the emit's answer and the start of the feeder."""
    _busy_run(seed)


@pytest.mark.parametrize("seed", range(60))
def test_a_resume_that_times_out_in_a_cancelled_execution_is_no_answer(seed: int) -> None:
    """The withdrawn wait was answered with the cancelled execution, as if its groups had ended."""
    actions = ActionRegistry()
    answered: list[str] = []

    @actions.register("t:slow")
    def slow() -> None:
        here().sleep(5)

    @actions.register("t:resumes")
    def resumes() -> None:
        orchestrator = here()
        orchestrator.emit_one(Execution.ad_hoc("t:slow"))
        with contextlib.suppress(AwaitTimeoutError):
            orchestrator.await_resume(1)
            answered.append("answered")

    with SimulatedRuntime(actions, Schedule.seeded(seed)) as runtime:
        handle = runtime.spawn("t:resumes")
        time.sleep(1)
        handle.cancel()
    assert not answered


@pytest.mark.parametrize("seed", range(20))
def test_a_worker_goes_no_further_in_a_run_of_which_a_child_has_become_an_actor(seed: int) -> None:
    """The child had its worker from then on, and what was started behind it was never counted."""
    actions = ActionRegistry()
    halfway = threading.Event()

    @actions.register("t:one")
    def one(n: int) -> int:
        if n == 20:  # the runs are long by now
            halfway.set()
        time.sleep(0)  # lets others go first
        return n

    with (
        SimulatedRuntime(actions, Schedule.seeded(seed), workers=1) as runtime,
        runtime.execution() as orchestrator,
    ):
        children = [Execution.ad_hoc("t:one", n, id=f"c{n}") for n in range(40)]
        group = orchestrator.emit_children(children)
        halfway.wait()
        for n in range(20, 40):
            with contextlib.suppress(UnknownExecutionError):  # it has ended already
                orchestrator.cancel(f"c{n}")
        orchestrator.await_group(group, return_exceptions=True)


def _busy_run(seed: int) -> None:
    busy = Busy()
    with SimulatedRuntime(busy.actions, Schedule.seeded(seed)) as runtime:
        if seed % 2:
            runtime.check_invariants()
        busy.drive(runtime, seed // 3)
