"""When a group decides, and what it comes to: the fan-in, without thread, clock or I/O.

Owned by one `CorrelationGroupActor`, which tells it what happened in the order of arrival. It
decides exactly once; what is recorded later only counts towards `ended`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from attrs import frozen

from orchestrator.errors import (
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    RejectedError,
)
from orchestrator.values import (
    AwaitMode,
    Execution,
    ExecutionState,
    GroupPolicy,
    GroupResult,
)

__all__ = ["Cancelled", "Completed", "Describe", "End", "FanIn", "Snapshots"]

_KEPT_FAILURES = 100  # of a keep=False group, whose error must stay small too
_NOTES = 10  # on one exception, of the children that have raised it


@frozen(eq=False)
class Cancelled:
    """Stands for the end of children that were cancelled before they started, all alike."""

    reason: str
    at: float


# A leaf's success: its index, its output, and when it started and completed. A plain tuple, as
# there is one for every child (see benchmarks/fan_out.py).
Completed: TypeAlias = tuple[int, Any, float, float]

End: TypeAlias = Execution | Completed | Cancelled
Describe: TypeAlias = Callable[[int, Cancelled | Completed | None], Execution]


def _output(end: End | None) -> Any:
    """What did arrive; ``None`` where nothing did."""
    if end.__class__ is tuple:
        return end[1]
    return end.output if isinstance(end, Execution) else None


def _succeeded(end: End | None) -> bool:
    return end.__class__ is tuple or (
        isinstance(end, Execution) and end.state is ExecutionState.COMPLETED
    )


class Snapshots(Sequence[Execution]):
    """Every child's last snapshot by emission, made when someone looks; never changes."""

    def __init__(self, ends: list[End | None], make: Describe) -> None:
        self._ends = ends
        self._make = make

    @overload
    def __getitem__(self, index: int) -> Execution: ...

    @overload
    def __getitem__(self, index: slice) -> list[Execution]: ...

    def __getitem__(self, index: int | slice) -> Execution | list[Execution]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self._ends)))]
        end = self._ends[index]
        if not isinstance(end, Execution):
            made = self._make(index % len(self._ends), end)
            end = self._ends[index] = made
        return end

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Execution]:
        return (self[index] for index in range(len(self._ends)))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)

    def __repr__(self) -> str:
        return f"<{len(self)} executions>"


@frozen(eq=False)
class _Failure:
    index: int
    error: Exception


class FanIn:
    """The fan-in of one group.

    Args:
        group_id: For its errors.
        policy: When it decides and what it keeps.
        expected: How many children there are; ``None`` while a lazy source still adds some.
        describe: Makes the snapshot of a child that has not ended, was cancelled in the queue or
            completed as a leaf; given its index and the `Cancelled`, `Completed` or ``None``.
    """

    def __init__(
        self,
        group_id: str,
        policy: GroupPolicy,
        expected: int | None,
        describe: Describe,
    ) -> None:
        self.group_id = group_id
        self.policy = policy
        self.result: GroupResult | None = None
        self._describe = describe
        self.emitted = expected or 0  # children so far
        self.sealed = expected is not None  # no more can come
        self._succeeded = 0
        self._failed = 0
        # By index, the end that was kept. Of a keep=False group only who is still out is known.
        self._ends: list[End | None] = []
        if policy.keep:
            self._ends.extend([None] * self.emitted)
        self._out: set[int] = set() if policy.keep else set(range(self.emitted))
        self._failures: list[_Failure] = []

    @property
    def decided(self) -> bool:
        """Whether there is a result; there is never a second one."""
        return self.result is not None

    @property
    def ended(self) -> bool:
        """Whether every child has ended and no more can come."""
        return self.sealed and self._succeeded + self._failed == self.emitted

    @property
    def out(self) -> int:
        """How many children have not ended."""
        return self.emitted - self._succeeded - self._failed

    def add(self) -> int:
        """One more child of a lazy source; its index."""
        index = self.emitted
        self.emitted += 1
        if self.policy.keep:
            self._ends.append(None)
        else:
            self._out.add(index)
        return index

    def seal(self) -> GroupResult | None:
        """No more children come; the decision, if this makes one."""
        self.sealed = True
        return self._settle(None)

    def record(self, index: int, end: Execution | Completed) -> GroupResult | None:
        """A child has ended; the decision, if this makes one. A second report changes nothing."""
        if not self.is_out(index):
            return None
        if self.policy.keep:
            self._ends[index] = end
        else:
            self._out.discard(index)
        if not isinstance(end, Execution) or end.state is ExecutionState.COMPLETED:
            self._succeeded += 1
        else:
            self._failed += 1
            if not self.decided:
                self._note_failure(index, end)
        return self._settle(end)

    @property
    def one_by_one(self) -> bool:
        """Whether a success may decide while others are out."""
        return self.result is None and self.policy.mode not in (AwaitMode.ALL, AwaitMode.ANY_ERROR)

    def record_all(self, completed: Iterable[Completed]) -> GroupResult | None:
        """The same for many leaves that are out; not where they have to be taken *one_by_one*."""
        ends, keep = self._ends, self.policy.keep
        for end in completed:
            if keep:
                ends[end[0]] = end
            else:
                self._out.discard(end[0])
            self._succeeded += 1
        return self._settle(None)

    def record_cancelled(self, indexes: Iterable[int], cancelled: Cancelled) -> list[int]:
        """Children were cancelled before they started, of a group that is decided; the new ones."""
        fresh = [index for index in indexes if self.is_out(index)]
        for index in fresh:
            if self.policy.keep:
                self._ends[index] = cancelled
            else:
                self._out.discard(index)
        self._failed += len(fresh)
        return fresh

    def expire(self, timeout: float) -> GroupResult | None:
        """The deadline has passed."""
        if self.decided:
            return None
        outputs = self._arrived()
        missing = tuple(self._missing())
        ends = Snapshots(list(self._ends), self._describe)
        error = GroupTimeoutError(self.group_id, timeout, list(outputs), missing, ends)
        self.result = GroupResult(outputs, ends, error)
        return self.result

    def cancel(self, reason: str) -> GroupResult | None:
        """The group is cancelled."""
        if self.decided:
            return None
        return self._decide(self._arrived(), GroupCancelledError(self.group_id, reason))

    def fail(self, error: Exception) -> GroupResult | None:
        """The lazy source raised, or made a child that can't run."""
        if self.decided:
            return None
        return self._decide_failed(
            f"the source of group {self.group_id!r} failed", extra=error, source_failed=True
        )

    def end_at(self, index: int) -> Execution:
        """The snapshot of a child that has ended; for readers of a group that keeps them."""
        end = self._ends[index]
        if not isinstance(end, Execution):
            end = self._ends[index] = self._describe(index, end)
        return end

    # The rules of the five modes

    def _settle(self, end: Execution | Completed | None) -> GroupResult | None:
        if self.decided:
            return None
        match self.policy.mode:
            case AwaitMode.ALL:
                return self._settle_all()
            case AwaitMode.FIRST:
                return self._settle_first(end)
            case AwaitMode.ANY:
                return self._settle_any(end)
            case AwaitMode.ANY_ERROR:
                return self._settle_any_error()
            case AwaitMode.QUORUM:
                return self._settle_quorum()

    def _settle_all(self) -> GroupResult | None:
        if self.out or not self.sealed:
            return None
        if self._failed:
            return self._decide_failed(
                f"{self._failed} of {self.emitted} children of group {self.group_id!r} failed"
            )
        return self._decide(self._arrived())

    def _settle_first(self, end: Execution | Completed | None) -> GroupResult | None:
        if end is None:
            return self._decide([]) if self.ended else None
        if self._failed:
            return self._decide_failed(f"the first child of group {self.group_id!r} to end failed")
        return self._decide([_output(end)] if self.policy.keep else [])

    def _settle_any(self, end: Execution | Completed | None) -> GroupResult | None:
        if end is not None and self._succeeded:
            return self._decide([_output(end)] if self.policy.keep else [])
        if not self.ended:
            return None
        if not self.emitted:
            return self._decide([])
        return self._decide_failed(f"no child of group {self.group_id!r} succeeded")

    def _settle_any_error(self) -> GroupResult | None:
        if self._failed:
            return self._decide_failed(f"a child of group {self.group_id!r} failed")
        return self._decide(self._arrived()) if self.ended else None

    def _settle_quorum(self) -> GroupResult | None:
        quorum = self.policy.quorum or 0
        if self._succeeded >= quorum and (quorum or self.sealed):
            return self._decide([_output(end) for end in self._ends if _succeeded(end)])
        if not self.sealed or self.emitted - self._failed >= quorum:
            return None
        if not self.emitted:
            return self._decide([])
        short = None
        if self.emitted < quorum:
            short = RejectedError(
                f"the source ended after {self.emitted} children, short of the quorum of {quorum}"
            )
        return self._decide_failed(
            f"{self._failed} of {self.emitted} children of group {self.group_id!r} failed: the"
            f" quorum of {quorum} can't be reached",
            extra=short,
        )

    # What is kept

    def is_out(self, index: int) -> bool:
        """Whether the child has been emitted and has not ended."""
        if not 0 <= index < self.emitted:
            return False
        return self._ends[index] is None if self.policy.keep else index in self._out

    def _missing(self) -> Iterator[int]:
        if not self.policy.keep:
            return iter(sorted(self._out))
        return (index for index, end in enumerate(self._ends) if end is None)

    def _arrived(self) -> list[Any]:
        """By emission, the outputs that did arrive; ``None`` where nothing did."""
        return [end[1] if end.__class__ is tuple else _output(end) for end in self._ends]

    def _note_failure(self, index: int, end: Execution) -> None:
        error = end.error
        if error is None or (not self.policy.keep and len(self._failures) >= _KEPT_FAILURES):
            return
        with contextlib.suppress(Exception):  # an exception class may refuse notes
            notes = getattr(error, "__notes__", ())
            ours = sum(note.startswith("child ") for note in notes)
            if ours < _NOTES:  # many may raise one object
                who = f"child {end.id!r} ({end.action})"
                error.add_note(f"{who}, {index} of group {self.group_id!r}")
        self._failures.append(_Failure(index, error))

    def _decide(self, outputs: list[Any], error: Exception | None = None) -> GroupResult:
        self.result = GroupResult(outputs, Snapshots(list(self._ends), self._describe), error)
        return self.result

    def _decide_failed(
        self, message: str, *, extra: Exception | None = None, source_failed: bool = False
    ) -> GroupResult:
        errors = [failure.error for failure in sorted(self._failures, key=lambda f: f.index)]
        dropped = self._failed - len(errors)
        if extra is not None:
            errors.append(extra)
        outputs = self._arrived()
        executions = Snapshots(list(self._ends), self._describe)
        error = GroupFailedError(
            message, errors, self.group_id, outputs, executions, source_failed=source_failed
        )
        if dropped:
            error.add_note(f"{dropped} more children failed; keep=False keeps the first ones only")
        self.result = GroupResult(outputs, executions, error)
        return self.result
