"""The actor of one execution."""

from __future__ import annotations

from typing import Any, assert_never

from actors.attempt import Attempt
from actors.messages import (
    Admitted,
    AttemptEnded,
    AttemptStarted,
    AttemptTimedOut,
    AwaitUnblock,
    Call,
    Cancel,
    CancelExecution,
    ChildEnded,
    ChildFinished,
    ChildSettled,
    CodeOver,
    Consumed,
    DeadlinePassed,
    Decided,
    Emit,
    ExecutionMessage,
    GroupChanged,
    MergeDone,
    ReadSnapshot,
    Refused,
    Release,
    Requeue,
    RetryDue,
    Settled,
    Start,
    WithdrawUnblock,
)
from actors.parent import ParentActor
from actors.protocol_actor import ask, tell
from actors.record import Phase
from actors.retrying import may_retry
from orchestrator.checks import checked_timeout
from orchestrator.context import ExecutionContext
from orchestrator.errors import (
    ExecutionCancelledError,
    ExecutionTimeoutError,
    OrchestratorError,
)
from orchestrator.values import ExecutionState

__all__ = ["ExecutionActor"]

_RUNNING = ExecutionState.RUNNING
_WAIT_ASYNC = ExecutionState.WAIT_ASYNC
_SCHEDULED = ExecutionState.SCHEDULED
_COMPLETED = ExecutionState.COMPLETED
_FAILED = ExecutionState.FAILED


class ExecutionActor(ParentActor):
    """Owns one execution: its state, attempts, pending output and cancellation.

    It is *decided* once, with the snapshot that everyone is told. It has *settled* when its code
    and all below it are over too; then it ends.
    """

    def on_start(self) -> None:
        """Set the deadline of an execution that was given one; start what is admitted."""
        if self._emission.own_timeout is not None and self._deadline is not None:
            self._deadline_timer = self._environment.clock.call_at(
                self._deadline, tell, self.actor_ref, DeadlinePassed()
            )
        if self._admitted:
            self._on_start_attempt()

    def on_receive(self, message: ExecutionMessage) -> None:  # noqa: C901, PLR0912 - an index
        """The execution's protocol."""
        match message:
            case AttemptEnded():
                self._on_attempt_ended(message)
            case Start():
                self._on_start_attempt()
            case AttemptStarted():
                self._on_attempt_started(message)
            case GroupChanged():
                self._on_group_changed(message)
            case ChildEnded():
                self._on_child_ended(message)
            case Emit():
                self._on_emit(message)
            case Admitted():
                self._on_admitted(message)
            case Refused():
                self._on_refused(message)
            case Call():
                self._on_call(message)
            case Consumed():
                if self._below is not None:
                    self._below.consume(message.group_id)
            case AwaitUnblock():
                self._pending_output().wait(message)
                self._unblock()
            case WithdrawUnblock():
                self._pending_output().withdraw(message)
            case MergeDone():
                self._on_merge_done(message)
            case Cancel():
                self._on_cancel(message.reason)
            case DeadlinePassed():
                self._on_deadline_passed()
            case AttemptTimedOut():
                self._on_attempt_timed_out(message.number)
            case RetryDue():
                self._on_retry_due(message.number)
            case Release():
                self._on_release(message)
            case CancelExecution():
                ask(self._environment.allocator, message)
            case ReadSnapshot():
                message.reply.set(self.view())
            case _:
                assert_never(message)

    # An attempt

    def _on_start_attempt(self) -> None:
        self._has_slots = True
        if self._final is not None:  # cancelled while its slots were being taken
            return
        environment = self._environment
        emission = self._emission
        self._attempts += 1
        self._phase = Phase.CODE
        self._code_over = False
        timeout = self._given.timeout if self._given.timeout is not None else self._action.timeout
        if timeout is not None:
            timeout = checked_timeout(timeout)  # infinity is none
        attempt = self._attempt = Attempt(
            environment,
            self.actor_ref,
            self._given.id,
            self._attempts,
            self._action,
            self._given.input,
            self.view,
            emission.variables,
            emission.until,
            timeout,
            timeout is not None or bool(environment.publisher.active),
            self._action.is_async,
            self._scope is not None,
        )
        attempt.context = ExecutionContext(
            None, emission.process, emission.entries, self._deadline, scope=attempt
        )
        if self._scope is None:
            environment.place.start(attempt)
        else:
            attempt.take()
            attempt.started_at = environment.clock.now()
            self._on_attempt_started(AttemptStarted(1, attempt.started_at))
            self._scope.set(attempt)

    def _on_attempt_started(self, message: AttemptStarted) -> None:
        attempt = self._attempt
        if attempt is None or message.number != attempt.number or self._final is not None:
            return
        self._started_at = message.at
        if self._state is not _WAIT_ASYNC:  # it may have emitted before this arrived
            self._enter(_RUNNING, message.at)
        if attempt.timeout is not None and not self._code_over:
            self._timer = self._environment.clock.call_at(
                message.at + attempt.timeout, tell, self.actor_ref, AttemptTimedOut(message.number)
            )

    def _on_attempt_ended(self, message: AttemptEnded) -> None:
        attempt = self._attempt
        if attempt is None or message.number != attempt.number or self._code_over:
            return
        self._mark_code_over(attempt)
        if (
            self._below is None
            and message.error is None
            and self._final is None
            and self._timed_out is None
        ):  # as most end: nothing is below it, so nothing is waited for
            self._decide(_COMPLETED, output=message.value)
        elif self._final is not None:
            self._end_below("its parent has ended")
            self._try_settle()
        elif self._timed_out is not None:
            self._fail_attempt(AttemptEnded(message.number, error=self._timed_out))
        elif message.error is not None:
            self._fail_attempt(message)
        else:
            self._value = message.value
            self._phase = Phase.BELOW
            if self._below is not None:
                self._below.cancel_calls("its parent's code has returned")
            self._proceed()

    def _mark_code_over(self, attempt: Attempt) -> None:
        self._code_over = True
        if attempt.started_at is not None:
            self._started_at = attempt.started_at
        attempt.end()

    def _fail_attempt(self, failure: AttemptEnded) -> None:
        """The attempt has failed: end what is below it, then go on to the next or to the end."""
        self._failure = failure
        self._phase = Phase.FAILING
        self._end_below("its parent's attempt has failed")
        self._proceed()

    def _proceed(self) -> None:
        """Go on as far as what is below the attempt allows."""
        if self._final is not None:
            self._try_settle()
            return
        below = self._below
        match self._phase:
            case Phase.BELOW:
                if below is None:
                    self._complete()
                elif below.all_ended:
                    self._merge_rest()
                else:
                    self._tell_code_over()
            case Phase.FAILING:
                if self._will_retry():
                    merging = self._pending is not None and self._pending.merging
                    if (below is None or below.all_settled) and not merging:
                        self._pause()
                    else:
                        self._tell_code_over()
                elif below is None or below.all_ended:
                    self._decide_failed()
                else:
                    self._tell_code_over()
            case _:
                return

    def _will_retry(self) -> bool:
        failure = self._failure
        if failure is None or self._scope is not None:
            return False
        retry = self._given.retry or self._action.retry
        raised = failure.raised if failure.raised is not None else failure.error
        return raised is not None and may_retry(retry, self._attempts, raised)

    def _tell_code_over(self, *, pausing: bool = False) -> None:
        """The slots are free though the execution goes on; told once per attempt, and to pause."""
        if self._has_slots or pausing:
            self._has_slots = False
            open_groups = () if self._below is None else self._below.open_groups()
            tell(self._environment.allocator, CodeOver(self._given.id, open_groups, pausing))

    def _pause(self) -> None:
        """Forget the failed attempt and wait for the next one's time."""
        retry = self._given.retry or self._action.retry
        assert retry is not None  # noqa: S101 - _will_retry has seen it
        self._tell_code_over(pausing=True)
        if self._below is not None:
            self._below.forget_groups()
        self._below = None
        self._pending = None
        self._value = None
        self._failure = None
        self._timed_out = None
        self._attempt = None
        self._last_started_at, self._started_at = self._started_at, None
        self._phase = Phase.PAUSE
        now = self._environment.clock.now()
        self._enter(_SCHEDULED, now)
        pause = retry.pause(self._attempts, self._environment.random() if retry.jitter else 0.0)
        due = RetryDue(self._attempts)
        self._cancel_timer()
        if pause > 0:
            self._timer = self._environment.clock.call_at(now + pause, tell, self.actor_ref, due)
        else:
            self._on_retry_due(due.number)

    def _on_retry_due(self, number: int) -> None:
        if self._phase is Phase.PAUSE and number == self._attempts and self._final is None:
            self._phase = Phase.QUEUED
            tell(self._environment.allocator, Requeue(self._given.id))

    def _complete(self) -> None:
        """The attempt is done; errors of groups that nobody was told of are its failure."""
        output = self._value
        if self._pending is not None:
            error = self._pending.take_error()
            if error is not None:
                self._fail_attempt(AttemptEnded(self._attempts, error=error))
                return
            if output is None:
                output = self._pending.output
        self._decide(_COMPLETED, output=output)

    # The end

    def _on_cancel(self, reason: str) -> None:
        if self._final is not None:
            return
        self._stop_code()
        self._decide(
            ExecutionState.CANCELLED, error=ExecutionCancelledError(self._given.id, reason)
        )

    def on_fault(self, error: Exception) -> None:
        """A fault of this library fails the execution: nobody waits for it for ever."""
        if self._final is None:
            self._stop_code()
            fault = OrchestratorError(
                f"execution {self._given.id!r} was lost to a fault: {error!r}"
            )
            fault.__cause__ = error
            self._decide(_FAILED, error=fault)

    def _on_deadline_passed(self) -> None:
        if self._final is None:
            self._stop_code()
            self._decide(
                _FAILED,
                error=ExecutionTimeoutError(
                    self._given.id, self._action.name, self._emission.own_timeout or 0.0
                ),
            )

    def _on_attempt_timed_out(self, number: int) -> None:
        attempt = self._attempt
        if (
            self._final is not None
            or attempt is None
            or number != attempt.number
            or self._phase not in (Phase.CODE, Phase.BELOW)
        ):
            return
        error = ExecutionTimeoutError(
            self._given.id,
            self._action.name,
            attempt.timeout or 0.0,
            f"the timeout of attempt {number}",
        )
        failure = AttemptEnded(number, error=error)
        if self._code_over:
            self._fail_attempt(failure)
            return
        self._failure = failure
        if self._will_retry():
            self._failure = None
            self._timed_out = error
            attempt.cancel()
            self._end_below("its parent's attempt has timed out")
        else:
            self._stop_code()
            self._decide(_FAILED, error=error)

    def _stop_code(self) -> None:
        """See that the code does not start, or is told to end; and end what is below."""
        attempt = self._attempt
        if attempt is not None and not self._code_over:
            if attempt.take():
                self._mark_code_over(attempt)  # the worker will not run it
                self._attempts -= 1  # so it was none
            else:
                attempt.cancel()
        self._end_below("its parent has ended")

    def _decide_failed(self) -> None:
        failure = self._failure
        assert failure is not None  # noqa: S101 - what brought us here
        self._decide(_FAILED, error=failure.error, traceback=failure.traceback)

    def _decide(  # noqa: C901 - all that an end means, in its order
        self,
        state: ExecutionState,
        *,
        output: Any = None,
        error: Exception | None = None,
        traceback: Any = None,
    ) -> None:
        """Decide it, once, and tell everyone."""
        environment = self._environment
        now = environment.clock.now()
        final = self._final = self._snapshot(
            state,
            output=output,
            error=error,
            started_at=self._last_started_at if self._started_at is None else self._started_at,
            completed_at=now,
        )
        if error is not None:
            object.__setattr__(final, "_traceback", traceback or error.__traceback__)
        if self._timer is not None:
            self._cancel_timer()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        if environment.publisher.active:
            self._publish_end(final, now)
        self._state = state
        if self._below is not None:
            self._below.forget_groups()
        self._told_settled = settled = self._is_settled()
        emission = self._emission
        if emission.group is not None:
            tell(emission.group, ChildFinished(self._index or 0, final, settled))
        elif emission.parent is not None:
            tell(emission.parent, ChildEnded(self._given.id, settled))
        if settled:
            self._settle()
        elif not self._code_over:
            tell(environment.allocator, Decided(self._given.id))
        else:
            self._tell_code_over()
        if self._pending is not None:
            self._unblock()
        if self._reply is not None:
            self._reply.set(final)

    def _is_settled(self) -> bool:
        return (
            self._code_over
            and (self._pending is None or not self._pending.merging)
            and (self._below is None or self._below.all_settled)
        )

    def _try_settle(self) -> None:
        if self._final is None or self.actor_stopped.is_set() or not self._is_settled():
            return
        if not self._told_settled:
            self._told_settled = True
            emission = self._emission
            if emission.group is not None:
                tell(emission.group, ChildSettled())
            elif emission.parent is not None:
                tell(emission.parent, ChildEnded(self._given.id, settled=True))
        self._settle()

    def _settle(self) -> None:
        self._attempt = self._below = self._pending = None  # they hold this actor
        tell(self._environment.allocator, Settled(self._given.id, self._state))
        self.finish()  # before anybody hears of it: its groups are unknown from now on
        if self._over is not None:
            self._over.set(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
