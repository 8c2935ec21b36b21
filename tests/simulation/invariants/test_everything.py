"""All that must hold of every run at once, over everything that a plan can be."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from runtime.simulation.plans import FanOutPlan, Fault
from runtime.simulation.strategies import fan_outs, faults, tasks, waiters
from tests.simulation.checks import check_all
from tests.simulation.harness import play
from tests.simulation.schedules import orders


@given(fan_outs(tasks(retries=1), outside=waiters()), orders())
def test_of_any_fan_out(plan: FanOutPlan, schedule: Any) -> None:
    check_all(play(plan, schedule))


@given(
    fan_outs(
        tasks(retries=1, timeouts=True, lingers=True),
        depth=2,
        deadlines=True,
        patience=True,
        lazy=True,
        retries=1,
        outside=waiters(most=1),
    ),
    faults(),
    orders(),
)
def test_of_any_tree_with_faults(
    plan: FanOutPlan, disturbances: tuple[Fault, ...], schedule: Any
) -> None:
    check_all(play(plan, schedule, faults=disturbances))
