"""How the code of an execution calls a child: it waits, and lends its worker where it may."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from actors.attempt import Attempt
from actors.batch import Batch
from actors.below import emission_below
from actors.emission import Emission, cancelled_snapshot, snapshot
from actors.environment import Environment
from actors.leaf import LEAF
from actors.messages import SubmitCall
from actors.protocol_actor import request
from actors.run import Run
from actors.system.parking import new_parker
from actors.system.waiting import LoopWaiter
from actors.wait import CallWait
from orchestrator.errors import AwaitTimeoutError, DuplicateExecutionError
from orchestrator.ids import was_issued
from orchestrator.protocols import Subject
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState
from runtime.waits import Waits, wake_later

__all__ = ["Calls"]


class Calls:
    """The calls of one runtime's executions, by their own threads and tasks."""

    def __init__(self, environment: Environment, waits: Waits) -> None:
        self._environment = environment
        self._waits = waits

    def call(
        self, attempt: Attempt, child: Execution, action: Action, timeout: float | None
    ) -> Execution | tuple[Any]:
        """Run *child* and block this thread, which is the attempt's own, until it has ended."""
        _check_in(attempt)
        now = self._environment.clock.now
        deadline = None if timeout is None else now() + timeout
        parker = new_parker()
        wait = CallWait(attempt, parker, can_expire=timeout is not None)
        run = self._lend(wait, child, action)
        try:
            attempt.watch(wait)
            if run is None:
                self._submit(wait, child, action)
            else:
                self._environment.place.start_run(run)
            while (
                wait.ended is None
                and wait.error is None
                and wait.refused is None
                and attempt.interruption is None
            ):
                left = None if deadline is None else deadline - now()
                if left is not None and left <= 0:
                    break
                parker.park(left)
        finally:
            others = wait.keeps and not self._environment.loans.take_kept(wait)  # have its worker
            if run is None or not self._take_back(run):
                self._waits.come_back(wait, parker, deadline)
            elif run.fates.get(0) is LEAF:
                while not wait.answered:  # its worker has yet to say what it ended with
                    parker.park()
            if others and not wait.granted:
                self._waits.come_back(wait, parker, deadline)
            attempt.unwatch(wait)
        return _answer_of(wait, child, timeout)

    def _lend(self, wait: CallWait, child: Execution, action: Action) -> Run | None:
        """The run of a child in its caller's place; ``None`` where the allocator has a say."""
        environment, attempt = self._environment, wait.attempt
        loans = environment.loans
        alike = action.is_async is attempt.is_async
        if not (alike or attempt.may_keep) or not attempt.may_lend:
            return None
        if not (loans.lets_ahead(*attempt.origin, child) if alike else loans.front is None):
            return None
        if not action.is_plain or child.timeout is not None or not was_issued(child.id):
            return None  # an id that was made up may be called by two at once: one is refused
        if loans.is_running(child.id):
            raise DuplicateExecutionError(child.id, "has the id of one that is running")
        if not child.claim():
            raise DuplicateExecutionError(child.id)
        if not alike:
            if not loans.keep(wait):
                child.unclaim()
                return None
            wait.keeps = True
        ledger = attempt.ledger
        if ledger is None:
            ledger = attempt.open_ledger()
        variables = contextvars.copy_context()
        emission = _below(attempt)
        priority = emission.priority if child.priority is None else child.priority
        now = environment.clock.now()
        batch = Batch(emission, (child,), action, priority, now, None, wait, variables, leaves=True)
        run = Run.of_call(environment, batch, ledger)
        wait.ledger = ledger
        ledger.began += 1
        if environment.publisher.active:
            scheduled = snapshot(emission, child, None, ExecutionState.SCHEDULED, scheduled_at=now)
            environment.publisher.changed(scheduled, ExecutionState.PENDING, now)
        loans.runs[child.id] = run  # from now on somebody may cancel it
        return run

    def _take_back(self, run: Run) -> bool:
        """The caller goes on in its own place; ``False``: the child is an actor, and holds it."""
        environment, batch = self._environment, run.batch
        if run.fates.get(0) is not LEAF:
            if run.take(0):  # it has not started, and never will
                if run.ledger is not None:
                    run.ledger.cancelled += 1
                if environment.publisher.active:
                    now = environment.clock.now()
                    reason = "its caller gave up"
                    end = cancelled_snapshot(batch.emission, batch.children[0], None, reason, now)
                    environment.publisher.changed(end, ExecutionState.SCHEDULED, now)
            elif run.find(0) is not None and run.fates.get(0) is not LEAF:
                return False
        environment.loans.runs.pop(batch.children[0].id, None)
        return run.fates.get(0) in (None, LEAF)

    def _submit(self, wait: CallWait, child: Execution, action: Action) -> None:
        wait.attempt.become_actor()
        emission, variables = _below(wait.attempt), contextvars.copy_context()
        request(self._environment.allocator, SubmitCall(emission, variables, child, action, wait))

    def _abandon(self, wait: CallWait, run: Run | None) -> None:
        """The caller's coroutine is closed where it waits."""
        if run is None or not self._take_back(run):
            self._waits.abandon(wait)

    async def call_async(
        self, attempt: Attempt, child: Execution, action: Action, timeout: float | None
    ) -> Execution | tuple[Any]:
        """Run *child* and wait in this task, which is the attempt's own, until it has ended."""
        _check_in(attempt)
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        wait = CallWait(attempt, waiter, can_expire=timeout is not None)
        run = self._lend(wait, child, action)
        timer = None if timeout is None else wake_later(loop, timeout, waiter.unpark)
        attempt.watch(wait)
        if run is None:
            self._submit(wait, child, action)
        else:
            self._environment.place.start_run(run)
        try:
            if attempt.interruption is None and not (wait.refused or wait.answered):
                await waiter.future
        except asyncio.CancelledError:
            if run is None or not self._take_back(run):
                await self._waits.come_back_async(wait, loop)
            raise
        except BaseException:  # the coroutine is closed where it stands: it may not wait
            self._abandon(wait, run)
            raise
        else:
            if run is None or not self._take_back(run):
                await self._waits.come_back_async(wait, loop)
        finally:
            if timer is not None:
                timer.cancel()
            attempt.unwatch(wait)
        return _answer_of(wait, child, timeout)


def _below(attempt: Attempt) -> Emission:
    """What the attempt's calls have in common: all but their variables."""
    emission = attempt.below
    if emission is None or emission.process is not attempt.context.process:
        emission = attempt.below = emission_below(
            attempt, *attempt.origin, _NO_VARIABLES, ref=attempt.as_parent
        )
    return emission


_NO_VARIABLES = contextvars.Context()  # so that an attempt and its context don't hold each other


def _check_in(attempt: Attempt) -> None:
    """Raise what a wait of an interrupted attempt raises."""
    if attempt.interruption is not None:
        attempt.check()


def _answer_of(wait: CallWait, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
    """What a call's wait came to; raises what else ended it."""
    if wait.attempt.interruption is not None:
        wait.attempt.check()
    if wait.refused is not None:
        raise wait.refused
    if wait.error is not None:
        raise wait.error
    if wait.ended is None:
        raise AwaitTimeoutError(str(Subject("execution", child.id)), timeout or 0.0)
    return wait.ended
