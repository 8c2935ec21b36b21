"""Everything that the runtime's actors can be told, with who tells it to whom and how often.

An application speaks to an `ExecutionActor` or to the allocator through `runtime`; the rest is
between actors. Replies are futures that ride in the message.
"""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from actors.emission import Emission
from actors.loans import Ledger
from actors.system import Future
from orchestrator.protocols import Subject
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState, GroupPolicy, GroupResult, MergeRule

if TYPE_CHECKING:
    from actors.attempt import Attempt
    from actors.ends import EndsLog, EndsReader
    from actors.run import Run
    from actors.wait import CallWait, Nap, Wait

Ref: TypeAlias = Any  # a PooledActorRef; Any, since its class is generic in the actor

# To the allocator


@frozen(eq=False)
class SubmitGroup:
    """Queue the children of one emit. Execution -> allocator; answered by `Admitted` or *reply*."""

    emission: Emission
    policy: GroupPolicy
    children: Sequence[Execution]
    actions: Sequence[Action]  # one for each child, or a single one for all
    deadline: float | None  # the group's own
    lazy: bool
    reply: Future[str]


@frozen(eq=False)
class SubmitMore:
    """One more child of a lazy group. Group -> allocator."""

    emission: Emission
    index: int
    child: Execution
    action: Action
    at: float  # when it was drawn


@frozen(eq=False)
class SubmitOne:
    """Start a root, a scope or a called child. Runtime or execution -> allocator."""

    emission: Emission
    child: Execution
    action: Action
    reply: Future[Execution]  # its end; an error where it was refused
    scope: Future[Attempt] | None = None  # the caller's own code is the attempt
    settled: Future[None] | None = None  # resolved when all of it is over


@frozen(eq=False)
class SubmitCall:
    """Start a called child, for which its caller's own code waits. Caller -> allocator.

    It is `WaitBegan` at once. *wait* is told the child's end, or an error where it was refused.
    """

    emission: Emission
    variables: contextvars.Context  # of the call: the emission is of the last one's
    child: Execution
    action: Action
    wait: CallWait

    @property
    def reply(self) -> Any:
        """The wait: it takes an error as a future would."""
        return self.wait


@frozen(eq=False)
class Lending:
    """Code is about to call children in its own place. Caller -> allocator, once per attempt."""

    execution_id: str
    ledger: Ledger


@frozen(eq=False)
class RunOver:
    """All children of a run have ended or are actors. Worker or loop -> allocator."""

    run: Run


@frozen(eq=False)
class Promoted:
    """A child of a run is an actor from now on. Whoever asks for it -> allocator; once counts."""

    run: Run
    index: int
    ref: Ref


@frozen(eq=False)
class Requeue:
    """The next attempt is due. Execution -> allocator, once per retry."""

    execution_id: str


@frozen(eq=False)
class CodeOver:
    """An attempt's code is over, the execution is not. Execution -> allocator.

    Once when it begins to wait for what is below it, once when it pauses; and once where it is
    decided while something below it runs on, before anybody hears of that.
    """

    execution_id: str
    waiting_for: tuple[str, ...]  # its groups that have not ended
    pausing: bool = False  # between two attempts


@frozen(eq=False)
class Decided:
    """An execution is decided while its code still runs.

    Execution -> allocator, at most once, and before anybody hears of the decision.
    """

    execution_id: str


@frozen(eq=False)
class Settled:
    """An execution and everything below it is over. Execution -> allocator, exactly once."""

    execution_id: str
    state: ExecutionState


@frozen(eq=False)
class Stamped:
    """A rate-limited attempt's call begins. Worker -> allocator, once per attempt."""

    execution_id: str
    at: float


@frozen(eq=False)
class WaitBegan:
    """Code waits: its slots are free meanwhile. Waiter -> allocator."""

    wait: Wait
    subject: Subject | None
    can_expire: bool  # the wait has a timeout


@frozen(eq=False)
class NapBegan:
    """A leaf's blocking code sleeps: its worker is free meanwhile. Sleeper -> allocator."""

    nap: Nap


@frozen(eq=False)
class WaitEnded:
    """The waiter is back and needs its slots. Waiter -> allocator; the first one counts.

    Of blocking code that sleeps as a leaf, the clock sends it: the thread is woken with its worker.
    """

    wait: Wait


@frozen(eq=False)
class WaitHurried:
    """The returning waiter can wait no longer. Waiter -> allocator, at most once per wait."""

    wait: Wait
    unwinding: bool  # it was cancelled


@frozen(eq=False)
class CancelMembers:
    """Cancel what is still out of a group. Group -> allocator, at most once."""

    group_id: str
    reason: str


@frozen(eq=False)
class CancelExecution:
    """Cancel one execution by id. Anyone -> allocator; the reply tells whether it is live.

    The code of an execution sends it by way of its own actor, so that it comes behind its calls.
    """

    execution_id: str
    reason: str
    reply: Future[bool] | None = None


@frozen(eq=False)
class GroupSealed:
    """A lazy source adds no more children. Group -> allocator, once."""

    group_id: str


@frozen(eq=False)
class GroupEnded:
    """No member of the group is out any more. Group -> allocator, once."""

    group_id: str


@frozen(eq=False)
class ForgetGroups:
    """Their emitter has ended, or they were released. Execution -> allocator."""

    group_ids: tuple[str, ...]
    reply: Future[None] | None = None  # resolved when they are unknown to everyone


@frozen(eq=False)
class Drain:
    """Take no more roots; the reply resolves when nothing is left. Runtime -> allocator."""

    reply: Future[None]
    cancel: bool
    reason: str


@frozen(eq=False)
class UnblockOther:
    """`AwaitUnblock` for an execution that is not the speaker's. Runtime -> allocator."""

    execution_id: str
    reply: Future[Execution]


@frozen(eq=False)
class SnapshotOther:
    """`ReadSnapshot` for any live execution. Runtime -> allocator."""

    execution_id: str
    reply: Future[Execution]


@frozen(eq=False)
class EndsConfirmed:
    """That many ends have come, and are taken in. Group -> allocator, once asked."""

    group_id: str
    count: int


@frozen(eq=False)
class ReadStats:
    """What the counters are now. Runtime -> allocator."""

    reply: Future[Any]


@frozen(eq=False)
class AdmitNext:
    """A rate has a permit again. Timer -> allocator."""


AllocatorMessage: TypeAlias = (
    SubmitGroup
    | SubmitMore
    | SubmitOne
    | SubmitCall
    | Lending
    | RunOver
    | Promoted
    | Requeue
    | CodeOver
    | Decided
    | Settled
    | Stamped
    | WaitBegan
    | NapBegan
    | WaitEnded
    | WaitHurried
    | CancelMembers
    | CancelExecution
    | GroupSealed
    | GroupEnded
    | EndsConfirmed
    | ForgetGroups
    | Drain
    | UnblockOther
    | SnapshotOther
    | ReadStats
    | AdmitNext
)

# To an execution


@frozen(eq=False)
class Start:
    """Its slots are taken: begin the next attempt. Allocator -> execution, once per attempt."""


@frozen(eq=False)
class AttemptStarted:
    """The call begins. Worker -> execution, once per attempt where somebody needs to know."""

    number: int
    at: float


@frozen(eq=False)
class AttemptEnded:
    """The code is over. Worker -> execution, exactly once per started attempt."""

    number: int
    value: Any = None
    error: Exception | None = None
    raised: BaseException | None = None  # what the code raised, of which *error* was made
    traceback: TracebackType | None = None


@frozen(eq=False)
class Emit:
    """Open a group. The attempt's code -> execution."""

    number: int
    children: Sequence[Execution]
    actions: Sequence[Action]
    policy: GroupPolicy
    variables: Any
    lazy: bool
    reply: Future[str]


@frozen(eq=False)
class Admitted:
    """The group is open and its children are queued. Allocator -> execution, once per group."""

    group_id: str
    group: Ref
    log: EndsLog
    merge: MergeRule
    reply: Future[str]


@frozen(eq=False)
class Refused:
    """The group was not opened; nothing is queued. Allocator -> execution."""

    reply: Future[str]
    error: Exception


@frozen(eq=False)
class Call:
    """Run one child outside any group. The attempt's code -> execution."""

    number: int
    child: Execution
    action: Action
    variables: Any
    reply: Future[Execution]


@frozen(eq=False)
class CallOut:
    """A called child is an actor, and will tell of its end.

    Child -> parent, once by each who made it one out of a leaf of *run*, else once.
    """

    child_id: str
    run: Run | None = None


@frozen(eq=False)
class ChildEnded:
    """A called child has ended. Child -> parent; *settled* when all of it is over."""

    child_id: str
    settled: bool


@frozen(eq=False)
class GroupChanged:
    """How far a group is. Group -> parent, whenever one of these becomes true."""

    group_id: str
    result: GroupResult  # it has decided
    ended: bool  # and every member has ended
    settled: bool  # and all of their code is over


@frozen(eq=False)
class AwaitUnblock:
    """Resolve when no group is open, with the pending output merged. Code -> execution."""

    reply: Future[Execution]


@frozen(eq=False)
class WithdrawUnblock:
    """The waiter's patience is over; answers *reply* with *error* if nothing else did. Code."""

    reply: Future[Execution]
    error: Exception


@frozen(eq=False)
class Consumed:
    """The code was given a group's decision. Code -> execution."""

    group_id: str


@frozen(eq=False)
class MergeDone:
    """The reducers have run. Worker -> execution."""

    output: Any
    errors: tuple[Exception, ...]


@frozen(eq=False)
class Cancel:
    """End. Anyone -> execution; the first one counts."""

    reason: str


@frozen(eq=False)
class DeadlinePassed:
    """The execution's own deadline has passed. Timer -> execution."""


@frozen(eq=False)
class AttemptTimedOut:
    """The attempt took too long. Timer -> execution."""

    number: int


@frozen(eq=False)
class RetryDue:
    """The pause between attempts is over. Timer -> execution."""

    number: int


@frozen(eq=False)
class Release:
    """Forget a decided group. Code -> execution; the reply is an error for an open one."""

    group_id: str
    reply: Future[None]


@frozen(eq=False)
class ReadSnapshot:
    """The execution as it is now. Anyone -> execution."""

    reply: Future[Execution]


ExecutionMessage: TypeAlias = (
    Start
    | AttemptStarted
    | AttemptEnded
    | Emit
    | Admitted
    | Refused
    | Call
    | CallOut
    | ChildEnded
    | GroupChanged
    | AwaitUnblock
    | WithdrawUnblock
    | Consumed
    | MergeDone
    | Cancel
    | DeadlinePassed
    | AttemptTimedOut
    | RetryDue
    | Release
    | CancelExecution
    | ReadSnapshot
)

# To a group


@frozen(eq=False)
class ChildFinished:
    """A child has ended, its retries included. Execution -> group, exactly once per child.

    *settled* is false where its code, or something below it, was told to end and has not yet;
    then a `ChildSettled` follows.
    """

    index: int  # place in the emission, not of arrival
    child: Execution  # its last snapshot
    settled: bool


@frozen(eq=False)
class Reported:
    """There are ends of leaves to take in. Worker -> group, for each run and where it matters."""


@frozen(eq=False)
class ChildSettled:
    """All of a child that has ended is over. Execution -> group, at most once per child."""


@frozen(eq=False)
class ChildrenCancelled:
    """Children were cancelled in the queue. Allocator -> group."""

    indexes: Sequence[int]
    reason: str
    at: float


@frozen(eq=False)
class GroupDeadlinePassed:
    """The group's deadline has passed. Timer -> group."""


@frozen(eq=False)
class CancelGroup:
    """Decide as cancelled, unless decided; end what is still out. Anyone -> group."""

    reason: str
    rest_too: bool = False  # also what cancel_rest=False left running: the parent has ended


@frozen(eq=False)
class Draw:
    """How many children there is room for; 0: the group has ended. Feeder -> group."""

    reply: Future[int]


@frozen(eq=False)
class AddChild:
    """A child was drawn. Feeder -> group."""

    child: Execution
    action: Action


@frozen(eq=False)
class Seal:
    """The source is over, *error* if it raised. Feeder -> group, once."""

    error: Exception | None = None


@frozen(eq=False)
class SourceClosed:
    """The source is closed. Feeder -> group, once, after it all."""


@frozen(eq=False)
class ReadEnds:
    """Tell when there are ends that *reader* has not read, or no more come. Reader -> group."""

    reader: EndsReader
    reply: Future[None]


@frozen(eq=False)
class LeaveReaders:
    """A reader has left. Reader -> group."""

    reader: EndsReader


@frozen(eq=False)
class ConfirmEnds:
    """Tell when so many ends have come. Allocator -> group, where members may be in a cycle."""

    count: int


@frozen(eq=False)
class Forget:
    """Nobody can ask for the group any more: end when it has settled. Allocator -> group."""


GroupMessage: TypeAlias = (
    ChildFinished
    | Reported
    | ChildSettled
    | ChildrenCancelled
    | GroupDeadlinePassed
    | CancelGroup
    | Draw
    | AddChild
    | Seal
    | SourceClosed
    | ReadEnds
    | LeaveReaders
    | ConfirmEnds
    | Forget
)
