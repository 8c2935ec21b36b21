"""Checks of executions: their attempts, their deadlines, their ends and what is below them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from attrs import define, field

from orchestrator.errors import DuplicateExecutionError
from orchestrator.values import Execution, ExecutionState
from runtime import observing
from runtime.checking.groups import GroupChecks
from runtime.checking.handlers import Handlers
from runtime.checking.violations import Invariant, Report
from runtime.observing import Fact

__all__ = ["ExecutionChecks"]


@define(eq=False)
class _Life:
    """One execution, as its messages and its code show it."""

    id: str
    parent: str | None = None
    group: str | None = None
    calls: list[str] = field(factory=list)  # ids of called children
    attempts: int = 0  # that have started
    running: int = 0  # the number of the attempt whose code runs
    deadline: float | None = None  # of its last attempt
    cancelled: bool = False  # a cancel came before it had ended
    condemned: bool = False  # it began when its group had had the rest cancelled
    dropped: bool = False  # cancelled in the queue
    ended: ExecutionState | None = None  # it has reported, or settled
    settled: ExecutionState | None = None
    again: bool = False  # another that is over had its id

    @property
    def over(self) -> bool:
        """Whether it has ended and none of its code runs."""
        return not self.running and (self.ended is not None or self.dropped)


class _Lives(dict[str, _Life]):
    """All executions that were ever named, by id."""

    def __missing__(self, execution_id: str) -> _Life:
        life = self[execution_id] = _Life(execution_id)
        return life


class ExecutionChecks:
    """Follows each execution from its emit to its end."""

    def __init__(self, report: Report, groups: GroupChecks) -> None:
        self._report = report
        self._groups = groups
        self._lives = _Lives()

    # Where executions come from

    def _submitted(self, fact: Fact) -> None:
        given, parent = fact[4], fact[5]
        if not self._is_free(given.id):
            return  # it is refused: the id is taken
        self._begin(given.id, parent)
        if parent is not None:
            self._lives[parent].calls.append(given.id)

    def _is_free(self, name: str) -> bool:
        """Whether an execution may have this id: none has, or the one that had is over."""
        before = self._lives.get(name)
        return before is None or before.settled is not None or before.over

    def _begin(self, name: str, parent: str | None, group: str | None = None) -> None:
        self._lives[name] = _Life(name, parent, group, again=name in self._lives)

    def _emitted(self, fact: Fact) -> None:
        parent, children, deadline = fact[5], fact[7], fact[11]
        above = self._lives.get(parent)
        if above is not None:
            self._check_deadline(above, f"group {fact[4]}", fact[4], deadline, fact[1])
        for name in observing.ids_of(children):
            if self._is_free(name):  # else the emit is refused
                self._begin(name, parent, fact[4])

    def _drawn(self, fact: Fact) -> None:
        group = self._groups.groups.get(fact[4])
        name = fact[6].id
        if group is not None and self._is_free(name):
            self._begin(name, group.parent, group.id)

    def _check_deadline(
        self, above: _Life, what: str, name: str, deadline: float | None, at: float
    ) -> None:
        if above.deadline is not None and (deadline is None or deadline > above.deadline):
            self._report(
                Invariant.DEADLINES_NEST,
                at,
                f"the deadline of {what} is {deadline}, that of its parent {above.id} is"
                f" {above.deadline}",
                name,
                above.id,
            )

    # Attempts

    def _started(self, fact: Fact) -> None:
        at, execution_id, number, deadline = fact[1], fact[4], fact[5], fact[8]
        life = self._lives[execution_id]
        if life.running:
            self._blame_attempt(life, at, f"attempt {number} began while {life.running} ran")
        if number != life.attempts + 1:
            self._blame_attempt(
                life, at, f"attempt {number} began after {life.attempts} attempts had"
            )
        if life.cancelled or life.dropped:
            self._blame_attempt(life, at, f"attempt {number} began after its cancel had come")
        if life.ended is not None or life.settled is not None:
            state = life.ended or life.settled
            self._blame_attempt(life, at, f"attempt {number} began after it was {state}")
        if number > 1:
            for group in self._groups.by_parent.get(execution_id, ()):
                if not group.over:
                    self._blame_attempt(
                        life, at, f"attempt {number} began while group {group.id} of the last ran"
                    )
        parent = self._lives.get(life.parent or "")
        if parent is not None and parent.settled is not None:
            self._report(
                Invariant.NO_ORPHANS,
                at,
                f"{execution_id} began after its parent {parent.id} was over",
                execution_id,
                parent.id,
            )
        if parent is not None:
            self._check_deadline(parent, execution_id, execution_id, deadline, at)
        life.attempts, life.running, life.deadline = number, number, deadline
        own = self._groups.groups.get(life.group or "")
        life.condemned = own is not None and own.rest_cancelled

    def _blame_attempt(self, life: _Life, at: float, what: str) -> None:
        self._report(Invariant.ATTEMPTS, at, f"{life.id}: {what}", life.id)

    def _returned(self, fact: Fact) -> None:
        self._lives[fact[4]].running = 0

    # Ends

    def _cancelled(self, fact: Fact) -> None:
        state: ExecutionState = fact[6]
        if not state.ended:
            self._lives[fact[4]].cancelled = True
            self._condemn(fact[4], "was cancelled")

    def _deadline(self, fact: Fact) -> None:
        if not fact[5]:
            self._condemn(fact[4], "missed its deadline")

    def _condemn(self, execution_id: str, why: str) -> None:
        """All that is below it has to be told."""
        for group in self._groups.by_parent.get(execution_id, ()):
            if not group.over:
                group.owed = f"{execution_id} {why}"

    def _waited(self, fact: Fact) -> None:
        ended = fact[8]
        if isinstance(ended, Execution) and fact[6].kind == "execution":
            life = self._lives.get(ended.id)
            if life is not None and life.ended is None:
                self._check_end(life, ended.state, fact[1])

    def _dropped(self, fact: Fact) -> None:
        group = self._groups.groups.get(fact[4])
        if group is None:
            return
        for index in fact[5]:
            life = self._lives[group.children[index]]
            life.dropped = True
            if life.attempts:
                self._blame_attempt(life, fact[1], "it was cancelled in the queue and had begun")

    def _reported(self, fact: Fact) -> None:
        at, child = fact[1], fact[6]
        life = self._lives[child.id]
        if life.group != fact[4] and isinstance(child.error, DuplicateExecutionError):
            return  # a lazy source's, which was refused: the id is another's
        if life.ended is not None or life.dropped:
            return  # a second report, which the group has to overlook
        life.ended = child.state
        if life.attempts and child.attempts < life.attempts:
            self._blame_attempt(
                life, at, f"{life.attempts} attempts began and it counts {child.attempts}"
            )
        self._check_end(life, child.state, at)

    def _settled(self, fact: Fact) -> None:
        at, execution_id, state = fact[1], fact[4], fact[5]
        life = self._lives[execution_id]
        if life.settled is not None:
            self._report(Invariant.CONSERVATION, at, f"{execution_id} was over twice", execution_id)
            return
        if life.ended is not None and life.ended is not state:
            self._report(
                Invariant.LATE_REPORTS,
                at,
                f"{execution_id} was {life.ended} and is {state} when it is over",
                execution_id,
            )
        life.settled = state
        if life.ended is None:
            life.ended = state
            self._check_end(life, state, at)
        if life.running:
            self._report(
                Invariant.NO_ORPHANS,
                at,
                f"{execution_id} is over while the code of its attempt {life.running} runs",
                execution_id,
            )
        for child in self._below(execution_id):
            if not child.over:
                self._report(
                    Invariant.NO_ORPHANS,
                    at,
                    f"{execution_id} is over while {child.id} below it"
                    f" {'runs' if child.running else 'has not ended'}",
                    execution_id,
                    child.id,
                )

    def _check_end(self, life: _Life, state: ExecutionState, at: float) -> None:
        if life.cancelled and state is not ExecutionState.CANCELLED:
            self._report(
                Invariant.CANCEL_REACHES, at, f"{life.id} was cancelled and ended {state}", life.id
            )
        if life.condemned and state is not ExecutionState.CANCELLED:
            self._report(
                Invariant.CANCEL_REACHES,
                at,
                f"{life.id} began when the rest of its group {life.group} had been cancelled, and"
                f" ended {state}",
                life.id,
            )
        if state is ExecutionState.COMPLETED:
            for group in self._groups.by_parent.get(life.id, ()):
                if not group.over:
                    self._report(
                        Invariant.RESUMED_ONCE,
                        at,
                        f"{life.id} completed while its group {group.id} was open",
                        life.id,
                        group.id,
                    )

    def _below(self, execution_id: str) -> Iterator[_Life]:
        for group in self._groups.by_parent.get(execution_id, ()):
            if not group.refused:
                for child in group.children:
                    life = self._lives[child]
                    if life.group == group.id or not life.again:  # else the id is another's
                        yield life
        for child in self._lives[execution_id].calls:
            life = self._lives[child]
            is_its = life.parent == execution_id or not life.again
            if is_its and life.attempts:  # else it may have been refused
                yield life

    # At the end

    def verify(self, *, drained: bool) -> None:
        """Look at every execution once more."""
        if not drained:
            return
        for life in self._lives.values():
            if life.attempts and not life.over:
                what = "still runs" if life.running else "has not ended"
                self._report(
                    Invariant.CONSERVATION,
                    None,
                    f"{life.id} has begun {life.attempts} attempts and {what}",
                    life.id,
                )

    handlers: ClassVar[Handlers] = {
        observing.SUBMITTED: _submitted,
        observing.EMITTED: _emitted,
        observing.DRAWN: _drawn,
        observing.STARTED: _started,
        observing.RETURNED: _returned,
        observing.CANCELLED: _cancelled,
        observing.DEADLINE: _deadline,
        observing.WAITED: _waited,
        observing.DROPPED: _dropped,
        observing.REPORTED: _reported,
        observing.SETTLED: _settled,
    }
