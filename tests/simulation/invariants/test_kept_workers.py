"""Blocking code keeps its worker while it waits for an async child, until somebody needs it."""

from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ActionRegistry, AsyncOrchestrator, Execution, Orchestrator
from runtime.simulation import Schedule, SimulatedRuntime, schedules

WORK = 1.0  # virtual seconds for which the other one needs the only worker


@given(st.sampled_from([0.5, WORK, 2.0]), schedules(clock="jump"))
def test_15_a_worker_that_is_kept_is_had_by_whoever_needs_it(
    seconds: float, schedule: Schedule
) -> None:
    actions = ActionRegistry()
    at: dict[str, float] = {}

    @actions.register("t:inside")
    async def inside(seconds: float) -> None:
        begun.set()
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        await orchestrator.sleep(seconds)

    @actions.register("t:keeps")
    def keeps(seconds: float) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        orchestrator.call(Execution.ad_hoc("t:inside", seconds))
        at["back"] = runtime.now()

    @actions.register("t:works")
    def works() -> None:
        at["begun"] = runtime.now()
        time.sleep(WORK)  # and not in one of our waits: its worker is held

    with SimulatedRuntime(actions, schedule, workers=1) as runtime:
        begun = threading.Event()
        keeper = runtime.spawn("t:keeps", seconds)
        begun.wait()
        worker = runtime.spawn("t:works")
        keeper.result()
        worker.result()
    assert at == {"begun": 0.0, "back": max(seconds, WORK)}
