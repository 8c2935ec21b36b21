"""Where two things meet in one instant: each test has few tasks, and time that adds no orders."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    AwaitTimeoutError,
    DeadlockError,
    Execution,
    ExecutionCancelledError,
    ExecutionState,
    GroupCancelledError,
    GroupFailedError,
    MissingExecutionError,
    Orchestrator,
    Retry,
    Task,
    UnknownExecutionError,
    UnknownGroupError,
)
from runtime.simulation import SimulatedRuntime
from runtime.simulation.schedule import Schedule
from tests.simulation.harness import Errors
from tests.simulation.meter import Meter

SEEDS = st.integers(0, 2**32)


def here() -> Orchestrator:
    """The orchestrator of the code that runs."""
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    return orchestrator


@given(st.sampled_from(["t:waits", "t:emits", "t:calls"]), SEEDS)
def test_12_who_is_cancelled_as_a_wait_of_it_begins_is_on_no_cycle(member: str, seed: int) -> None:
    for more in range(4):  # it takes some luck
        waits_for_what_is_cancelled(member, Schedule.seeded(seed + more))


@pytest.mark.parametrize(
    ("member", "token"),
    [
        # Its wait began behind the decision; the other two were slow.
        (
            "t:waits",
            (
                "s1-oaApJ4uOVko0SEoyMExJVNIBciAGmYNUQTUZg9VBxC2RrDBCEjdENxZhoSmSUUbIckaocoZocphW"
                "IeQMDVE1AgEA"
            ),
        ),
        # It was over but for what it had emitted, to which the cancel was on its way.
        (
            "t:emits",
            "s1-qZ48louOVkqzNDI2SDIxVtIBchAqjdFUIssYwo00QZYzUdKxAOmCK0WVMzTEkET4xhRVDggA",
        ),
    ],
)
def test_12_nor_under_the_smallest_schedules_that_put_it_on_one(member: str, token: str) -> None:
    waits_for_what_is_cancelled(member, Schedule.replay(token))


def waits_for_what_is_cancelled(member: str, schedule: Any) -> None:
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

    @actions.register("t:calls")
    def calls() -> None:
        here().call(Execution.ad_hoc("t:waits"))

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
            children.extend(Execution.ad_hoc(name) for name in (member, "t:takes"))
            groups.append(orchestrator.emit_children(children))
            handles[0].result()
            orchestrator.await_group(groups[0], return_exceptions=True)
    assert [type(each) for each in told] == [ExecutionCancelledError, type(None)]


@given(st.integers(2, 4), st.sampled_from(["t:root", "t:root_async"]), SEEDS)
def test_12_a_cycle_through_waits_that_keep_their_workers_is_found(
    roots: int, name: str, seed: int
) -> None:
    for more in range(2):
        ends = waits_in_a_ring(roots, name, Schedule.seeded(seed + more))
        assert any(isinstance(error, DeadlockError) for error in ends)


def waits_in_a_ring(roots: int, name: str, schedule: Any) -> list[Exception | None]:
    """Each root waits for a child of its own, which waits for the next root; what all came to.

    No worker is wanted by anyone, so that nobody is told of a root's wait for its own group.
    """
    actions, handles, ends = ActionRegistry(), list[Any](), list[Exception | None]()

    @actions.register("t:waits")
    def waits(number: int) -> None:
        started.wait()
        handles[(number + 1) % roots].result()

    @actions.register("t:root")
    def root(number: int) -> None:
        here().await_group(here().emit_one(Execution.ad_hoc("t:waits", number)))

    @actions.register("t:root_async")
    async def root_async(number: int) -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        await orchestrator.await_group(
            await orchestrator.emit_one(Execution.ad_hoc("t:waits", number))
        )

    def hear(event: Any) -> None:
        if event.execution.state.ended:
            ends.append(event.execution.error)

    with SimulatedRuntime(actions, schedule, workers=2 * roots, clock="jump") as runtime:
        started = threading.Event()
        runtime.subscribe(hear)
        handles.extend(runtime.spawn(name, number) for number in range(roots))
        started.set()
        for handle in handles:
            with suppress(GroupFailedError, DeadlockError):
                handle.result()
    assert len(ends) == 2 * roots
    return ends


@given(st.sampled_from(["t:ends", "t:sleeps", "t:ends_async"]), SEEDS)
def test_12_a_group_that_an_end_decides_is_on_no_cycle_by_that_end(member: str, seed: int) -> None:
    for more in range(2):  # it takes some luck
        first, second = cross_waits(member, "any", Schedule.seeded(seed + more))
        assert (first, second) == ([0], [[0]])


@pytest.mark.parametrize(
    ("member", "token"),
    [
        # The allocator had heard of the end, and the group had not.
        ("t:ends", "s1-jZHyXYuOVjI1TEq1MDQxUNIBcqAqjZV0jEEqoVxTpVggAAA"),
        ("t:sleeps", "s1-EBlcXYuOVkpMTTI1Tk4xUNKJjo2NBQA"),
        ("t:ends_async", "s1-xKfp14uOVjKzNDdOSTNMUdKJjkYy0xikEqrRWCkWCAA"),
    ],
)
def test_12_nor_under_the_smallest_schedules_in_which_it_heard_last(
    member: str, token: str
) -> None:
    assert cross_waits(member, "any", Schedule.replay(token)) == [[0], [[0]]]


@given(st.sampled_from(["t:ends", "t:sleeps", "t:ends_async"]), SEEDS)
def test_12_a_group_that_an_end_does_not_decide_is_on_the_cycle_then(
    member: str, seed: int
) -> None:
    for each in cross_waits(member, "all", Schedule.seeded(seed)):
        assert isinstance(each, GroupFailedError)


def cross_waits(member: str, mode: str, schedule: Any) -> list[Any]:
    """Two groups, each with a member that waits for the other one; the first has one more.

    What the two parents come to.
    """
    actions, groups = ActionRegistry(), dict[int, str]()

    @actions.register("t:ends")
    def ends() -> int:
        return 0

    @actions.register("t:sleeps")
    def sleeps() -> int:
        time.sleep(1.0)
        return 0

    @actions.register("t:ends_async")
    async def ends_async() -> int:
        return 0

    @actions.register("t:waits")
    def waits(number: int) -> Any:
        both.wait()
        return here().await_group(groups[1 - number])

    @actions.register("t:parent")
    def parent(number: int) -> Any:
        children = [Execution.ad_hoc("t:waits", number)]
        if number == 0:
            children.insert(0, Execution.ad_hoc(member))
        groups[number] = here().emit_children(
            children, mode="all" if number else mode, cancel_rest=False
        )
        if len(groups) == 2:
            both.set()
        return here().await_group(groups[number])

    outcomes: list[Any] = []
    with SimulatedRuntime(actions, schedule, workers=8) as runtime:
        both = threading.Event()
        handles = [runtime.spawn("t:parent", number) for number in range(2)]
        for handle in handles:
            try:
                outcomes.append(handle.result())
            except GroupFailedError as error:
                outcomes.append(error)
    return outcomes


@given(st.booleans(), SEEDS)
def test_11_who_calls_a_child_that_is_cancelled_as_it_starts_is_told(
    is_async: bool, seed: int
) -> None:
    for more in range(4):  # it takes some luck
        cancelled_as_it_starts(is_async, Schedule.seeded(seed + more))


def cancelled_as_it_starts(is_async: bool, schedule: Any) -> None:
    actions, told = ActionRegistry(), list[str]()

    @actions.register("t:child")
    def child() -> None:
        told.append("started")

    @actions.register("t:child_async")
    async def child_async() -> None:
        told.append("started")

    @actions.register("t:calls")
    def calls() -> None:
        calling.set()
        with suppress(ExecutionCancelledError):
            here().call(Execution("t:child", id="called"))
        told.append("told")

    @actions.register("t:calls_async")
    async def calls_async() -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        calling.set()
        with suppress(ExecutionCancelledError):
            await orchestrator.call(Execution("t:child_async", id="called"))
        told.append("told")

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        calling = threading.Event()
        handle = runtime.spawn("t:calls_async" if is_async else "t:calls")
        calling.wait()
        with suppress(UnknownExecutionError):  # it may come too soon
            Orchestrator(runtime).cancel("called")
        handle.result()
    assert told in (["told"], ["started", "told"])


@given(SEEDS)
def test_11_a_child_that_is_drawn_as_its_group_decides_never_runs(seed: int) -> None:
    draws_as_the_group_decides(Schedule.seeded(seed))


def draws_as_the_group_decides(schedule: Any) -> None:
    actions = ActionRegistry()

    @actions.register("t:sleeps")
    async def sleeps(seconds: float) -> None:
        await asyncio.sleep(seconds)

    def source() -> Iterator[float]:
        yield 1.0
        time.sleep(1.0)
        yield 5.0

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        with runtime.execution() as orchestrator:
            group = orchestrator.emit_for_each(
                source(), "seconds", Task("t:sleeps"), mode="first", max_in_flight=2
            )
            orchestrator.await_group(group)
        assert time.monotonic() == 1.0


@given(SEEDS)
def test_2_a_reader_who_asks_behind_the_end_of_all_is_told(seed: int) -> None:
    for more in range(2):  # it takes some luck
        reads_what_is_cancelled(Schedule.seeded(seed + more))


def reads_what_is_cancelled(schedule: Any) -> None:
    actions, groups, told = ActionRegistry(), list[str](), list[Any]()

    @actions.register("t:sleeps")
    async def sleeps() -> None:
        await asyncio.sleep(5.0)

    @actions.register("t:emits")
    async def emits() -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        groups.append(await orchestrator.emit_one(Execution.ad_hoc("t:sleeps")))
        await orchestrator.await_group(groups[0])

    @actions.register("t:reads")
    def reads() -> None:
        time.sleep(1.0)
        with suppress(GroupCancelledError, UnknownGroupError):  # it may come too late
            told.extend(here().as_completed(groups[0]))

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        emitter = runtime.spawn("t:emits")
        reader = runtime.spawn("t:reads")
        time.sleep(1.0)
        emitter.cancel()
        reader.result()
    assert len(told) <= 1


@given(SEEDS)
def test_2_a_reader_who_asks_as_a_leaf_ends_hears_of_it_then(seed: int) -> None:
    for more in range(2):  # it takes some luck
        reads_as_a_leaf_ends(Schedule.seeded(seed + more))


def reads_as_a_leaf_ends(schedule: Any) -> None:
    """The worker has the next two children, one after the other."""
    actions = ActionRegistry()

    @actions.register("t:sleeps")
    def sleeps(seconds: float) -> None:
        time.sleep(seconds)

    runtime = SimulatedRuntime(actions, schedule, workers=1, clock=0.0)
    with runtime, runtime.execution() as orchestrator:
        seconds = [0.0, 1.0, 5.0, 5.0, 5.0]  # the first ends undisturbed, so two go together
        group = orchestrator.emit_for_each(seconds, "seconds", Task("t:sleeps"))
        ends = orchestrator.as_completed(group)
        next(ends)
        orchestrator.sleep(1.0)
        next(ends)
        assert time.monotonic() == 1.0
        orchestrator.await_group(group)


@given(SEEDS)
def test_15_a_worker_goes_no_further_behind_one_that_becomes_an_actor_as_it_ends(seed: int) -> None:
    becomes_an_actor_as_it_ends(Schedule.seeded(seed))


def becomes_an_actor_as_it_ends(schedule: Any) -> None:
    actions, meter = ActionRegistry(), Meter()

    @actions.register("t:sleeps")
    def sleeps(seconds: float) -> None:
        with meter:
            time.sleep(seconds)

    runtime = SimulatedRuntime(actions, schedule, workers=1, clock=0.0)
    with runtime, runtime.execution() as orchestrator:
        # The first two end undisturbed, so several of the others go together.
        children = [Execution.ad_hoc("t:sleeps", s) for s in (0.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0)]
        group = orchestrator.emit_children(children)
        orchestrator.sleep(1.0)
        orchestrator.cancel(children[3].id)
        orchestrator.await_group(group, return_exceptions=True)
    assert (meter.highest, meter.total) == (1, 7)


@given(SEEDS)
def test_15_a_leaf_that_waits_as_it_is_asked_after_frees_its_worker(seed: int) -> None:
    for more in range(4):  # it takes some luck
        waits_as_it_is_asked_after(Schedule.seeded(seed + more))


def waits_as_it_is_asked_after(schedule: Any) -> None:
    actions, handles = ActionRegistry(), list[Any]()

    @actions.register("t:waits")
    def waits() -> None:
        time.sleep(1.0)
        handles[0].result()

    @actions.register("t:works")
    def works() -> None:
        """It needs the worker."""

    runtime = SimulatedRuntime(actions, schedule, workers=1, clock=0.0)
    with runtime, runtime.execution() as orchestrator:
        child = Execution.ad_hoc("t:waits")
        group = orchestrator.emit_one(child)

        def ask() -> None:
            with suppress(MissingExecutionError, UnknownExecutionError):  # it has just ended
                runtime.wait_for_unblock(child.id).get()

        handles.append(runtime.spawn("t:works"))
        asker = threading.Thread(target=ask)
        time.sleep(1.0)
        asker.start()
        orchestrator.await_group(group)
        asker.join()


@given(st.booleans(), SEEDS)
def test_9_a_leaf_that_is_cancelled_as_its_start_is_told_is_told_in_order(
    is_async: bool, seed: int
) -> None:
    for more in range(4):  # it takes some luck
        cancelled_as_its_start_is_told(is_async, Schedule.seeded(seed + more))


@pytest.mark.parametrize(
    ("is_async", "token"),
    [
        (False, "s1-zDH1jIuOVjJNMTFOTUs2VtIBciAGmYNUQTUZgdXBOTpGIDmwslggAAA"),
        (True, "s1-rVaVfouOVrJISjVJMk02UNIBciAGWSAZZaSEaq0JSA6sLBYIAA"),
    ],
)
def test_9_nor_under_the_smallest_schedules_in_which_the_actor_told_first(
    is_async: bool, token: str
) -> None:
    cancelled_as_its_start_is_told(is_async, Schedule.replay(token))


def cancelled_as_its_start_is_told(is_async: bool, schedule: Any) -> None:
    actions, events = ActionRegistry(), list[Any]()

    @actions.register("t:child")
    def child() -> None:
        time.sleep(1.0)

    @actions.register("t:child_async")
    async def child_async() -> None:
        await asyncio.sleep(1.0)

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        runtime.subscribe(events.append)
        with suppress(GroupCancelledError), runtime.execution() as orchestrator:
            name = "t:child_async" if is_async else "t:child"
            group = orchestrator.emit_children([Execution.ad_hoc(name) for _ in range(2)])
            orchestrator.cancel_group(group)
            orchestrator.await_group(group)
    seen: dict[str, ExecutionState] = {}
    for event in events:
        execution = event.execution
        assert event.previous is seen.get(execution.id, ExecutionState.PENDING)
        seen[execution.id] = execution.state
    assert all(state.ended for state in seen.values())


@given(SEEDS)
def test_8_a_caller_that_gives_up_as_its_child_ends_goes_on_behind_that(seed: int) -> None:
    for more in range(4):  # it takes some luck
        gives_up_as_its_child_ends(Schedule.seeded(seed + more))


def gives_up_as_its_child_ends(schedule: Any) -> None:
    actions, ends = ActionRegistry(), list[str]()

    @actions.register("t:child")
    def child() -> None:
        time.sleep(1.0)

    @actions.register("t:calls")
    def calls() -> None:
        with suppress(AwaitTimeoutError):
            here().call(Execution.ad_hoc("t:child"), 1.0)

    def hear(event: Any) -> None:
        if event.execution.state is ExecutionState.COMPLETED:
            ends.append(event.execution.action)

    with SimulatedRuntime(actions, schedule, workers=1, clock=0.0) as runtime:
        subscription = runtime.subscribe(hear)
        runtime.spawn("t:calls").result()
        subscription.close()
    assert ends in (["t:child", "t:calls"], ["t:calls"])


@given(st.booleans(), SEEDS)
def test_8_a_wait_to_resume_whose_patience_ends_with_its_group_is_answered_once(
    is_async: bool, seed: int
) -> None:
    for more in range(4):  # it takes some luck
        patience_ends_with_the_group(is_async, Schedule.seeded(seed + more))


def patience_ends_with_the_group(is_async: bool, schedule: Any) -> None:
    actions, told = ActionRegistry(), list[Any]()

    @actions.register("t:child")
    async def child() -> None:
        await asyncio.sleep(1.0)

    @actions.register("t:resumes")
    def resumes() -> None:
        here().emit_one(Execution.ad_hoc("t:child"))
        try:
            told.append(here().await_resume(1.0))
        except AwaitTimeoutError:
            told.append(here().await_resume())

    @actions.register("t:resumes_async")
    async def resumes_async() -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        await orchestrator.emit_one(Execution.ad_hoc("t:child"))
        try:
            told.append(await orchestrator.await_resume(1.0))
        except AwaitTimeoutError:
            told.append(await orchestrator.await_resume())

    name = "t:resumes_async" if is_async else "t:resumes"
    with Errors() as errors, SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        runtime.run(name)
    assert told == [[None]]
    assert errors.texts == []


@given(st.booleans(), SEEDS)
def test_4_no_attempt_begins_over_a_merge_of_the_one_before(is_async: bool, seed: int) -> None:
    attempt_over_a_merge(is_async, Schedule.seeded(seed))


def attempt_over_a_merge(is_async: bool, schedule: Any) -> None:
    actions, merging, begun = ActionRegistry(), list[None](), list[bool]()
    retry = Retry(max_attempts=2, delay=0.0)

    def slow(outputs: list[Any]) -> list[Any]:
        merging.append(None)
        time.sleep(2.0)
        merging.pop()
        return outputs

    @actions.register("t:child")
    def child() -> None:
        pass

    @actions.register("t:resumes", timeout=1.0, retry=retry)
    def resumes() -> None:
        begun.append(bool(merging))
        if len(begun) == 1:  # it runs out of time while its reducer runs
            here().emit_one(Execution.ad_hoc("t:child"), merge=slow)
            here().await_resume()

    @actions.register("t:resumes_async", timeout=1.0, retry=retry)
    async def resumes_async() -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        begun.append(bool(merging))
        if len(begun) == 1:
            await orchestrator.emit_one(Execution.ad_hoc("t:child"), merge=slow)
            await orchestrator.await_resume()

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        runtime.run("t:resumes_async" if is_async else "t:resumes")
    assert begun == [False, False]


@given(SEEDS)
def test_6_a_waiter_whose_patience_ends_as_its_worker_comes_free_goes_on_once(seed: int) -> None:
    for more in range(2):  # it takes some luck
        patience_ends_as_the_worker_comes_free(Schedule.seeded(seed + more))


def patience_ends_as_the_worker_comes_free(schedule: Any) -> None:
    actions, order = ActionRegistry(), list[str]()

    @actions.register("t:needs_no_worker")
    async def needs_no_worker() -> None:
        await asyncio.sleep(1.0)

    @actions.register("t:works")
    def works(seconds: float) -> None:
        order.append("works")
        time.sleep(seconds)

    @actions.register("t:waits")
    def waits() -> None:
        group = here().emit_one(Execution.ad_hoc("t:needs_no_worker"))
        here().await_group(group, 2.0)  # it is over by then, but the worker is not free
        order.append("waited")

    with Errors() as errors, SimulatedRuntime(actions, schedule, workers=1, clock=0.0) as runtime:
        with runtime.execution() as orchestrator:
            orchestrator.emit_one(Execution.ad_hoc("t:waits"))
            orchestrator.emit_for_each([2.0, 1.0], "seconds", Task("t:works"))
        assert time.monotonic() == 3.0
    assert order == ["works", "waited", "works"]
    assert errors.texts == []


@given(SEEDS)
def test_15_a_called_child_that_emits_has_its_callers_worker(seed: int) -> None:
    actions, meter = ActionRegistry(), Meter()

    @actions.register("t:works")
    def works() -> None:
        with meter:
            time.sleep(1.0)

    @actions.register("t:emits")
    def emits() -> None:
        with meter:
            here().emit_one(Execution.ad_hoc("t:works"))  # it is an actor from now on
            time.sleep(1.0)

    @actions.register("t:calls")
    def calls() -> None:
        here().call(Execution.ad_hoc("t:emits"))

    runtime = SimulatedRuntime(actions, Schedule.seeded(seed), workers=1, clock=0.0)
    with runtime, runtime.execution() as orchestrator:
        orchestrator.emit_one(Execution.ad_hoc("t:calls"))
    assert (meter.highest, meter.total) == (1, 2)


@given(st.booleans(), SEEDS)
def test_10_a_caller_that_gives_up_as_its_child_becomes_an_actor_outlives_it(
    fails: bool, seed: int
) -> None:
    for more in range(5):  # it takes some luck
        gives_up_as_its_child_becomes_an_actor(fails, Schedule.seeded(seed + more))


def gives_up_as_its_child_becomes_an_actor(fails: bool, schedule: Any) -> None:
    """It becomes one by its failure, or by what it emits."""
    actions, meter = ActionRegistry(), Meter()

    @actions.register("t:nothing")
    def nothing() -> None:
        """It only has to be emitted."""

    @actions.register("t:child")
    def child() -> None:
        with meter:
            time.sleep(1.0)
            if fails:
                raise LookupError
            here().emit_one(Execution.ad_hoc("t:nothing"))
            time.sleep(1.0)

    @actions.register("t:calls")
    def calls() -> None:
        with suppress(AwaitTimeoutError, LookupError):
            here().call(Execution.ad_hoc("t:child"), 1.0)

    with SimulatedRuntime(actions, schedule, clock=0.0) as runtime:
        with runtime.execution() as orchestrator:
            orchestrator.emit_one(Execution.ad_hoc("t:calls"))
        assert meter.inside == 0
