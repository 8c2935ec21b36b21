"""Where leaves run: children that have no actor, one after another on a worker, or as tasks.

Written for speed, as it is most of what a child costs (see benchmarks/fan_out.py).
"""

from __future__ import annotations

import inspect
import sys
import weakref
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from itertools import repeat
from types import CoroutineType
from typing import Any

from actors.attempt import Interruption
from actors.leaf import LEAF, OVER, LeafAttempt
from actors.loans import Loans
from actors.messages import AttemptEnded
from actors.protocol_actor import send, tell
from actors.run import Run
from actors.system import Clock, Dispatcher
from actors.system.parking import Parker, current_blocker, set_thread_hooks
from orchestrator.context import current
from orchestrator.registry import Action
from runtime.outcomes import failed, rejected, undeclared

__all__ = ["Leaves"]


_TWO = (0, 1)
_MANY = 128  # children of a run; where they are fewer the loop is not that busy
_ASIDE = 50e-6  # seconds: enough for a thread to wake up


class Leaves:
    """The runs of one runtime. Arguments are those of `Places`."""

    def __init__(
        self,
        clock: Clock,
        dispatcher: Dispatcher,
        blocking: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._now = clock.now
        self._dispatcher = dispatcher
        self._blocking = blocking
        # Without callbacks: a Ctrl-C that came in one of them would be lost.
        self._runs: deque[weakref.ref[Run]] = deque()
        self._turn = sys.getswitchinterval()  # seconds that a thread may have the interpreter
        self._stepped_aside_at = clock.now()
        self.loans = Loans()  # the runtime's, once it has one: it knows its runs itself

    def add(self, run: Run) -> None:
        """Its code is about to run, and not in its caller's place."""
        runs = self._runs
        runs.append(weakref.ref(run))
        for _ in _TWO:  # so those that are gone are never more than those that are not
            oldest = runs.popleft()
            if oldest() is not None:
                runs.append(oldest)

    @property
    def running(self) -> list[LeafAttempt]:
        """The attempts whose code has begun and not ended."""
        lent = list(self.loans.runs.values())
        known = (run for each in list(self._runs) if (run := each()) is not None)
        return [attempt for run in (*known, *lent) for attempt in run.attempts()]

    # On a worker thread

    def work_off(self, run: Run) -> None:
        """Start the children of a run, one after another, up to the first that becomes an actor.

        That one has the worker from then on; the allocator takes the others back.
        """
        run.thread_id = get_ident()
        if current_blocker() is not self._blocking:
            set_thread_hooks(blocker=self._blocking)  # for good: the thread is the dispatcher's
        if run.ledger is not None:  # a called child, in its caller's place
            attempt = LeafAttempt(run, 0)
            if run.owners.setdefault(0, attempt) is attempt:
                run.batch.variables.copy().run(self._invoke_leaf, attempt, run, 0)
            return
        self.add(run)
        next_index, owner_of = run.pending.popleft, run.owners.setdefault
        copy, invoke = run.batch.variables.copy, self._invoke_leaf
        while True:
            try:
                index = next_index()
            except IndexError:
                break
            attempt = LeafAttempt(run, index)
            if owner_of(index, attempt) is attempt and not copy().run(invoke, attempt, run, index):
                break
        with self._dispatcher.keeping():
            run.tell_over()
            run.batch.reports.tell()

    def _invoke_leaf(self, attempt: LeafAttempt, run: Run, index: int) -> bool:
        """Run the code of one; whether it has ended as a leaf."""
        current.set(attempt)
        batch, publisher = run.batch, run.environment.publisher
        given = batch.input_of(index)
        action = batch.action
        try:
            started_at = self._note_start(attempt, run)
            if action.binder.direct(given):
                value = action.function(given)
            else:
                args, kwargs = self._arguments(attempt, action, given)
                value = action.function(*args, **kwargs)
            if value.__class__ is CoroutineType:
                value.close()
                self._leaf_fails(attempt, failed(attempt, undeclared(attempt)))
                return False
            if batch.emission.until is not None and not batch.emission.until(value):
                self._leaf_fails(attempt, rejected(attempt, value))
                return False
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            self._leaf_fails(attempt, failed(attempt, raised))
            return False
        fate = run.fates.setdefault(index, LEAF)
        if fate is LEAF:
            run.owners[index] = OVER
            attempt.done = end = (index, value, started_at, self._now())
            attempt.interruption = Interruption.OVER
            if attempt.has_context or attempt._waits:  # noqa: SLF001 - of a thread it left running
                attempt.end()
            run.completed += 1
            if publisher.active:
                attempt.publish_end()
            batch.reports.add(end)
            return True
        attempt.code_over = True
        with self._dispatcher.keeping():
            tell(fate, AttemptEnded(attempt.number, value))
        return False

    def _note_start(self, attempt: LeafAttempt, run: Run) -> float:
        """The last thing before the call: from now on the leaf has started; when that is."""
        attempt.started_at = now = self._now()
        if run.environment.publisher.active:
            attempt.publish_start()
        attempt.begun = True
        if attempt.unborn is not None:
            attempt.launch()
        return now

    def _arguments(self, attempt: LeafAttempt, action: Action, given: Any) -> Any:
        binder = action.binder
        return binder.arguments(given, attempt.context if binder.wants_context else None)

    def _leaf_fails(self, attempt: LeafAttempt, ended: AttemptEnded) -> None:
        """A leaf that fails is made an actor, which knows what follows."""
        attempt.begun = True  # if it has not: its task was cancelled before, or its loop has ended
        attempt.launch()
        ref = attempt.ref
        attempt.code_over = True  # its owner it stays, until the allocator knows of the actor
        with self._dispatcher.keeping():
            send(ref, ended)

    # On an event loop

    async def run_async(self, attempt: LeafAttempt) -> None:  # noqa: C901, PLR0912 - one life
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
            started_at = self._note_start(attempt, run)
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
                    ended = rejected(attempt, value)
        except BaseException as raised:  # noqa: BLE001 - it is the attempt's end
            if owners.setdefault(index, attempt) is not attempt:
                attempt.end()
                self._leaf_of_loop_over(run)
                return
            ended = failed(attempt, raised)
        if ended is None:
            fate = run.fates.setdefault(index, LEAF)
            if fate is not LEAF:
                attempt.code_over = True
                send(fate, AttemptEnded(attempt.number, value))
                return
            owners[index] = OVER
            attempt.done = end = (index, value, started_at, self._now())
            attempt.end()
            run.completed += 1
            if run.environment.publisher.active:
                attempt.publish_end()
            batch.reports.add(end)
            if run.ledger is None:
                self._leaf_of_loop_over(run)
        else:
            self._leaf_fails(attempt, ended)

    def _leaf_of_loop_over(self, run: Run) -> None:
        if run.ledger is None and run.is_last():
            run.tell_over()
            run.batch.reports.tell()
            if len(run.indexes) >= _MANY:
                self._step_aside()

    def _step_aside(self) -> None:
        """Let other threads have the interpreter, if the loop has been busy for a while.

        CPython hands it over 5 ms after a thread began to wait for it, and begins to count anew
        whenever it is let go meanwhile: as by the loop between two runs, when it looks for events,
        for a microsecond, in which no thread can wake up and take it. So beside a long fan-out of
        short children others would get it once in 100 ms (see benchmarks/tail.py).
        """
        if self._now() - self._stepped_aside_at >= self._turn:
            Parker().park(_ASIDE)
            self._stepped_aside_at = self._now()

    def never_run(self, run: Run, error: BaseException) -> None:
        """The loop has ended before the code began."""
        run.pending.clear()
        for index in run.indexes:
            attempt = LeafAttempt(run, index)
            if run.owners.setdefault(index, attempt) is attempt:
                self._leaf_fails(attempt, failed(attempt, error))


class _FirstStep:
    """Awaited, it is over with the task's first step."""

    def __await__(self) -> Generator[None, None, None]:
        return repeat(None, 1)  # type: ignore[return-value]  # as good, and cheaper


_FIRST_STEP = _FirstStep()
