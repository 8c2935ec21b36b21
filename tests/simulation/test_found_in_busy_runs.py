"""Faults of the runtime that simulations have found, each under a schedule that shows it."""

from __future__ import annotations

import pytest

from runtime.simulation import SimulatedRuntime
from runtime.simulation.schedule import Schedule
from tests.simulation.busy_runs import Busy


@pytest.mark.parametrize("seed", [6, 181, 250, 284])
def test_a_lazy_group_that_is_forgotten_at_once_still_settles(seed: int) -> None:
    """Its emitter's attempt ended between the emit's answer and the start of the feeder."""
    _busy_run(seed)


@pytest.mark.parametrize("seed", [9054, 9152])
def test_a_resume_that_times_out_in_a_cancelled_execution_is_no_answer(seed: int) -> None:
    """The withdrawn wait was answered with the cancelled execution, as if its groups had ended."""
    _busy_run(seed)


def _busy_run(seed: int) -> None:
    busy = Busy()
    with SimulatedRuntime(busy.actions, Schedule.seeded(seed)) as runtime:
        if seed % 2:
            runtime.check_invariants()
        busy.drive(runtime, seed // 3)
