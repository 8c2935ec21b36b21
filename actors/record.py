"""What an execution is, and what it shows of itself."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from actors.emission import Emission, snapshot
from actors.environment import Environment
from actors.messages import AttemptEnded
from actors.protocol_actor import ProtocolActor
from actors.system import Future
from orchestrator.errors import ExecutionTimeoutError
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

if TYPE_CHECKING:
    from actors.attempt import Attempt
    from actors.below import Below
    from actors.leaf import LeafAttempt
    from actors.resume import PendingOutput

__all__ = ["ExecutionRecord", "Phase"]

_RUNNING = ExecutionState.RUNNING
_SCHEDULED = ExecutionState.SCHEDULED
_WAIT_ASYNC = ExecutionState.WAIT_ASYNC


class Phase(enum.Enum):
    """Where the current attempt is."""

    QUEUED = enum.auto()  # no attempt: slots are waited for
    CODE = enum.auto()  # its code may be running
    BELOW = enum.auto()  # it has returned a value: what it emitted has to end
    MERGING = enum.auto()  # reducers run
    FAILING = enum.auto()  # it has failed: what is below it is cancelled and has to end
    PAUSE = enum.auto()  # between two attempts


class ExecutionRecord(ProtocolActor):
    """The state of one execution: the part of its actor that every other part reads.

    Args:
        environment: The runtime's.
        emission: Where it comes from.
        given: The execution as it was emitted.
        action: What it runs.
        index: Its place in its group.
        scheduled_at: When it was queued.
        reply: Resolved with its last snapshot; for roots and called children.
        scope: Resolved with the attempt, where the caller's own code is the attempt.
        over: Resolved when it has settled.
        admitted: Its slots are taken: it starts at once, without a `Start`.
        running: Its first attempt, whose code runs: it was a leaf until now.
    """

    # Class attributes stand for what has not happened yet: most executions need few of them.
    _state = _SCHEDULED
    _phase = Phase.QUEUED
    _attempts = 0
    _attempt: Attempt | None = None
    _code_over = True
    _started_at: float | None = None
    _last_started_at: float | None = None  # of the attempt before, while no other has started
    _value: Any = None
    _pending: PendingOutput | None = None  # what groups are merged into
    _failure: AttemptEnded | None = None
    _timed_out: ExecutionTimeoutError | None = None
    _below: Below | None = None  # groups and calls; most executions have none
    _emitted_groups = 0
    _final: Execution | None = None
    _shown: Execution | None = None  # as it last was; made once, as each emit of it asks
    _told_settled = False
    _has_slots = False  # whether the allocator counts it as running
    _timer: Any = None  # of the attempt, or of the pause after it
    _deadline_timer: Any = None

    def __init__(
        self,
        environment: Environment,
        emission: Emission,
        given: Execution,
        action: Action,
        index: int | None,
        scheduled_at: float,
        reply: Future[Execution] | None = None,
        scope: Future[Attempt] | None = None,
        over: Future[None] | None = None,
        *,
        admitted: bool = False,
        running: LeafAttempt | None = None,
    ) -> None:
        super().__init__()
        self._environment = environment
        self._emission = emission
        self._given = given
        self._action = action
        self._index = index
        self._scheduled_at = scheduled_at
        self._reply = reply
        self._admitted = admitted
        self._scope = scope
        self._over = over
        self._deadline = emission.deadline
        if running is not None:
            self._attempt = running
            self._attempts = running.number
            self._phase = Phase.CODE
            self._code_over = False
            self._has_slots = True
        if emission.own_timeout is not None:
            own = environment.clock.now() + emission.own_timeout
            self._deadline = own if self._deadline is None else min(own, self._deadline)

    def take_over(self, running: LeafAttempt) -> None:
        """Go on from what a leaf has told of itself; called before the first turn."""
        self._started_at = running.started_at
        if running.told_running:
            self._state = _RUNNING

    @property
    def execution_id(self) -> str:
        """Whose actor it is."""
        return self._given.id

    def view(self) -> Execution:
        """The execution as it is now."""
        if self._final is not None:
            return self._final
        state, below = self._state, self._below
        if self._phase is Phase.CODE and (
            (state is _SCHEDULED and self._began_at is not None)  # nobody listened when it started
            or (state is _WAIT_ASYNC and below is not None and below.groups_have_ended)
        ):
            state = _RUNNING
        return self._shown_as(state)

    @property
    def _began_at(self) -> float | None:
        attempt = self._attempt
        known = self._started_at
        return attempt.started_at if known is None and attempt is not None else known

    def _shown_as(self, state: ExecutionState) -> Execution:
        started_at = self._started_at
        if started_at is None:
            started_at = self._began_at
        pending = self._pending  # looked at once: the actor lets go of it
        output = None if pending is None else pending.output
        shown = self._shown
        if (
            shown is None
            or shown.state is not state
            or shown.output is not output
            or shown.started_at != started_at
            or shown.attempts != self._attempts
        ):
            shown = self._shown = self._snapshot(state, output=output, started_at=started_at)
        return shown

    def _enter(self, state: ExecutionState, at: float) -> None:
        previous = self._state
        if previous is state:
            return
        self._state = state
        if self._environment.publisher.active:
            self._environment.publisher.changed(self._shown_as(state), previous, at)

    def _snapshot(
        self,
        state: ExecutionState,
        *,
        output: Any = None,
        error: Exception | None = None,
        started_at: float | None = None,
        completed_at: float | None = None,
    ) -> Execution:
        return snapshot(
            self._emission,
            self._given,
            self._index,
            state,
            output=output,
            error=error,
            attempts=self._attempts,
            scheduled_at=self._scheduled_at,
            started_at=self._started_at if started_at is None else started_at,
            completed_at=completed_at,
        )

    def _publish_end(self, final: Execution, now: float) -> None:
        previous = self._state
        publisher = self._environment.publisher
        started_at = self._started_at
        if previous is _SCHEDULED and started_at is not None:
            # It started before anybody listened: each change is told, in its order.
            running = self._snapshot(_RUNNING, started_at=started_at)
            publisher.changed(running, _SCHEDULED, started_at)
            previous = _RUNNING
        publisher.changed(final, previous, now)
