"""How the code of an execution waits: its slots are free meanwhile, and a cancel ends the wait.

One wait has one deadline and one wake-up, to which everything that can end it is tied: the
future, the attempt's interruption, the allocator's refusal, the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from actors.attempt import Attempt
from actors.environment import Environment
from actors.messages import WaitBegan, WaitEnded, WaitHurried
from actors.protocol_actor import put_aside, send
from actors.system.parking import Parker, new_parker
from actors.system.waiting import LoopWaiter
from actors.wait import GroupWait, Wait
from orchestrator.adapting import wait_for
from orchestrator.context import ExecutionContext, current, peek_context
from orchestrator.errors import AwaitTimeoutError
from orchestrator.protocols import Subject

__all__ = ["Waits", "current_attempt", "wake_later"]

T = TypeVar("T")


def current_attempt(environment: Environment) -> Attempt | None:
    """The attempt of *environment*'s runtime whose context is current."""
    scope = current.get()
    if scope.__class__ is ExecutionContext:  # as mostly
        scope = scope.scope
    elif not isinstance(scope, Attempt):
        context = peek_context()
        scope = None if context is None else context.scope
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
        if attempt.interruption is not None:
            attempt.check()
        if not future.done():
            if timeout == 0:
                raise AwaitTimeoutError(str(subject), 0.0)
            self.pause(attempt, future, timeout, subject)
            if not future.done():
                raise AwaitTimeoutError(str(subject), timeout or 0.0)
        return future.get()

    def pause(
        self, attempt: Attempt, future: Any, timeout: float | None, subject: Subject | None
    ) -> None:
        """Return when *future* is done or *timeout* has passed; raise what else ended it."""
        attempt.become_actor()
        now = self._environment.clock.now
        deadline = None if timeout is None else now() + timeout
        parker = new_parker()
        wait = _wait_of(attempt, parker, subject, main=attempt.on_own_thread())
        wait.parked = wait.main and not attempt.is_scope

        def wake(_future: object) -> None:
            parker.unpark()

        try:
            attempt.watch(wait)
            if future is not None:
                future.add_done_callback(wake)
            self._begin(wait, subject, timeout)
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
            self.come_back(wait, parker, None if future is None else deadline)
            attempt.unwatch(wait)
        attempt.check()
        if wait.refused is not None:
            raise wait.refused

    def _begin(self, wait: Wait, subject: Subject | None, timeout: float | None) -> None:
        """Give the slots to others, unless nobody needs them or has to know of the wait."""
        if isinstance(wait, GroupWait) and subject is not None:
            wait.subject, wait.can_expire = subject, timeout is not None
            if self._environment.loans.keep_for_group(wait):
                return
        send(self._environment.allocator, WaitBegan(wait, subject, timeout is not None))

    def _has_kept(self, wait: Wait) -> bool:
        """Whether who waited has its slots still; from now on nobody else takes them."""
        return isinstance(wait, GroupWait) and self._environment.loans.take_kept(wait)

    def come_back(self, wait: Wait, parker: Parker, deadline: float | None) -> None:
        """Get the slots back; this ends for sure, however long others hold them."""
        if self._has_kept(wait):
            return
        attempt = wait.attempt
        allocator = self._environment.allocator
        now = self._environment.clock.now
        if not wait.main or not attempt.holds_slots:
            if not wait.granted:
                _note_end(allocator, wait)
            return
        if not wait.granted:
            send(allocator, WaitEnded(wait))
        patient, unwinding = deadline is not None, False
        while not wait.granted:
            if attempt.interruption is not None and not unwinding:
                unwinding, patient = True, False
                send(allocator, WaitHurried(wait, unwinding=True))
            elif patient and deadline is not None and deadline <= now():
                patient = False
                send(allocator, WaitHurried(wait, unwinding=False))
            else:
                parker.park(deadline - now() if patient and deadline is not None else None)

    def blocking(self) -> AbstractContextManager[None]:
        """Free this thread's worker while the caller waits for something of its own."""
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.on_own_thread() or not attempt.holds_slots:
            return contextlib.nullcontext()
        return self._blocking(attempt)

    @contextlib.contextmanager
    def _blocking(self, attempt: Attempt) -> Iterator[None]:
        attempt.become_actor()
        parker = new_parker()
        wait = Wait(attempt, parker, main=True, worker_only=True)
        attempt.watch(wait)
        send(self._environment.allocator, WaitBegan(wait, None, can_expire=True))
        try:
            yield
        finally:
            self.come_back(wait, parker, None)
            attempt.unwatch(wait)

    # In a task

    async def wait_async(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """Wait for *future* in this task."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            return await _wait_outside(future, timeout, subject)
        if attempt.interruption is not None:
            attempt.check()
        if not future.done():
            if timeout == 0:
                raise AwaitTimeoutError(str(subject), 0.0)
            await self.pause_async(attempt, future, timeout, subject)
            if not future.done():
                raise AwaitTimeoutError(str(subject), timeout or 0.0)
        return future.get()

    async def pause_async(
        self, attempt: Attempt, future: Any, timeout: float | None, subject: Subject | None
    ) -> None:
        """The same in a task."""
        attempt.become_actor()
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        wait = _wait_of(attempt, waiter, subject, main=attempt.in_own_task())
        timer = wake_later(loop, timeout, waiter.unpark)
        attempt.watch(wait)
        if future is not None:
            future.add_done_callback(waiter.wake)
        self._begin(wait, subject, timeout)
        try:
            if attempt.interruption is None and wait.refused is None:
                await waiter.future
        except asyncio.CancelledError:
            # The task was cancelled, by its own code or with its execution. If the code may go on,
            # it needs its slot like any other that returns.
            await self.come_back_async(wait, loop)
            raise
        except BaseException:  # the coroutine is closed where it stands: it may not wait
            self.abandon(wait)
            raise
        else:
            await self.come_back_async(wait, loop)
        finally:
            if timer is not None:
                timer.cancel()
            if future is not None:
                future.remove_done_callback(waiter.wake)
            attempt.unwatch(wait)
        attempt.check()
        if wait.refused is not None:
            raise wait.refused

    def abandon(self, wait: Wait) -> None:
        """Say that the wait is over, of code that can't wait for its slots and only unwinds."""
        if not self._has_kept(wait):
            send(self._environment.allocator, WaitEnded(wait))
            send(self._environment.allocator, WaitHurried(wait, unwinding=True))

    async def come_back_async(self, wait: Wait, loop: asyncio.AbstractEventLoop) -> None:
        """The same in a task."""
        if self._has_kept(wait):
            return
        allocator = self._environment.allocator
        if wait.granted:
            return
        if not wait.main or not wait.attempt.holds_slots:
            _note_end(allocator, wait)
            return
        back = LoopWaiter(loop)
        wait.waker = back
        send(allocator, WaitEnded(wait))
        try:
            while not wait.granted and wait.attempt.interruption is None:
                await back.future
        finally:
            if not wait.granted:  # cancelled, perhaps once more: its code only unwinds
                send(allocator, WaitHurried(wait, unwinding=True))


def _wait_of(attempt: Attempt, waker: Any, subject: Subject | None, *, main: bool) -> Wait:
    """The wait of a thread or task for *subject*."""
    if main and subject is not None and subject.kind == "group":
        emitter = subject.id.rpartition("#")[0]  # as it is named by who emits it
        if emitter == attempt.execution_id:
            return GroupWait(attempt, waker, main=True)
    return Wait(attempt, waker, main=main)


def _note_end(allocator: Any, wait: Wait) -> None:
    """Tell of the end of a wait that gets nothing back: it is only counted, before the next turn.

    Of an attempt that was interrupted now, as there may be none: the execution may be over.
    """
    put_aside(allocator, WaitEnded(wait))
    if wait.attempt.interruption is not None:
        allocator.actor_inbox.look()


async def _wait_outside(future: Any, timeout: float | None, subject: Subject) -> Any:
    """Wait for *future* in a task that belongs to no execution of this runtime."""
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter = LoopWaiter(loop)
        timer = wake_later(loop, timeout, waiter.unpark)
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


def wake_later(
    loop: asyncio.AbstractEventLoop, timeout: float | None, wake: Callable[[], object]
) -> asyncio.TimerHandle | None:
    """A timer in an empty context: a loop keeps cancelled ones, and their contexts, for long."""
    if timeout is None:
        return None
    return loop.call_later(timeout, wake, context=contextvars.Context())
