"""The runtime of one process: what puts the actors together and gives them to an application."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from actors.allocator import AllocatorActor
from actors.environment import Environment, Publisher
from actors.messages import ReadStats
from actors.protocol_actor import PromptReply, request
from actors.stats import Stats
from actors.system import Future
from orchestrator.blocking import refuse_on_loop
from orchestrator.checks import at_least, checked_timeout
from orchestrator.core import output_of
from orchestrator.errors import AwaitTimeoutError, DeadlockError, RuntimeClosedError
from orchestrator.ids import new_id
from orchestrator.protocols import Subject
from orchestrator.registry import Action, ActionRegistry
from orchestrator.texts import excerpt
from orchestrator.values import Execution
from runtime.checked import CheckedRuntime
from runtime.closing import DRAIN, Closing, Drained, closed_error
from runtime.handle import Handle
from runtime.interrupts import hold_back, let_go
from runtime.loops import Loops
from runtime.machinery import Machinery, of_threads
from runtime.places import Places
from runtime.port import error_of
from runtime.preparing import Preparing
from runtime.scope import Scope, leave_interrupted
from runtime.subscriptions import Announcements, Listener, Subscription, Subscriptions
from runtime.waits import current_attempt

__all__ = ["LocalRuntime"]

_RETRY = 0.05  # seconds after which a thread that could not be started is tried again

_numbers = itertools.count(1)


class LocalRuntime(CheckedRuntime):
    """Executions in this process: blocking actions on worker threads, async ones on a loop.

    ``with LocalRuntime(actions) as runtime`` for blocking code; ``async with`` runs async actions
    on the application's own loop. Leaving the block waits for what runs; leaving it by an
    exception cancels that first. Every method may be called from any thread; those that block
    raise `BlockingCallError` on an event loop's thread. Several runtimes live side by side.

    Args:
        actions: The actions that can be run; more can be registered later.
        workers: How many blocking actions may run their code at once, by default
            ``min(32, cpus + 4)``. A worker is not held inside our waits.
        journal: Reserved for durable runtimes; only ``None``.

    Raises:
        ValueError, TypeError: a wrong argument.
        RuntimeError: not even one thread can be started.
    """

    def __init__(
        self, actions: ActionRegistry, workers: int | None = None, journal: None = None
    ) -> None:
        self._preparing = Preparing(actions)
        if workers is None:
            workers = min(32, (os.cpu_count() or 1) + 4)
        at_least(1, workers, "workers")
        if journal is not None:
            message = f"journal={excerpt(journal)}: this version keeps no journal; leave it out"
            raise ValueError(message)
        name = f"runtime-{next(_numbers)}"
        machinery = self._make_machinery(name, workers)
        clock, dispatcher = machinery.clock, machinery.dispatcher
        system, processes = machinery.system, machinery.processes
        self._subscriptions = Subscriptions(functools.partial(clock.call_later, _RETRY))
        loops = Loops(name, clock)
        self._places = self._make_places(machinery, loops)
        self._environment = Environment(
            clock,
            system,
            dispatcher,
            self._places,
            self._make_publisher(Announcements(self._subscriptions)),
            machinery.random,
            loops.call,
            runtime=self,
        )
        self._places.know(self._environment.loans)
        super().__init__(self._environment, self._preparing)
        self._loops = loops
        self._environment.allocator = system.spawn(
            AllocatorActor, self._environment, workers, self._groups
        )
        self._closing = Closing(
            self._environment,
            self._places,
            self._feeders,
            loops,
            processes,
            self._subscriptions,
            machinery.relay,
        )
        self._workers = workers
        _runtimes.add(self)

    # What a simulation swaps

    def _make_machinery(self, name: str, workers: int) -> Machinery:
        return of_threads(name, workers)

    def _make_places(self, machinery: Machinery, loops: Loops) -> Places:
        return Places(
            machinery.clock, machinery.dispatcher, loops, machinery.processes, self.wait_as_worker
        )

    def _make_publisher(self, announcements: Publisher) -> Publisher:
        return announcements

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loops.adopt(loop)
        hold_back(loop)

    # Running

    def run(
        self,
        target: str | Execution | Callable[..., Any],
        input: Any = None,  # noqa: A002 - the field's name everywhere
        *,
        timeout: float | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an action to its end and return its output, or raise its own exception.

        Owns what it starts: interrupted, it cancels it.

        Args:
            target: An action's name, an `Execution`, or a plain function.
            input: A mapping becomes keyword arguments, ``None`` no argument, anything else one
                positional argument.
            timeout: Seconds to the execution's deadline.
            context: Entries of the context of the execution and of all below it.

        Raises:
            ExecutionTimeoutError: it missed its deadline.
            UnknownActionError, InvalidInputError: it can't run; nothing was started.
            RuntimeClosedError: the runtime is closed.
            BlockingCallError: on an event loop's thread; use `run_async` there.
        """
        refuse_on_loop("LocalRuntime.run", "`await runtime.run_async(...)`")
        execution, action, seconds = self._root(target, input, timeout)
        ended: Future[Execution] | None = None
        try:
            ended = self.submit_root(execution, action, timeout=seconds, context=context)
            # A handle has a `__del__`, in which Python would swallow the interrupt.
            return output_of(self.wait(ended, None, Subject("execution", execution.id)))
        except BaseException:
            if ended is None or not ended.done():  # else it was refused, and the id is another's
                self.cancel_root(execution.id, "its caller was interrupted")
            raise

    async def run_async(
        self,
        target: str | Execution | Callable[..., Any],
        input: Any = None,  # noqa: A002
        *,
        timeout: float | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """As `run`, awaited on any event loop; cancelled, it cancels what it started."""
        execution, action, seconds = self._root(target, input, timeout)
        ended: Future[Execution] | None = None
        try:
            ended = self.submit_root(execution, action, timeout=seconds, context=context)
            subject = Subject("execution", execution.id)
            return output_of(await self.wait_async(ended, None, subject))
        except BaseException:
            if ended is None or not ended.done():  # else it was refused, and the id is another's
                self.cancel_root(execution.id, "its caller was cancelled")
            raise

    def spawn(
        self,
        target: str | Execution | Callable[..., Any],
        input: Any = None,  # noqa: A002
        *,
        timeout: float | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Handle:
        """Start an action and return its handle; detached, inside an action too. Never blocks.

        Arguments and errors are those of `run`.
        """
        execution, action, seconds = self._root(target, input, timeout)
        ended = self.submit_root(execution, action, timeout=seconds, context=context)
        if isinstance(target, Execution):  # its id may be taken: the allocator has said so by then
            self.stats()
        if ended.done() and error_of(ended) is not None:
            ended.get()  # refused: a copy of a running id, an execution that was run before
        return Handle(self, execution.id, ended)

    def execution(
        self,
        name: str | None = None,
        *,
        timeout: float | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Scope:
        """Make the caller's own code an execution, for a ``with`` or ``async with`` block.

        The block is given an orchestrator, and ends only when everything in it has ended.

        Args:
            name: The execution's id and task id; unique among those that run.
            timeout: Seconds to the scope's deadline; when it passes, waits in it raise.
            context: Entries of the context of all below it.

        Raises:
            ExecutionCancelledError: at the end of a block whose execution was cancelled.
            DuplicateExecutionError: at its begin, where an execution of that id runs.
        """
        self.check()
        if name is not None and not isinstance(name, str):
            message = f"an execution's name must be a string, not {excerpt(name)}"
            raise TypeError(message)
        given = Execution(action="scope", id=name or new_id(), task_id=name or "")
        return Scope(self, given, timeout=checked_timeout(timeout), context=context)

    def _root(
        self, target: Any, given: Any, timeout: float | None
    ) -> tuple[Execution, Action, float | None]:
        self.check()
        if self._draining:
            raise closed_error()
        seconds = checked_timeout(timeout)
        return (*self._preparing.root(target, given), seconds)

    # Watching

    def subscribe(self, listener: Listener, buffer: int = 10_000) -> Subscription:
        """Tell *listener* of every change of state, on a thread of its own.

        Args:
            listener: Called with an `ExecutionEvent`, in order for each execution, or with
                `EventsLost` where it fell behind. One that raises is logged and kept.
            buffer: How many events may wait for it; the oldest are lost first.

        Raises:
            RuntimeClosedError: the runtime is closed.
            TypeError, ValueError: a wrong argument.
        """
        self.check()
        return self._subscriptions.subscribe(listener, buffer)

    def stats(self) -> Stats:
        """The counters now; the last ones of a closed runtime."""
        self.check_fork()
        if self._closing.stats is not None:
            return self._closing.stats
        reply: PromptReply[Stats] = PromptReply(closed_error)
        request(self._environment.allocator, ReadStats(reply))
        try:
            return reply.get()
        except RuntimeClosedError:
            if self._closing.stats is None:
                raise
            return self._closing.stats

    # Closing

    def close(self, timeout: float | None = None, *, cancel: bool = False) -> None:
        """Take no more roots, wait for what runs, and end every thread of this runtime.

        A second close waits for the first.

        Args:
            timeout: Seconds to wait in all.
            cancel: Cancel what runs first.

        Raises:
            CloseTimeoutError: *timeout* has passed; it names each action that still runs and its
                stack. `close` can be called again.
            DeadlockError: called by an action of this runtime, for which it would wait.
            BlockingCallError: on an event loop's thread; use `aclose` there.
        """
        refuse_on_loop("LocalRuntime.close", "`await runtime.aclose()`")
        seconds = checked_timeout(timeout)
        deadline = self._begin_close(seconds)
        drained = self._closing.drain(cancel=cancel)
        try:
            self._waits.wait(drained, seconds, DRAIN)
        except AwaitTimeoutError:
            raise self._closing.late(seconds or 0.0) from None
        except Drained:
            pass
        if self._loops.lost is not None and not self._closed:
            let_go(self._loops.lost)  # its block is never left
        self._closed = True
        self._closing.shut_down(deadline, seconds)
        self._end_check(self._closing.stats)

    async def aclose(self, timeout: float | None = None, *, cancel: bool = False) -> None:
        """As `close`, awaited: the event loop stays free."""
        seconds = checked_timeout(timeout)
        deadline = self._begin_close(seconds)
        drained = self._closing.drain(cancel=cancel)
        try:
            await self._waits.wait_async(drained, seconds, DRAIN)
        except AwaitTimeoutError:
            raise self._closing.late(seconds or 0.0) from None
        except Drained:
            pass
        self._closed = True
        over: Future[None] = Future()

        def shut_down() -> None:
            try:
                self._closing.shut_down(deadline, seconds)
            except BaseException as error:  # noqa: BLE001 - it is the answer
                over.set_error(error)
            else:
                over.set(None)

        thread = threading.Thread(target=shut_down, name="runtime-close", daemon=True)
        while not _started(thread):  # noqa: ASYNC110 - nothing tells when there is room for one
            await asyncio.sleep(_RETRY)
        await over
        thread.join()  # it has nothing left to do
        self._end_check(self._closing.stats)

    def _begin_close(self, seconds: float | None) -> float | None:
        self.check_fork()
        attempt = current_attempt(self._environment)
        if attempt is not None and not self._closed:
            name = attempt.execution_id
            raise DeadlockError((name, "the close of its runtime", name))
        self._draining = True
        return None if seconds is None else self.now() + seconds

    def __enter__(self) -> Self:
        refuse_on_loop("with LocalRuntime(...)", "`async with LocalRuntime(...)`")
        self.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave_interrupted(current_attempt(self._environment), raised)
        if self._forked and raised is not None:
            return  # it is the parent's to close: here, what ends the child goes on
        try:
            self.close(cancel=raised is not None)
        except BaseException as interrupted:
            if not isinstance(interrupted, Exception):  # as in the block: the rest is cancelled
                self.close(cancel=True)
            raise

    async def __aenter__(self) -> Self:
        self.check()
        self._adopt(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            leave_interrupted(current_attempt(self._environment), raised)
            if self._forked and raised is not None:
                return  # as in `__exit__`
            await self.aclose(cancel=raised is not None)
        except asyncio.CancelledError:  # as in the block: the rest is cancelled
            await self.aclose(cancel=True)
            raise
        finally:
            let_go(asyncio.get_running_loop())

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<LocalRuntime with {self._workers} workers, {state}>"


def _started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:  # no thread is to be had now
        return False
    return True


_runtimes: weakref.WeakSet[LocalRuntime] = weakref.WeakSet()


def _after_fork() -> None:
    for runtime in tuple(_runtimes):
        runtime.forget_threads()


os.register_at_fork(after_in_child=_after_fork)
