"""Checks of what is published: the states of executions and the counters, on any runtime."""

from __future__ import annotations

from attrs import define

from actors.stats import Stats
from orchestrator.values import Execution, ExecutionState
from runtime.checking.violations import Invariant, Report

__all__ = ["StateChecks"]

_PENDING = ExecutionState.PENDING
_SCHEDULED = ExecutionState.SCHEDULED
_RUNNING = ExecutionState.RUNNING
_WAIT_ASYNC = ExecutionState.WAIT_ASYNC
_COMPLETED = ExecutionState.COMPLETED
_FAILED = ExecutionState.FAILED
_CANCELLED = ExecutionState.CANCELLED

_NEXT = {
    _PENDING: {_SCHEDULED},
    # It may have emitted before its start was told; a deadline may pass in the queue.
    _SCHEDULED: {_RUNNING, _WAIT_ASYNC, _FAILED, _CANCELLED},
    _RUNNING: {_WAIT_ASYNC, _SCHEDULED, _COMPLETED, _FAILED, _CANCELLED},
    _WAIT_ASYNC: {_RUNNING, _SCHEDULED, _COMPLETED, _FAILED, _CANCELLED},
}


@define(eq=False)
class _Seen:
    """What was published last of one execution."""

    execution: Execution
    at: float


class StateChecks:
    """Follows the published states of each execution."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: dict[str, _Seen] = {}
        self._below: dict[str, list[str]] = {}  # by parent

    def on_change(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        """One change, in the order of their publication."""
        name, state = execution.id, execution.state
        seen = self._seen.get(name)
        if state not in _NEXT.get(previous, ()):
            self._blame(name, at, f"{name} went from {previous} to {state}")
        if seen is None:
            if execution.parent_id is not None:
                self._below.setdefault(execution.parent_id, []).append(name)
        else:
            self._compare(seen, execution, previous, at)
        self._check_times(execution, at)
        self._seen[name] = _Seen(execution, at)
        if state is _COMPLETED:
            self._check_below(name, at)

    def _compare(
        self, seen: _Seen, execution: Execution, previous: ExecutionState, at: float
    ) -> None:
        name, last = execution.id, seen.execution.state
        if last.ended:
            self._report(
                Invariant.LATE_REPORTS,
                at,
                f"{name} was {last} and became {execution.state} after that",
                name,
            )
        elif last is not previous:
            self._blame(name, at, f"{name} was {last}, and left the state {previous}")
        if at < seen.at:
            self._report(
                Invariant.TIME, at, f"{name} changed at {seen.at:g} s and then at {at:g} s", name
            )
        if execution.attempts < seen.execution.attempts:
            self._report(
                Invariant.ATTEMPTS,
                at,
                f"{name} had made {seen.execution.attempts} attempts and has now made"
                f" {execution.attempts}",
                name,
            )

    def _check_times(self, execution: Execution, at: float) -> None:
        times = (execution.scheduled_at, execution.started_at, execution.completed_at)
        known = [time for time in times if time is not None]
        if known != sorted(known):
            self._report(
                Invariant.TIME,
                at,
                f"{execution.id} was scheduled, started and completed at {times}",
                execution.id,
            )

    def _check_below(self, name: str, at: float) -> None:
        for child_id in self._below.get(name, ()):
            child = self._seen[child_id].execution
            if not child.state.ended:
                self._report(
                    Invariant.NO_ORPHANS,
                    at,
                    f"{name} completed while {child_id} below it was {child.state}",
                    name,
                    child_id,
                )

    def _blame(self, name: str, at: float, what: str) -> None:
        self._report(Invariant.STATES, at, what, name)

    # At the end

    def verify(self, *, drained: bool) -> None:
        """Everything that was seen has ended, once nothing runs any more."""
        if not drained:
            return
        for name, seen in self._seen.items():
            if not seen.execution.state.ended:
                self._report(
                    Invariant.CONSERVATION,
                    None,
                    f"{name} is {seen.execution.state}, and nothing runs any more",
                    name,
                )

    def verify_stats(self, stats: Stats) -> None:
        """The counters of a drained runtime add up."""
        open_ = stats.pending + stats.running + stats.waiting + stats.cancelling
        if open_ or stats.emitted != stats.settled:
            self._report(
                Invariant.CONSERVATION,
                None,
                f"{stats.emitted} executions were emitted, {stats.settled} are over and {open_}"
                f" are counted as open, when nothing runs any more: {stats}",
            )
