"""When a group decides and what it comes to, as DESIGN.md puts it: the oracle of the fan-in tests.

Written from the page, not from the code, and as slow as it likes: every question is answered by
looking at all that has happened so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from attrs import field, frozen

from actors.fan_in import Cancelled, FanIn
from orchestrator.errors import ExecutionCancelledError, GroupFailedError
from orchestrator.values import AwaitMode, Execution, ExecutionState, GroupPolicy, GroupResult

COMPLETED = ExecutionState.COMPLETED
FAILED = ExecutionState.FAILED
CANCELLED = ExecutionState.CANCELLED
OUTCOMES = (COMPLETED, FAILED, CANCELLED)

Report: TypeAlias = tuple[int, ExecutionState]


@frozen
class Verdict:
    """A decision: the children whose outputs it gives, or who made it fail."""

    outputs: tuple[int, ...] | None = None  # by emission; None: it failed
    failures: frozenset[int] = field(factory=frozenset)

    @property
    def ok(self) -> bool:
        return self.outputs is not None


def verdict(  # noqa: C901, PLR0911 - five modes, one return each way
    policy: GroupPolicy, emitted: int, reports: Sequence[Report], *, sealed: bool
) -> Verdict | None:
    """What the mode says after *reports*, in the order of arrival; ``None``: not decidable."""
    good = [index for index, outcome in reports if outcome is COMPLETED]
    bad = frozenset(index for index, outcome in reports if outcome is not COMPLETED)
    everyone = tuple(range(emitted))
    all_ended = sealed and len(reports) == emitted
    if all_ended and not emitted:
        return Verdict(())  # an emit of nothing is a group that is complete
    match policy.mode:
        case AwaitMode.ALL:
            if not all_ended:
                return None
            return Verdict(failures=bad) if bad else Verdict(everyone)
        case AwaitMode.ANY_ERROR:
            if bad:
                return Verdict(failures=bad)
            return Verdict(everyone) if all_ended else None
        case AwaitMode.FIRST:
            if not reports:
                return None
            return Verdict((good[0],)) if good else Verdict(failures=bad)
        case AwaitMode.ANY:
            if good:
                return Verdict((good[0],))
            return Verdict(failures=bad) if all_ended else None
        case AwaitMode.QUORUM:
            quorum = policy.quorum or 0
            if len(good) >= quorum:
                return Verdict(tuple(sorted(good)))
            if sealed and emitted - len(bad) < quorum:
                return Verdict(failures=bad)
            return None


def orders(
    policy: GroupPolicy, size: int, outcomes: Sequence[ExecutionState]
) -> Iterator[tuple[Report, ...]]:
    """Every order of every outcome; of what comes after the decision, one order of many outcomes.

    What arrives late must change nothing, so a single late order for each decision will do.
    """

    def grow(reports: tuple[Report, ...]) -> Iterator[tuple[Report, ...]]:
        left = [index for index in range(size) if all(index != done for done, _ in reports)]
        if not left:
            yield reports
        elif verdict(policy, size, reports, sealed=True) is not None:
            yield (*reports, *late_reports(size, reports))
        else:
            for index in left:
                for outcome in outcomes:
                    yield from grow((*reports, (index, outcome)))

    return grow(())


def late_reports(size: int, reports: Sequence[Report]) -> list[Report]:
    """What comes after *reports*, by which the group is decided: one order of many outcomes."""
    arrived = {index for index, _ in reports}
    left = [index for index in range(size) if index not in arrived]
    shift = sum(index * 3 + OUTCOMES.index(outcome) for index, outcome in reports)
    late = [(index, OUTCOMES[(index + shift) % 3]) for index in left]
    return late if shift % 2 else late[::-1]


def policies(size: int, *, keep: bool = True) -> list[GroupPolicy]:
    """Every mode, with every quorum that *size* children can reach."""
    plain = [
        GroupPolicy(mode=mode, keep=keep) for mode in AwaitMode if mode is not AwaitMode.QUORUM
    ]
    return [
        *plain,
        *(
            GroupPolicy(mode=AwaitMode.QUORUM, quorum=quorum, keep=keep)
            for quorum in range(size + 1)
        ),
    ]


def end(index: int, outcome: ExecutionState) -> Execution:
    """A child's last snapshot; its output tells who it is."""
    name = f"child-{index}"
    match outcome:
        case ExecutionState.COMPLETED:
            return Execution("t:t", id=name, index=index, state=outcome, output=f"out-{index}")
        case ExecutionState.CANCELLED:
            error: Exception = ExecutionCancelledError(name, "asked to")
        case _:
            error = ValueError(f"no {index}")
    return Execution("t:t", id=name, index=index, state=outcome, error=error)


def describe(index: int, cancelled: Cancelled | None) -> Execution:
    """A child that has not ended, or was cancelled in the queue."""
    state = ExecutionState.RUNNING if cancelled is None else CANCELLED
    return Execution("t:t", id=f"child-{index}", index=index, state=state)


def fan_in_of(policy: GroupPolicy, expected: int | None) -> FanIn:
    """The real thing."""
    return FanIn("g", policy, expected, describe)


def check_result(
    result: GroupResult,
    expected: Verdict,
    policy: GroupPolicy,
    emitted: int,
    ends: dict[int, Execution],
) -> None:
    """That *result* is what *expected* comes to, *ends* being all that had arrived."""
    keep = policy.keep
    arrived = [ends[i].output if i in ends else None for i in range(emitted)] if keep else []
    if expected.outputs is not None:
        assert result.error is None
        assert result.outputs == ([f"out-{i}" for i in expected.outputs] if keep else [])
    else:
        error = result.error
        assert isinstance(error, GroupFailedError)
        failed = [ends[index] for index in sorted(expected.failures)]
        assert list(error.exceptions) == [child.error for child in failed]
        for child in failed:
            assert child.error is not None
            (note,) = child.error.__notes__
            assert child.id in note
        assert error.outputs == result.outputs == arrived
        assert error.group_id == "g"
        check_executions(error.executions, ends, emitted if keep else 0)
    check_executions(result.executions, ends, emitted if keep else 0)


def check_executions(
    executions: Sequence[Execution], ends: dict[int, Execution], emitted: int
) -> None:
    """That they are every child's snapshot at the decision, by emission."""
    assert len(executions) == emitted
    for index, execution in enumerate(executions):
        if index in ends:
            assert execution is ends[index]
        else:
            assert execution.id == f"child-{index}"
            assert execution.state is ExecutionState.RUNNING
