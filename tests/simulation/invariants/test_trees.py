"""Whole trees: what was emitted ends, cancels reach all of it, and nothing is left over."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors import waking
from orchestrator import (
    ActionRegistry,
    AwaitMode,
    DeadlockError,
    Execution,
    ExecutionCancelledError,
    ExecutionState,
    GroupCancelledError,
    Orchestrator,
    Retry,
)
from runtime.simulation import SimulatedRuntime, Simulation
from runtime.simulation.planned import HOUR, planned, planned_actions
from runtime.simulation.plans import FanOutPlan, Fault, FaultKind, Outcome, TaskPlan, Wait, size
from runtime.simulation.records import Record
from runtime.simulation.schedule import Schedule
from runtime.simulation.strategies import delays, fan_outs, faults, outcomes, tasks
from runtime.simulation.world import LAG
from tests.simulation.checks import (
    check_attempts,
    check_clock,
    check_deadlines,
    check_events,
    check_nesting,
    check_nothing_left,
)
from tests.simulation.harness import Run, play, still_there
from tests.simulation.schedules import orders

PLAIN = outcomes([Outcome.VALUE, Outcome.ERROR])
LONG = outcomes([Outcome.VALUE, Outcome.ERROR, Outcome.HANGS], hangs=True)
TREES = fan_outs(tasks(PLAIN, retries=1), depth=2, width=3, lazy=True, retries=1)


def accounted(run: Run) -> None:
    """What holds of every tree, once it is over."""
    check_events(run)
    check_attempts(run)
    check_nesting(run)
    check_nothing_left(run)


@given(TREES, orders())
def test_9_what_was_emitted_has_ended(plan: FanOutPlan, schedule: Any) -> None:
    run = play(plan, schedule, watched=False)
    accounted(run)


@given(
    st.lists(fan_outs(tasks(LONG, lingers=True), width=2) | tasks(LONG, lingers=True), max_size=3),
    st.booleans(),
    delays(),
    orders(),
)
def test_10_nothing_outlives_its_scope(
    plans: list[Any], fails: bool, patience: float, schedule: Any
) -> None:
    record = Record()
    with SimulatedRuntime(planned_actions(record), schedule) as runtime:
        record.runtime = runtime
        try:
            with runtime.execution() as orchestrator:
                for place, plan in enumerate(plans):
                    orchestrator.emit_one(planned(plan, (place,)))
                if fails:
                    orchestrator.sleep(patience)
                    raise LookupError  # noqa: TRY301 - the scope must see it
        except (LookupError, ExceptionGroup):
            pass
        assert record.running() == set()
        stats = runtime.stats()
        assert (stats.pending, stats.running, stats.waiting, stats.cancelling) == (0, 0, 0, 0)
        runtime.close()
        assert still_there(runtime) == []


@given(
    fan_outs(tasks(LONG, retries=1, lingers=True), depth=2, width=3, retries=1, is_async=False),
    faults(most=3, kinds=[FaultKind.CANCEL]),
    st.integers(1, 4),
    st.booleans(),
    orders(),
)
def test_11_a_cancel_reaches_everything_below_whatever_it_was_doing(
    plan: FanOutPlan, disturbances: tuple[Fault, ...], workers: int, strict: bool, schedule: Any
) -> None:
    run = play(
        plan, schedule, faults=disturbances, workers=workers, watched=False, strict_time=strict
    )
    accounted(run)
    executions = {event.execution.id: event.execution for event in run.events}
    if strict:  # the cancel has reached everything by the time that time moves
        began = {step.execution_id: step.at for step in run.record.of("starts")}
        for execution in executions.values():
            above = executions.get(execution.parent_id or "")
            if above is not None and above.state is ExecutionState.CANCELLED:
                assert began.get(execution.id, 0.0) <= above.completed_at
    # A cancel of the root leaves nothing that only a cancel could have ended.
    root = next(each for each in executions.values() if each.parent_id is None)
    if root.state is ExecutionState.CANCELLED:
        assert all(each.completed_at < 3600 for each in executions.values())


@given(
    st.lists(st.sampled_from(["sleeps", "awaits", "lingers"]), min_size=1, max_size=6),
    st.integers(1, 2),
    orders(),
)
def test_11_a_cancel_wakes_all_who_wait_however_few_are_woken_at_once(
    kinds: list[str], woken_at_once: int, schedule: Any
) -> None:
    actions, over = ActionRegistry(), list[float]()

    @actions.register("t:waits")
    def waits(kind: str) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        try:
            if kind == "awaits":
                orchestrator.await_group(orchestrator.emit_one(Execution.ad_hoc("t:rests")))
            else:
                orchestrator.sleep(HOUR)
        finally:
            over.append(time.monotonic())
            if kind == "lingers":
                time.sleep(5.0)  # nobody waits for this in order to be woken

    @actions.register("t:rests")
    def rests() -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        orchestrator.sleep(HOUR)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waking, "_AT_ONCE", woken_at_once)
        with (
            SimulatedRuntime(actions, schedule, clock="jump") as runtime,
            runtime.execution() as orchestrator,
        ):
            group = orchestrator.emit_children(
                [Execution.ad_hoc("t:waits", kind) for kind in kinds]
            )
            orchestrator.sleep(1.0)
            orchestrator.cancel_group(group)
            with suppress(GroupCancelledError):
                orchestrator.await_group(group)
    assert over == [1.0] * len(kinds)


@given(
    fan_outs(
        tasks(outcomes([Outcome.HANGS, Outcome.VALUE], hangs=True), delay=delays(1)),
        width=3,
        modes=[AwaitMode.ANY, AwaitMode.FIRST, AwaitMode.QUORUM],
        until=False,
    ),
    st.integers(1, 3),
    orders(),
)
def test_11_a_cancel_reaches_what_runs_on_behind_a_decision(
    plan: FanOutPlan, after: int, schedule: Any
) -> None:
    run = play(plan, schedule, faults=[Fault(after=after)], watched=False, strict_time=True)
    accounted(run)
    for event in run.events:
        ended = event.execution.completed_at
        assert ended is None or ended <= after


@given(
    fan_outs(
        tasks(outcomes([Outcome.VALUE])),
        depth=3,
        width=3,
        modes=[AwaitMode.ALL, AwaitMode.ANY_ERROR],
        waits=[Wait.AWAIT, Wait.RESUME, Wait.RETURN, Wait.CALLS],
    ),
    orders(),
)
def test_12_nested_fan_outs_of_any_depth_finish_with_one_worker(
    plan: FanOutPlan, schedule: Any
) -> None:
    run = play(plan, schedule, workers=1, watched=False)
    assert run.stats.completed == run.stats.emitted == size(plan)
    accounted(run)


@st.composite
def wait_graphs(draw: st.DrawFn) -> list[int | None]:
    """For each of some executions, which of them it waits for, if for any."""
    count = draw(st.integers(1, 4))
    return draw(st.lists(st.none() | st.integers(0, count - 1), min_size=count, max_size=count))


def on_cycle(graph: list[int | None]) -> set[int]:
    """Who waits, in the end, for itself."""
    found = set()
    for start in range(len(graph)):
        at: int | None = graph[start]
        for _ in graph:
            if at == start:
                found.add(start)
            at = None if at is None else graph[at]
    return found


@given(wait_graphs(), st.booleans(), orders())
@example(graph=[None, 2, None, 3], one_worker=True, schedule=Schedule.seeded(0))
def test_12_a_cycle_of_waits_is_an_error_and_never_a_hang(
    graph: list[int | None], one_worker: bool, schedule: Any
) -> None:
    actions = ActionRegistry()
    handles: list[Any] = []
    told: dict[int, str] = {}

    @actions.register("t:waits")
    def waits(number: int) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        started.wait()
        target = graph[number]
        if target is None:
            return
        try:
            handles[target].result()
        except DeadlockError:
            told[number] = "deadlock"

    with SimulatedRuntime(actions, schedule, workers=1 if one_worker else 4) as runtime:
        started = threading.Event()
        for number in range(len(graph)):  # one by one: they look at the list meanwhile
            handles.append(runtime.spawn("t:waits", {"number": number}))  # noqa: PERF401
        started.set()
        for handle in handles:
            handle.result()
    cycles = on_cycle(graph)
    assert set(told) <= cycles
    for number in cycles:  # of each cycle, one at least
        members, at = {number}, graph[number]
        while at != number and at is not None:
            members.add(at)
            at = graph[at]
        assert members & set(told)


@given(st.booleans(), st.booleans(), orders())
def test_12_a_cycle_that_a_timeout_of_an_attempt_will_end_is_no_error(
    of_action: bool, waits_below: bool, schedule: Any
) -> None:
    actions, handles, told = ActionRegistry(), list[Any](), list[float]()

    @actions.register("t:waits", timeout=5.0 if of_action else None)
    def waits(number: int) -> None:
        started.wait()
        if waits_below and number == 0:
            orchestrator = Orchestrator.from_context()
            assert orchestrator is not None
            orchestrator.emit_one(Execution.ad_hoc("t:waits_too"))  # its code returns
        else:
            handles[1 - number].result()

    @actions.register("t:waits_too")
    def waits_too() -> None:
        handles[1].result()

    with SimulatedRuntime(actions, schedule, clock="jump") as runtime:
        started = threading.Event()
        for number in range(2):
            timeout = None if of_action or number else 5.0
            child = Execution.ad_hoc("t:waits", {"number": number}, timeout=timeout)
            handles.append(runtime.spawn(child))
        started.set()
        for handle in handles:
            with suppress(Exception):
                handle.result()
            assert not isinstance(handle.snapshot().error, DeadlockError)
            told.append(time.monotonic())
    assert told == [5.0, 5.0]


@given(delays(2), orders())
def test_12_who_was_cancelled_and_is_told_of_is_on_no_cycle(lingers: float, schedule: Any) -> None:
    actions = ActionRegistry()
    groups, handles, told = list[str](), list[Any](), list[Any]()

    @actions.register("t:waits")
    def waits() -> None:
        try:
            handles[0].result()
        finally:
            time.sleep(lingers)  # it was cancelled, and its code runs on

    @actions.register("t:takes")
    def takes() -> None:
        time.sleep(5.0)

    @actions.register("t:awaits")
    def awaits() -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        cancelled.wait()
        told.extend(orchestrator.await_group(groups[0], return_exceptions=True))

    with SimulatedRuntime(actions, schedule) as runtime:
        cancelled = threading.Event()
        handles.append(runtime.spawn("t:awaits"))
        with runtime.execution() as orchestrator:
            children = [Execution.ad_hoc("t:waits"), Execution.ad_hoc("t:takes")]
            groups.append(orchestrator.emit_children(children))
            orchestrator.sleep(1.0)
            orchestrator.cancel(children[0].id)
            for end in orchestrator.as_completed(groups[0]):
                if end.state is ExecutionState.CANCELLED:
                    cancelled.set()
                    break
            handles[0].result()  # and no DeadlockError
            orchestrator.await_group(groups[0], return_exceptions=True)
    assert [type(each) for each in told] == [ExecutionCancelledError, type(None)]


@given(
    fan_outs(tasks(PLAIN, retries=2, timeouts=True), width=3, retries=1),
    faults(most=1, kinds=[FaultKind.CANCEL]),
    st.integers(1, 3),
    orders(),
)
def test_13_an_action_runs_once_per_attempt_and_attempts_never_overlap(
    plan: FanOutPlan, disturbances: tuple[Fault, ...], workers: int, schedule: Any
) -> None:
    run = play(plan, schedule, faults=disturbances, workers=workers, watched=False)
    accounted(run)


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.sampled_from([(0.0, 1.0), (2.0, 3.0), (1.0, 1.0)]),
    st.integers(0, 3).map(lambda number: number == 3),
    orders(),
)
def test_13_the_timeout_of_one_attempt_never_ends_the_next(
    failures: list[int], times: tuple[float, float], strict: bool, schedule: Any
) -> None:
    children = tuple(
        TaskPlan(delay=times[0], timeout=times[1], fails_first=count) for count in failures
    )
    run = play(FanOutPlan(children=children, tolerant=True), schedule, strict_time=strict)
    accounted(run)
    if not strict:
        return  # time may pass between the start of an attempt and that of its code
    began = {}
    for step in run.record.steps:
        if step.kind == "starts":
            began[step.execution_id] = step.at
        elif step.kind == "ends" and step.path:
            assert step.at - began[step.execution_id] >= times[0], "it was ended before its time"


HANGING = st.lists(
    st.builds(TaskPlan, outcome=st.just(Outcome.HANGS), is_async=st.booleans()),
    min_size=1,
    max_size=3,
).map(tuple)


@given(HANGING, st.booleans(), st.none() | st.integers(1, 2), st.integers(0, 2**32))
def test_11_a_cancel_that_meets_an_emit_reaches_what_is_emitted(
    children: tuple[TaskPlan, ...], is_async: bool, in_flight: int | None, seed: int
) -> None:
    emitter = FanOutPlan(children=children, is_async=is_async, max_in_flight=in_flight)
    plan = FanOutPlan(children=(emitter,), timeout=0.0, fails_first=1)
    for more in range(4):  # it takes some luck
        run = play(plan, Schedule.seeded(seed + more), watched=False)
        accounted(run)
        assert all((event.execution.completed_at or 0) < HOUR for event in run.events)


@given(HANGING, st.booleans(), orders())
def test_11_what_a_failed_attempt_has_emitted_is_cancelled_at_once(
    children: tuple[TaskPlan, ...], is_async: bool, schedule: Any
) -> None:
    plan = FanOutPlan(children=children, is_async=is_async, fails_first=1, timeout=5.0)
    run = play(plan, schedule, watched=False, strict_time=True)
    accounted(run)
    first = next(group for group, emit in run.groups().items() if emit.attempt == 1)
    ends = [event.execution for event in run.events if event.execution.state.ended]
    assert {each.completed_at for each in ends if each.group_id == first} == {0.0}


@given(st.integers(1, 2), st.integers(1, 2), st.integers(0, 2**32))
def test_13_a_timeout_that_is_on_its_way_does_not_reach_the_next_attempt(
    children: int, failures: int, seed: int
) -> None:
    child = TaskPlan(delay=1.0, timeout=1.0, fails_first=failures)
    plan = FanOutPlan(children=(child,) * children, tolerant=True)
    for schedule in (Schedule.seeded(seed), Schedule.seeded(seed + 1)):  # it takes some luck
        accounted(play(plan, schedule, watched=False))


@given(
    st.lists(tasks(LONG, lingers=True), min_size=1, max_size=2),
    delays(2),
    delays(1),
    orders(),
)
def test_11_a_deadline_does_nothing_to_what_was_cancelled(
    children: list[Any], after: float, more: float, schedule: Any
) -> None:
    plan = FanOutPlan(children=tuple(children))
    accounted(play(plan, schedule, faults=[Fault(after=after)], timeout=after + more + 1))


@given(
    fan_outs(tasks(LONG, timeouts=True), depth=2, width=3, deadlines=True),
    st.none() | delays().map(lambda seconds: seconds + 1),
    orders(),
)
def test_17_a_childs_deadline_is_never_later_than_its_parents(
    plan: FanOutPlan, timeout: float | None, schedule: Any
) -> None:
    run = play(plan, schedule, timeout=timeout, watched=False)
    check_deadlines(run)
    first = run.record.of("starts")[:1]
    if timeout is not None and first:
        assert all(step.deadline <= timeout for step in run.record.of("starts"))
    accounted(run)


@given(fan_outs(tasks(retries=1), depth=2, width=3), st.booleans(), orders())
def test_18_time_stands_only_where_something_was_due(
    plan: FanOutPlan, strict: bool, schedule: Any
) -> None:
    check_clock(play(plan, schedule, strict_time=strict))


@given(st.integers(0, 3), orders())
def test_18_in_strict_time_it_stands_still_while_anybody_can_run(
    spinners: int, schedule: Any
) -> None:
    actions = ActionRegistry()
    seen: list[float] = []

    @actions.register("t:spins")
    def spins() -> None:
        for _ in range(5):
            time.sleep(0)
            seen.append(time.monotonic())

    @actions.register("t:sleeps")
    def sleeps() -> None:
        time.sleep(1.0)

    with SimulatedRuntime(actions, schedule, clock="jump") as runtime:
        with runtime.execution() as orchestrator:
            for name in ("t:sleeps", *["t:spins"] * spinners):
                orchestrator.emit_one(Execution.ad_hoc(name))
        assert time.monotonic() == 1.0
    assert seen == [0.0] * len(seen)


@given(st.integers(1, 12), st.integers(1, 4), orders())
def test_18_while_somebody_can_run_no_more_time_passes_than_a_schedule_may_let(
    timers: int, spinners: int, schedule: Any
) -> None:
    seen: list[float] = []

    def spin() -> None:
        for _ in range(20):
            time.sleep(0)
            seen.append(time.monotonic())

    with Simulation(schedule):
        for number in range(timers):
            threading.Thread(target=time.sleep, args=(float(number + 1),)).start()
        threads = [threading.Thread(target=spin) for _ in range(spinners)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(seen) <= LAG


def trace(run: Run) -> list[Any]:
    """All that a replay repeats."""
    return [
        (step.kind, step.path, step.at, step.execution_id, step.who, step.told)
        for step in run.record.steps
    ]


DISTURBED = fan_outs(tasks(LONG, retries=1, lingers=True), depth=2, width=3, retries=1)


@given(DISTURBED, faults(), st.integers(0, 2**32))
def test_19_the_same_schedule_gives_the_same_trace(
    plan: FanOutPlan, disturbances: tuple[Fault, ...], seed: int
) -> None:
    first, second = (
        trace(play(plan, Schedule.seeded(seed), faults=disturbances)) for _ in range(2)
    )
    assert first == second


@given(DISTURBED, faults(), st.integers(0, 2**32))
def test_19_a_token_replays_its_run_to_the_letter(
    plan: FanOutPlan, disturbances: tuple[Fault, ...], seed: int
) -> None:
    schedule = Schedule.seeded(seed)
    first = trace(play(plan, schedule, faults=disturbances))
    again = Schedule.replay(schedule.token)
    assert trace(play(plan, again, faults=disturbances)) == first
    assert again.difference() is None


@given(st.integers(1, 3), st.integers(0, 2**32))
def test_19_the_jitter_of_retries_is_the_schedules_too(children: int, seed: int) -> None:
    actions = ActionRegistry()

    @actions.register("t:fails", retry=Retry(max_attempts=3, delay=1.0, jitter=1.0))
    def fails() -> None:
        starts.append(time.monotonic())
        raise LookupError

    seen: list[list[float]] = []
    for schedule in (Schedule.seeded(seed), Schedule.seeded(seed)):
        starts: list[float] = []
        with (
            SimulatedRuntime(actions, schedule, clock="jump") as runtime,
            runtime.execution() as orchestrator,
        ):
            group = orchestrator.emit_children(
                [Execution.ad_hoc("t:fails") for _ in range(children)]
            )
            orchestrator.await_group(group, return_exceptions=True)
        seen.append(starts)
    assert seen[0] == seen[1]


@given(
    st.lists(fan_outs(tasks(LONG, lingers=True), width=2, lazy=True), max_size=2),
    delays(),
    st.booleans(),
    orders(),
)
def test_20_after_close_nothing_is_left(
    plans: list[FanOutPlan], delay: float, cancel: bool, schedule: Any
) -> None:
    record = Record(watched=True)
    runtime = SimulatedRuntime(planned_actions(record), schedule)
    with runtime:
        record.runtime = runtime
        handles = [runtime.spawn(planned(plan, (place,))) for place, plan in enumerate(plans)]
        time.sleep(delay)
        runtime.close(cancel=cancel)
        for handle in handles:
            assert handle.done()
            assert handle.snapshot().state.ended
        record.join()
        assert still_there(runtime) == []
    assert record.running() == set()
    stats = runtime.stats()
    assert stats.emitted == stats.settled
