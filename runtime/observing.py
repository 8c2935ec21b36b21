"""What the actors of one runtime are told, written down as facts while it runs.

The one module that reads messages and actors for those who only watch: stories, counts of what was
reached, the check of the invariants. A fact is a plain tuple, because most are never looked at:

    (kind, at, place, runtime, *details)

*at* is the clock's time, *place* a position that its owner understands (in a simulation, how many
switches there had been), *runtime* the watched runtime's number. The details of each kind stand
beside its name below.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence, Sized
from typing import Any, Protocol, TypeAlias

from actors.group import CorrelationGroupActor
from actors.messages import (
    AddChild,
    Admitted,
    AttemptEnded,
    AttemptTimedOut,
    Cancel,
    CancelGroup,
    CancelMembers,
    ChildFinished,
    ChildrenCancelled,
    CodeOver,
    DeadlinePassed,
    Decided,
    Drain,
    GroupChanged,
    GroupDeadlinePassed,
    Refused,
    Requeue,
    Seal,
    Settled,
    SubmitCall,
    SubmitGroup,
    SubmitMore,
    SubmitOne,
)
from orchestrator.expansion import TemplateChildren
from orchestrator.values import Execution, ExecutionState, GroupResult

__all__ = ["End", "Fact", "Observer", "Position", "ids_of"]

Fact: TypeAlias = tuple[Any, ...]

# Told to the allocator
SUBMITTED = "submitted"  # execution, parent id or None, deadline, own timeout, whether a scope
EMITTED = "emitted"  # group id, parent id, its task id, children, actions, policy, deadline,
#                      deadline of each child, lazy, reply
DRAWN = "drawn"  # group id, index, child, action: one more of a lazy group
REQUEUED = "requeued"  # execution id: its next attempt is queued
PAUSED = "paused"  # execution id, whether an attempt follows: its code is over, it is not
CANCELLING = "cancelling"  # execution id: it is decided, its code runs on
SETTLED = "settled"  # execution id, state: it and all below it are over
REST_CANCELLED = "rest cancelled"  # group id, reason: seen after the turn
DRAINING = "draining"  # whether what runs is cancelled

# Told to an execution
ADMITTED = "admitted"  # group id
REFUSED = "refused"  # execution id, the reply of the emit, error
CODE_ENDED = (
    "code ended"  # execution id, attempt, error, value: the actor hears that its code is over
)
CANCELLED = "cancelled"  # execution id, reason, its state, its attempts: a cancel has come
DEADLINE = "deadline"  # execution id, whether it had ended
TIMED_OUT = "timed out"  # execution id, attempt
CHANGED = "changed"  # group id, result, whether it has ended

# Told to a group
REPORTED = "reported"  # group id, index, `End`
DROPPED = "dropped"  # group id, indexes, reason: cancelled in the queue
GROUP_DEADLINE = "group deadline"  # group id
GROUP_CANCELLED = "group cancelled"  # group id, reason
ADDED = "added"  # group id
SEALED = "sealed"  # group id, error or None
DECIDED = "decided"  # group id, result, what the outputs were then: seen after the turn

# Seen where user code is run and where it waits
STARTED = "started"  # execution id, attempt, task, action, deadline, whether async
RETURNED = "returned"  # execution id, attempt, task, whether interrupted: its code is over
WAITS = "waits"  # token, who, subject, timeout, whether its slots are free meanwhile
WAITED = "waited"  # token, who, subject, outcome, value; of one that never waited no WAITS
STOOD_ASIDE = "stood aside"  # execution id: its worker is free, in blocking()
CAME_BACK = "came back"  # execution id, whether it was interrupted: it has its worker again
# outcomes of waits
ANSWERED, EXPIRED, HOPELESS, INTERRUPTED = "answered", "expired", "hopeless", "interrupted"
AT_ONCE = 0  # the token of a wait for what had happened already


class Position(Protocol):
    """Where a run is: in a simulation, its world."""

    @property
    def now(self) -> float:
        """The clock's seconds."""
        ...

    @property
    def path(self) -> Sized:
        """One entry for each switch so far."""
        ...


class End(Protocol):
    """How a child has ended: its last snapshot, or as much of it as there is of a leaf."""

    @property
    def id(self) -> str:
        """The child's."""
        ...

    @property
    def state(self) -> ExecutionState:
        """An ended one."""
        ...

    @property
    def output(self) -> Any:
        """Of a completed one."""
        ...

    @property
    def error(self) -> BaseException | None:
        """Of any other."""
        ...

    @property
    def attempts(self) -> int:
        """How many there were."""
        ...


def ids_of(children: Sequence[Execution]) -> list[str]:
    """The ids of what was emitted, without making children that nobody has looked at."""
    if isinstance(children, TemplateChildren):
        return children.ids()
    return [child.id for child in children]


class Observer:
    """Writes down what the actors of one runtime are told.

    Args:
        facts: Where to; several runtimes may share it.
        position: Asked for each fact.
        runtime: The number of the runtime.
    """

    def __init__(self, facts: MutableSequence[Fact], position: Position, runtime: int = 0) -> None:
        self._append = facts.append
        self._position = position
        self._runtime = runtime
        self._results: dict[str, GroupResult | None] = {}  # by group, what it was last seen to be
        self._held: dict[str, Fact] = {}  # by group, what it is told, behind reports of leaves

    def note(self, kind: str, *details: Any) -> None:
        """Write down one fact."""
        position = self._position
        self._append((kind, position.now, len(position.path), self._runtime, *details))

    def on_message(self, actor: Any, message: Any) -> Callable[[Any], None] | None:
        """An actor is about to handle a message; what to call with it after that."""
        kind = message.__class__
        is_group = actor.__class__ is CorrelationGroupActor
        if is_group and actor.group_id not in self._results:
            self._results[actor.group_id] = None
            self.look(actor)  # an empty group has decided when it was made
        read = _READERS.get(kind)
        if read is not None:
            position = self._position
            head = read[0], position.now, len(position.path), self._runtime
            fact = head + read[1](actor, message)
            if is_group and actor.reports.ends:
                self._held[actor.group_id] = fact  # these come before
            else:
                self._append(fact)
            if kind is GroupChanged:
                self.saw_result(message.group_id, message.result)
        if kind is CancelMembers:  # a fact once each member has been told
            return lambda _actor: self.note(REST_CANCELLED, message.group_id, message.reason)
        return self.took_in if is_group else None

    def took_in(self, group: CorrelationGroupActor) -> None:
        """A group has taken in the reports of its leaves, and goes on to what it was told."""
        if self._held:
            fact = self._held.pop(group.group_id, None)
            if fact is not None:
                self.look(group)
                self._append(fact)
        self.look(group)

    def look(self, group: CorrelationGroupActor) -> None:
        """Note what a group has decided."""
        result = group.result
        if result is not None:
            self.saw_result(group.group_id, result)

    def saw_result(self, group_id: str, result: GroupResult | None) -> None:
        """Somebody has seen what a group has decided; ``None``: nothing yet."""
        if result is not None and result is not self._results.get(group_id):
            self._results[group_id] = result
            self.note(DECIDED, group_id, result, tuple(result.outputs))


def _submitted(_actor: Any, message: SubmitOne) -> tuple[Any, ...]:
    emission = message.emission
    return (
        message.child, emission.parent_id, emission.deadline, emission.own_timeout,
        message.scope is not None,
    )  # fmt: skip


def _called(_actor: Any, message: SubmitCall) -> tuple[Any, ...]:
    emission = message.emission
    return message.child, emission.parent_id, emission.deadline, emission.own_timeout, False


def _emitted(_actor: Any, message: SubmitGroup) -> tuple[Any, ...]:
    emission = message.emission
    return (
        emission.group_id, emission.parent_id, emission.task_base, message.children,
        message.actions, message.policy, message.deadline, emission.deadline, message.lazy,
        message.reply,
    )  # fmt: skip


def _cancelled(actor: Any, message: Cancel) -> tuple[Any, ...]:
    view: Execution = actor.view()
    return actor.execution_id, message.reason, view.state, view.attempts


def _deadline(actor: Any, _message: DeadlinePassed) -> tuple[Any, ...]:
    state: ExecutionState = actor.view().state
    return actor.execution_id, state.ended


def _code_over(_actor: Any, message: CodeOver) -> tuple[Any, ...]:
    return message.execution_id, message.pausing


_READERS: dict[type, tuple[str, Callable[[Any, Any], tuple[Any, ...]]]] = {
    SubmitOne: (SUBMITTED, _submitted),
    SubmitCall: (SUBMITTED, _called),
    SubmitGroup: (EMITTED, _emitted),
    SubmitMore: (DRAWN, lambda _a, m: (m.emission.group_id, m.index, m.child, m.action)),
    Requeue: (REQUEUED, lambda _a, m: (m.execution_id,)),
    CodeOver: (PAUSED, _code_over),
    Decided: (CANCELLING, lambda _a, m: (m.execution_id,)),
    Settled: (SETTLED, lambda _a, m: (m.execution_id, m.state)),
    Drain: (DRAINING, lambda _a, m: (m.cancel,)),
    Admitted: (ADMITTED, lambda _a, m: (m.group_id,)),
    Refused: (REFUSED, lambda a, m: (a.execution_id, m.reply, m.error)),
    AttemptEnded: (CODE_ENDED, lambda a, m: (a.execution_id, m.number, m.error, m.value)),
    Cancel: (CANCELLED, _cancelled),
    DeadlinePassed: (DEADLINE, _deadline),
    AttemptTimedOut: (TIMED_OUT, lambda a, m: (a.execution_id, m.number)),
    GroupChanged: (CHANGED, lambda _a, m: (m.group_id, m.result, m.ended)),
    ChildFinished: (REPORTED, lambda a, m: (a.group_id, m.index, m.child)),
    ChildrenCancelled: (DROPPED, lambda a, m: (a.group_id, tuple(m.indexes), m.reason)),
    GroupDeadlinePassed: (GROUP_DEADLINE, lambda a, _m: (a.group_id,)),
    CancelGroup: (GROUP_CANCELLED, lambda a, m: (a.group_id, m.reason)),
    AddChild: (ADDED, lambda a, _m: (a.group_id,)),
    Seal: (SEALED, lambda a, m: (a.group_id, m.error)),
}
