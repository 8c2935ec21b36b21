"""What the runs of a test have reached: where no timeout ever fires, nothing is proved of any.

Counted from the facts of each world after its run. A test can demand that something has happened.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field

from orchestrator.errors import GroupCancelledError, GroupTimeoutError, OrchestratorError
from orchestrator.values import ExecutionState
from runtime import observing
from runtime.observing import Fact
from runtime.simulation import facts as kinds

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["NotReachedError", "Reach", "ReachReport", "count_reach"]

CLOCK = "clock!"  # as in `world`, which imports this


class Reach(enum.Enum):
    """Something that a run can reach, and that mostly happens under some schedules only."""

    WAIT_TIMED_OUT = "a waiter's timeout fired"
    GROUP_DEADLINE = "a group's deadline decided it"
    EXECUTION_DEADLINE = "an execution missed its deadline"
    ATTEMPT_TIMED_OUT = "an attempt ran out of time"
    CHILD_LATE = "a child ended after its group had decided"
    DECIDED_EARLY = "a group decided with children still out"
    GROUP_FAILED = "a group decided as failed"
    GROUP_CANCELLED = "a group was cancelled"
    CANCEL_WHILE_RUNNING = "a cancel came to running code"
    CANCEL_BEFORE_START = "a cancel came before the code had begun"
    CANCEL_BETWEEN_ATTEMPTS = "a cancel came between two attempts"
    CANCEL_MET_COMPLETION = "a cancel and an end of its execution's code crossed"
    REPORTS_RACED = "two reports were under way to one group"
    DEADLINE_MET_COMPLETION = "a deadline passed at the instant in which a child completed"
    WAIT_AFTER_DECISION = "somebody waited for a group that had decided"
    RETRY = "a failed attempt was followed by another"
    DEADLOCK_REFUSED = "a wait was refused, as it could never end"
    PREEMPTED = "a task was taken off that could have gone on"
    CLOCK_FIRED_EARLY = "the clock fired while others could run"
    FAULT = "the schedule chose a fault"


def count_reach(facts: Iterable[Fact]) -> Counter[Reach]:
    """How often each was reached in one world."""
    counting = _Counting()
    for fact in facts:
        handler = _HANDLERS.get(fact[0])
        if handler is not None:
            handler(counting, fact)
    return counting.reached


class _Counting:
    """Goes through the facts of one world, once."""

    def __init__(self) -> None:
        self.reached: Counter[Reach] = Counter()
        self._decided: set[str] = set()
        self._out: dict[str, int] = {}  # by group, how many children have not reported
        self._members: dict[str, str] = {}  # execution ids to group ids
        self._under_way: dict[str, set[str]] = {}  # by group, whose code is over, not reported
        self._code_over: set[str] = set()  # executions whose code is over, not told
        self._pausing: set[str] = set()  # between two attempts
        self._told_to_end: set[str] = set()
        self._deadlines: dict[str, float] = {}  # of groups
        self._met: set[tuple[str, str]] = set()  # groups and children that ended at a deadline

    def emitted(self, fact: Fact) -> None:
        group_id, children = fact[4], fact[7]
        self._out[group_id] = len(children)
        for name in observing.ids_of(children):
            self._members[name] = group_id
        if fact[10] is not None:
            self._deadlines[group_id] = fact[10]

    def drawn(self, fact: Fact) -> None:
        self._out[fact[4]] = self._out.get(fact[4], 0) + 1
        self._members[fact[6].id] = fact[4]

    def started(self, fact: Fact) -> None:
        if fact[5] > 1:
            self.reached[Reach.RETRY] += 1
        self._code_over.discard(fact[4])
        self._pausing.discard(fact[4])

    def paused(self, fact: Fact) -> None:
        if fact[5]:
            self._pausing.add(fact[4])
            self._under_way.get(self._members.get(fact[4], ""), set()).discard(fact[4])

    def returned(self, fact: Fact) -> None:
        execution_id = fact[4]
        if execution_id in self._told_to_end and not fact[7]:
            self.reached[Reach.CANCEL_MET_COMPLETION] += 1
        self._code_over.add(execution_id)
        group_id = self._members.get(execution_id)
        if group_id is not None:
            self._under_way.setdefault(group_id, set()).add(execution_id)
            if not fact[7]:
                self._look_at_instant(group_id, execution_id, fact[1])

    def code_ended(self, fact: Fact) -> None:
        self._code_over.discard(fact[4])

    def reported(self, fact: Fact) -> None:
        group_id, child = fact[4], fact[6]
        under_way = self._under_way.get(group_id, set())
        if child.id in under_way:
            under_way.discard(child.id)
            if under_way:
                self.reached[Reach.REPORTS_RACED] += 1
        self._out[group_id] = self._out.get(group_id, 1) - 1
        if group_id in self._decided:
            self.reached[Reach.CHILD_LATE] += 1
        if child.state is ExecutionState.COMPLETED:
            self._look_at_instant(group_id, child.id, fact[1])

    def dropped(self, fact: Fact) -> None:
        self._out[fact[4]] = self._out.get(fact[4], 0) - len(fact[5])

    def group_deadline(self, fact: Fact) -> None:
        self._deadlines[fact[4]] = fact[1]  # it may pass late

    def _look_at_instant(self, group_id: str, child: str, at: float) -> None:
        if self._deadlines.get(group_id) == at and (group_id, child) not in self._met:
            self._met.add((group_id, child))
            self.reached[Reach.DEADLINE_MET_COMPLETION] += 1

    def decided(self, fact: Fact) -> None:
        group_id, error = fact[4], fact[5].error
        self._decided.add(group_id)
        if self._out.get(group_id, 0) > 0:
            self.reached[Reach.DECIDED_EARLY] += 1
        if isinstance(error, GroupTimeoutError):
            self.reached[Reach.GROUP_DEADLINE] += 1
        elif isinstance(error, GroupCancelledError):
            self.reached[Reach.GROUP_CANCELLED] += 1
        elif error is not None:
            self.reached[Reach.GROUP_FAILED] += 1

    def cancelled(self, fact: Fact) -> None:
        execution_id, _reason, state = fact[4:7]
        if state.ended or execution_id in self._code_over:
            self.reached[Reach.CANCEL_MET_COMPLETION] += 1
        elif execution_id in self._pausing:
            self.reached[Reach.CANCEL_BETWEEN_ATTEMPTS] += 1
        elif state is ExecutionState.SCHEDULED:
            self.reached[Reach.CANCEL_BEFORE_START] += 1
        else:
            self._told_to_end.add(execution_id)
            self.reached[Reach.CANCEL_WHILE_RUNNING] += 1

    def deadline(self, fact: Fact) -> None:
        if not fact[5]:
            self.reached[Reach.EXECUTION_DEADLINE] += 1

    def timed_out(self, _fact: Fact) -> None:
        self.reached[Reach.ATTEMPT_TIMED_OUT] += 1

    def waited(self, fact: Fact) -> None:
        token, _who, subject, outcome = fact[4:8]
        if outcome == observing.EXPIRED:
            self.reached[Reach.WAIT_TIMED_OUT] += 1
        elif outcome == observing.HOPELESS:
            self.reached[Reach.DEADLOCK_REFUSED] += 1
        elif token == observing.AT_ONCE and subject is not None and subject.kind == "group":
            self.reached[Reach.WAIT_AFTER_DECISION] += 1

    def choice(self, fact: Fact) -> None:
        if fact[4] == CLOCK:
            self.reached[Reach.CLOCK_FIRED_EARLY] += 1
        elif fact[5]:
            self.reached[Reach.PREEMPTED] += 1

    def fault(self, fact: Fact) -> None:
        self.reached[Reach.FAULT] += fact[4] != kinds.LONGEST_RUN


_HANDLERS = {
    observing.EMITTED: _Counting.emitted,
    observing.DRAWN: _Counting.drawn,
    observing.STARTED: _Counting.started,
    observing.PAUSED: _Counting.paused,
    observing.RETURNED: _Counting.returned,
    observing.CODE_ENDED: _Counting.code_ended,
    observing.REPORTED: _Counting.reported,
    observing.DROPPED: _Counting.dropped,
    observing.GROUP_DEADLINE: _Counting.group_deadline,
    observing.DECIDED: _Counting.decided,
    observing.CANCELLED: _Counting.cancelled,
    observing.DEADLINE: _Counting.deadline,
    observing.TIMED_OUT: _Counting.timed_out,
    observing.WAITED: _Counting.waited,
    kinds.CHOICE: _Counting.choice,
    kinds.FAULT: _Counting.fault,
}


@define(eq=False)
class NotReachedError(OrchestratorError, AssertionError):
    """A test demands that something happens in its runs, and it never did."""

    missing: tuple[Reach, ...]
    runs: int

    def __str__(self) -> str:
        lines = "\n".join(f"  Reach.{each.name}: {each.value}" for each in self.missing)
        return (
            f"in {self.runs} {'run' if self.runs == 1 else 'runs'} this never happened, though"
            f" covers= demands it:\n{lines}\n"
            "Give the code under test shapes and times in which it can happen, or more schedules"
        )


@define(eq=False)
class ReachReport:
    """What all runs of one test have reached."""

    runs: int = 0
    in_runs: Counter[Reach] = field(factory=Counter)  # in how many of them
    times: Counter[Reach] = field(factory=Counter)  # in all

    def add(self, reached: Mapping[Reach, int]) -> None:
        """Count one more run."""
        self.runs += 1
        for each, times in reached.items():
            if times:
                self.in_runs[each] += 1
                self.times[each] += times

    def add_worlds(self, worlds: Iterable[World]) -> None:
        """Count a run for each world."""
        for world in worlds:
            self.add(world.reach)

    def merge(self, other: ReachReport) -> None:
        """Count what another report has counted."""
        self.runs += other.runs
        self.in_runs.update(other.in_runs)
        self.times.update(other.times)

    @staticmethod
    def check(covers: Iterable[Reach]) -> tuple[Reach, ...]:
        """What can be demanded.

        Raises:
            TypeError: one of them is no `Reach`.
        """
        demanded = tuple(covers)
        for each in demanded:
            if not isinstance(each, Reach):
                message = f"covers takes members of Reach, such as Reach.CHILD_LATE, not {each!r}"
                raise TypeError(message)
        return demanded

    def demand(self, covers: Iterable[Reach]) -> None:
        """See that each of *covers* has happened.

        Raises:
            NotReachedError: some never did; it names them.
            TypeError: one of them is no `Reach`.
        """
        __tracebackhide__ = True
        demanded = self.check(covers)
        missing = tuple(each for each in demanded if not self.in_runs[each])
        if missing:
            raise NotReachedError(missing, self.runs)

    def render(self) -> str:
        """A table: what happened, in how many of the runs, and how often in all."""
        width = max(len(each.value) for each in Reach)
        lines = [f"{f'reached in {self.runs} runs':{width}}  {'runs':>8}  {'times':>8}"]
        lines += [
            f"{each.value:{width}}  {self.in_runs[each]:>8}  {self.times[each]:>8}"
            for each in Reach
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()
