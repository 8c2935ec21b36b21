"""The actor of one execution."""

from __future__ import annotations

import enum
import math
from typing import Any, assert_never

import attrs

from actors.attempt import Attempt
from actors.below import Below
from actors.emission import Emission, snapshot
from actors.environment import Environment
from actors.merging import merged, runs_user_code
from actors.messages import (
    Admitted,
    AttemptEnded,
    AttemptStarted,
    AttemptTimedOut,
    AwaitUnblock,
    Call,
    Cancel,
    CancelExecution,
    CancelGroup,
    ChildEnded,
    ChildFinished,
    ChildSettled,
    CodeOver,
    Consumed,
    DeadlinePassed,
    Decided,
    Emit,
    ExecutionMessage,
    ForgetGroups,
    GroupChanged,
    MergeDone,
    ReadSnapshot,
    Refused,
    Release,
    Requeue,
    RetryDue,
    Settled,
    Start,
    SubmitGroup,
    SubmitOne,
    WithdrawUnblock,
)
from actors.protocol_actor import ProtocolActor, tell
from actors.retrying import may_retry
from actors.system import Future
from actors.failures import attempt_over, combined, translated
from orchestrator.context import ExecutionContext
from orchestrator.errors import (
    ExecutionCancelledError,
    ExecutionTimeoutError,
    UnknownGroupError,
)
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

__all__ = ["ExecutionActor"]

_RUNNING = ExecutionState.RUNNING
_WAIT_ASYNC = ExecutionState.WAIT_ASYNC
_SCHEDULED = ExecutionState.SCHEDULED
_COMPLETED = ExecutionState.COMPLETED
_FAILED = ExecutionState.FAILED


class _Phase(enum.Enum):
    """Where the current attempt is."""

    QUEUED = enum.auto()  # no attempt: slots are waited for
    CODE = enum.auto()  # its code may be running
    BELOW = enum.auto()  # it has returned a value: what it emitted has to end
    MERGING = enum.auto()  # reducers run
    FAILING = enum.auto()  # it has failed: what is below it is cancelled and has to end
    PAUSE = enum.auto()  # between two attempts


class ExecutionActor(ProtocolActor):
    """Owns one execution: its state, attempts, pending output and cancellation.

    It is *decided* once, with the snapshot that everyone is told. It has *settled* when its code
    and all below it are over too; then it ends.

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
    """

    def __init__(  # noqa: PLR0913 - what an execution is
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
        self._state = _SCHEDULED
        self._phase = _Phase.QUEUED
        self._attempts = 0
        self._attempt: Attempt | None = None
        self._code_over = True
        self._started_at: float | None = None
        self._value: Any = None
        self._pending: Any = None  # the pending output, groups merged into it
        self._errors: list[Exception] = []  # of merged groups, not yet told to the code
        self._failure: AttemptEnded | None = None
        self._timed_out: ExecutionTimeoutError | None = None
        self._below: Below | None = None  # groups and calls; most executions have none
        self._emitted_groups = 0
        self._unblocks: list[AwaitUnblock] = []
        self._merging = False
        self._final: Execution | None = None
        self._told_settled = False
        self._has_slots = False  # whether the allocator counts it as running
        self._timer: Any = None  # of the attempt, or of the pause after it
        self._deadline_timer: Any = None
        self._deadline = emission.deadline
        if emission.own_timeout is not None:
            own = environment.clock.now() + emission.own_timeout
            self._deadline = own if self._deadline is None else min(own, self._deadline)

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
                self._unblocks.append(message)
                self._unblock()
            case WithdrawUnblock():
                self._on_withdraw(message)
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
            case ReadSnapshot():
                message.reply.set(self.view())
            case _:
                assert_never(message)

    def view(self) -> Execution:
        """The execution as it is now."""
        if self._final is not None:
            return self._final
        started_at = self._started_at
        if started_at is None and self._attempt is not None:
            started_at = self._attempt.started_at
        state = self._state
        if state is _SCHEDULED and self._phase is _Phase.CODE and started_at is not None:
            state = _RUNNING  # nobody listened when it started
        return self._snapshot(state, output=self._pending, started_at=started_at)

    # An attempt

    def _on_start_attempt(self) -> None:
        self._has_slots = True
        if self._final is not None:  # cancelled while its slots were being taken
            return
        environment = self._environment
        emission = self._emission
        self._attempts += 1
        self._phase = _Phase.CODE
        self._code_over = False
        timeout = self._given.timeout if self._given.timeout is not None else self._action.timeout
        if timeout == math.inf:
            timeout = None
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
            self._phase = _Phase.BELOW
            if self._below is not None:
                self._cancel_calls("its parent's code has returned")
            self._proceed()

    def _mark_code_over(self, attempt: Attempt) -> None:
        self._code_over = True
        if attempt.started_at is not None:
            self._started_at = attempt.started_at
        attempt.end()

    def _fail_attempt(self, failure: AttemptEnded) -> None:
        """The attempt has failed: end what is below it, then go on to the next or to the end."""
        self._failure = failure
        self._phase = _Phase.FAILING
        self._end_below("its parent's attempt has failed")
        self._proceed()

    def _proceed(self) -> None:
        """Go on as far as what is below the attempt allows."""
        if self._final is not None:
            self._try_settle()
            return
        below = self._below
        match self._phase:
            case _Phase.BELOW:
                if below is None:
                    self._complete()
                elif below.all_ended:
                    self._merge_rest()
                else:
                    self._tell_code_over()
            case _Phase.FAILING:
                if self._will_retry():
                    if below is None or below.all_settled:
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

    def _tell_code_over(self) -> None:
        """The slots are free though the execution goes on; told once per attempt."""
        if self._has_slots:
            self._has_slots = False
            open_groups = () if self._below is None else self._below.open_groups()
            tell(self._environment.allocator, CodeOver(self._given.id, open_groups))

    def _pause(self) -> None:
        """Forget the failed attempt and wait for the next one's time."""
        retry = self._given.retry or self._action.retry
        assert retry is not None  # noqa: S101 - _will_retry has seen it
        self._tell_code_over()
        self._forget_groups()
        self._below = None
        self._pending = None
        self._value = None
        self._errors = []
        self._failure = None
        self._timed_out = None
        self._attempt = None
        self._started_at = None
        self._phase = _Phase.PAUSE
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
        if self._phase is _Phase.PAUSE and number == self._attempts and self._final is None:
            self._phase = _Phase.QUEUED
            tell(self._environment.allocator, Requeue(self._given.id))

    # Below: groups and calls

    def _on_emit(self, message: Emit) -> None:
        attempt = self._attempt_of(message.number)
        if attempt is None:
            message.reply.set_error(self._gone(message.number))
            return
        self._emitted_groups += 1
        if self._below is None:
            self._below = Below()
        self._below.emitting += 1
        now = self._environment.clock.now()
        timeout = message.policy.timeout
        deadline = None if timeout is None else now + timeout
        group_id = f"{self._given.id}#{self._emitted_groups}"
        emission = self._emission_for(attempt, message.variables, group_id, deadline)
        if message.policy.until is not None:
            emission = attrs.evolve(emission, until=message.policy.until)
        tell(
            self._environment.allocator,
            SubmitGroup(
                emission,
                message.policy,
                message.children,
                message.actions,
                deadline,
                message.lazy,
                message.reply,
            ),
        )

    def _emission_for(
        self, attempt: Attempt, variables: Any, group_id: str | None, deadline: float | None
    ) -> Emission:
        above = attempt.context.deadline
        if above is not None:
            deadline = above if deadline is None else min(deadline, above)
        emission = self._emission
        given = self._given
        return Emission(
            attempt.context.process,
            emission.depth + 1,
            emission.priority if given.priority is None else given.priority,
            variables,
            emission.entries,
            given.task_id or given.id,
            given.id,
            self.actor_ref,
            group_id,
            None,
            deadline,
        )

    def _on_admitted(self, message: Admitted) -> None:
        below = self._below
        assert below is not None  # noqa: S101 - made by the emit
        below.emitting -= 1
        below.open(message.group_id, message.group, message.merge)
        if self._final is not None or self._phase is _Phase.FAILING:
            tell(message.group, CancelGroup("its parent has ended", rest_too=True))
        elif self._phase is _Phase.CODE and not below.groups_ended:
            self._enter(_WAIT_ASYNC, self._environment.clock.now())
        message.reply.set(message.group_id)
        self._proceed()

    def _on_refused(self, message: Refused) -> None:
        assert self._below is not None  # noqa: S101 - made by the emit
        self._below.emitting -= 1
        message.reply.set_error(message.error)
        self._proceed()

    def _on_call(self, message: Call) -> None:
        attempt = self._attempt_of(message.number)
        if attempt is None:
            message.reply.set_error(self._gone(message.number))
            return
        if self._below is None:
            self._below = Below()
        self._below.called(message.child.id)
        emission = self._emission_for(attempt, message.variables, None, None)
        tell(
            self._environment.allocator,
            SubmitOne(emission, message.child, message.action, message.reply),
        )

    def _attempt_of(self, number: int) -> Attempt | None:
        """The attempt, if its code may still emit."""
        attempt = self._attempt
        if (
            attempt is None
            or attempt.number != number
            or self._code_over
            or attempt.interruption is not None
        ):
            return None
        return attempt

    def _gone(self, number: int) -> BaseException:
        """What the code of an attempt that is over, or was cancelled, is told."""
        attempt = self._attempt
        try:
            if attempt is not None and attempt.number == number:
                attempt.check()
        except BaseException as error:  # noqa: BLE001 - it is the answer
            return error
        return attempt_over(self._given.id)

    def _on_group_changed(self, message: GroupChanged) -> None:
        below = self._below
        if below is None:
            return
        below.group_changed(message)
        if (
            self._state is _WAIT_ASYNC
            and self._phase is _Phase.CODE
            and message.ended
            and below.groups_ended
        ):
            self._enter(_RUNNING, self._environment.clock.now())
        self._unblock()
        self._proceed()

    def _on_child_ended(self, message: ChildEnded) -> None:
        below = self._below
        if below is not None:
            below.child_ended(message.child_id, settled=message.settled)
            self._proceed()

    def _end_below(self, reason: str) -> None:
        if self._below is None:
            return
        for group in self._below.unended():
            tell(group, CancelGroup(reason, rest_too=True))
        self._cancel_calls(reason)

    def _cancel_calls(self, reason: str) -> None:
        assert self._below is not None  # noqa: S101 - the callers look
        for child_id in self._below.calls_out():
            tell(self._environment.allocator, CancelExecution(child_id, reason))

    def _forget_groups(self) -> None:
        group_ids = () if self._below is None else self._below.group_ids()
        if group_ids:
            tell(self._environment.allocator, ForgetGroups(group_ids))

    def _on_release(self, message: Release) -> None:
        group = None if self._below is None else self._below.groups.get(message.group_id)
        if group is None or group.released:
            message.reply.set_error(UnknownGroupError(message.group_id))
        elif group.result is None:
            message.reply.set_error(
                ValueError(
                    f"group {message.group_id!r} is still open; await it or cancel it, then"
                    " release it"
                )
            )
        else:
            group.released = group.consumed = True
            tell(self._environment.allocator, ForgetGroups((message.group_id,)))
            message.reply.set(None)

    # Resume and merge

    def _unblock(self) -> None:
        """Answer `await_resume` once no group is open."""
        below = self._below
        if not self._unblocks or self._merging:
            return
        if self._final is None and below is not None:
            if below.any_open:
                return
            if below.unconsumed():
                self._merge()
                return
        unblocks, self._unblocks = self._unblocks, []
        for message in unblocks:
            errors, self._errors = self._errors, []
            if errors and self._final is None:
                message.reply.set_error(combined(errors, self._given.id))
            else:
                message.reply.set(self.view())

    def _on_withdraw(self, message: WithdrawUnblock) -> None:
        self._unblocks = [one for one in self._unblocks if one.reply is not message.reply]
        if not message.reply.done():
            message.reply.set_error(message.error)

    def _merge_rest(self) -> None:
        """The code has returned and all below has ended: merge what it has not consumed."""
        below = self._below
        if self._value is not None:
            self._pending, self._value = self._value, None
        if below is not None and below.unconsumed():
            self._tell_code_over()
            self._phase = _Phase.MERGING
            self._merge()
        else:
            self._complete()

    def _merge(self) -> None:
        """Merge the groups not yet consumed, in the order of their emission."""
        assert self._below is not None  # noqa: S101 - there are groups
        groups = self._below.take_unconsumed()
        rules = [group.merge for group in groups]
        results = [group.result for group in groups]
        errors = [result.error for result in results if result is not None and result.error]
        steps = [
            (result.outputs, rule)
            for result, rule in zip(results, rules, strict=True)
            if result is not None and result.error is None
        ]
        self._merging = True
        if runs_user_code([rule for _outputs, rule in steps]):
            self._merge_apart(self._pending, steps, errors)
            return
        output = self._pending
        for outputs, rule in steps:
            output = merged(output, outputs, rule)
        self._on_merge_done(MergeDone(output, tuple(errors)))

    def _merge_apart(self, output: Any, steps: list[Any], errors: list[Exception]) -> None:
        """Run the reducers on a worker thread, in the context of the emit."""
        ref = self.actor_ref
        variables = self._emission.variables.copy()

        def run() -> None:
            nonlocal output
            for outputs, rule in steps:
                try:
                    output = variables.run(merged, output, outputs, rule)
                except Exception as error:  # noqa: BLE001 - it fails the parent
                    errors.append(error)
                except BaseException as raised:  # noqa: BLE001 - likewise
                    errors.append(translated(raised, "a merge"))
            tell(ref, MergeDone(output, tuple(errors)))

        self._environment.dispatcher.execute(run)

    def _on_merge_done(self, message: MergeDone) -> None:
        self._merging = False
        self._pending = message.output
        self._errors.extend(message.errors)
        if self._phase is _Phase.MERGING:
            self._phase = _Phase.BELOW
            self._proceed()
        elif self._final is not None:
            self._try_settle()
        else:
            self._unblock()

    def _complete(self) -> None:
        """The attempt is done; errors of groups that nobody was told of are its failure."""
        if self._errors:
            errors, self._errors = self._errors, []
            error = combined(errors, self._given.id)
            self._fail_attempt(AttemptEnded(self._attempts, error=error))
            return
        output = self._pending if self._value is None else self._value
        self._decide(_COMPLETED, output=output)

    # The end

    def _on_cancel(self, reason: str) -> None:
        if self._final is not None:
            return
        self._stop_code()
        self._decide(
            ExecutionState.CANCELLED, error=ExecutionCancelledError(self._given.id, reason)
        )

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
            or self._phase not in (_Phase.CODE, _Phase.BELOW)
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
            else:
                attempt.cancel()
        self._end_below("its parent has ended")

    def _decide_failed(self) -> None:
        failure = self._failure
        assert failure is not None  # noqa: S101 - what brought us here
        self._decide(_FAILED, error=failure.error, traceback=failure.traceback)

    def _decide(
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
        previous = self._state
        final = self._final = self._snapshot(state, output=output, error=error, completed_at=now)
        if error is not None:
            object.__setattr__(final, "_traceback", traceback or error.__traceback__)
        if self._timer is not None:
            self._cancel_timer()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        publisher = environment.publisher
        if publisher.active:
            if previous is _SCHEDULED and final.started_at is not None:
                # It started before anybody listened: each change is told, in its order.
                publisher.changed(
                    self._snapshot(_RUNNING, started_at=final.started_at),
                    _SCHEDULED,
                    final.started_at,
                )
                previous = _RUNNING
            publisher.changed(final, previous, now)
        self._state = state
        if self._below is not None:
            self._forget_groups()
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
        if self._unblocks:
            self._unblock()
        if self._reply is not None:
            self._reply.set(final)

    def _is_settled(self) -> bool:
        return (
            self._code_over
            and not self._merging
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
        tell(self._environment.allocator, Settled(self._given.id, self._state))
        if self._over is not None:
            self._over.set(None)
        self.finish()

    # Small things

    def _enter(self, state: ExecutionState, at: float) -> None:
        previous = self._state
        if previous is state:
            return
        self._state = state
        if self._environment.publisher.active:
            self._environment.publisher.changed(self.view(), previous, at)

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

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
