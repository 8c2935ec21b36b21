"""When a group has to decide, and as what: the rules once more, in the plainest form.

Kept apart from `actors.fan_in` on purpose, so that a fault there is not repeated here.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from orchestrator.values import AwaitMode, GroupPolicy

__all__ = ["Due", "GroupModel"]

OK, FAILED, TIMED_OUT, CANCELLED = "ok", "failed", "timed out", "cancelled"


@frozen
class Due:
    """What a group has to decide now."""

    kind: str
    outputs: tuple[Any, ...]


@define(eq=False)
class GroupModel:
    """The children of one group and how they have ended."""

    policy: GroupPolicy
    emitted: int
    sealed: bool
    outputs: dict[int, Any] = field(factory=dict)  # of the successes, by index
    failed: set[int] = field(factory=set)
    late: set[int] = field(factory=set)  # indexes that ended after the decision
    due: Due | None = None  # it has decided, or should have

    def open(self) -> None:
        """It is there; an empty group, and a quorum of none, decide at once."""
        if self.policy.quorum == 0:
            self.due = Due(OK, ())
        else:
            self._settle(None)

    def add(self) -> None:
        """One more child was drawn."""
        if self.due is None:
            self.emitted += 1

    def seal(self, error: BaseException | None) -> None:
        """No more come."""
        self.sealed = True
        if error is not None:
            self.fail()
        else:
            self._settle(None)

    def fail(self) -> None:
        """The source has failed."""
        self._decide(FAILED, self.by_emission())

    def expire(self) -> None:
        """The deadline has passed."""
        self._decide(TIMED_OUT, self.by_emission())

    def cancel(self) -> None:
        """It was cancelled."""
        self._decide(CANCELLED, self.by_emission())

    def end(self, index: int, *, success: bool, output: Any) -> None:
        """A child has ended. A second end, and that of a stranger, change nothing."""
        if self.has_ended(index) or not 0 <= index < self.emitted:
            return
        if self.due is not None:
            self.late.add(index)
        elif success:
            self.outputs[index] = output
            self._settle(index)
        else:
            self.failed.add(index)
            self._settle(index)

    def has_ended(self, index: int) -> bool:
        """Whether the child's end was told."""
        return index in self.outputs or index in self.failed or index in self.late

    @property
    def ended(self) -> int:
        """How many children have ended."""
        return len(self.outputs) + len(self.failed) + len(self.late)

    @property
    def out(self) -> int:
        """How many have not."""
        return self.emitted - self.ended

    def by_emission(self) -> tuple[Any, ...]:
        """The outputs that had arrived at the decision, None where nothing had."""
        if not self.policy.keep:
            return ()
        return tuple(self.outputs.get(index) for index in range(self.emitted))

    def _decide(self, kind: str, outputs: tuple[Any, ...]) -> None:
        if self.due is None:
            self.due = Due(kind, outputs if self.policy.keep else ())

    def _settle(self, index: int | None) -> None:
        complete = self.sealed and len(self.outputs) + len(self.failed) == self.emitted
        if complete and self.emitted == 0:
            self._decide(OK, ())
            return
        last = () if index is None else (self.outputs.get(index),)
        match self.policy.mode:
            case AwaitMode.ALL if complete:
                self._decide(FAILED if self.failed else OK, self.by_emission())
            case AwaitMode.FIRST if index is not None:
                ok = index in self.outputs
                self._decide(OK if ok else FAILED, last if ok else self.by_emission())
            case AwaitMode.ANY if self.outputs:
                self._decide(OK, last)
            case AwaitMode.ANY if complete:
                self._decide(FAILED, self.by_emission())
            case AwaitMode.ANY_ERROR if self.failed:
                self._decide(FAILED, self.by_emission())
            case AwaitMode.ANY_ERROR if complete:
                self._decide(OK, self.by_emission())
            case AwaitMode.QUORUM:
                self._settle_quorum(self.policy.quorum or 0)

    def _settle_quorum(self, quorum: int) -> None:
        if len(self.outputs) >= quorum:
            self._decide(OK, tuple(self.outputs[index] for index in sorted(self.outputs)))
        elif self.sealed and self.emitted - len(self.failed) < quorum:
            self._decide(FAILED, self.by_emission())
