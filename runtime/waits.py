"""How the code of an execution waits: its slots are free meanwhile, and a cancel ends the wait.

One wait has one deadline and one wake-up, to which everything that can end it is tied: the
future, the attempt's interruption, the allocator's refusal, the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from pykka._envelope import Envelope

from actors.attempt import Attempt
from actors.below import emission_below
from actors.emission import cancelled_snapshot, snapshot
from actors.environment import Environment
from actors.loans import Ledger
from actors.messages import Lending, SubmitCall, WaitBegan, WaitEnded, WaitHurried
from actors.protocol_actor import tell
from actors.run import LEAF, Batch, Run, is_plain
from actors.system.parking import Parker, new_parker
from actors.system.waiting import LoopWaiter
from actors.wait import CallWait, Wait
from orchestrator.adapting import wait_for
from orchestrator.context import peek_context
from orchestrator.errors import AwaitTimeoutError, DuplicateExecutionError
from orchestrator.protocols import Subject
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

__all__ = ["Waits", "current_attempt"]

T = TypeVar("T")


def current_attempt(environment: Environment) -> Attempt | None:
    """The attempt of *environment*'s runtime whose context is current."""
    context = peek_context()
    if context is None:
        return None
    scope = context.scope
    if isinstance(scope, Attempt) and scope.environment is environment:
        return scope
    return None


class Waits:
    """The waits of one runtime's executions."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    # In a thread

    def wait(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """Block this thread for *future*."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            return wait_for(future, timeout, subject)
        attempt.check()
        if not future.done():
            if timeout == 0:
                raise AwaitTimeoutError(str(subject), 0.0)
            self._pause(attempt, future, timeout, subject)
            if not future.done():
                raise AwaitTimeoutError(str(subject), timeout or 0.0)
        return future.get()

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            new_parker().park(seconds)
            return
        attempt.check()
        if seconds > 0:
            self._pause(attempt, None, seconds, None)

    def _pause(
        self, attempt: Attempt, future: Any, timeout: float | None, subject: Subject | None
    ) -> None:
        """Return when *future* is done or *timeout* has passed; raise what else ended it."""
        attempt.become_actor()
        now = self._environment.clock.now
        deadline = None if timeout is None else now() + timeout
        parker = new_parker()
        wait = Wait(attempt, parker.unpark, main=attempt.on_own_thread())

        def wake(_future: object) -> None:
            parker.unpark()

        try:
            attempt.watch(wait, parker.unpark)
            if future is not None:
                future.add_done_callback(wake)
            tell(self._environment.allocator, WaitBegan(wait, subject, timeout is not None))
            while attempt.interruption is None and wait.refused is None:
                if future is not None and future.done():
                    break
                left = None if deadline is None else deadline - now()
                if left is not None and left <= 0:
                    break
                parker.park(left)
        finally:
            if future is not None:
                future.remove_done_callback(wake)
            # The end of a sleep is its answer, not its impatience.
            self._come_back(wait, parker, None if future is None else deadline)
            attempt.unwatch(wait)
        attempt.check()
        if wait.refused is not None:
            raise wait.refused

    def _come_back(self, wait: Wait, parker: Parker, deadline: float | None) -> None:
        """Get the slots back; this ends for sure, however long others hold them."""
        attempt = wait.attempt
        allocator = self._environment.allocator
        now = self._environment.clock.now
        if not wait.granted:
            tell(allocator, WaitEnded(wait))
        if not wait.main or not attempt.holds_slots:
            return
        patient, unwinding = deadline is not None, False
        while not wait.granted:
            if attempt.interruption is not None and not unwinding:
                unwinding, patient = True, False
                tell(allocator, WaitHurried(wait, unwinding=True))
            elif patient and deadline is not None and deadline <= now():
                patient = False
                tell(allocator, WaitHurried(wait, unwinding=False))
            else:
                parker.park(deadline - now() if patient and deadline is not None else None)

    def call(
        self, attempt: Attempt, child: Execution, action: Action, timeout: float | None
    ) -> Execution | tuple[Any]:
        """Run *child* and block this thread, which is the attempt's own, until it has ended."""
        attempt.check()
        attempt.become_actor()
        now = self._environment.clock.now
        deadline = None if timeout is None else now() + timeout
        parker = new_parker()
        wait = CallWait(attempt, parker.unpark, can_expire=timeout is not None)
        run = self._lend(wait, child, action)
        try:
            attempt.watch(wait, parker.unpark)
            if run is None:
                self._submit(wait, child, action)
            else:
                self._environment.place.start_run(run)
            while not (wait.answered or wait.refused) and attempt.interruption is None:
                left = None if deadline is None else deadline - now()
                if left is not None and left <= 0:
                    break
                parker.park(left)
        finally:
            if run is None or not self._take_back(wait, run):
                self._come_back(wait, parker, deadline)
            attempt.unwatch(wait)
        return _answer_of(wait, child, timeout)

    def _lend(self, wait: CallWait, child: Execution, action: Action) -> Run | None:
        """The run of a child in its caller's place; ``None`` where the allocator has a say."""
        environment, attempt = self._environment, wait.attempt
        loans = environment.loans
        if not loans.calm or action.is_async is not attempt.is_async or not attempt.may_lend:
            return None
        if not is_plain(action) or child.timeout is not None:
            return None
        if loans.is_running(child.id):
            raise DuplicateExecutionError(child.id, "has the id of one that is running")
        if not child.claim():
            raise DuplicateExecutionError(child.id)
        ledger = attempt.ledger
        if ledger is None:
            ledger = attempt.ledger = Ledger()
            tell(environment.allocator, Lending(attempt.execution_id, ledger))
        variables = contextvars.copy_context()
        emission = ledger.emission
        if emission is None or emission.process is not attempt.context.process:
            emission = ledger.emission = emission_below(attempt, *attempt.origin, variables)
        priority = emission.priority if child.priority is None else child.priority
        now = environment.clock.now()
        batch = Batch(
            emission, (child,), action, priority, now, None, wait, variables, leaves=True
        )
        run = loans.runs[child.id] = Run.of_call(environment, batch, ledger)
        wait.ledger = ledger
        wait.begun = False
        ledger.began += 1
        if environment.publisher.active:
            scheduled = snapshot(
                emission, child, None, ExecutionState.SCHEDULED, scheduled_at=now
            )
            environment.publisher.changed(scheduled, ExecutionState.PENDING, now)
        return run

    def _take_back(self, wait: CallWait, run: Run) -> bool:
        """The caller goes on in its own place; ``False``: the child is an actor, and holds it."""
        environment, batch = self._environment, run.batch
        if run.fates.get(0) is not LEAF:
            if run.take(0):  # it has not started, and never will
                wait.ledger.cancelled += 1
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
        variables = contextvars.copy_context()
        emission = emission_below(wait.attempt, *wait.attempt.origin, variables)
        message = SubmitCall(emission, child, action, wait)
        self._environment.allocator.actor_inbox.put(Envelope(message, wait))

    def blocking(self) -> AbstractContextManager[None]:
        """Free this thread's worker while the caller waits for something of its own."""
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.on_own_thread() or not attempt.holds_slots:
            return contextlib.nullcontext()
        return self._blocking(attempt)

    @contextlib.contextmanager
    def _blocking(self, attempt: Attempt) -> Iterator[None]:
        attempt.become_actor()
        parker = Parker()
        wait = Wait(attempt, parker.unpark, main=True, worker_only=True)
        attempt.watch(wait, parker.unpark)
        tell(self._environment.allocator, WaitBegan(wait, None, can_expire=True))
        try:
            yield
        finally:
            self._come_back(wait, parker, None)
            attempt.unwatch(wait)

    # In a task

    async def wait_async(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """Wait for *future* in this task."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            return await _wait_outside(future, timeout, subject)
        attempt.check()
        if not future.done():
            if timeout == 0:
                raise AwaitTimeoutError(str(subject), 0.0)
            await self._pause_async(attempt, future, timeout, subject)
            if not future.done():
                raise AwaitTimeoutError(str(subject), timeout or 0.0)
        return future.get()

    async def sleep_async(self, seconds: float) -> None:
        """Wait *seconds* in this task."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            await asyncio.sleep(seconds)
            return
        attempt.check()
        if seconds > 0:
            await self._pause_async(attempt, None, seconds, None)
        else:
            await asyncio.sleep(0)

    async def _pause_async(
        self, attempt: Attempt, future: Any, timeout: float | None, subject: Subject | None
    ) -> None:
        attempt.become_actor()
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        wake = functools.partial(waiter.wake, None)
        wait = Wait(attempt, wake, main=attempt.in_own_task())
        timer = _wake_later(loop, timeout, wake)
        attempt.watch(wait, wake)
        if future is not None:
            future.add_done_callback(waiter.wake)
        tell(self._environment.allocator, WaitBegan(wait, subject, timeout is not None))
        try:
            if attempt.interruption is None and wait.refused is None:
                await waiter.future
        except asyncio.CancelledError:
            # The task was cancelled, by its own code or with its execution. If the code may go on,
            # it needs its slot like any other that returns.
            await self._come_back_async(wait, loop)
            raise
        except BaseException:  # the coroutine is closed where it stands: it may not wait
            tell(self._environment.allocator, WaitEnded(wait))
            tell(self._environment.allocator, WaitHurried(wait, unwinding=True))
            raise
        else:
            await self._come_back_async(wait, loop)
        finally:
            if timer is not None:
                timer.cancel()
            if future is not None:
                future.remove_done_callback(waiter.wake)
            attempt.unwatch(wait)
        attempt.check()
        if wait.refused is not None:
            raise wait.refused

    async def call_async(
        self, attempt: Attempt, child: Execution, action: Action, timeout: float | None
    ) -> Execution | tuple[Any]:
        """Run *child* and wait in this task, which is the attempt's own, until it has ended."""
        attempt.check()
        attempt.become_actor()
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        wake = functools.partial(waiter.wake, None)
        wait = CallWait(attempt, wake, can_expire=timeout is not None)
        run = self._lend(wait, child, action)
        timer = _wake_later(loop, timeout, wake)
        attempt.watch(wait, wake)
        if run is None:
            self._submit(wait, child, action)
        else:
            self._environment.place.start_run(run)
        try:
            if attempt.interruption is None and not (wait.refused or wait.answered):
                await waiter.future
        except asyncio.CancelledError:
            if run is None or not self._take_back(wait, run):
                await self._come_back_async(wait, loop)
            raise
        except BaseException:  # the coroutine is closed where it stands: it may not wait
            if run is None or not self._take_back(wait, run):
                tell(self._environment.allocator, WaitEnded(wait))
                tell(self._environment.allocator, WaitHurried(wait, unwinding=True))
            raise
        else:
            if run is None or not self._take_back(wait, run):
                await self._come_back_async(wait, loop)
        finally:
            if timer is not None:
                timer.cancel()
            attempt.unwatch(wait)
        return _answer_of(wait, child, timeout)

    async def _come_back_async(self, wait: Wait, loop: asyncio.AbstractEventLoop) -> None:
        allocator = self._environment.allocator
        if wait.granted:
            return
        if not wait.main or not wait.attempt.holds_slots:
            tell(allocator, WaitEnded(wait))
            return
        back = LoopWaiter(loop)
        wait.wake = functools.partial(back.wake, None)
        tell(allocator, WaitEnded(wait))
        try:
            while not wait.granted and wait.attempt.interruption is None:
                await back.future
        finally:
            if not wait.granted:  # cancelled, perhaps once more: its code only unwinds
                tell(allocator, WaitHurried(wait, unwinding=True))


def _answer_of(
    wait: CallWait, child: Execution, timeout: float | None
) -> Execution | tuple[Any]:
    """What a call's wait came to; raises what else ended it."""
    wait.attempt.check()
    if wait.refused is not None:
        raise wait.refused
    if wait.error is not None:
        raise wait.error
    if wait.ended is None:
        raise AwaitTimeoutError(str(Subject("execution", child.id)), timeout or 0.0)
    return wait.ended


async def _wait_outside(future: Any, timeout: float | None, subject: Subject) -> Any:
    """Wait for *future* in a task that belongs to no execution of this runtime."""
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        timer = _wake_later(loop, timeout, functools.partial(waiter.wake, None))
        future.add_done_callback(waiter.wake)
        try:
            await waiter.future
        finally:
            if timer is not None:
                timer.cancel()
            future.remove_done_callback(waiter.wake)
        if not future.done():
            raise AwaitTimeoutError(str(subject), timeout or 0.0)
    return future.get()


def _wake_later(
    loop: asyncio.AbstractEventLoop, timeout: float | None, wake: Callable[[], object]
) -> asyncio.TimerHandle | None:
    """A timer in an empty context: a loop keeps cancelled ones, and their contexts, for long."""
    if timeout is None:
        return None
    return loop.call_later(timeout, wake, context=contextvars.Context())
