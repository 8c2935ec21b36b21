"""Where an action's code runs: a worker thread, an event loop, or a process.

The one object through which user code of an attempt is entered; a simulation swaps it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import CoroutineType, TracebackType
from typing import Any

from actors.attempt import Attempt, Interruption
from actors.failures import translated
from actors.messages import AttemptEnded, AttemptStarted, RunOver, Stamped
from actors.protocol_actor import tell
from actors.run import LEAF, OVER, LeafAttempt, Run
from actors.system import Clock, Dispatcher
from actors.system.parking import current_blocker, set_thread_hooks
from orchestrator.context import current
from orchestrator.errors import InvalidInputError, OrchestratorError, RejectedError
from orchestrator.registry import Action
from orchestrator.texts import excerpt
from runtime.loops import Loops
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
        loops.serve(self._run_async, self._never_run, self._leaf_async, self._never_run_leaves)
        self._running: dict[Attempt, None] = {}
        self._runs: weakref.WeakSet[Run] = weakref.WeakSet()

    @property
    def running(self) -> list[Attempt]:
        """The attempts whose code has begun and not ended."""
        leaves = [leaf for run in tuple(self._runs) for leaf in run.attempts()]
        return [*tuple(self._running), *leaves]

    def start(self, attempt: Attempt) -> None:
        """Run the attempt's code soon. Never blocks."""
        if attempt.is_async:
            self._loops.start(attempt)
        else:
            self._dispatcher.execute(functools.partial(self._run, attempt))

    def start_run(self, run: Run) -> None:
        """Run the code of its children soon, one after another or as tasks. Never blocks."""
        if run.batch.action.is_async:
            self._runs.add(run)
            self._loops.start_run(run)
        else:
            self._dispatcher.execute(functools.partial(self._work_off, run))

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
        self._note_start(attempt)
        try:
            args, kwargs = attempt.action.binder.arguments(attempt.given, attempt.context)
            if attempt.action.runs_in == "process":
                value = self._call_process(attempt, args, kwargs)
            else:
                value = attempt.action.function(*args, **kwargs)
            if value.__class__ is CoroutineType:
                value.close()
                return _failed(attempt, _undeclared(attempt))
            if attempt.until is not None and not attempt.until(value):
                return _rejected(attempt, value)
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            return _failed(attempt, raised)
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
            message = f"action {attempt.action.name!r}: {problem}"
            raise OrchestratorError(message) from problem

    def _work_off(self, run: Run) -> None:
        """Start the children of a run, one after another.

        Written for speed, as it is most of what a child costs (see benchmarks/fan_out.py).
        """
        run.thread_id = get_ident()
        if current_blocker() is not self._blocking:
            set_thread_hooks(blocker=self._blocking)  # for good: the thread is the dispatcher's
        self._runs.add(run)
        next_index, owner_of = run.pending.popleft, run.owners.setdefault
        copy, invoke = run.batch.variables.copy, self._invoke_leaf
        while True:
            try:
                index = next_index()
            except IndexError:
                break
            attempt = LeafAttempt(run, index)
            if owner_of(index, attempt) is attempt:
                copy().run(invoke, attempt, run, index)
        if run.ledger is None:
            with self._dispatcher.keeping():
                tell(run.environment.allocator, RunOver(run))
                run.batch.reports.tell()

    def _invoke_leaf(self, attempt: LeafAttempt, run: Run, index: int) -> None:
        current.set(attempt)
        batch, publisher = run.batch, run.environment.publisher
        given = batch.input_of(index)
        action = batch.action
        run.started += 1
        attempt.started_at = started_at = self._now()
        try:
            if publisher.active:
                attempt.publish_start()
            if action.binder.direct(given):
                value = action.function(given)
            else:
                args, kwargs = self._arguments(attempt, action, given)
                value = action.function(*args, **kwargs)
            if value.__class__ is CoroutineType:
                value.close()
                self._leaf_fails(attempt, _failed(attempt, _undeclared(attempt)))
                return
            if batch.emission.until is not None and not batch.emission.until(value):
                self._leaf_fails(attempt, _rejected(attempt, value))
                return
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            self._leaf_fails(attempt, _failed(attempt, raised))
            return
        fate = run.fates.setdefault(index, LEAF)
        if fate is LEAF:
            run.owners[index] = OVER
            attempt.done = end = (index, value, started_at, self._now())
            attempt.interruption = Interruption.OVER
            if attempt.has_context:
                attempt.end()
            run.completed += 1
            if publisher.active:
                attempt.publish_end()
            batch.reports.add(end)
        else:
            run.owners[index] = OVER
            with self._dispatcher.keeping():
                tell(fate, AttemptEnded(attempt.number, value))

    def _arguments(self, attempt: LeafAttempt, action: Action, given: Any) -> Any:
        binder = action.binder
        return binder.arguments(given, attempt.context if binder.wants_context else None)

    def _leaf_fails(self, attempt: LeafAttempt, ended: AttemptEnded) -> None:
        """A leaf that fails is made an actor, which knows what follows."""
        ref = attempt.ref
        attempt.run.owners[attempt.index] = OVER
        with self._dispatcher.keeping():
            tell(ref, ended)

    # On an event loop

    async def _leaf_async(self, attempt: LeafAttempt) -> None:
        """The task of one child of a run.

        Begun by hand, so that it sees even a cancel that comes before its first step.
        """
        run, index = attempt.run, attempt.index
        batch, owners = run.batch, run.owners
        ended: AttemptEnded | None = None
        try:
            await _FIRST_STEP
            if owners.setdefault(index, attempt) is not attempt:
                attempt.end()
                self._leaf_of_loop_over(run)
                return
            current.set(attempt)
            run.started += 1
            attempt.started_at = started_at = self._now()
            if run.environment.publisher.active:
                attempt.publish_start()
            given, action = batch.input_of(index), batch.action
            if action.binder.direct(given):
                value = await action.function(given)
            else:
                args, kwargs = self._arguments(attempt, action, given)
                value = await action.function(*args, **kwargs)
            if batch.emission.until is not None:
                accepted = batch.emission.until(value)
                if inspect.isawaitable(accepted):
                    accepted = await accepted
                if not accepted:
                    ended = _rejected(attempt, value)
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            if owners.setdefault(index, attempt) is not attempt:
                attempt.end()
                self._leaf_of_loop_over(run)
                return
            ended = _failed(attempt, raised)
        if ended is None:
            fate = run.fates.setdefault(index, LEAF)
            owners[index] = OVER
            if fate is not LEAF:
                tell(fate, AttemptEnded(attempt.number, value))
                return
            attempt.done = end = (index, value, started_at, self._now())
            attempt.end()
            run.completed += 1
            if run.environment.publisher.active:
                attempt.publish_end()
            batch.reports.add(end)
            self._leaf_of_loop_over(run)
        else:
            self._leaf_fails(attempt, ended)

    def _leaf_of_loop_over(self, run: Run) -> None:
        if run.ledger is None and run.is_last():
            tell(run.environment.allocator, RunOver(run))
            run.batch.reports.tell()

    def _never_run_leaves(self, run: Run, error: BaseException) -> None:
        """The loop has ended before the code began."""
        for index in run.withdraw():
            attempt = run.owners[index] = LeafAttempt(run, index)
            self._leaf_fails(attempt, _failed(attempt, error))

    async def _run_async(self, attempt: Attempt) -> None:
        if not attempt.take():
            return
        attempt.task = asyncio.current_task()
        self._running[attempt] = None
        try:
            ended = await self._invoke_async(attempt)
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            ended = _failed(attempt, raised)
        del self._running[attempt]
        tell(attempt.ref, ended)

    async def _invoke_async(self, attempt: Attempt) -> AttemptEnded:
        current.set(attempt.context)
        self._note_start(attempt)
        attempt.check()  # a cancel that came before `task` was set has not reached it
        args, kwargs = attempt.action.binder.arguments(attempt.given, attempt.context)
        value = await attempt.action.function(*args, **kwargs)
        if attempt.until is not None:
            accepted = attempt.until(value)
            if inspect.isawaitable(accepted):
                accepted = await accepted
            if not accepted:
                return _rejected(attempt, value)
        return AttemptEnded(attempt.number, value)

    def _never_run(self, attempt: Attempt, error: BaseException) -> None:
        """The loop has ended before the code began."""
        if attempt.take():
            tell(attempt.ref, _failed(attempt, error))

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


class _FirstStep:
    """Awaited, it is over with the task's first step."""

    def __await__(self) -> Iterator[None]:
        return iter((None,))


_FIRST_STEP = _FirstStep()


def _failed(attempt: Attempt, raised: BaseException) -> AttemptEnded:
    traceback = _own_frames(raised.__traceback__)
    if isinstance(raised, Exception):
        return AttemptEnded(attempt.number, None, raised, raised, traceback)
    error = translated(raised, f"action {attempt.action.name!r}")
    return AttemptEnded(attempt.number, None, error, raised, traceback)


def _own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the action's own frame on, where it has one."""
    step = traceback
    while step is not None and step.tb_frame.f_code.co_filename == __file__:
        step = step.tb_next
    return step if step is not None else traceback


def _rejected(attempt: Attempt, value: Any) -> AttemptEnded:
    error = RejectedError(
        f"until= did not accept the output {excerpt(value)} of {attempt.action.name!r}", value
    )
    return AttemptEnded(attempt.number, None, error, error)


def _undeclared(attempt: Attempt) -> TypeError:
    return TypeError(
        f"action {attempt.action.name!r} is an ordinary function that returned a coroutine;"
        " declare it `async def`, so that it runs on the event loop"
    )
