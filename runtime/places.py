"""Where an action's code runs: a worker thread, an event loop, or a process.

The one object through which user code of an attempt is entered; a simulation swaps it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from _thread import get_ident
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import CoroutineType
from typing import Any

from actors.attempt import Attempt
from actors.leaf import LeafAttempt
from actors.loans import Loans
from actors.messages import AttemptEnded, AttemptStarted, Stamped
from actors.protocol_actor import send, tell
from actors.run import Run
from actors.system import Clock, Dispatcher
from actors.system.parking import current_blocker, set_thread_hooks
from orchestrator.context import current
from orchestrator.errors import InvalidInputError, OrchestratorError
from runtime.leaves import Leaves
from runtime.loops import Loops
from runtime.outcomes import failed, rejected, undeclared
from runtime.processes import PickleProblem, ProcessCall, ProcessHost, ProcessHostError

__all__ = ["Places"]


class Places:
    """The places of one runtime.

    Args:
        clock: Says when an attempt started.
        dispatcher: Its threads run blocking actions; the allocator has counted them already.
        loops: Where async actions run.
        processes: Where actions that ask for a process run.
        blocking: Wraps a thread's own waits, so that its worker is free meanwhile.
    """

    def __init__(
        self,
        clock: Clock,
        dispatcher: Dispatcher,
        loops: Loops,
        processes: ProcessHost,
        blocking: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._clock = clock
        self._now = clock.now
        self._dispatcher = dispatcher
        self._loops = loops
        self._processes = processes
        self._blocking = blocking
        self._running: dict[Attempt, None] = {}
        self._leaves = leaves = self._make_leaves()
        loops.serve(self._run_async, self._never_run, leaves.run_async, leaves.never_run)

    def _make_leaves(self) -> Leaves:
        """What a simulation swaps."""
        return Leaves(self._clock, self._dispatcher, self._blocking)

    def know(self, loans: Loans) -> None:
        """Where the called children are that run in their callers' places."""
        self._leaves.loans = loans

    @property
    def running(self) -> list[Attempt]:
        """The attempts whose code has begun and not ended."""
        return [*self._running, *self._leaves.running]

    def start(self, attempt: Attempt) -> None:
        """Run the attempt's code soon. Never blocks."""
        if attempt.is_async:
            self._loops.start(attempt)
        else:
            self._dispatcher.execute(functools.partial(self._run, attempt))

    def start_run(self, run: Run) -> None:
        """Run the code of its children soon, one after another or as tasks. Never blocks."""
        if run.batch.action.is_async:
            if run.ledger is None:
                self._leaves.add(run)
            self._loops.start(run)
        else:
            self._dispatcher.execute(functools.partial(self._leaves.work_off, run))

    def after_starts(self, function: Callable[[], object]) -> None:
        """Call *function* on the loop, behind the attempts started so far."""
        if not self._loops.call_behind(function):
            self._dispatcher.execute(function)

    # On a worker thread

    def _run(self, attempt: Attempt) -> None:
        if not attempt.take():
            return
        attempt.thread_id = get_ident()
        self._running[attempt] = None
        if current_blocker() is not self._blocking:
            set_thread_hooks(blocker=self._blocking)  # for good: the thread is the dispatcher's
        ended = attempt.variables.copy().run(self._invoke, attempt)
        del self._running[attempt]
        with self._dispatcher.keeping():
            tell(attempt.ref, ended)

    def _invoke(self, attempt: Attempt) -> AttemptEnded:
        current.set(attempt.context)
        try:
            self._note_start(attempt)
            args, kwargs = attempt.action.binder.arguments(attempt.given, attempt.context)
            if attempt.action.runs_in == "process":
                value = self._call_process(attempt, args, kwargs)
            else:
                value = attempt.action.function(*args, **kwargs)
            if value.__class__ is CoroutineType:
                value.close()
                return failed(attempt, undeclared(attempt))
            if attempt.until is not None and not attempt.until(value):
                return rejected(attempt, value)
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            return failed(attempt, raised)
        return AttemptEnded(attempt.number, value)

    def _call_process(self, attempt: Attempt, args: Any, kwargs: Any) -> Any:
        control = ProcessCall()
        attempt.kill = control.kill
        if attempt.cancelled:  # it was cancelled before it could be killed
            control.kill()
        try:
            return self._processes.call(attempt.action.function, args, kwargs, control=control)
        except PickleProblem as problem:
            raise InvalidInputError(str(problem), action=attempt.action.name) from problem
        except ProcessHostError as problem:
            if problem.__cause__ is not None and not isinstance(problem.__cause__, Exception):
                raise problem.__cause__ from None  # a SystemExit, say, as if it had run here
            message = f"action {attempt.action.name!r}: {problem}"
            raise OrchestratorError(message) from problem

    # On an event loop

    async def _run_async(self, attempt: Attempt) -> None:
        if not attempt.take():
            return
        attempt.task = task = asyncio.current_task()
        self._running[attempt] = None
        if attempt.cancelled and task is not None:
            task.cancel()  # a cancel that came before `task` was set has not reached it
        try:
            ended = await self._invoke_async(attempt)
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            ended = failed(attempt, raised)
        self._running.pop(attempt, None)  # it may have been abandoned
        send(attempt.ref, ended)

    async def _invoke_async(self, attempt: Attempt) -> AttemptEnded:
        current.set(attempt.context)
        self._note_start(attempt)
        args, kwargs = attempt.action.binder.arguments(attempt.given, attempt.context)
        value = await attempt.action.function(*args, **kwargs)
        if attempt.until is not None:
            accepted = attempt.until(value)
            if inspect.isawaitable(accepted):
                accepted = await accepted
            if not accepted:
                return rejected(attempt, value)
        return AttemptEnded(attempt.number, value)

    def abandon(self, attempt: Attempt) -> None:
        """As `Place.abandon`: it is told as cancelled, by whoever cancels it."""
        self._running.pop(attempt, None)
        if isinstance(attempt, LeafAttempt):
            attempt.code_over = True
        error = asyncio.CancelledError("its event loop has closed")
        tell(attempt.ref, failed(attempt, error))

    def _never_run(self, attempt: Attempt, error: BaseException) -> None:
        """The loop has ended before the code began."""
        if attempt.take():
            tell(attempt.ref, failed(attempt, error))

    def _note_start(self, attempt: Attempt) -> None:
        """The last thing before the call: from now on the attempt has started."""
        now = attempt.started_at = self._clock.now()
        if attempt.timeout is not None:
            deadline = now + attempt.timeout
            above = attempt.context.deadline
            attempt.context.deadline = deadline if above is None else min(above, deadline)
        if attempt.action.rate_limit is not None:
            tell(attempt.environment.allocator, Stamped(attempt.execution_id, now))
        if attempt.announced:
            tell(attempt.ref, AttemptStarted(attempt.number, now))
