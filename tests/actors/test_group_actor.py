"""`CorrelationGroupActor` as an object: handed messages one by one, time moved by hand."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.drawn import Drawn
from actors.ends import EndsLog, EndsReader
from actors.fan_in import Cancelled, FanIn
from actors.messages import (
    AddChild,
    CancelGroup,
    CancelMembers,
    ChildFinished,
    ChildrenCancelled,
    ChildSettled,
    Draw,
    Forget,
    GroupChanged,
    GroupDeadlinePassed,
    GroupEnded,
    LeaveReaders,
    ReadEnds,
    Seal,
    SourceClosed,
    SubmitMore,
)
from actors.system import Future
from orchestrator.errors import GroupCancelledError, GroupFailedError, GroupTimeoutError
from orchestrator.values import Execution, ExecutionState, GroupPolicy, GroupResult
from tests.actors.fakes import GroupByHand, Target, World, action, emission, pump
from tests.actors.fan_in_model import COMPLETED, FAILED, OUTCOMES, check_result, end, verdict


def describe(index: int, cancelled: Cancelled | None) -> Execution:
    state = ExecutionState.RUNNING if cancelled is None else ExecutionState.CANCELLED
    return Execution("t:t", id=f"child-{index}", index=index, state=state)


class Group:
    """A group by hand."""

    def __init__(
        self, expected: int | None, *, deadline: float | None = None, **policy: Any
    ) -> None:
        self.world = World()
        self.parent = Target("parent")
        self.policy = GroupPolicy(**policy)
        self.decided: Future[GroupResult] = Future()
        self.log = EndsLog(describe, keep=self.policy.keep)
        self.answers: list[GroupResult] = []
        self.asked: dict[EndsReader, Any] = {}
        self.decided.add_done_callback(lambda future: self.answers.append(future.get()))
        self.actor = GroupByHand(
            self.world.environment,
            emission(self.world, parent=self.parent, parent_id="e", group_id="g"),
            0.0,
            self.policy,
            FanIn("g", self.policy, expected, describe),
            self.log,
            Drawn() if expected is None else None,
            deadline,
            self.decided,
        )
        self.actor.on_start()

    def hand(self, *messages: Any) -> None:
        pump(self.actor)
        for message in messages:
            self.actor.on_receive(message)
        pump(self.actor)

    def finish(
        self, index: int, state: ExecutionState = COMPLETED, *, settled: bool = True
    ) -> None:
        self.hand(ChildFinished(index, end(index, state), settled))

    def draw(self) -> Future[int]:
        reply: Future[int] = Future()
        self.hand(Draw(reply))
        return reply

    def add(self) -> None:
        self.hand(AddChild(Execution("t:t"), action()))

    def read(self, reader: EndsReader) -> list[str | None]:
        """All that *reader* can be told now; ``None``: nothing follows."""
        ends: list[str | None] = []
        while True:
            answer = self.asked.pop(reader, None) or reader.next()
            pump(self.actor)
            if not answer.done():
                self.asked[reader] = answer
                return ends
            batch = answer.get(timeout=0)
            if batch is None:
                return [*ends, None]
            assert batch
            ends += [execution.id for execution in batch]

    @property
    def steps(self) -> list[tuple[bool, bool]]:
        """How far its parent was told that it is."""
        return [(one.ended, one.settled) for one in self.parent.told_of(GroupChanged)]

    @property
    def cancels(self) -> list[CancelMembers]:
        return self.world.allocator.told_of(CancelMembers)


@given(
    data=st.data(),
    size=st.integers(0, 6),
    mode=st.sampled_from(["all", "any", "first", "anyError", "quorum"]),
    cancel_rest=st.booleans(),
    keep=st.booleans(),
)
def test_a_group_decides_once_as_its_rules_do_and_tells_its_parent_each_step_once(
    data: st.DataObject, size: int, mode: str, cancel_rest: bool, keep: bool
) -> None:
    quorum = data.draw(st.integers(0, size)) if mode == "quorum" else None
    group = Group(size, mode=mode, quorum=quorum, cancel_rest=cancel_rest, keep=keep)
    reports: list[tuple[int, ExecutionState]] = []
    ends: dict[int, Execution] = {}
    unsettled = 0
    expected = verdict(group.policy, size, reports, sealed=True)
    for index in data.draw(st.permutations(range(size))):
        state = data.draw(st.sampled_from(OUTCOMES))
        settled = data.draw(st.booleans())
        child = end(index, state)
        message = ChildFinished(index, child, settled)
        group.hand(message, message)  # once more changes nothing
        unsettled += not settled
        reports.append((index, state))
        if expected is None:
            ends[index] = child
            expected = verdict(group.policy, size, reports, sealed=True)
        assert group.decided.done() is (expected is not None)
        while unsettled and data.draw(st.booleans()):
            group.hand(ChildSettled())
            unsettled -= 1
    group.hand(*[ChildSettled()] * unsettled)
    assert expected is not None
    (result,) = group.answers
    check_result(result, expected, group.policy, size, ends)
    for step in ("decided", "ended", "settled"):
        told = group.parent.told_of(GroupChanged)
        assert all(one.result is result for one in told), step
    assert group.steps == sorted(set(group.steps))
    assert group.steps[-1] == (True, True)
    assert len(group.world.allocator.told_of(GroupEnded)) == 1
    early = len(ends) < size
    assert len(group.cancels) == int(early and cancel_rest)
    assert group.log.closed


# Deadlines and cancels


def test_the_deadline_decides_with_what_had_arrived_and_cancels_the_rest() -> None:
    group = Group(3, deadline=105.0, timeout=5.0, cancel_rest=False)
    group.finish(2)
    group.world.advance(4.99, group.actor)
    assert not group.decided.done()
    group.world.advance(0.01, group.actor)
    error = group.answers[0].error
    assert isinstance(error, GroupTimeoutError)
    assert (error.outputs, error.missing, error.timeout) == ([None, None, "out-2"], (0, 1), 5.0)
    assert len(group.cancels) == 1
    assert pickle.loads(pickle.dumps(error)).missing == (0, 1)


def test_a_decision_in_time_stops_the_timer_and_a_late_deadline_changes_nothing() -> None:
    group = Group(1, deadline=105.0, timeout=5.0)
    group.finish(0)
    assert group.world.clock.pending == []
    group.hand(GroupDeadlinePassed(), CancelGroup("late"))
    assert [one.error for one in group.answers] == [None]
    assert group.cancels == []


def test_a_cancelled_group_has_ended_when_its_children_have() -> None:
    group = Group(3)
    group.finish(0)
    group.hand(CancelGroup("enough"))
    error = group.answers[0].error
    assert isinstance(error, GroupCancelledError)
    assert error.reason == "enough"
    assert [one.group_id for one in group.cancels] == ["g"]
    assert group.steps == [(False, False)]
    group.hand(ChildrenCancelled([1, 2], "enough", 1.0))
    assert group.steps == [(False, False), (True, True)]
    group.hand(ChildrenCancelled([1, 2], "enough", 1.0))
    assert group.steps == [(False, False), (True, True)]


@pytest.mark.parametrize("rest_too", [False, True])
def test_what_cancel_rest_left_running_is_cancelled_only_when_the_parent_has_ended(
    rest_too: bool,
) -> None:
    group = Group(2, mode="first", cancel_rest=False)
    group.finish(0)
    assert group.cancels == []
    assert group.steps == [(False, False)]
    group.hand(CancelGroup("its parent has ended", rest_too=rest_too))
    assert len(group.cancels) == int(rest_too)
    assert group.answers[0].error is None


def test_a_child_whose_code_still_runs_holds_up_the_settling_and_not_the_end() -> None:
    group = Group(1)
    group.finish(0, FAILED, settled=False)
    assert isinstance(group.answers[0].error, GroupFailedError)
    assert group.steps == [(True, False)]
    group.hand(ChildSettled())
    assert group.steps == [(True, False), (True, True)]


@pytest.mark.parametrize("first", ["forget", "settle"])
def test_a_group_ends_when_it_has_settled_and_nobody_can_ask_for_it(first: str) -> None:
    group = Group(1)
    group.hand(Forget()) if first == "forget" else group.finish(0)
    assert not group.actor.actor_stopped.is_set()
    group.finish(0) if first == "forget" else group.hand(Forget())
    assert group.actor.actor_stopped.is_set()


# Lazy sources


@given(most=st.integers(1, 4), steps=st.lists(st.integers(0, 9), max_size=40))
def test_a_source_is_drawn_as_far_as_there_is_room_and_never_further(
    most: int, steps: list[int]
) -> None:
    group = Group(None, max_in_flight=most)
    out: list[int] = []
    added = 0
    for step in steps:
        if step < 5:
            reply = group.draw()
            assert reply.done() is (len(out) < most)
            if reply.done():
                room = reply.get(timeout=0)
                assert room == most - len(out)
                for _ in range(room):
                    group.add()
                    out.append(added)
                    added += 1
        elif out:
            waiting = group.draw()
            full = len(out) == most
            assert waiting.done() is not full
            group.finish(out.pop(step % len(out)))
            assert waiting.done()
        more = group.world.allocator.told_of(SubmitMore)
        assert [one.index for one in more] == list(range(added))
        assert len(out) <= most
    group.hand(Seal(), SourceClosed())
    for index in out:
        assert not group.decided.done()
        group.finish(index)
    assert group.answers[0].outputs == [f"out-{index}" for index in range(added)]
    assert group.steps[-1] == (True, True)


def test_after_the_decision_a_source_has_no_room_and_what_it_adds_is_dropped() -> None:
    group = Group(None, max_in_flight=1, mode="first")
    group.add()
    waiting = group.draw()
    group.finish(0)
    assert waiting.get(timeout=0) == 0
    assert group.draw().get(timeout=0) == 0
    group.add()
    assert len(group.world.allocator.told_of(SubmitMore)) == 1
    assert group.steps == [(True, False)]  # the source is still open
    group.hand(Seal(), SourceClosed())
    assert group.steps == [(True, False), (True, True)]


def test_a_source_that_raises_fails_the_group_and_its_children_are_cancelled() -> None:
    group = Group(None, max_in_flight=2)
    group.add()
    raised = OSError("gone")
    group.hand(Seal(raised))
    error = group.answers[0].error
    assert isinstance(error, GroupFailedError)
    assert error.exceptions == (raised,)
    assert error.source_failed
    assert len(group.cancels) == 1
    group.hand(ChildrenCancelled([0], "x", 1.0), SourceClosed())
    assert group.steps[-1] == (True, True)


def test_an_endless_source_whose_quorum_is_nothing_is_never_drawn() -> None:
    group = Group(None, max_in_flight=2, mode="quorum", quorum=0)
    assert group.answers[0].outputs == []
    assert group.draw().get(timeout=0) == 0


# Readers of the ends


@pytest.mark.parametrize("keep", [True, False])
def test_every_reader_gets_every_end_in_the_order_of_ending_cancelled_ones_too(keep: bool) -> None:
    group = Group(4, mode="anyError", keep=keep)
    early = EndsReader(group.actor.actor_ref, group.log)
    assert group.read(early) == []
    group.finish(2)
    leaver = EndsReader(group.actor.actor_ref, group.log)
    group.finish(0, FAILED)
    assert group.read(early) == ["child-2", "child-0"]
    leaver.close()
    group.hand(ChildrenCancelled([1, 3], "x", 1.0))
    assert group.read(early) == ["child-1", "child-3", None]
    late = EndsReader(group.actor.actor_ref, group.log)
    everything = ["child-2", "child-0", "child-1", "child-3"]
    assert group.read(late) == ([*everything, None] if keep else [None])
    assert group.read(late) == [None]


def test_a_reader_that_waits_is_woken_by_the_next_end_and_by_the_last() -> None:
    group = Group(2)
    reader = EndsReader(group.actor.actor_ref, group.log)
    for index in (1, 0):
        answer = reader.next()
        pump(group.actor)
        assert not answer.done()
        group.finish(index)
        batch = answer.get(timeout=0)
        assert batch is not None
        assert [execution.id for execution in batch] == [f"child-{index}"]
    assert reader.next().get(timeout=0) is None


def test_a_reader_that_left_is_kept_nothing_for() -> None:
    group = Group(1, keep=False)
    reader = EndsReader(group.actor.actor_ref, group.log)
    group.hand()
    reader.close()
    group.finish(0)
    assert not reader.queue


def test_of_a_group_that_keeps_nothing_a_reader_sees_the_ends_from_its_arrival_on() -> None:
    group = Group(3, keep=False)
    group.finish(0)
    reader = EndsReader(group.actor.actor_ref, group.log)
    group.hand()
    group.finish(1)
    group.finish(2)
    assert group.read(reader) == ["child-1", "child-2", None]
    assert group.answers[0].outputs == []


def test_joining_and_leaving_after_the_end_change_nothing() -> None:
    group = Group(0, keep=False)
    reader = EndsReader(group.actor.actor_ref, group.log)
    reply: Future[None] = Future()
    group.hand(ReadEnds(reader, reply), LeaveReaders(reader))
    assert reply.done()
    assert group.answers[0].outputs == []
