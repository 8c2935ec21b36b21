"""What runs have reached is counted, and can be demanded."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings

from orchestrator import Execution
from orchestrator.errors import OrchestratorError
from runtime.simulation import SimulatedRuntime, covers, schedules, simulate
from runtime.simulation.reach import NotReachedError, Reach, ReachReport
from runtime.simulation.schedule import Schedule
from tests.simulation.busy_runs import Busy
from tests.simulation.shop import CLOCK, Shop, here, run, scripted


def reached(target: str, given: Any, **choices: Any) -> dict[Reach, int]:
    world, _answer = run(scripted(**choices), target, given)
    return dict(world.reach)


def test_the_plain_run_of_a_plain_fan_out_reaches_nothing_of_note() -> None:
    assert reached("shop:buyers", 3) == {}


def test_a_group_deadline_a_cancel_and_a_late_child() -> None:
    assert reached("shop:import", 3) == {
        Reach.GROUP_DEADLINE: 1,
        Reach.DECIDED_EARLY: 1,
        Reach.CANCEL_WHILE_RUNNING: 1,
        Reach.CHILD_LATE: 1,
    }


def test_a_waiter_that_gives_up() -> None:
    found = reached("shop:fan", {"kind": "shop:slow", "n": 2, "patience": 0.5})

    assert found == {Reach.WAIT_TIMED_OUT: 1}


def test_a_retry() -> None:
    assert reached("shop:fan", {"kind": "shop:flaky", "n": 2}) == {Reach.RETRY: 2}


def test_cancels_before_the_start() -> None:
    given = {"kind": "shop:slow", "n": 3, "mode": "first", "patience": 0}
    found = reached("shop:fan", given, leaves=False)  # else they are out of the queue

    assert found[Reach.CANCEL_BEFORE_START] == 2
    assert Reach.CANCEL_WHILE_RUNNING not in found


def test_a_choice_against_the_plain_order() -> None:
    found = reached("shop:buyers", 2, choices={("worker-2", 1): "worker-3"})

    assert found == {Reach.PREEMPTED: 1}


def test_a_clock_that_fires_while_others_could_run() -> None:
    found = reached("shop:import", 2, choices={("worker-1", 5): CLOCK})

    assert found[Reach.CLOCK_FIRED_EARLY] == 1


def test_two_reports_under_way_to_one_group() -> None:
    """The first buyer is taken off between the end of its code and its report."""
    found = reached("shop:buyers", 2, choices={("worker-2", 3): "worker-3"})

    assert found[Reach.REPORTS_RACED] == 1


def test_a_deadline_at_the_instant_of_a_completion() -> None:
    found = reached("shop:fan", {"kind": "shop:locked", "n": 1, "timeout": 1})

    assert found[Reach.DEADLINE_MET_COMPLETION] == 1


def test_a_cancel_that_finds_code_which_does_not_heed_it() -> None:
    shop = Shop()
    shop.actions.register("shop:deaf")(lambda: time.sleep(2))
    with SimulatedRuntime(shop.actions, scripted()) as runtime:
        handle = runtime.spawn("shop:deaf")
        time.sleep(1)
        handle.cancel()

    assert runtime._world.reach == {
        Reach.CANCEL_WHILE_RUNNING: 1,
        Reach.CANCEL_MET_COMPLETION: 1,
    }


def _drive(function: Any, **options: Any) -> dict[Reach, int]:
    shop = Shop()
    shop.actions.register("shop:own", **options)(function)
    with (
        SimulatedRuntime(shop.actions, scripted()) as runtime,
        contextlib.suppress(OrchestratorError, ExceptionGroup),
    ):
        runtime.run("shop:own", timeout=10)
    return dict(runtime._world.reach)


def test_deadlines_of_an_execution_and_of_an_attempt() -> None:
    assert _drive(lambda: time.sleep(20))[Reach.EXECUTION_DEADLINE] == 1
    assert _drive(lambda: time.sleep(5), timeout=1)[Reach.ATTEMPT_TIMED_OUT] == 1


def test_a_refused_wait_and_a_failed_group() -> None:
    def cycle() -> None:
        orchestrator = here()
        orchestrator.await_group(
            orchestrator.emit_one(Execution.ad_hoc("shop:waits_above", "sim-1#1", id="up"))
        )

    found = _drive(cycle)

    assert found[Reach.DEADLOCK_REFUSED] == 1
    assert found[Reach.GROUP_FAILED] == 1


def test_a_cancelled_group_and_a_wait_after_the_decision() -> None:
    def cancels() -> None:
        orchestrator = here()
        group = orchestrator.emit_one(Execution.ad_hoc("shop:slow", 3))
        orchestrator.cancel_group(group)
        orchestrator.await_group(group)

    found = _drive(cancels)

    assert found[Reach.GROUP_CANCELLED] == 1
    assert found[Reach.WAIT_AFTER_DECISION] == 1


def test_a_fault() -> None:
    def asks() -> None:
        from runtime.simulation.here import current_world  # noqa: PLC0415

        world = current_world()
        assert world is not None
        world.decide("raise", 2)

    shop = Shop()
    shop.actions.register("shop:asks")(asks)
    with SimulatedRuntime(shop.actions, scripted(answers=(1,))) as runtime:
        runtime.run("shop:asks")

    assert runtime._world.reach == {Reach.FAULT: 1}


def test_a_cancel_between_two_attempts() -> None:
    shop = Shop()
    with SimulatedRuntime(shop.actions, scripted()) as runtime:
        handle = runtime.spawn("shop:flaky", 1)
        time.sleep(1)
        handle.cancel()

    assert runtime._world.reach == {Reach.CANCEL_BETWEEN_ATTEMPTS: 1}


# The report


def test_a_report_adds_up_over_runs_and_counts_in_how_many() -> None:
    report = ReachReport()
    report.add({Reach.RETRY: 3})
    report.add({Reach.RETRY: 1, Reach.CHILD_LATE: 0})
    other = ReachReport()
    other.add({Reach.CHILD_LATE: 2})
    report.merge(other)

    assert report.runs == 3
    assert report.in_runs[Reach.RETRY] == 2
    assert report.times[Reach.RETRY] == 4
    assert report.in_runs[Reach.CHILD_LATE] == 1


def test_a_demand_names_what_never_happened_and_what_to_do() -> None:
    report = ReachReport()
    world, _answer = run(scripted(), "shop:import", 3)
    report.add_worlds([world])
    report.demand([Reach.CHILD_LATE])
    report.demand([])

    with pytest.raises(NotReachedError) as caught:
        report.demand([Reach.CHILD_LATE, Reach.RETRY, Reach.WAIT_TIMED_OUT])

    assert isinstance(caught.value, AssertionError)
    assert caught.value.missing == (Reach.RETRY, Reach.WAIT_TIMED_OUT)
    text = str(caught.value)
    assert "in 1 run this never happened" in text
    assert "Reach.RETRY: a failed attempt was followed by another" in text
    assert "CHILD_LATE" not in text


def test_a_demand_for_anything_but_a_reach_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"Reach\.CHILD_LATE, not 'late'"):
        ReachReport().demand(["late"])  # type: ignore[list-item]


def test_a_report_is_a_table_with_a_row_for_each() -> None:
    report = ReachReport()
    report.add({Reach.RETRY: 3})

    head, *rows = report.render().splitlines()

    assert head.split() == ["reached", "in", "1", "runs", "runs", "times"]
    assert len(rows) == len(Reach)
    row = next(row for row in rows if row.startswith(Reach.RETRY.value))
    assert row.split()[-2:] == ["1", "3"]
    assert len({len(row) for row in (head, *rows)}) == 1


def test_busy_runs_reach_nearly_everything() -> None:
    report = ReachReport()
    for seed in range(60):
        busy = Busy()
        with SimulatedRuntime(busy.actions, Schedule.seeded(seed)) as runtime:
            busy.drive(runtime, seed)
        report.add(runtime._world.reach)

    report.demand(set(Reach) - {Reach.FAULT, Reach.DEADLOCK_REFUSED, Reach.WAIT_AFTER_DECISION})


def test_the_same_schedule_reaches_the_same() -> None:
    one, other = (run(Schedule.seeded(5), "shop:import", 5)[0].reach for _ in range(2))

    assert one == other


@settings(max_examples=30, database=None, deadline=None)
@given(schedules())
def buyers(schedule: Schedule) -> None:
    shop = Shop()
    with SimulatedRuntime(shop.actions, schedule) as runtime:
        runtime.run("shop:buyers", 2)


def test_a_test_under_hypothesis_can_demand_that_something_happens() -> None:
    covers(Reach.PREEMPTED)(buyers)()
    with pytest.raises(NotReachedError, match=r"in \d+ runs this never happened.*") as caught:
        covers(Reach.PREEMPTED, Reach.GROUP_DEADLINE)(buyers)()
    assert caught.value.missing == (Reach.GROUP_DEADLINE,)
    assert caught.value.runs >= 30


def test_each_demand_counts_its_own_runs() -> None:
    @covers(Reach.PREEMPTED)
    @simulate(schedules=20, seed=1)
    def inner(schedule: Schedule) -> None:
        with SimulatedRuntime(Shop().actions, schedule) as runtime:
            runtime.run("shop:buyers", 2)

    inner()
    with pytest.raises(NotReachedError, match="in 0 runs"):
        covers(Reach.PREEMPTED)(lambda: None)()


def test_only_what_is_counted_can_be_demanded() -> None:
    with pytest.raises(TypeError, match="members of Reach"):
        covers("preempted")  # type: ignore[arg-type]

    async def test() -> None: ...

    with pytest.raises(TypeError, match="on top of @simulate"):
        covers(Reach.PREEMPTED)(test)
