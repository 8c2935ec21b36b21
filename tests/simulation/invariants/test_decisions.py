"""Groups: they decide once, at the first report at which they can, and everyone hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.group import CorrelationGroupActor
from actors.messages import ChildFinished
from orchestrator import AwaitMode
from runtime.simulation.planned import HOUR
from runtime.simulation.plans import (
    FanOutPlan,
    Fault,
    FaultKind,
    MergePlan,
    Outcome,
    TaskPlan,
    Wait,
    WaiterPlan,
)
from runtime.simulation.strategies import delays, fan_outs, faults, outcomes, tasks, waiters
from tests.simulation.checks import (
    check_answers,
    check_decisions,
    check_ends,
    check_events,
    check_nothing_left,
    check_patience,
    check_resumed,
    check_told_of_failures,
)
from tests.simulation.harness import Run, play
from tests.simulation.schedules import orders

AWAITS = (Wait.AWAIT, Wait.RETURN, Wait.ENDS)
ALL_OUTCOMES = outcomes(hangs=False)


def groups(run: Run) -> None:
    """What holds of every group."""
    check_answers(run)
    check_ends(run)
    check_decisions(run)
    assert run.logged == [], "the library has failed on its own"


@given(
    fan_outs(waits=AWAITS, outside=waiters(most=3), is_async=False),
    faults(most=1, kinds=[FaultKind.CANCEL_GROUP], depth=0),
    orders(),
)
def test_1_a_group_decides_once_and_its_answer_never_changes(
    plan: FanOutPlan, disturbances: tuple[Fault, ...], schedule: Any
) -> None:
    groups(play(plan, schedule, faults=disturbances))


@given(
    fan_outs(
        tasks(outcomes([Outcome.VALUE, Outcome.ERROR]), delay=delays(1)),
        width=2,
        waits=[Wait.AWAIT],
        outside=waiters(most=4, timeouts=False),
        deadlines=True,
    ),
    orders(),
)
def test_2_a_waiter_before_during_or_after_the_decision_returns(
    plan: FanOutPlan, schedule: Any
) -> None:
    run = play(plan, schedule)  # a wait that never ends is a deadlock of the simulation
    groups(run)
    assert len(run.record.of("told")) == 2 + len(plan.waiters)


@given(
    st.lists(delays(1).map(lambda delay: TaskPlan(delay=delay)), max_size=3),
    st.integers(1, 3),
    orders(),
)
def test_2_a_reader_gets_an_end_in_the_instant_of_it(
    children: list[TaskPlan], readers: int, schedule: Any
) -> None:
    plan = FanOutPlan(
        children=(*children, TaskPlan(delay=2.0)), waiters=(WaiterPlan(reads_ends=True),) * readers
    )
    check_ends(play(plan, schedule, strict_time=True, watched=False, listens=False))


@given(fan_outs(tasks(outcomes([Outcome.VALUE, Outcome.NONE])), modes=[AwaitMode.ALL]), orders())
def test_3_outputs_are_in_the_order_of_emission(plan: FanOutPlan, schedule: Any) -> None:
    run = play(plan, schedule)
    names = tuple(
        None if child.outcome is Outcome.NONE else str(index)  # type: ignore[union-attr]
        for index, child in enumerate(plan.children)
    )
    match plan.wait:
        case Wait.ENDS:
            assert sorted(run.answer.outputs) == list(range(len(names)))
        case _:
            assert run.answer.outputs == names
    check_decisions(run)


@st.composite
def ranked(draw: st.DrawFn) -> FanOutPlan:
    """A fan-out in which ties are common and every mode is as likely."""
    some = tasks(outcomes([Outcome.VALUE, Outcome.ERROR, Outcome.REJECTED]), delay=delays(2))
    outside = waiters(most=1, timeouts=False)
    return draw(fan_outs(some, width=5, waits=[Wait.AWAIT], outside=outside))


@given(ranked(), orders())
def test_5_each_mode_decides_at_the_first_report_at_which_it_can(
    plan: FanOutPlan, schedule: Any
) -> None:
    groups(play(plan, schedule))


@given(ranked(), orders())
def test_5_and_in_the_very_instant_of_that_report(plan: FanOutPlan, schedule: Any) -> None:
    groups(play(plan, schedule, strict_time=True))


@given(
    fan_outs(
        tasks(outcomes([Outcome.VALUE, Outcome.ERROR])),
        waits=[Wait.AWAIT, Wait.CALLS],
        patience=True,
        outside=waiters(most=2),
    ),
    st.integers(1, 4),
    st.booleans(),
    orders(),
)
def test_6_a_waiters_timeout_is_its_own_never_early_never_late(
    plan: FanOutPlan, workers: int, strict: bool, schedule: Any
) -> None:
    run = play(plan, schedule, workers=workers, strict_time=strict)
    check_patience(run)
    groups(run)
    check_events(run)


@given(
    fan_outs(
        tasks(outcomes([Outcome.VALUE, Outcome.ERROR], hangs=True) | st.just(Outcome.HANGS)),
        waits=[Wait.AWAIT],
        deadlines=True,
        outside=waiters(most=2, timeouts=False),
    ),
    orders(),
)
def test_7_decision_and_deadline_race_to_exactly_one(plan: FanOutPlan, schedule: Any) -> None:
    run = play(plan, schedule)
    groups(run)
    check_events(run)
    check_nothing_left(run)
    told = {step.told.kind for step in run.record.of("told") if step.told}
    if "GroupTimeoutError" in told:  # and then what is out is cancelled, whatever the policy
        assert all((event.execution.completed_at or 0) < HOUR for event in run.events)


@given(
    fan_outs(
        tasks(outcomes([Outcome.VALUE, Outcome.ERROR])),
        waits=[Wait.RESUME, Wait.RETURN, Wait.AWAIT],
        depth=2,
        width=3,
    ),
    orders(),
)
def test_8_a_parent_goes_on_once_and_never_while_a_group_is_open(
    plan: FanOutPlan, schedule: Any
) -> None:
    run = play(plan, schedule)
    check_resumed(run)
    check_events(run)
    waited = [step for step in run.record.of("told") if step.who in ("parent", "resumed")]
    assert len({(step.path, step.group_id) for step in waited}) == len(waited)


@given(
    st.lists(
        tasks(outcomes([Outcome.ERROR, Outcome.VALUE]), delay=delays(2)), min_size=1, max_size=2
    ),
    delays(1),
    st.booleans(),
    orders(),
)
def test_8_a_wait_to_resume_that_gave_up_has_taken_nothing(
    children: list[TaskPlan], patience: float, is_async: bool, schedule: Any
) -> None:
    plan = FanOutPlan(
        children=tuple(children),
        wait=Wait.RESUME,
        patience=patience,
        is_async=is_async,
        tolerant=True,  # it goes on, and its errors must still come to it
    )
    run = play(plan, schedule)
    check_resumed(run)
    check_told_of_failures(run)
    check_nothing_left(run)


@given(
    fan_outs(tasks(outcomes([Outcome.VALUE, Outcome.NONE])), merges=tuple(MergePlan)),
    orders(),
)
def test_4_a_merge_is_a_function_of_the_outputs_and_is_done_at_most_once(
    plan: FanOutPlan, schedule: Any
) -> None:
    run = play(plan, schedule)
    merges = plan.wait in (Wait.RETURN, Wait.RESUME)
    reduces = plan.merge is MergePlan.REDUCER and merges
    assert len(run.record.reductions) == reduces
    if not merges or plan.mode not in (AwaitMode.ALL, AwaitMode.ANY_ERROR):
        return
    outputs = tuple(
        None if child.outcome is Outcome.NONE else str(index)  # type: ignore[union-attr]
        for index, child in enumerate(plan.children)
    )
    match plan.merge:
        case MergePlan.APPEND:
            expected: tuple[Any, ...] = outputs
        case MergePlan.REPLACE:
            expected = (outputs[-1] if outputs else None,)
        case _:
            expected = (("reduced", *outputs),)
            assert run.record.reductions == [outputs]
    assert run.answer.outputs == expected


@given(
    fan_outs(
        tasks(outcomes([Outcome.VALUE, Outcome.ERROR]), lingers=True),
        waits=[Wait.AWAIT],
        deadlines=True,
        outside=waiters(most=1),
    ),
    orders(),
    st.integers(0, 7),
)
def test_14_late_and_duplicate_reports_change_nothing(
    plan: FanOutPlan, schedule: Any, which: int
) -> None:
    with duplicated(which):
        run = play(plan, schedule)
    groups(run)
    check_events(run)
    check_nothing_left(run)


class duplicated:  # noqa: N801 - read as a verb: with duplicated(...)
    """Delivers some reports of ends a second time, at once or together with the next one.

    *which* is a number of three bits: of which reports of each group that is so.
    """

    def __init__(self, which: int) -> None:
        self._which = which
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        handle: Callable[..., None] = CorrelationGroupActor.on_receive
        which, late, seen = self._which, dict[int, list[Any]](), dict[int, int]()

        def receive(group: CorrelationGroupActor, message: Any) -> None:
            handle(group, message)
            if not isinstance(message, ChildFinished):
                return
            for earlier in late.pop(id(group), []):
                handle(group, earlier)
            number = seen[id(group)] = seen.get(id(group), -1) + 1
            if which >> number % 3 & 1:
                late[id(group)] = [message]
            else:
                handle(group, message)

        self._patch.setattr(CorrelationGroupActor, "on_receive", receive)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()
