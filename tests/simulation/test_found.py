"""Faults that the property tests have found, each with the smallest plan that showed it."""

from __future__ import annotations

import pytest

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
    check_all(play(FanOutPlan(children=(child,), timeout=0.0, fails_first=1), Schedule.seeded(seed)))


@pytest.mark.parametrize("seed", range(30))
def test_a_group_that_is_admitted_after_its_emitters_end_is_forgotten(seed: int) -> None:
    check_all(play(FanOutPlan(), Schedule.seeded(seed), faults=[Fault()]))
