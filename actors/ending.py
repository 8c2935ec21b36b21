"""How an execution ends: decided once, settled when all of it is over."""

from __future__ import annotations

from typing import Any

from actors.attempt import Attempt
from actors.messages import ChildEnded, ChildFinished, ChildSettled, CodeOver, Decided, Settled
from actors.parent import ParentActor
from actors.protocol_actor import put_aside, tell
from orchestrator.values import ExecutionState

__all__ = ["EndingActor"]

_FAILED = ExecutionState.FAILED


class EndingActor(ParentActor):
    """The part of an execution's actor that stops its code and tells everyone of its end."""

    def _mark_code_over(self, attempt: Attempt) -> None:
        self._code_over = True
        if attempt.started_at is not None:
            self._started_at = attempt.started_at
        attempt.end()

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
        self._told_settled = settled = self._is_settled()
        if not settled:
            self._tell_decided()  # before anybody hears of the end
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
        if settled:
            self._leave()
        emission = self._emission
        if emission.group is not None:
            tell(emission.group, ChildFinished(self._index or 0, final, settled))
        elif emission.parent is not None:
            tell(emission.parent, ChildEnded(self._given.id, settled))
        if settled:
            self._settle()
        if self._pending is not None:
            self._unblock()
        if self._reply is not None:
            self._reply.set(final)

    def _tell_decided(self) -> None:
        """It holds up nobody's wait from now on, though its code or something below it runs."""
        name, allocator = self._given.id, self._environment.allocator
        tell(allocator, CodeOver(name, ()) if self._code_over else Decided(name))

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
            self._leave()
            emission = self._emission
            if emission.group is not None:
                tell(emission.group, ChildSettled())
            elif emission.parent is not None:
                tell(emission.parent, ChildEnded(self._given.id, settled=True))
        self._settle()

    def _leave(self) -> None:
        """Be over for whoever asks from now on, before anybody hears of it.

        Its groups are unknown, and the allocator has it counted before it answers anybody; but it
        takes no turn for that before those who decide by this end.
        """
        self.finish()
        put_aside(self._environment.allocator, Settled(self._given.id, self._state))

    def _settle(self) -> None:
        self._attempt = self._below = self._pending = None  # they hold this actor
        self._environment.allocator.actor_inbox.look()
        if self._over is not None:
            self._over.set(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
