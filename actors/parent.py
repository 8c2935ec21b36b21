"""What an execution does as a parent: it emits groups, calls children, resumes and merges."""

from __future__ import annotations

from abc import abstractmethod

from actors.below import Below
from actors.failures import attempt_over
from actors.messages import (
    Admitted,
    Call,
    CallOut,
    CancelGroup,
    ChildEnded,
    Emit,
    GroupChanged,
    MergeDone,
    Refused,
    Release,
)
from actors.protocol_actor import tell
from actors.record import ExecutionRecord, Phase
from actors.resume import PendingOutput
from orchestrator.errors import UnknownGroupError
from orchestrator.values import ExecutionState

__all__ = ["ParentActor"]

_RUNNING = ExecutionState.RUNNING
_WAIT_ASYNC = ExecutionState.WAIT_ASYNC


class ParentActor(ExecutionRecord):
    """The part of an execution's actor that deals with what is below it.

    Whenever something below has changed it calls `_proceed`, where the execution goes on.
    """

    @abstractmethod
    def _proceed(self) -> None:
        """Go on as far as what is below the attempt allows."""

    @abstractmethod
    def _try_settle(self) -> None:
        """End, if it is decided and all of it is over."""

    @abstractmethod
    def _complete(self) -> None:
        """All is merged."""

    @abstractmethod
    def _tell_code_over(self, *, pausing: bool = False) -> None:
        """The slots are free though the execution goes on."""

    def _on_emit(self, message: Emit) -> None:
        below = self._below_for(message)
        if below is not None:
            self._emitted_groups += 1
            below.emit(message, f"{self._given.id}#{self._emitted_groups}")

    def _on_call(self, message: Call) -> None:
        below = self._below_for(message)
        if below is not None:
            below.call(message)

    def _below_for(self, message: Emit | Call) -> Below | None:
        """What is below the attempt that asks, if its code may still emit; else it is told why."""
        attempt = self._attempt
        if (
            attempt is None
            or attempt.number != message.number
            or self._code_over
            or attempt.interruption is not None
        ):
            message.reply.set_error(self._gone(message.number))
            return None
        if self._below is None:
            self._below = Below(self._environment, attempt, self._emission, self._given)
        return self._below

    def _gone(self, number: int) -> BaseException:
        """What the code of an attempt that is over, or was cancelled, is told."""
        attempt = self._attempt
        try:
            if attempt is not None and attempt.number == number:
                attempt.check()
        except BaseException as error:  # noqa: BLE001 - it is the answer
            return error
        return attempt_over(self._given.id)

    def _on_admitted(self, message: Admitted) -> None:
        below = self._below
        assert below is not None  # noqa: S101 - made by the emit
        below.admitted(message)
        if self._final is not None or self._phase is Phase.FAILING:
            tell(message.group, CancelGroup("its parent has ended", rest_too=True))
        elif self._phase is Phase.CODE and not below.groups_ended:
            self._enter(_WAIT_ASYNC, self._environment.clock.now())
        message.reply.set(message.group_id)
        if self._final is not None:  # it has forgotten the others already
            below.forget_groups()
        self._proceed()

    def _on_refused(self, message: Refused) -> None:
        assert self._below is not None  # noqa: S101 - made by the emit
        self._below.refused(message)
        self._proceed()

    def _on_group_changed(self, message: GroupChanged) -> None:
        below = self._below
        if below is None:
            return
        below.group_changed(message)
        if (
            self._state is _WAIT_ASYNC
            and self._phase is Phase.CODE
            and message.ended
            and below.groups_ended
        ):
            self._enter(_RUNNING, self._environment.clock.now())
        self._unblock()
        self._proceed()

    def _on_call_out(self, message: CallOut) -> None:
        """A child that the code has called is to be waited for."""
        if message.run is not None:
            if message.run.called_out:
                return  # two have made it an actor, and by now it may have ended
            message.run.called_out = True
        attempt = self._attempt
        if self._below is None and attempt is not None:
            self._below = Below(self._environment, attempt, self._emission, self._given)
        if self._below is not None:
            self._below.call_out(message.child_id)
            if self._final is not None or self._phase is Phase.FAILING:
                self._below.cancel_calls("its parent has ended")

    def _on_child_ended(self, message: ChildEnded) -> None:
        below = self._below
        if below is not None:
            below.child_ended(message.child_id, settled=message.settled)
            self._proceed()

    def _end_below(self, reason: str) -> None:
        if self._below is not None:
            self._below.end(reason)

    def _on_release(self, message: Release) -> None:
        if self._below is not None:
            self._below.release(message)
        else:
            message.reply.set_error(UnknownGroupError(message.group_id))

    # Resume and merge

    def _pending_output(self) -> PendingOutput:
        if self._pending is None:
            self._pending = PendingOutput(
                self._environment, self.actor_ref, self._given.id, self._emission.variables
            )
        return self._pending

    def _unblock(self) -> None:
        """Answer `await_resume` once no group is open."""
        pending, below = self._pending, self._below
        if pending is None or not pending.awaited or pending.merging:
            return
        if self._final is None and below is not None:
            if below.any_open:
                return
            if not pending.merge(below.take_unconsumed()):
                return  # `MergeDone` follows
        pending.answer(self.view())

    def _merge_rest(self) -> None:
        """The code has returned and all below has ended: merge what it has not consumed."""
        pending = self._pending_output()
        if pending.merging:
            return
        if self._value is not None:
            pending.output, self._value = self._value, None
        assert self._below is not None  # noqa: S101 - there is something to merge
        if pending.merge(self._below.take_unconsumed()):
            self._complete()
        else:
            self._tell_code_over()
            self._phase = Phase.MERGING

    def _on_merge_done(self, message: MergeDone) -> None:
        if self._pending is None or not self._pending.merging:
            return  # of an attempt that is over
        self._pending.done(message)
        if self._final is not None:
            self._try_settle()
            return
        if self._phase is Phase.MERGING:
            self._phase = Phase.BELOW
        self._unblock()
        self._proceed()
