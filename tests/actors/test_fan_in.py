"""`FanIn` against a model of DESIGN.md: exhaustively for small groups, drawn for larger ones."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.fan_in import Cancelled, FanIn
from orchestrator.errors import GroupCancelledError, GroupFailedError, GroupTimeoutError
from orchestrator.values import AwaitMode, Execution, ExecutionState, GroupPolicy, GroupResult
from tests.actors.fan_in_model import (
    CANCELLED,
    COMPLETED,
    FAILED,
    OUTCOMES,
    Report,
    check_result,
    describe,
    end,
    fan_in_of,
    late_reports,
    orders,
    policies,
    verdict,
)


def drive(policy: GroupPolicy, size: int, reports: tuple[Report, ...]) -> FanIn:
    """Report *reports* to an eager group, checking every step against the model."""
    fan_in = fan_in_of(policy, size)
    expected = verdict(policy, size, (), sealed=True)
    result = fan_in.seal()
    ends: dict[int, Execution] = {}
    if expected is None:
        assert result is None
    else:
        assert result is not None
        check_result(result, expected, policy, size, ends)
    for count, (index, outcome) in enumerate(reports, start=1):
        child = end(index, outcome)
        answer = fan_in.record(index, child)
        if expected is not None:
            assert answer is None
            assert not hasattr(child.error, "__notes__")  # it is in no group's error
        else:
            ends[index] = child
            expected = verdict(policy, size, reports[:count], sealed=True)
            if expected is None:
                assert answer is None
            else:
                assert answer is not None
                result = answer
                check_result(result, expected, policy, size, ends)
        assert fan_in.decided is (expected is not None)
        assert fan_in.result is result
        assert fan_in.out == size - count
        assert fan_in.ended is (count == size)
    assert result is not None
    assert expected is not None
    check_result(result, expected, policy, size, ends)  # what came late has changed nothing
    return fan_in


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", range(5))
def test_each_mode_decides_once_at_the_first_report_at_which_it_can(size: int, keep: bool) -> None:
    for policy in policies(size, keep=keep):
        for reports in orders(policy, size, OUTCOMES):
            drive(policy, size, reports)


@pytest.mark.parametrize("policy", policies(5), ids=lambda p: f"{p.mode}{p.quorum or ''}")
def test_each_mode_decides_so_for_every_order_of_every_outcome_of_five_children(
    policy: GroupPolicy,
) -> None:
    assert explore(policy, 5, OUTCOMES) > 0


@pytest.mark.parametrize("policy", policies(5, keep=False), ids=lambda p: f"{p.mode}{p.quorum}")
def test_a_group_that_keeps_counts_only_decides_at_the_same_reports(policy: GroupPolicy) -> None:
    assert explore(policy, 5, (COMPLETED, FAILED)) > 0


@pytest.mark.parametrize("size", range(5))
def test_exploring_leaves_no_order_out(size: int) -> None:
    for policy in policies(size):
        assert explore(policy, size, OUTCOMES[:2]) == len([*orders(policy, size, OUTCOMES[:2])])


def explore(policy: GroupPolicy, size: int, outcomes: Sequence[ExecutionState]) -> int:
    """Check what `drive` checks for all `orders`, what they share only once; how many there were.

    A group that is not decided goes on in a copy for each report that can come next.
    """

    def grow(fan_in: FanIn, reports: tuple[Report, ...], ends: dict[int, Execution]) -> int:
        found = 0
        for index in range(size):
            for outcome in outcomes if index not in ends else ():
                branch, child = copied(fan_in), end(index, outcome)
                answer = branch.record(index, child)
                come, ended = (*reports, (index, outcome)), {**ends, index: child}
                expected = verdict(policy, size, come, sealed=True)
                check_counts(branch, answer, size, len(come))
                if expected is None:
                    assert answer is None
                    found += grow(branch, come, ended)
                else:
                    assert answer is not None
                    check_result(answer, expected, policy, size, ended)
                    if len(come) < size:
                        check_late(branch, size, come)
                        check_result(answer, expected, policy, size, ended)
                    found += 1
        return found

    fan_in = fan_in_of(policy, size)
    expected = verdict(policy, size, (), sealed=True)
    result = fan_in.seal()
    check_counts(fan_in, result, size, 0)
    if expected is None:
        assert result is None
        return grow(fan_in, (), {})
    assert result is not None
    check_result(result, expected, policy, size, {})
    check_late(fan_in, size, ())
    check_result(result, expected, policy, size, {})
    return 1


def copied(fan_in: FanIn) -> FanIn:
    """The same group at the same moment, which from now on has a life of its own."""
    other = copy.copy(fan_in)
    for name, value in vars(fan_in).items():
        if isinstance(value, list | set | dict):
            setattr(other, name, copy.copy(value))
    return other


def check_late(fan_in: FanIn, size: int, reports: tuple[Report, ...]) -> None:
    """Report the rest to a group that is decided."""
    result = fan_in.result
    for count, (index, outcome) in enumerate(late_reports(size, reports), start=len(reports) + 1):
        child = end(index, outcome)
        assert fan_in.record(index, child) is None
        assert not hasattr(child.error, "__notes__")  # it is in no group's error
        check_counts(fan_in, result, size, count)


def check_counts(fan_in: FanIn, result: GroupResult | None, size: int, count: int) -> None:
    assert fan_in.decided is (result is not None)
    assert fan_in.result is result
    assert fan_in.out == size - count
    assert fan_in.ended is (count == size)


def late(size: int) -> Iterator[tuple[Report, ...]]:
    for order in itertools.permutations(range(size)):
        for outcomes in itertools.product(OUTCOMES, repeat=size):
            yield tuple(zip(order, outcomes, strict=True))


@pytest.mark.parametrize("size", range(1, 4))
def test_every_order_of_what_arrives_late_changes_nothing(size: int) -> None:
    for policy in policies(size):
        for reports in late(size):
            drive(policy, size, reports)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", range(1, 4))
def test_second_reports_and_reports_of_strangers_change_nothing(size: int, keep: bool) -> None:
    for policy in policies(size, keep=keep):
        for reports in orders(policy, size, OUTCOMES):
            fan_in, plain = fan_in_of(policy, size), fan_in_of(policy, size)
            assert (fan_in.seal() is None) is (plain.seal() is None)
            for count, (index, outcome) in enumerate(reports, start=1):
                for stranger in (-1, -size, size, size + 7):
                    assert fan_in.record(stranger, end(0, outcome)) is None
                    assert not fan_in.is_out(stranger)
                decides = plain.record(index, end(index, outcome)) is not None
                assert (fan_in.record(index, end(index, outcome)) is not None) is decides
                for again, other in itertools.product(reports[:count], OUTCOMES):
                    assert fan_in.record(again[0], end(again[0], other)) is None
                assert fan_in.out == size - count
                assert fan_in.decided is plain.decided
            assert fan_in.result is not None
            assert plain.result is not None
            assert fan_in.result.outputs == plain.result.outputs
            assert type(fan_in.result.error) is type(plain.result.error)


# Lazy sources


def lives(size: int) -> Iterator[tuple[str | int, ...]]:
    """Every order of the adds of *size* children, their ends (by index) and the seal."""

    def grow(life: tuple[str | int, ...], added: int) -> Iterator[tuple[str | int, ...]]:
        out = [index for index in range(added) if index not in life]
        sealed = "seal" in life
        if sealed and not out:
            yield life
            return
        for index in out:
            yield from grow((*life, index), added)
        if added < size:
            yield from grow((*life, "add"), added + 1)
        elif not sealed:
            yield from grow((*life, "seal"), added)

    return grow((), 0)


def lazy_policies(size: int, *, keep: bool) -> list[GroupPolicy]:
    """With quorums that can't be reached too; one of 0 is decided when the group is opened."""
    short = GroupPolicy(mode="quorum", quorum=size + 1, keep=keep)
    return [*(one for one in policies(size, keep=keep) if one.quorum != 0), short]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", range(4))
def test_a_lazy_group_decides_at_the_first_event_at_which_it_can_and_never_before_it_is_sealed(
    size: int, keep: bool
) -> None:
    for policy in lazy_policies(size, keep=keep):
        for life, outcomes in itertools.product(
            lives(size), itertools.product(OUTCOMES[: 2 if size == 3 else 3], repeat=size)
        ):
            drive_lazily(policy, life, outcomes)


def drive_lazily(
    policy: GroupPolicy, life: tuple[str | int, ...], outcomes: tuple[ExecutionState, ...]
) -> None:
    fan_in = fan_in_of(policy, None)
    ends: dict[int, Execution] = {}
    reports: list[Report] = []
    decided = False
    added, sealed = 0, False
    for event in life:
        answer: GroupResult | None = None
        if event == "add":
            assert fan_in.add() == added
            added += 1
        elif event == "seal":
            answer, sealed = fan_in.seal(), True
        else:
            assert isinstance(event, int)
            child = end(event, outcomes[event])
            reports.append((event, outcomes[event]))
            answer = fan_in.record(event, child)
            if not decided:
                ends[event] = child
        expected = verdict(policy, added, reports, sealed=sealed) if event != "add" else None
        if decided or expected is None:
            assert answer is None
        else:
            assert answer is not None
            decided = True
            if not expected.ok and added < (policy.quorum or 0):
                assert isinstance(answer.error, GroupFailedError)
                *own, short = answer.error.exceptions
                assert own == [ends[index].error for index in sorted(expected.failures)]
                assert str(policy.quorum) in str(short)
            else:
                check_result(answer, expected, policy, added, ends)
        assert fan_in.decided is decided
        assert fan_in.sealed is sealed
        assert fan_in.emitted == added
        assert fan_in.ended is (sealed and len(reports) == added)
    assert decided


# Deadlines, cancels and sources that raise


@pytest.mark.parametrize("what", ["expire", "cancel", "fail"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", range(1, 4))
def test_a_deadline_a_cancel_and_a_decision_race_to_exactly_one_of_them(
    size: int, keep: bool, what: str
) -> None:
    for policy in policies(size, keep=keep):
        for reports in orders(policy, size, OUTCOMES):
            for at in range(size + 1):
                interrupt_at(policy, size, reports, at, what)


def interrupt_at(
    policy: GroupPolicy, size: int, reports: tuple[Report, ...], at: int, what: str
) -> None:
    fan_in = fan_in_of(policy, size)
    fan_in.seal()
    ends = {index: end(index, outcome) for index, outcome in reports}
    for index, _outcome in reports[:at]:
        fan_in.record(index, ends[index])
    before = fan_in.result
    source_error = OSError("no such source")
    result = interrupt(fan_in, what, source_error)
    for index, _outcome in reports[at:]:
        late = fan_in.record(index, ends[index])
        assert late is None
    assert fan_in.ended
    assert interrupt(fan_in, what, source_error) is None
    if before is not None:
        assert result is None
        assert fan_in.result is before
        return
    assert result is not None
    assert fan_in.result is result
    arrived = [ends[index].output if index in dict(reports[:at]) else None for index in range(size)]
    assert result.outputs == (arrived if policy.keep else [])
    error = result.error
    match what:
        case "expire":
            assert isinstance(error, GroupTimeoutError)
            assert error.outputs == result.outputs
            assert error.missing == tuple(sorted(index for index, _ in reports[at:]))
            assert (error.group_id, error.timeout) == ("g", 2.5)
        case "cancel":
            assert isinstance(error, GroupCancelledError)
            assert (error.group_id, error.reason) == ("g", "enough")
        case _:
            assert isinstance(error, GroupFailedError)
            assert error.exceptions[-1] is source_error
            assert error.source_failed
            assert error.outputs == result.outputs
    assert type(pickle.loads(pickle.dumps(error))) is type(error)


def interrupt(fan_in: FanIn, what: str, source_error: Exception) -> GroupResult | None:
    match what:
        case "expire":
            return fan_in.expire(2.5)
        case "cancel":
            return fan_in.cancel("enough")
        case _:
            return fan_in.fail(source_error)


# Children cancelled in the queue, all at once


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", range(1, 5))
def test_children_cancelled_in_one_batch_have_ended_and_each_of_them_once(
    size: int, keep: bool
) -> None:
    policy = GroupPolicy(mode="first", keep=keep)
    for ended in range(1, size + 1):
        fan_in = fan_in_of(policy, size)
        for index in range(ended):
            fan_in.record(index, end(index, COMPLETED))
        result = fan_in.result
        assert result is not None
        states = [one.state for one in result.executions]

        cancelled = Cancelled("the rest", 1.0)
        assert fan_in.record_cancelled([*range(size), 99, -1], cancelled) == [*range(ended, size)]

        assert fan_in.ended
        assert fan_in.out == 0
        assert fan_in.record_cancelled(range(size), cancelled) == []
        assert [fan_in.record(index, end(index, FAILED)) for index in range(size)] == [None] * size
        assert fan_in.result is result
        assert [one.state for one in result.executions] == states
        if keep:
            assert [fan_in.end_at(index).state for index in range(size)] == (
                [COMPLETED] * ended + [CANCELLED] * (size - ended)
            )
            assert fan_in.end_at(size - 1) is fan_in.end_at(size - 1)


# Larger groups


@given(data=st.data(), size=st.integers(6, 60), lazily=st.booleans(), keep=st.booleans())
def test_larger_groups_decide_like_small_ones(
    data: st.DataObject, size: int, lazily: bool, keep: bool
) -> None:
    policy = data.draw(st.sampled_from(policies(size, keep=keep)))
    order = data.draw(st.permutations(range(size)))
    outcomes = data.draw(st.lists(st.sampled_from(OUTCOMES), min_size=size, max_size=size))
    if lazily and policy.quorum != 0:
        places = st.integers(0, size)
        cut = data.draw(places)
        late_reports = [index for index in order if index >= cut]
        early = [index for index in order if index < cut]
        life = ["add"] * cut + early + ["add"] * (size - cut) + ["seal"] + late_reports
        drive_lazily(policy, tuple(life), tuple(outcomes))
    else:
        drive(policy, size, tuple((index, outcomes[index]) for index in order))


@given(
    size=st.integers(1, 300),
    outcome=st.sampled_from([FAILED, CANCELLED]),
)
def test_the_error_of_a_group_that_keeps_nothing_stays_small_and_says_what_it_left_out(
    size: int, outcome: ExecutionState
) -> None:
    fan_in = fan_in_of(GroupPolicy(keep=False), size)
    for index in range(size):
        fan_in.record(index, end(index, outcome))
    assert fan_in.result is not None
    error = fan_in.result.error
    assert isinstance(error, GroupFailedError)
    assert f"{size} of {size}" in str(error)
    assert len(error.exceptions) == min(size, 100)
    assert bool(getattr(error, "__notes__", [])) is (size > 100)


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=8))
def test_a_decision_survives_pickling_with_all_that_it_says(outcomes: list[ExecutionState]) -> None:
    fan_in = fan_in_of(GroupPolicy(mode="anyError"), len(outcomes))
    for index, outcome in enumerate(outcomes):
        fan_in.record(index, end(index, outcome))
    result = fan_in.result
    assert result is not None
    copy = pickle.loads(pickle.dumps(result))
    assert copy.outputs == result.outputs
    assert [one.id for one in copy.executions] == [one.id for one in result.executions]
    assert [one.state for one in copy.executions] == [one.state for one in result.executions]
    assert (copy.error is None) is (result.error is None)
    if isinstance(result.error, GroupFailedError):
        assert copy.error.outputs == result.error.outputs
        assert [one.id for one in copy.error.executions] == [one.id for one in result.executions]
        assert copy.error.exceptions[0].__notes__ == result.error.exceptions[0].__notes__


def test_an_exception_that_refuses_notes_still_fails_its_group() -> None:
    class StubbornError(Exception):
        def add_note(self, note: str) -> None:
            raise RuntimeError(note)

    fan_in = FanIn("g", GroupPolicy(), 1, describe)
    stubborn = StubbornError()
    child = Execution("t:t", state=FAILED, error=stubborn)
    result = fan_in.record(0, child)
    assert result is not None
    assert isinstance(result.error, GroupFailedError)
    assert result.error.exceptions == (stubborn,)


@pytest.mark.parametrize("mode", AwaitMode)
def test_an_emit_of_nothing_is_complete_in_every_mode(mode: AwaitMode) -> None:
    policy = GroupPolicy(mode=mode, quorum=0 if mode is AwaitMode.QUORUM else None)
    for expected in (0, None):
        fan_in = fan_in_of(policy, expected)
        result = fan_in.seal()
        assert result is not None
        assert (result.outputs, result.error, list(result.executions)) == ([], None, [])
        assert fan_in.ended
