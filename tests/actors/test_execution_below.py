"""`ExecutionActor` as a parent, as an object; and under every mixture of messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import (
    AttemptEnded,
    ChildEnded,
    CodeOver,
    Consumed,
    DeadlinePassed,
    GroupChanged,
    WithdrawUnblock,
)
from orchestrator.errors import AwaitTimeoutError, GroupFailedError
from orchestrator.values import ExecutionState, GroupResult, Merge, Retry
from tests.actors.execution_world import Driver, FakeGroup
from tests.actors.test_execution_actor import COMPLETED, FAILED, running


def ended_group(
    driver: Driver, outputs: list[object], *, fails: bool = False, **policy: object
) -> FakeGroup:
    driver.emit(**policy)
    group = driver.admit()
    for _ in range(3):
        driver.step_group(group, outputs, fails=fails)
    return group


def test_it_waits_asynchronously_from_the_emit_until_its_groups_have_ended() -> None:
    driver = running(listened_to=True)
    assert driver.view().state is ExecutionState.RUNNING
    driver.emit()
    group = driver.admit()
    assert driver.view().state is ExecutionState.WAIT_ASYNC
    driver.step_group(group, [1])  # decided, not ended
    assert driver.view().state is ExecutionState.WAIT_ASYNC
    driver.step_group(group, [1])
    assert driver.view().state is ExecutionState.RUNNING
    driver.step_group(group, [1])
    driver.finish()
    changes = [(previous, now.state) for now, previous, _at in driver.world.publisher.changes]
    assert changes == [
        ("scheduled", "running"),
        ("running", "waitAsync"),
        ("waitAsync", "running"),
        ("running", "completed"),
    ]


def test_a_group_that_has_ended_before_its_admission_is_known_is_not_waited_for() -> None:
    driver = running(listened_to=True)
    driver.emit()
    driver.hand(GroupChanged("e#1", GroupResult([], []), ended=True, settled=True))
    driver.admit()
    assert driver.view().state is ExecutionState.RUNNING


def test_the_end_of_an_attempt_that_is_told_again_changes_nothing() -> None:
    driver = running()
    driver.emit()
    group = driver.admit()
    driver.finish("value")
    driver.hand(AttemptEnded(1, value="again"))
    driver.hand(AttemptEnded(1, error=ValueError("again")))
    for _ in range(3):
        driver.step_group(group, [1])
    assert driver.final().output == ["value", 1]


def test_groups_that_its_code_did_not_consume_are_merged_in_the_order_of_their_emission() -> None:
    driver = running()
    for _ in range(3):
        driver.emit()
    groups = [driver.admit() for _ in range(3)]
    driver.finish()
    for number in (2, 0, 1):
        assert not driver.reply.done()
        for _ in range(3):
            driver.step_group(groups[number], [number])
    assert driver.final().output == [0, 1, 2]
    assert driver.final().state is COMPLETED


@pytest.mark.parametrize(
    ("value", "merge", "expected"),
    [
        (None, Merge.APPEND, [1, 2]),
        ("v", Merge.APPEND, ["v", 1, 2]),
        (["v"], Merge.APPEND, ["v", 1, 2]),
        (0, Merge.APPEND, [0, 1, 2]),
        ("v", Merge.REPLACE, 2),
        (None, Merge.REPLACE, 2),
        ("v", sum, 3),
    ],
)
def test_what_is_returned_is_what_the_groups_are_merged_into(
    value: object, merge: object, expected: object
) -> None:
    driver = running()
    driver.emit(merge=merge)
    group = driver.admit()
    driver.finish(value)
    for _ in range(3):
        driver.step_group(group, [1, 2])
    driver.world.dispatcher.run()
    driver.catch_up()
    assert driver.final().output == expected
    driver.check()


def test_a_consumed_group_is_not_merged() -> None:
    driver = running()
    group = ended_group(driver, [1])
    driver.hand(Consumed(group.group_id))
    driver.finish("value")
    assert driver.final().output == "value"


def test_the_error_of_an_unconsumed_group_fails_the_parent_and_a_consumed_one_does_not() -> None:
    for consumed in (True, False):
        driver = running()
        group = ended_group(driver, [], fails=True)
        if consumed:
            driver.hand(Consumed(group.group_id))
        driver.finish("value")
        assert driver.final().state is (COMPLETED if consumed else FAILED)
        assert isinstance(driver.final().error, None.__class__ if consumed else GroupFailedError)


def test_the_errors_of_several_groups_fail_it_together() -> None:
    driver = running()
    for _ in range(2):
        ended_group(driver, [], fails=True)
    driver.finish("value")
    error = driver.final().error
    assert isinstance(error, ExceptionGroup)
    assert not isinstance(error, GroupFailedError)
    assert len(error.exceptions) == 2


def test_a_reducer_that_raises_fails_the_parent() -> None:
    driver = running()

    def reduce(_outputs: list[object]) -> object:
        raise LookupError("reducer")

    ended_group(driver, [1], merge=reduce)
    driver.finish("value")
    driver.world.dispatcher.run()
    driver.catch_up()
    assert isinstance(driver.final().error, LookupError)
    driver.check()


def test_resuming_waits_until_no_group_is_open_and_merges_each_group_once() -> None:
    driver = running()
    with_nothing = driver.resume()
    assert with_nothing.get(timeout=0).output is None
    driver.emit()
    driver.emit()
    first, second = driver.resume(), driver.resume()  # two waiters, the emits not admitted yet
    groups = [driver.admit(), driver.admit()]
    driver.step_group(groups[1], ["b"])
    assert not first.done()
    driver.step_group(groups[0], ["a"])  # decided is enough
    for reply in (first, second, driver.resume()):
        assert reply.get(timeout=0).output == ["a", "b"]
    for group in groups:
        driver.step_group(group, [])
        driver.step_group(group, [])
    driver.finish()
    assert driver.final().output == ["a", "b"]


def test_resuming_raises_the_errors_of_groups_after_merging_the_others_and_only_once() -> None:
    driver = running()
    ended_group(driver, [1])
    ended_group(driver, [], fails=True)
    ended_group(driver, [2])
    with pytest.raises(GroupFailedError):
        driver.resume().get(timeout=0)
    assert driver.resume().get(timeout=0).output == [1, 2]
    driver.finish()
    assert driver.final().output == [1, 2]


def test_a_waiter_that_gives_up_gets_its_error_and_nothing_was_merged_for_it() -> None:
    driver = running()
    driver.emit()
    group = driver.admit()
    reply = driver.resume()
    driver.hand(WithdrawUnblock(reply, AwaitTimeoutError("it", 1.0)))
    with pytest.raises(AwaitTimeoutError):
        reply.get(timeout=0)
    for _ in range(3):
        driver.step_group(group, [1])
    assert driver.resume().get(timeout=0).output == [1]


def test_a_wait_to_resume_is_answered_when_the_execution_is_cancelled() -> None:
    driver = running()
    driver.emit()
    driver.admit()
    reply = driver.resume()
    driver.cancel()
    assert reply.get(timeout=0).state is ExecutionState.CANCELLED
    assert driver.resume().get(timeout=0).state is ExecutionState.CANCELLED


def test_slots_are_free_while_only_groups_are_out_and_that_is_told_once() -> None:
    driver = running()
    driver.emit()
    group = driver.admit()
    assert driver.told(CodeOver) == []
    driver.finish()
    driver.step_group(group, [])
    assert [one.waiting_for for one in driver.told(CodeOver)] == [(group.group_id,)]


def test_a_refused_emit_leaves_nothing_behind() -> None:
    driver = running()
    reply = driver.emit()
    driver.refuse()
    with pytest.raises(ValueError, match="refused"):
        reply.get(timeout=0)
    assert driver.view().state is ExecutionState.RUNNING
    driver.finish(1)
    assert driver.ended


def test_a_parent_without_a_group_of_its_own_hears_of_a_called_childs_end_twice_at_most() -> None:
    driver = running(in_group=False)
    driver.cancel()
    assert [one.settled for one in driver.above.told_of(ChildEnded)] == [False]
    driver.finish()
    assert [one.settled for one in driver.above.told_of(ChildEnded)] == [False, True]


# Every mixture

STEPS = (
    *("start", "begin", "begin", "finish", "fail", "emit", "admit", "refuse", "call", "resume"),
    *("group", "group", "group", "call ends", "pass", "merge", "cancel", "deadline", "old news"),
)


@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=40),
    attempts=st.integers(1, 3),
    delay=st.sampled_from([0.0, 2.0]),
    timeout=st.sampled_from([None, 3.0]),
    own_timeout=st.sampled_from([None, 9.0]),
    listened_to=st.booleans(),
)
def test_whatever_happens_it_is_decided_once_settles_once_and_outlives_all_below_it(
    steps: list[tuple[str, int]],
    attempts: int,
    delay: float,
    timeout: float | None,
    own_timeout: float | None,
    listened_to: bool,
) -> None:
    driver = Driver(
        retry=Retry(attempts, delay=delay),
        timeout=timeout,
        own_timeout=own_timeout,
        listened_to=listened_to,
    )
    for what, number in steps:
        was_decided = driver.reply.done()
        take_step(driver, what, number)
        driver.check()
        if driver.reply.done() and not was_decided:
            driver.check_cancelled_below()
        assert len(driver.codes) <= attempts
    resumed = [driver.resume()] if not driver.ended else []
    driver.drain()
    driver.check()
    assert all(reply.done() for reply in resumed)
    begun = [code for code in driver.codes if code.attempt.started_at is not None]
    assert driver.final().attempts == len(begun)
    check_changes(driver)


def take_step(driver: Driver, what: str, number: int) -> None:  # noqa: C901, PLR0912 - an index
    code = driver.code
    is_running = code is not None and code.running
    match what:
        case "start" if driver.queued:
            driver.start()
        case "begin" if code is not None and not code.running:
            driver.begin()
        case "finish" if is_running:
            driver.finish([None, "value"][number % 2])
        case "fail" if is_running:
            driver.finish(error=ValueError("code"))
        case "emit" if is_running:
            driver.emit(merge=["append", "replace", len][number % 3])
        case "admit" if driver.submitted:
            driver.admit()
        case "refuse" if driver.submitted:
            driver.refuse()
        case "call" if is_running:
            driver.call(f"c{len(driver.seen)}")
        case "resume" if is_running:
            driver.resume()
        case "group" if driver.groups:
            group = driver.groups[number % len(driver.groups)]
            driver.step_group(group, [number], fails=number == 5)
        case "call ends" if driver.calls:
            driver.step_call(list(driver.calls)[number % len(driver.calls)])
        case "pass":
            driver.advance(float(number))
        case "merge":
            driver.world.dispatcher.run()
            driver.catch_up()
        case "cancel" if number == 0:
            driver.cancel()
        case "deadline" if number == 0:
            driver.hand(DeadlinePassed())
        case "old news":
            driver.repeat_old_news(number)
        case _:
            pass


def check_changes(driver: Driver) -> None:
    """That listeners saw one unbroken chain of states, from the queue to the end."""
    state = ExecutionState.SCHEDULED
    changes = driver.world.publisher.changes
    for execution, previous, _at in changes:
        assert previous is state
        assert execution.state is not previous
        state = execution.state
    if changes:
        assert state is driver.final().state
