"""One attempt of one execution, shared by its actor and by the code that runs it.

Three things here are touched from several threads, each by one atomic step: the start token,
which the worker or the cancel takes; the interruption, which is set once and before the waits are
woken; and the table of waits, into which a wait puts itself before it looks at the interruption.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from _thread import allocate_lock, get_ident
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.loans import Ledger
from actors.messages import Lending
from actors.protocol_actor import send
from orchestrator.asynchronous import AsyncOrchestrator
from orchestrator.blocking import Orchestrator
from orchestrator.context import ExecutionContext
from orchestrator.core import Core
from orchestrator.errors import Cancelled, MissingExecutionError
from orchestrator.registry import Action
from orchestrator.values import Execution

if TYPE_CHECKING:
    from actors.emission import Emission
    from actors.environment import Environment
    from actors.wait import Wait

__all__ = ["Attempt", "Interruption"]


class Interruption(enum.Enum):
    """Why an attempt's waits end at once."""

    CANCELLED = "cancelled"  # the execution was cancelled, or the attempt ran out of time
    OVER = "over"  # its code has returned; a thread or task of it is left over


class Attempt:
    """One run of an action's code, and the scope of its context.

    Made by the execution's actor; its code is run by the place of the runtime. `started_at`,
    `thread_id` and `task` are written by the place alone, before the code begins.
    """

    # Class attributes stand for what has not happened.
    is_leaf = False  # it has no actor, as far as its own code knows
    started_at: float | None = None
    thread_id: int | None
    task: asyncio.Task[Any] | None = None
    kill: Callable[[], object] | None = None  # ends code that runs in a process
    interruption: Interruption | None = None
    ledger: Ledger | None = None  # of the children that its code has called in its place
    below: Emission | None = None  # of its last call, but for the variables: the next has the same
    context: ExecutionContext
    origin: tuple[Emission, Execution]  # where it comes from, and as it was given
    _view: Callable[[], Execution] | None

    def __init__(
        self,
        environment: Environment,
        ref: Any,
        execution_id: str,
        number: int,
        action: Action,
        given: Any,
        view: Callable[[], Execution],
        variables: contextvars.Context,
        until: Callable[[Any], Any] | None,
        timeout: float | None,
        announced: bool,  # noqa: FBT001 - a flag among facts
        is_async: bool,  # noqa: FBT001
        is_scope: bool,  # noqa: FBT001
    ) -> None:
        self.environment = environment
        self.ref = ref
        self.execution_id = execution_id
        self.number = number
        self.action = action
        self.given = given
        self.variables = variables
        self.until = until
        self.timeout = timeout  # seconds for this attempt
        self.announced = announced  # whether its actor must hear of the start
        self.is_async = is_async
        self.is_scope = is_scope  # its code is the application's own, run where it stands
        self.thread_id = None
        self._view = view
        self._token = allocate_lock()
        self._waits: list[Wait] = []  # a dict of one takes three times as much

    # The start token

    def take(self) -> bool:
        """Take the start token; of the worker and the cancel, only one ever gets ``True``."""
        return self._token.acquire(False)  # noqa: FBT003

    @property
    def as_parent(self) -> Any:
        """The ref that its children tell of their ends."""
        return self.ref

    def open_ledger(self) -> Ledger:
        """A ledger of the children in its place, which the allocator knows from now on."""
        ledger = self.ledger = Ledger()
        send(self.environment.allocator, Lending(self.execution_id, ledger))
        return ledger

    def become_actor(self) -> None:
        """See that the execution has an actor: its code is about to wait."""

    # Interruption

    def end(self) -> None:
        """Its code is over: end the waits of what it left running, now and ever after."""
        self.interruption = Interruption.OVER
        if self._waits:
            self._wake_all()
        # What it shares with its context and its task must not live until a garbage collection.
        self.context = _ENDED
        self.task = None
        if self.below is not None:
            self.below = None

    def cancel(self) -> None:
        """End its waits, now and ever after, and tell its code to end."""
        if self.interruption is None:
            self.interruption = Interruption.CANCELLED
        self._wake_all()
        if self.kill is not None:
            self.kill()
        task = self.task
        if task is not None and not self.environment.call_on_loop(task.get_loop(), task.cancel):
            self.task = None
            self.environment.place.abandon(self)

    def _wake_all(self) -> None:
        for wait in list(self._waits):
            if wait.parked:
                self.environment.wake_ups.wake(wait)
            else:
                wait.waker.unpark()

    def watch(self, wait: Wait) -> None:
        """Wake *wait* when the attempt is interrupted; look at `interruption` afterwards."""
        self._waits.append(wait)

    def unwatch(self, wait: Wait) -> None:
        """Forget a `watch`."""
        if wait in self._waits:
            self._waits.remove(wait)
        if wait.parked:
            wait.parked = False
            wake_ups = self.environment.wake_ups
            if wake_ups.on_their_way:
                wake_ups.over(wait)

    @property
    def may_lend(self) -> bool:
        """Whether its code holds a worker, or needs none, and nothing else of it waits."""
        return not (self.is_scope or self._waits or self.action.max_concurrency is not None)

    @property
    def may_keep(self) -> bool:
        """Whether it may have its worker still while it waits for a child that needs none."""
        return not (self.is_async or self.is_leaf)  # of a leaf, the allocator knows its run alone

    @property
    def holds_slots(self) -> bool:
        """Whether its own code has to get slots back when a wait of it ends."""
        return not self.is_scope and (not self.is_async or self.action.max_concurrency is not None)

    def check(self) -> None:
        """Raise what a wait or an emit of an interrupted attempt raises."""
        match self.interruption:
            case None:
                return
            case Interruption.OVER:
                message = (
                    f"attempt {self.number} of execution {self.execution_id!r}"
                    f" ({self.action.name}) has ended; what it left running can emit or wait no"
                    " more: wait for it inside the action"
                )
                raise MissingExecutionError(message)
            case Interruption.CANCELLED if self.is_async:
                message = f"execution {self.execution_id!r} was cancelled"
                raise asyncio.CancelledError(message)
            case Interruption.CANCELLED:
                message = f"execution {self.execution_id!r} was cancelled"
                raise Cancelled(message)

    # Who is speaking

    def on_own_thread(self) -> bool:
        """Whether the calling thread is the one that runs the blocking code."""
        return not self.is_async and self.thread_id == get_ident()

    def in_own_task(self) -> bool:
        """Whether the calling task is the one that runs the async code."""
        return self.task is not None and self.task is asyncio.current_task(_get_running_loop())

    # The scope of its context

    @property
    def cancelled(self) -> bool:
        """Whether the code should end."""
        return self.interruption is Interruption.CANCELLED

    def now(self) -> float:
        """The runtime clock's monotonic seconds."""
        return self.environment.clock.now()

    def snapshot(self) -> Execution:
        """The execution as it is now."""
        view = self._view
        assert view is not None  # noqa: S101 - a leaf, which may have none, looks itself
        return view()

    def orchestrator(self, context: ExecutionContext) -> Orchestrator | AsyncOrchestrator:
        """The face for this attempt's kind of code."""
        core = Core.over(self.environment.runtime, context)
        return AsyncOrchestrator._over(core) if self.is_async else Orchestrator._over(core)  # noqa: SLF001

    def __repr__(self) -> str:
        return f"<attempt {self.number} of {self.execution_id!r} ({self.action.name})>"


_ENDED = ExecutionContext(None)  # stands for the context of attempts whose code is over
