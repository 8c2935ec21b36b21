"""`ExecutionActor` as an object: handed messages one by one, time moved by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from actors.messages import (
    Cancel,
    CancelGroup,
    CodeOver,
    DeadlinePassed,
    Decided,
    ForgetGroups,
    Requeue,
    RetryDue,
    Settled,
    Start,
)
from orchestrator.errors import (
    Cancelled,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    InvalidInputError,
    MissingExecutionError,
)
from orchestrator.values import ExecutionState, Retry
from tests.actors.execution_world import Driver
from tests.actors.fakes import ExecutionByHand

COMPLETED = ExecutionState.COMPLETED
FAILED = ExecutionState.FAILED
CANCELLED = ExecutionState.CANCELLED


def running(**options: Any) -> Driver:
    driver = Driver(**options)
    driver.start()
    assert driver.begin()
    return driver


def test_an_execution_completes_with_what_its_code_returns() -> None:
    driver = running()
    driver.world.clock.advance(5.0)
    driver.finish("value")
    final = driver.final()
    assert (final.state, final.output, final.error) == (COMPLETED, "value", None)
    assert (final.attempts, final.index, final.group_id) == (1, 3, "g")
    assert (final.scheduled_at, final.started_at, final.completed_at) == (50.0, 100.0, 105.0)
    assert [type(one) for one in driver.seen] == [Settled]
    driver.check()


@pytest.mark.parametrize("in_group", [True, False])
@pytest.mark.parametrize("runs_on", [True, False])
def test_the_allocator_has_it_counted_before_anybody_hears_that_it_is_over(
    in_group: bool, runs_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = running(in_group=in_group)
    counted: list[int] = []
    allocator, put = driver.world.allocator, driver.above.actor_inbox.put

    def hear(message: Any) -> None:
        counted.append(len(allocator.told_of(Settled)))
        put(message)

    monkeypatch.setattr(driver.above.actor_inbox, "put", hear)
    if runs_on:  # behind its decision
        driver.hand(Cancel("enough"))
    driver.finish("value")

    assert counted == ([0, 1] if runs_on else [1])
    assert allocator.actor_inbox.aside == 0  # it has been sent for, too
    assert driver.over.done()


def test_a_snapshot_is_made_anew_only_where_something_has_changed() -> None:
    driver = Driver(retry=Retry(max_attempts=2))
    queued = driver.view()
    assert driver.view() is queued
    driver.start()
    driver.begin()
    running = driver.view()
    assert (queued.state, running.state) == (ExecutionState.SCHEDULED, ExecutionState.RUNNING)
    driver.world.clock.advance(1.0)
    assert driver.view() is running
    driver.finish(error=ValueError("once"))
    pausing = driver.view()
    assert (pausing.state, pausing.attempts) == (ExecutionState.SCHEDULED, 1)


def test_an_execution_fails_with_the_error_of_its_code() -> None:
    driver = running()
    error = ValueError("no")
    driver.finish(error=error)
    assert (driver.final().state, driver.final().error) == (FAILED, error)
    driver.check()


# Cancel, in every phase


def test_a_cancel_in_the_queue_ends_it_and_a_start_that_is_on_its_way_starts_nothing() -> None:
    driver = Driver()
    driver.cancel("not needed")
    assert driver.final().state is CANCELLED
    assert str(driver.final().error) == "execution 'e' was cancelled: not needed"
    assert driver.ended
    assert driver.codes == []


def test_a_start_that_was_sent_before_the_cancel_settled_starts_nothing() -> None:
    driver = Driver()
    driver.actor.on_receive(Cancel("x"))
    driver.actor.on_receive(Start())
    assert driver.world.place.attempts == []


def test_a_cancel_before_the_worker_takes_the_token_ends_it_and_the_code_never_starts() -> None:
    driver = Driver()
    driver.start()
    driver.cancel()
    assert driver.final().state is CANCELLED
    assert driver.ended
    assert not driver.begin()
    driver.check()


def test_a_cancel_of_running_code_decides_at_once_and_settles_when_the_code_has_ended() -> None:
    driver = running()
    driver.cancel()
    assert driver.final().state is CANCELLED
    assert not driver.ended
    assert [type(one) for one in driver.seen] == [Decided]
    assert driver.code is not None
    with pytest.raises(Cancelled):
        driver.code.attempt.check()
    driver.check()
    driver.finish("whatever it returns")
    assert driver.final().state is CANCELLED
    assert driver.ended
    driver.check()


def test_the_allocator_hears_of_the_decision_before_anybody_else() -> None:
    driver = running()
    known: list[int] = []
    put = driver.above.actor_inbox.put

    def look(message: Any) -> None:
        known.append(len(driver.world.allocator.told_of(Decided)))
        put(message)

    driver.above.actor_inbox.put = look  # type: ignore[method-assign]
    driver.actor.on_receive(Cancel("x"))
    assert known == [1]


def test_it_hears_of_it_too_where_only_groups_are_out() -> None:
    driver = running()
    driver.emit()
    group = driver.admit()
    driver.finish()
    driver.cancel()
    assert [one.waiting_for for one in driver.told(CodeOver)] == [(group.group_id,), ()]
    driver.check()


def test_a_cancel_while_groups_are_out_cancels_them_and_settles_after_them() -> None:
    driver = running()
    driver.emit()
    group = driver.admit()
    driver.finish("value")
    assert not driver.reply.done()
    driver.cancel()
    assert driver.final().state is CANCELLED
    assert [message.rest_too for message in group.ref.told_of(CancelGroup)] == [True]
    for _ in range(3):
        assert not driver.ended
        driver.step_group(group, [1])
        driver.check()
    assert driver.ended


def test_a_cancel_while_an_emit_is_on_its_way_cancels_the_group_once_it_is_open() -> None:
    driver = running()
    driver.emit()
    driver.cancel()
    driver.finish()
    assert not driver.ended
    group = driver.admit()
    assert len(group.ref.told_of(CancelGroup)) == 1
    driver.drain()
    driver.check()


def test_a_cancel_while_reducers_run_is_not_undone_by_them_and_waits_for_them() -> None:
    driver = running()
    driver.emit(merge=sum)
    driver.step_group(driver.admit(), [1, 2])
    group = driver.groups[0]
    driver.step_group(group, [])
    driver.step_group(group, [])
    driver.finish()
    assert driver.world.dispatcher.jobs
    assert not driver.reply.done()
    driver.cancel()
    assert driver.final().state is CANCELLED
    assert not driver.ended
    driver.world.dispatcher.run()
    driver.catch_up()
    assert driver.final().state is CANCELLED
    assert driver.ended


def test_a_cancel_between_attempts_means_no_next_attempt() -> None:
    driver = running(retry=Retry(2, delay=10.0))
    driver.finish(error=ValueError())
    assert not driver.reply.done()
    driver.cancel()
    assert driver.final().state is CANCELLED
    driver.advance(100.0)
    driver.actor.on_receive(RetryDue(1))  # its timer had fired already
    driver.catch_up()
    assert driver.told(Requeue) == []
    driver.check()


def test_a_cancel_while_the_next_attempt_is_queued_means_that_it_never_starts() -> None:
    driver = running(retry=Retry(2))
    driver.finish(error=ValueError())
    assert driver.queued
    driver.cancel()
    assert driver.final().state is CANCELLED
    assert driver.final().attempts == 1
    assert len(driver.codes) == 1


def test_a_second_cancel_changes_nothing() -> None:
    driver = running()
    driver.cancel("first")
    final = driver.final()
    driver.cancel("second")
    driver.hand(DeadlinePassed())
    assert driver.final() is final
    assert isinstance(final.error, ExecutionCancelledError)
    assert final.error.reason == "first"
    driver.check()


# Attempts


def test_attempts_are_made_until_one_succeeds_and_the_group_hears_of_the_last_only() -> None:
    driver = running(retry=Retry(3, delay=2.0))
    starts = []
    for number in (1, 2):
        driver.finish(error=ValueError(str(number)))
        assert not driver.above.told
        assert driver.view().state is ExecutionState.SCHEDULED
        driver.advance(2.0**number - 0.01)
        assert not driver.queued
        driver.advance(0.01)
        assert driver.queued
        driver.start()
        starts.append(driver.world.clock.now())
        assert driver.begin()
    driver.finish("third time")
    assert starts == pytest.approx([102.0, 106.0])
    assert (driver.final().output, driver.final().attempts) == ("third time", 3)
    driver.check()


def test_the_last_attempts_error_is_the_executions() -> None:
    driver = running(retry=Retry(2))
    driver.finish(error=ValueError("one"))
    driver.start()
    driver.begin()
    driver.finish(error=ValueError("two"))
    assert str(driver.final().error) == "two"
    driver.check()


def test_an_error_of_wrong_use_is_not_attempted_again() -> None:
    driver = running(retry=Retry(5))
    driver.finish(error=InvalidInputError("no"))
    assert driver.final().attempts == 1


def test_before_the_next_attempt_the_groups_of_the_last_are_cancelled_ended_and_forgotten() -> None:
    driver = running(retry=Retry(2))
    driver.emit()
    group = driver.admit()
    driver.call("c")
    driver.finish(error=ValueError())
    assert group.ref.told_of(CancelGroup)
    for _ in range(3):
        assert not driver.queued
        driver.step_group(group, [1])
    assert not driver.queued
    driver.step_call("c")
    assert not driver.queued
    driver.step_call("c")
    assert driver.queued
    assert [one.group_ids for one in driver.told(ForgetGroups)] == [(group.group_id,)]
    driver.start()
    driver.begin()
    driver.finish()
    assert driver.final().output is None  # the pending output was reset
    driver.check()


def test_code_of_an_attempt_that_is_over_can_emit_and_call_no_more() -> None:
    driver = running(retry=Retry(2, delay=1.0))
    old = driver.code
    driver.finish(error=ValueError())
    assert old is not None
    old.over = False
    for reply in (driver.emit(), driver.call("c")):
        with pytest.raises(MissingExecutionError, match="'e'"):
            reply.get(timeout=0)
    assert driver.submitted == []


def test_cancelled_code_that_emits_is_told_that_it_was_cancelled() -> None:
    driver = running()
    driver.cancel()
    for reply in (driver.emit(), driver.call("c")):
        with pytest.raises((Cancelled, asyncio.CancelledError)):
            reply.get(timeout=0)
    assert driver.submitted == []


# Time


def test_an_attempt_that_takes_too_long_fails_the_execution_and_its_code_is_told_to_end() -> None:
    driver = running(timeout=5.0)
    driver.advance(4.99)
    assert not driver.reply.done()
    driver.advance(0.01)
    error = driver.final().error
    assert isinstance(error, ExecutionTimeoutError)
    assert (error.timeout, error.execution_id, error.action) == (5.0, "e", "t:t")
    assert driver.code is not None
    assert driver.code.attempt.cancelled
    driver.finish("late")
    assert driver.final().error is error
    driver.check()


def test_a_timed_out_attempt_is_retried_when_its_code_has_ended_and_has_all_its_time_again() -> (
    None
):
    driver = running(timeout=5.0, retry=Retry(2))
    driver.advance(5.0)
    assert not driver.reply.done()
    assert not driver.queued
    driver.finish("late")
    assert driver.queued
    driver.start()
    driver.begin()
    driver.advance(4.9)
    assert not driver.reply.done()
    driver.finish("in time")
    assert (driver.final().output, driver.final().attempts) == ("in time", 2)
    driver.check()


def test_the_time_of_an_attempt_covers_what_it_emitted() -> None:
    driver = running(timeout=5.0)
    driver.emit()
    group = driver.admit()
    driver.finish("value")
    driver.advance(5.0)
    assert group.ref.told_of(CancelGroup)
    driver.drain()
    assert isinstance(driver.final().error, ExecutionTimeoutError)
    driver.check()


def test_time_in_the_queue_is_not_the_attempts() -> None:
    driver = Driver(timeout=5.0)
    driver.advance(100.0)
    driver.start()
    driver.advance(100.0)
    assert driver.begin()
    driver.finish(1)
    assert driver.final().state is COMPLETED


@pytest.mark.parametrize("phase", ["queued", "started", "running", "below", "pause"])
def test_the_executions_own_deadline_fails_it_in_every_phase_without_another_attempt(
    phase: str,
) -> None:
    driver = Driver(own_timeout=10.0, retry=Retry(3, delay=60.0))
    if phase != "queued":
        driver.start()
    if phase in ("running", "below", "pause"):
        driver.begin()
    if phase == "below":
        driver.emit()
        driver.admit()
        driver.finish(1)
    if phase == "pause":
        driver.finish(error=ValueError())
    driver.advance(9.99)
    assert not driver.reply.done()
    driver.advance(0.02)
    error = driver.final().error
    assert driver.final().state is FAILED
    assert isinstance(error, ExecutionTimeoutError)
    assert error.timeout == 10.0
    driver.drain()
    driver.check()


def test_a_deadline_that_is_met_leaves_no_timer() -> None:
    driver = running(own_timeout=10.0, timeout=5.0)
    driver.finish(1)
    assert driver.world.clock.pending == []


@pytest.mark.pykka_errors_expected
def test_a_fault_in_a_turn_fails_the_execution_instead_of_leaving_everyone_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = running()
    monkeypatch.setattr(driver.actor, "_on_retry_due", lambda _number: {}.popitem())
    driver.actor._actor_receive(RetryDue(1), None)
    driver.catch_up()
    assert driver.final().state is FAILED
    assert isinstance(driver.final().error.__cause__, KeyError)


def test_a_look_from_another_thread_as_the_actor_lets_go_of_what_was_merged_does_not_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = running()
    found = [SimpleNamespace(output=7)]  # and then no more
    look = property(lambda _actor: found.pop() if found else None)
    monkeypatch.setattr(ExecutionByHand, "_pending", look)
    assert driver.actor.view().output == 7
