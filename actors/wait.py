"""The handle of one wait, by which the allocator answers whoever waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pykka import ActorDeadError

from actors.failures import attempt_over

if TYPE_CHECKING:
    from actors.admission import Returning
    from actors.attempt import Attempt
    from actors.fan_in import Completed
    from actors.leaf import LeafAttempt
    from actors.loans import Ledger
    from orchestrator.errors import DeadlockError
    from orchestrator.protocols import Subject
    from orchestrator.values import Execution

__all__ = ["CallWait", "GroupWait", "Nap", "Wait"]


class Waker(Protocol):
    """How a thread or task that waits is woken."""

    def unpark(self) -> None:
        """Let it look; it may be woken more often than there is anything new."""
        ...


class Wait:
    """One wait of one thread or task of an attempt.

    The allocator writes `granted` and `refused`, each at most once and before it wakes the
    waiter, who only reads them. `returning` is the allocator's own.
    """

    __slots__ = (
        "attempt",
        "begun",
        "granted",
        "is_over",
        "main",
        "parked",
        "refused",
        "returning",
        "waker",
        "worker_only",
    )

    def __init__(
        self,
        attempt: Attempt,
        waker: Waker,
        *,
        main: bool,
        worker_only: bool = False,
    ) -> None:
        self.attempt = attempt
        self.waker = waker
        self.main = main  # the attempt's own thread or task: its slots are free meanwhile
        self.worker_only = worker_only  # the user's own wait keeps the action slot
        self.parked = False  # its thread is one of the runtime, and does nothing else meanwhile
        self.granted = False
        self.begun = False  # the allocator's own: it has been counted
        self.is_over = False  # the allocator's own: its end has been counted
        self.refused: DeadlockError | None = None
        self.returning: Returning | None = None

    def grant(self) -> None:
        """The waiter has its slots back."""
        self.granted = True
        self.waker.unpark()

    def refuse(self, error: DeadlockError) -> None:
        """The wait could never end."""
        self.refused = error
        self.waker.unpark()


class GroupWait(Wait):
    """The wait of an execution's own code for a group that it has emitted.

    As long as nothing is queued and nobody waits for anything but what is below itself, the
    allocator need not hear of it: see `Loans`.
    """

    __slots__ = ("can_expire", "subject")

    subject: Subject  # these are what the allocator would be told
    can_expire: bool


class Nap(Wait):
    """The sleep of a leaf's own code, which stays a leaf: nothing hangs on who sleeps.

    Where it becomes an actor meanwhile, this is a wait like any other from then on.
    """

    __slots__ = ("adopted",)

    attempt: LeafAttempt

    def __init__(self, attempt: LeafAttempt, waker: Waker) -> None:
        super().__init__(attempt, waker, main=True)
        self.begun = True
        self.adopted = False  # the allocator's own: it is the wait of an actor


class CallWait(Wait):
    """The wait of a caller's own code for the child that it has called.

    The child's end is in it, and the worker that ran a leaf has it granted with the same message
    that ends the run: the caller sends none (see benchmarks/fan_out.py).
    """

    __slots__ = ("can_expire", "ended", "error", "keeps", "ledger")

    def __init__(self, attempt: Attempt, waker: Waker, *, can_expire: bool) -> None:
        self.attempt = attempt  # and not by super's: there is one for every call
        self.waker = waker
        self.main = True
        self.worker_only = self.parked = self.begun = self.granted = self.is_over = False
        self.refused = None
        self.returning = None
        self.can_expire = can_expire  # it has a timeout
        self.ended: Execution | tuple[Any] | None = None
        self.error: BaseException | None = None  # it was refused
        self.keeps = False  # its worker, though the child needs none
        self.ledger: Ledger | None = None  # where the child runs in the caller's place

    @property
    def answered(self) -> bool:
        """Whether the child has ended, or was refused."""
        return self.ended is not None or self.error is not None

    # As a group's reports, for a leaf

    def add(self, end: Completed) -> None:
        """The child has completed as a leaf.

        Unless it ran in the caller's place, the end of its run wakes the caller.
        """
        ledger = self.ledger
        if ledger is None:
            self.ended = (end[1],)
            return
        ledger.completed += 1  # first: who sees the end may call, and count, the next
        self.ended = (end[1],)
        self.waker.unpark()

    def tell(self) -> None:
        """Nothing: the caller is woken by its grant."""

    # As a reply, for an actor

    def set(self, ended: Execution) -> None:
        """The child has ended, whichever way."""
        self.ended = ended
        self.waker.unpark()

    def set_exception(self, exc_info: Any) -> None:
        """Nobody was there to start the child, or failed to."""
        if exc_info[0] is ActorDeadError:
            self.set_error(attempt_over(self.attempt.execution_id))
        else:
            self.set_error(exc_info[1])

    def set_error(self, error: BaseException) -> None:
        """The child was refused."""
        self.error = error
        self.waker.unpark()
