"""DESIGN.md section 4: subscribe, the order of events, what is lost, stats."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, ExecutionCancelledError
from runtime import EventsLost
from tests.conformance.support import LIMIT, Boom, Gate, child, children, here, quiet

Run = Callable[..., Any]
ORDER = ("pending", "scheduled", "running", "waitAsync")


def test_a_listener_is_told_of_every_change_of_state_in_order_for_each_execution(
    runtime: Any, actions: ActionRegistry
) -> None:
    events: dict[str, list[Any]] = {}
    subscription = runtime.subscribe(
        lambda event: events.setdefault(event.execution.id, []).append(event)
    )

    @actions.register("t:parent")
    def parent(fails: bool) -> Any:
        orchestrator = here()
        group = orchestrator.emit_children(children("t:echo", [1, 2]))
        outputs = orchestrator.await_group(group)
        orchestrator.await_resume()
        if fails:
            raise Boom
        return outputs

    runtime.run("t:parent", False)
    with pytest.raises(Boom):
        runtime.run("t:parent", True)
    subscription.close()

    assert len(events) == 6
    for changes in events.values():
        for before, after in itertools.pairwise(changes):
            assert after.previous == before.execution.state  # a chain without a gap
            assert after.at >= before.at
        assert [event for event in changes if event.execution.state.ended] == changes[-1:]
        states = [event.execution.state.value for event in changes]
        if changes[0].execution.action == "t:parent":
            assert states[:2] == ["scheduled", "running"]
            assert "waitAsync" in states
            assert states[-2] == "running"
        else:
            assert states == ["scheduled", "running", "completed"]
        assert changes[0].previous == "pending"


def test_an_event_holds_the_snapshot_in_its_new_state(runtime: Any) -> None:
    events: list[Any] = []
    subscription = runtime.subscribe(events.append)
    runtime.run("t:echo", "output")
    subscription.close()

    last = events[-1].execution
    assert (last.state, last.output, last.attempts) == ("completed", "output", 1)
    assert last.scheduled_at <= last.started_at <= last.completed_at


def test_every_listener_is_told_on_a_thread_of_its_own(runtime: Any) -> None:
    gate, told = Gate(), Gate()
    blocked = runtime.subscribe(lambda _event: gate.wait())
    other = runtime.subscribe(lambda event: told.open() if event.execution.state.ended else None)
    assert runtime.run("t:echo", 1) == 1
    told.wait()  # though the first listener still sits in its first event
    gate.open()
    blocked.close()
    other.close()


def test_a_listener_that_raises_is_logged_and_kept(
    runtime: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def broken(event: Any) -> None:
        seen.append(event)
        raise Boom("listener")

    subscription = runtime.subscribe(broken)
    with caplog.at_level(logging.ERROR):
        runtime.run("t:echo", 1)
        runtime.run("t:echo", 2)
        subscription.close()
    assert len([event for event in seen if event.execution.state.ended]) == 2
    assert any("listener" in record.getMessage() for record in caplog.records)


def test_a_listener_that_falls_behind_loses_the_oldest_and_is_told_how_many(runtime: Any) -> None:
    gate, first = Gate(), Gate()
    news: list[Any] = []

    def slow(event: Any) -> None:
        news.append(event)
        first.open()
        gate.wait()

    everything: list[Any] = []
    fast = runtime.subscribe(everything.append)
    subscription = runtime.subscribe(slow, buffer=5)
    runtime.run("t:echo", 0)
    first.wait()
    for n in range(20):
        runtime.run("t:echo", n)
    gate.open()
    subscription.close()
    fast.close()

    lost = [item for item in news if isinstance(item, EventsLost)]
    events = [item for item in news if not isinstance(item, EventsLost)]
    assert sum(item.count for item in lost) + len(events) == len(everything)
    assert lost
    assert [(event.execution.id, event.execution.state) for event in events[-5:]] == [
        (event.execution.id, event.execution.state) for event in everything[-5:]
    ]


def test_a_closed_subscription_is_told_nothing_more_and_can_be_closed_again(runtime: Any) -> None:
    events: list[Any] = []
    subscription = runtime.subscribe(events.append)
    runtime.run("t:echo", 1)
    subscription.close()
    before = len(events)
    runtime.run("t:echo", 2)
    subscription.close()
    assert len(events) == before


def test_a_listener_may_use_the_runtime(runtime: Any) -> None:
    outputs: list[Any] = []
    told = Gate()

    def listener(event: Any) -> None:
        if event.execution.state == "completed" and not outputs:
            outputs.append(runtime.run("t:echo", "by the listener"))
            told.open()

    runtime.subscribe(listener)
    runtime.run("t:echo", 1)
    told.wait()
    assert outputs == ["by the listener"]


@pytest.mark.parametrize("wrong", [None, "listener", 3])
def test_a_listener_that_cannot_be_called_is_refused(runtime: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="listener"):
        runtime.subscribe(wrong)


@pytest.mark.parametrize(("buffer", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_a_buffer_that_makes_no_sense_is_refused(
    runtime: Any, buffer: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="buffer"):
        runtime.subscribe(print, buffer=buffer)


def partition(stats: Any) -> int:
    return (
        stats.pending
        + stats.running
        + stats.waiting
        + stats.cancelling
        + stats.completed
        + stats.failed
        + stats.cancelled
    )


def test_stats_are_a_partition_of_what_was_emitted_at_every_moment(
    make_runtime: Run, actions: ActionRegistry
) -> None:
    gates = {name: Gate() for name in ("running", "stubborn", "go", "below")}

    @actions.register("t:runs")
    def runs() -> None:
        gates["running"].open()
        gates["go"].wait()

    @actions.register("t:stubborn")
    def stubborn() -> None:
        gates["stubborn"].open()
        gates["go"].wait()

    @actions.register("t:below")
    async def below() -> None:
        gates["below"].open()
        await gates["go"]

    @actions.register("t:waits")
    def waits() -> None:
        orchestrator = here()
        orchestrator.await_group(orchestrator.emit_one(child("t:below")))

    runtime = make_runtime(workers=2)
    assert partition(runtime.stats()) == runtime.stats().emitted == 0
    waiting = runtime.spawn("t:waits")
    gates["below"].wait()
    running = runtime.spawn("t:runs")
    gates["running"].wait()
    stopped = runtime.spawn("t:stubborn")
    gates["stubborn"].wait()
    stopped.cancel()
    with pytest.raises(ExecutionCancelledError):
        stopped.result(LIMIT)
    queued = runtime.spawn("t:echo", 1)
    stats = runtime.stats()
    assert partition(stats) == stats.emitted == 5
    assert stats.cancelling == 1
    assert stats.pending == 1
    assert stats.waiting == 1
    assert stats.running == 2  # the one that computes, and the waiter's async child
    assert stats.settled == 0
    assert stats.queue_age >= 0
    gates["go"].open()
    for handle in (waiting, running, queued):
        handle.result(LIMIT)
    runtime.close(LIMIT)
    stats = runtime.stats()
    assert quiet(stats)
    assert partition(stats) == stats.emitted == stats.settled == 5
    assert (stats.completed, stats.failed, stats.cancelled) == (4, 0, 1)


def test_stats_count_roots_scopes_calls_and_children_by_how_they_ended(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        orchestrator.call(child("t:echo", 1))
        group = orchestrator.emit_children([child("t:fail"), child("t:echo", 1)])
        orchestrator.await_group(group, return_exceptions=True)
        cancelled = orchestrator.emit_one(child("t:forever"))
        orchestrator.cancel_group(cancelled)
    runtime.run("t:echo", 1)
    stats = runtime.stats()
    assert (stats.emitted, stats.completed, stats.failed, stats.cancelled) == (6, 4, 1, 1)
    assert quiet(stats)


def test_queue_age_is_none_with_an_empty_queue_and_grows_with_one(
    make_runtime: Run, actions: ActionRegistry
) -> None:
    gate, started = Gate(), Gate()

    @actions.register("t:hold")
    def hold() -> None:
        started.open()
        gate.wait()

    runtime = make_runtime(workers=1)
    assert runtime.stats().queue_age == 0
    runtime.spawn("t:hold")
    started.wait()
    runtime.spawn("t:echo")
    first, second = runtime.stats().queue_age, runtime.stats().queue_age
    assert 0 <= first <= second
    gate.open()
    runtime.close(LIMIT)
    assert runtime.stats().queue_age == 0
