"""Children that are handed out many at a time, and have no actor until somebody needs one.

Most children start, return and are never spoken to. A worker is handed a *run* of them and starts
one after another; what such a *leaf* comes to is a tuple that its group takes in with others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from actors.batch import Batch
from actors.leaf import LeafAttempt
from actors.loans import Ledger
from actors.messages import RunOver
from actors.protocol_actor import put_aside, send

if TYPE_CHECKING:
    from actors.admission import Slots
    from actors.environment import Environment
    from actors.wait import Nap

__all__ = ["Run"]


_ONE = (0,)
_NONE: dict[Ledger, None] = {}


class Run:
    """Children of a batch that were handed to one worker, or to the loop.

    Two things are settled by one atomic step each, a ``setdefault`` of a dict. Who has a child's
    start token (`owners`): its attempt, once the worker has taken it; or a cancel, or the allocator
    that gave it to others. And what a started child ends as (`fates`): a leaf, or an actor.
    """

    # Class attributes stand for what has not happened.
    thread_id: int | None = None  # the worker's
    ledger: Ledger | None = None  # of a child that runs in its caller's place
    completed = 0  # written by the worker, or the loop, alone; the allocator adds up what is new
    taken = 0  # the allocator's own: start tokens that it has taken back
    adopted: set[int] | None = None  # the allocator's own: which are live as actors
    called_out = False  # the caller's actor's own: it knows that the called child is one
    nap: Nap | None = None  # the allocator's own: the last sleep of its blocking child
    ledgers: dict[Ledger, None] = _NONE  # of its leaves that call; one's own once there is one
    seen_started = 0
    seen_completed = 0

    def __init__(
        self, environment: Environment, batch: Batch, indexes: Sequence[int], slots: Slots
    ) -> None:
        self.environment = environment
        self.batch = batch
        self.slots = slots
        self.indexes = indexes
        self.pending: deque[int] = deque(indexes)  # what nobody has looked at
        self.owners: dict[int, object] = {}
        self.fates: dict[int, object] = {}
        self._ends = count(1)

    @classmethod
    def of_call(cls, environment: Environment, batch: Batch, ledger: Ledger) -> Self:
        """The run of a child that is called in its caller's place, which nobody can take back."""
        run = cls.__new__(cls)
        run.environment = environment
        run.batch = batch
        run.ledger = ledger
        run.indexes = _ONE
        run.pending = [0]  # type: ignore[assignment]  # as good for one, and cheap
        run.owners = {}
        run.fates = {}
        return run

    def take(self, index: int) -> bool:
        """Take a child's start token away from the worker; only one ever gets ``True``."""
        mine = object()
        if index not in self.indexes or self.owners.setdefault(index, mine) is not mine:
            return False
        self.taken += 1
        return True

    @property
    def started(self) -> int:
        """How many have been started.

        By their tokens: a count of the worker's own could come after somebody has made one of
        them an actor, and the allocator has ended the run.
        """
        return len(self.owners) - self.taken

    def withdraw(self, most: int | None = None) -> list[int]:
        """Take the tokens of the *most* last children, or of all, in the order of emission."""
        pending = self.pending
        taken: list[int] = []
        while pending and (most is None or len(taken) < most):
            try:
                index = pending.pop()
            except IndexError:
                break  # somebody else has the last one
            if self.take(index):
                taken.append(index)
        taken.reverse()
        return taken

    def find(self, index: int) -> Any:
        """The actor of a child that has started, made if it had none.

        ``None`` where it has ended as a leaf, or the allocator knows the actor already.
        """
        attempt = self.owners.get(index)
        known = self.adopted is not None and index in self.adopted
        return attempt.ref if isinstance(attempt, LeafAttempt) and not known else None

    def runs_code(self, index: int) -> bool:
        """Whether the child is a leaf whose code runs."""
        attempt = self.owners.get(index)
        return isinstance(attempt, LeafAttempt) and not attempt.code_over

    def attempts(self) -> list[LeafAttempt]:
        """Of the children whose code runs."""
        owners = list(self.owners.values())
        return [one for one in owners if isinstance(one, LeafAttempt) and not one.code_over]

    def is_last(self) -> bool:
        """Whether the child that has just ended, or become an actor, is the last of all.

        Asked once for each child of the loop, so that one of them sees it, on whatever thread.
        """
        return next(self._ends) == len(self.indexes)

    def tell_over(self) -> None:
        """Tell the allocator that all of it is over; without a turn where that changes nothing.

        As mostly: it was no call; all have completed as leaves; nothing waits for the worker; no
        member of the group is blocked; and its parent has not ended, so that there will be another
        message. It is put first, and the allocator looks for one when it has written what is
        looked at here: one of the two sees the other.
        """
        environment, group = self.environment, self.batch.group
        allocator, loans = environment.allocator, environment.loans
        if group is None or self.completed < len(self.indexes):
            send(allocator, RunOver(self))
            return
        put_aside(allocator, RunOver(self))
        if (
            (loans.front is not None and loans.only is not self)
            or group.node.blocked
            or not self.batch.emission.parent.is_alive()
        ):
            allocator.actor_inbox.look()
