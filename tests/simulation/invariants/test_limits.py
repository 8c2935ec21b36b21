"""Limits: never exceeded, never left unused; and emits that raise."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    DuplicateExecutionError,
    Execution,
    InvalidInputError,
    Orchestrator,
    Rate,
    Retry,
    Task,
    UnknownActionError,
    UnknownExecutionError,
)
from runtime.simulation import Schedule, SimulatedRuntime
from tests.simulation.meter import Meter
from tests.simulation.schedules import orders


@st.composite
def loads(draw: st.DrawFn) -> dict[str, Any]:
    """So many children that each hold a slot for a second, some of them failing."""
    count = draw(st.integers(0, 7))
    return {
        "fails": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        "workers": draw(st.integers(1, 4)),
        "most": draw(st.none() | st.integers(1, 3)),
        "in_flight": draw(st.none() | st.integers(1, 3)),
        "attempts": draw(st.integers(1, 2)),
        "is_async": draw(st.booleans()),
    }


@given(loads(), orders())
def test_15_limits_are_never_exceeded_and_never_leave_work_waiting(
    load: dict[str, Any], schedule: Any
) -> None:
    fails, workers, most = load["fails"], load["workers"], load["most"]
    actions, meter = ActionRegistry(), Meter()
    retry = Retry(max_attempts=load["attempts"])

    @actions.register("t:holds", max_concurrency=most, retry=retry)
    def holds(number: int) -> None:
        with meter:
            time.sleep(1.0)  # its own wait: the slots are held
            if fails[number]:
                raise LookupError

    @actions.register("t:holds_async", max_concurrency=most, retry=retry)
    async def holds_async(number: int) -> None:
        with meter:
            await asyncio.sleep(1.0)
            if fails[number]:
                raise LookupError

    action = "t:holds_async" if load["is_async"] else "t:holds"
    with SimulatedRuntime(actions, schedule, workers=workers, clock="jump") as runtime:
        with runtime.execution() as orchestrator:
            group = orchestrator.emit_for_each(
                range(len(fails)), "n", Task(action), max_in_flight=load["in_flight"]
            )
            orchestrator.await_group(group, return_exceptions=True)
        took = time.monotonic()
        stats = runtime.stats()
    limits = [most, load["in_flight"], None if load["is_async"] else workers]
    together = min((limit for limit in limits if limit is not None), default=math.inf)
    assert meter.highest <= together
    runs = [load["attempts"] if failing else 1 for failing in fails]
    assert meter.total == sum(runs)
    assert stats.completed == 1 + fails.count(False)
    # Work-conserving: all together never idle while there is work. A retry may come too late to
    # fill the last second, so the bound of list scheduling holds, and without retries the optimum.
    if together == math.inf:
        assert took == max(runs, default=0)
    else:
        assert took <= math.ceil(sum(runs) / together) + load["attempts"] - 1
    if load["attempts"] == 1 and together != math.inf:
        assert took == math.ceil(len(fails) / together)


@given(st.integers(1, 6), st.none() | st.integers(1, 2), st.integers(1, 3), st.booleans(), orders())
def test_15_who_comes_back_from_a_wait_takes_no_more_than_there_is(
    count: int, most: int | None, workers: int, strict: bool, schedule: Any
) -> None:
    actions, meter = ActionRegistry(), Meter()

    @actions.register("t:naps", max_concurrency=most)
    def naps(number: int) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        orchestrator.sleep(1.0)  # our wait: the slots are free
        with meter:
            time.sleep(number % 2)

    clock = "jump" if strict else "choose"
    runtime = SimulatedRuntime(actions, schedule, workers=workers, clock=clock)
    with runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(count), "n", Task("t:naps"))
        orchestrator.await_group(group)
        took = time.monotonic()
    together = min(workers, most or workers)
    assert meter.total == count
    assert meter.highest <= together
    if strict:  # nobody is kept from a slot that is free: all nap together
        assert took <= 1.0 + count // 2


@given(
    st.lists(
        st.sampled_from(["t:holds", "t:holds_too", "t:retries", "t:retries_soon"]),
        min_size=1,
        max_size=5,
    ),
    st.none() | st.integers(0, 4),
    orders(),
)
def test_11_a_cancel_reaches_what_is_queued_and_what_is_between_attempts(
    names: list[str], which: int | None, schedule: Any
) -> None:
    actions, ends, starts = ActionRegistry(), dict[str, Any](), list[float]()

    @actions.register("t:holds")
    @actions.register("t:holds_too")
    def holds() -> None:
        starts.append(time.monotonic())
        time.sleep(5.0)  # the only worker is held

    @actions.register("t:retries", retry=Retry(delay=3.0))
    @actions.register("t:retries_soon", retry=Retry(delay=0.5))
    def retries() -> None:
        starts.append(time.monotonic())
        raise LookupError

    @actions.register("t:quick")
    def quick() -> None:
        """Only to need a worker."""

    def note(event: Any) -> None:
        if event.execution.state.ended:
            assert event.execution.id not in ends
            ends[event.execution.id] = event.execution

    runtime = SimulatedRuntime(actions, schedule, workers=1, clock="jump")
    with runtime:
        subscription = runtime.subscribe(note)
        with runtime.execution() as orchestrator:
            children = [Execution.ad_hoc(name) for name in names]
            group = orchestrator.emit_children(children)
            orchestrator.sleep(1.0)
            if which is None:
                orchestrator.cancel_group(group)
            else:
                orchestrator.cancel(children[which % len(children)].id)
                orchestrator.sleep(0.5)
                orchestrator.cancel_group(group)
            last = orchestrator.emit_one(Execution.ad_hoc("t:quick"))
            orchestrator.await_group(last)  # the worker is free again
        subscription.close()
        stats = runtime.stats()
    assert (stats.pending, stats.running, stats.waiting, stats.cancelling) == (0, 0, 0, 0)
    assert stats.emitted == stats.settled == len(ends)
    at = 1.0 if which is None else 1.5
    assert all(ends[child.id].completed_at <= at for child in children)
    assert all(start <= at for start in starts)
    if which is not None:
        assert ends[children[which % len(children)].id].completed_at <= 1.0


@given(
    st.integers(1, 3),
    st.integers(0, 6),
    st.booleans(),
    st.sampled_from([1.0, 2.5]),
    orders(),
)
def test_15_rates_hold_in_every_window_and_waste_no_permit(
    limit: int, count: int, fails: bool, per: float, schedule: Any
) -> None:
    actions = ActionRegistry()
    starts: list[float] = []

    @actions.register("t:rated", rate_limit=Rate(limit, per), retry=Retry(max_attempts=2))
    def rated() -> None:
        if fails:
            raise LookupError

    with SimulatedRuntime(actions, schedule, clock="jump") as runtime:
        subscription = runtime.subscribe(
            lambda event: (
                starts.append(event.execution.started_at)
                if event.execution.state == "running" and event.execution.action == "t:rated"
                else None
            )
        )
        with runtime.execution() as orchestrator:
            group = orchestrator.emit_children([Execution.ad_hoc("t:rated") for _ in range(count)])
            orchestrator.await_group(group, return_exceptions=True)
        subscription.close()
    assert len(starts) == count * (1 + fails)
    starts.sort()
    for place, start in enumerate(starts):
        if place >= limit:
            assert start - starts[place - limit] >= per
            assert start - starts[place - limit] <= per + 0.001, "a permit lay unused"


@given(
    st.integers(1, 2),
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.sampled_from([1.0, 2.0]),
    st.booleans(),
    orders(),
)
def test_15_a_rate_holds_and_loses_nothing_whoever_is_slow_or_cancelled(
    limit: int, cancels: list[bool], per: float, is_async: bool, schedule: Any
) -> None:
    actions = ActionRegistry()
    starts: list[float] = []

    @actions.register("t:rated", rate_limit=Rate(limit, per))
    def rated() -> None:
        time.sleep(0.5)

    @actions.register("t:rated_async", rate_limit=Rate(limit, per))
    async def rated_async() -> None:
        await asyncio.sleep(0.5)

    def note(event: Any) -> None:
        if event.execution.state.ended and event.execution.attempts:
            starts.append(event.execution.started_at)

    name = "t:rated_async" if is_async else "t:rated"
    with SimulatedRuntime(actions, schedule) as runtime:
        subscription = runtime.subscribe(note)
        with runtime.execution() as orchestrator:
            children = [Execution.ad_hoc(name) for _ in cancels]
            group = orchestrator.emit_children(children)
            for child, cancel in zip(children, cancels, strict=True):
                if cancel:
                    orchestrator.cancel(child.id)
            orchestrator.await_group(group, return_exceptions=True)  # a lost permit is a deadlock
            last = orchestrator.emit_children([Execution.ad_hoc(name) for _ in range(limit + 1)])
            orchestrator.await_group(last)
        subscription.close()
    starts = sorted(start for start in starts[:-1] if start is not None)
    assert len(starts) >= cancels.count(False) + limit + 1
    for place, start in enumerate(starts[limit:]):
        assert start - starts[place] >= per


@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 4), orders())
def test_15_who_comes_back_takes_no_slot_of_what_was_cancelled_and_is_over(
    workers: int, cancelled: int, count: int, schedule: Any
) -> None:
    actions, meter = ActionRegistry(), Meter()

    @actions.register("t:holds")
    def holds() -> None:
        time.sleep(2.0)  # it does not hear of its cancel, and holds its slot

    @actions.register("t:naps")
    def naps() -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        orchestrator.sleep(1.0)
        with meter:
            time.sleep(1.0)

    runtime = SimulatedRuntime(actions, schedule, workers=workers, clock="jump")
    with runtime, runtime.execution() as orchestrator:
        first = orchestrator.emit_children([Execution.ad_hoc("t:holds") for _ in range(cancelled)])
        orchestrator.sleep(1.0)
        orchestrator.cancel_group(first)
        orchestrator.sleep(2.0)  # it is over
        second = orchestrator.emit_children([Execution.ad_hoc("t:naps") for _ in range(count)])
        orchestrator.await_group(second)
    assert meter.highest <= workers
    assert meter.total == count


@given(st.sets(st.integers(0, 11), min_size=1, max_size=3), st.integers(1, 2), orders())
def test_15_nobody_waits_behind_one_who_waits(
    nappers: set[int], workers: int, schedule: Any
) -> None:
    actions = ActionRegistry()
    ends = dict[int, float]()

    @actions.register("t:some_nap")
    def some_nap(number: int) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        if number in nappers:
            orchestrator.sleep(5.0)  # our wait: whoever was handed out with it goes on elsewhere
        ends[number] = time.monotonic()

    runtime = SimulatedRuntime(actions, schedule, workers=workers, clock="jump")
    with runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(12), "n", Task("t:some_nap"))
        orchestrator.await_group(group)
    assert ends == {number: 5.0 if number in nappers else 0.0 for number in range(12)}


@given(st.sampled_from([1, 3]), st.integers(0, 2**32))
def test_15_a_cancel_that_meets_an_end_gives_no_slot_twice(which: int, seed: int) -> None:
    for more in range(4):  # it takes some luck
        actions, meter = ActionRegistry(), Meter()

        @actions.register("t:works")
        def works() -> None:
            with meter:  # noqa: B023 - it runs within this round
                time.sleep(1.0)

        schedule = Schedule.seeded(seed + more)
        runtime = SimulatedRuntime(actions, schedule, workers=1, clock="jump")
        with runtime, runtime.execution() as orchestrator:
            children = [Execution.ad_hoc("t:works") for _ in range(6)]
            group = orchestrator.emit_children(children)
            orchestrator.sleep(1.0 + which)  # one after the other: this one is at its end
            orchestrator.cancel(children[which].id)
            orchestrator.await_group(group, return_exceptions=True)
        assert meter.highest == 1
        assert meter.total == 6


@given(st.integers(1, 3), st.integers(0, 2**32))
def test_15_who_asks_after_one_that_waits_costs_no_slot(askers: int, seed: int) -> None:
    for more in range(2):
        actions = ActionRegistry()
        ends = dict[str, float]()

        @actions.register("t:naps")
        def naps() -> None:
            orchestrator = Orchestrator.from_context()
            assert orchestrator is not None
            orchestrator.sleep(1.0)  # our wait: the only worker is free

        @actions.register("t:works")
        def works() -> None:
            ends["works"] = time.monotonic()  # noqa: B023 - it runs within this round

        schedule = Schedule.seeded(seed + more)
        runtime = SimulatedRuntime(actions, schedule, workers=1, clock="jump")
        with runtime, runtime.execution() as orchestrator:
            napping = Execution.ad_hoc("t:naps")

            def ask(name: str) -> None:
                with suppress(UnknownExecutionError):  # it was not there yet, or any more
                    runtime.wait_for_unblock(name).get()  # noqa: B023

            threads = [threading.Thread(target=ask, args=(napping.id,)) for _ in range(askers)]
            group = orchestrator.emit_children([napping, Execution.ad_hoc("t:works")])
            for thread in threads:
                thread.start()
            orchestrator.await_group(group)
            for thread in threads:
                thread.join()
        assert ends == {"works": 0.0}


@given(
    before=st.integers(0, 2),
    after=st.integers(0, 2),
    bad=st.sampled_from(["action", "input", "type", "twice", "source"]),
    schedule=orders(),
)
def test_16_an_emit_that_raises_has_queued_nothing(
    before: int, after: int, bad: str, schedule: Any
) -> None:
    actions = ActionRegistry()
    ran: list[int] = []
    actions.register("t:notes")(ran.append)
    with SimulatedRuntime(actions, schedule) as runtime, runtime.execution() as orchestrator:
        good = [Execution.ad_hoc("t:notes", number) for number in range(before + after + 1)]

        def source() -> Any:
            yield from good[:before]
            match bad:
                case "action":
                    yield Execution.ad_hoc("t:nobody")
                case "input":
                    yield Execution.ad_hoc("t:notes", {"wrong": 1})
                case "type":
                    yield "no execution"
                case "twice":
                    yield good[-1]
                case "source":
                    raise LookupError
            yield from good[before:]

        emitted = runtime.stats().emitted
        refusals = (UnknownActionError, InvalidInputError, DuplicateExecutionError)
        try:
            orchestrator.emit_children(source())
        except (*refusals, TypeError, LookupError):
            pass
        else:
            raise AssertionError("it was taken")
        assert runtime.stats().emitted == emitted
        assert ran == []
        group = orchestrator.emit_children(good)  # nothing of them was used up
        orchestrator.await_group(group)
        assert sorted(ran) == list(range(len(good)))


@given(st.integers(1, 3), st.integers(0, 2), st.booleans(), orders())
def test_16_of_two_emits_of_one_child_one_is_refused_as_a_whole(
    shared: int, others: int, is_async: bool, schedule: Any
) -> None:
    actions = ActionRegistry()
    ran: list[str] = []
    given_children = [Execution.ad_hoc("t:notes", f"shared {n}") for n in range(shared)]
    refused: list[int] = []

    @actions.register("t:notes")
    def notes(name: str) -> None:
        ran.append(name)

    def own(number: int) -> list[Execution]:
        return [Execution.ad_hoc("t:notes", f"{number}, {n}") for n in range(others)]

    @actions.register("t:emits")
    def emits(number: int) -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        mine = own(number)
        try:
            group = orchestrator.emit_children([*mine, *given_children])
        except DuplicateExecutionError:
            refused.append(number)
            group = orchestrator.emit_children(mine)
        orchestrator.await_group(group)

    @actions.register("t:emits_async")
    async def emits_async(number: int) -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        mine = own(number)
        try:
            group = await orchestrator.emit_children([*mine, *given_children])
        except DuplicateExecutionError:
            refused.append(number)
            group = await orchestrator.emit_children(mine)
        await orchestrator.await_group(group)

    action = "t:emits_async" if is_async else "t:emits"
    with SimulatedRuntime(actions, schedule) as runtime, runtime.execution() as orchestrator:
        orchestrator.await_group(
            orchestrator.emit_children([Execution.ad_hoc(action, n) for n in range(2)])
        )
    assert len(refused) == 1
    expected = [f"shared {n}" for n in range(shared)]
    expected += [f"{number}, {n}" for number in range(2) for n in range(others)]
    assert sorted(ran) == sorted(expected)
