"""The runtime of one process: what puts the actors together and gives them to an application."""

from __future__ import annotations

import contextvars
import itertools
import os
import random
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from actors.allocator import AllocatorActor
from actors.attempt import Attempt
from actors.emission import Emission
from actors.ends import EndsReader
from actors.environment import Environment
from actors.failures import attempt_over
from actors.live import GroupEntry
from actors.messages import (
    AwaitUnblock,
    Call,
    CancelExecution,
    CancelGroup,
    Consumed,
    Emit,
    ReadStats,
    Release,
    SnapshotOther,
    SubmitOne,
    UnblockOther,
    WithdrawUnblock,
)
from actors.protocol_actor import Reply, ask, tell
from actors.stats import Stats
from actors.system import ActorSystem, CallingThreadDispatcher, Clock, Dispatcher, Future
from orchestrator.blocking import refuse_on_loop
from orchestrator.checks import at_least, checked_timeout
from orchestrator.errors import (
    AwaitTimeoutError,
    DeadlockError,
    MissingExecutionError,
    RuntimeClosedError,
    UnknownExecutionError,
    UnknownGroupError,
)
from orchestrator.ids import new_id, was_issued
from orchestrator.protocols import ChildSource, Subject
from orchestrator.registry import Action, ActionRegistry
from orchestrator.texts import excerpt
from orchestrator.values import Execution, ExecutionState, GroupPolicy, GroupResult, Process
from runtime.closing import DRAIN, Closing, Drained, closed_error
from runtime.feeding import Feeders
from runtime.handle import Handle
from runtime.loops import Loops
from runtime.places import Places
from runtime.preparing import Preparing
from runtime.processes import ProcessHost
from runtime.scope import Scope
from runtime.subscriptions import ExecutionEvent, Listener, Subscription, Subscriptions
from runtime.waits import Waits, current_attempt

__all__ = ["LocalRuntime"]

_numbers = itertools.count(1)


class LocalRuntime:
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
        clock = Clock(name=f"{name}-clock")
        dispatcher = Dispatcher(None, name=f"{name}-worker", clock=clock, keep_idle=workers + 1)
        system = ActorSystem(clock=clock, dispatcher=CallingThreadDispatcher(dispatcher), name=name)
        self._subscriptions = Subscriptions()
        loops = Loops(name)
        processes = ProcessHost()
        self._places = Places(clock, dispatcher, loops, processes, self.blocking)
        self._environment = Environment(
            clock,
            system,
            dispatcher,
            self._places,
            _Announcements(self._subscriptions),
            random.random,
            loops.call,
            runtime=self,
        )
        self._waits = Waits(self._environment)
        self._feeders = Feeders(self._environment, self._preparing.child)
        self._loops = loops
        self._groups: dict[str, GroupEntry] = {}  # written by the allocator alone
        self._environment.allocator = system.spawn(
            AllocatorActor, self._environment, workers, self._groups
        )
        self._closing = Closing(
            self._environment, self._places, self._feeders, loops, processes, self._subscriptions
        )
        self._closed = False
        self._forked = False
        self._workers = workers
        _runtimes.add(self)

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
        try:
            ended = self.submit_root(execution, action, timeout=seconds, context=context)
            handle = Handle(self, execution.id, ended)
            return handle.result()
        except BaseException:
            self.cancel_root(execution.id, "its caller was interrupted")
            raise

    async def run_async(
        self,
        target: str | Execution | Callable[..., Any],
        input: Any = None,  # noqa: A002
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a deadline for the execution
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """As `run`, awaited on any event loop; cancelled, it cancels what it started."""
        execution, action, seconds = self._root(target, input, timeout)
        try:
            ended = self.submit_root(execution, action, timeout=seconds, context=context)
            return await Handle(self, execution.id, ended)
        except BaseException:
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
        if ended.done() and _error_of(ended) is not None:
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
        seconds = checked_timeout(timeout)
        return (*self._preparing.root(target, given), seconds)

    def submit_root(
        self,
        execution: Execution,
        action: Action,
        *,
        timeout: float | None = None,
        context: Mapping[str, Any] | None = None,
        scope: Future[Attempt] | None = None,
        over: Future[None] | None = None,
    ) -> Future[Execution]:
        """Queue a root; the parts of this runtime call it."""
        process = Process(execution.process_id or execution.id)
        emission = Emission(
            process=process,
            depth=0,
            priority=0 if execution.priority is None else execution.priority,
            variables=contextvars.copy_context(),
            entries=dict(context) if context is not None else {},
            own_timeout=timeout,
        )
        reply: Reply[Execution] = Reply(closed_error)
        ask(
            self._environment.allocator,
            SubmitOne(emission, execution, action, reply, scope, over),
        )
        return reply

    def cancel_root(self, execution_id: str, reason: str) -> None:
        """Cancel by id whatever still runs; the parts of this runtime call it."""
        tell(self._environment.allocator, CancelExecution(execution_id, reason))

    def snapshot_of(self, execution_id: str, ended: Future[Execution]) -> Execution:
        """A live execution as it is now, or as it ended."""
        reply: Reply[Execution] = Reply(closed_error)
        ask(self._environment.allocator, SnapshotOther(execution_id, reply))
        try:
            return reply.get()
        except UnknownExecutionError:
            return ended.get()  # it has ended meanwhile

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
        if self._closing.stats is not None:
            return self._closing.stats
        reply: Reply[Stats] = Reply(closed_error)
        ask(self._environment.allocator, ReadStats(reply))
        try:
            return reply.get()
        except RuntimeClosedError:
            if self._closing.stats is None:
                raise
            return self._closing.stats

    # The Runtime protocol, and what more an orchestrator can use

    def emit_executions(
        self, parent: Execution, children: Sequence[Execution], policy: GroupPolicy
    ) -> Future[str]:
        """Queue *children* as one group of *parent*, whose code must be calling."""
        attempt = self._attempt_of(parent)
        ready, actions = self._preparing.children(children)
        return self._emit(attempt, ready, actions, policy, lazy=False)

    def emit_lazily(
        self, parent: Execution, source: ChildSource, policy: GroupPolicy
    ) -> Future[str]:
        """Open a group of *parent* and draw its children as there is room."""
        attempt = self._attempt_of(parent)
        reply = self._emit(attempt, (), (), policy, lazy=True)
        variables = contextvars.copy_context()

        def begin(opened: Future[str]) -> None:
            if _error_of(opened) is None:
                group_id = opened.get()
                self._feeders.start(self._groups[group_id], group_id, source, variables)

        reply.add_done_callback(begin)
        return reply

    def _emit(
        self,
        attempt: Attempt,
        children: Sequence[Execution],
        actions: Sequence[Action],
        policy: GroupPolicy,
        *,
        lazy: bool,
    ) -> Future[str]:
        reply: Reply[str] = Reply(lambda: attempt_over(attempt.execution_id))
        variables = contextvars.copy_context()
        ask(attempt.ref, Emit(attempt.number, children, actions, policy, variables, lazy, reply))
        return reply

    def _attempt_of(self, parent: Execution) -> Attempt:
        self.check()
        attempt = current_attempt(self._environment)
        if attempt is None or attempt.execution_id != parent.id:
            message = (
                f"execution {parent.id!r} is not running here; only the code of a running"
                " execution can emit: call this inside an action, or in"
                " `with runtime.execution() as orchestrator:`"
            )
            raise MissingExecutionError(message)
        attempt.check()
        return attempt

    def schedule_execution(self, execution: Execution) -> Future[Execution]:
        """Run one child of the current execution outside any group; a root outside one."""
        self.check()
        attempt = current_attempt(self._environment)
        (child,), (action,) = self._preparing.children((execution,))
        if attempt is None:
            return self.submit_root(child, action)
        attempt.check()
        reply: Reply[Execution] = Reply(lambda: attempt_over(attempt.execution_id))
        variables = contextvars.copy_context()
        ask(attempt.ref, Call(attempt.number, child, action, variables, reply))
        return reply

    def await_group(self, group_id: str) -> Future[GroupResult]:
        """The group's decision; `UnknownGroupError` at once for an unknown id."""
        return self._group(group_id).decided

    def wait_for_unblock(self, execution_id: str) -> Future[Execution]:
        """The execution when none of its groups is open, its pending output merged."""
        self.check()
        attempt = current_attempt(self._environment)
        reply: Reply[Execution] = Reply(lambda: attempt_over(execution_id))
        if attempt is not None and attempt.execution_id == execution_id:
            attempt.check()
            ask(attempt.ref, AwaitUnblock(reply))
        else:
            ask(self._environment.allocator, UnblockOther(execution_id, reply))
        return reply

    def read_ends(self, group_id: str) -> EndsReader:
        """A new reader of the group's ends."""
        entry = self._group(group_id)
        return EndsReader(entry.ref, entry.log)

    def consume(self, group_id: str) -> None:
        """The current execution's code was given the decision of a group of its own."""
        attempt = current_attempt(self._environment)
        entry = self._groups.get(group_id)
        if attempt is not None and entry is not None and entry.parent_id == attempt.execution_id:
            tell(attempt.ref, Consumed(group_id))

    def cancel_group(self, group_id: str, reason: str = "") -> None:
        """Decide the group as cancelled, unless it has decided."""
        entry = self._group(group_id)
        tell(entry.ref, CancelGroup(reason))
        self.consume(group_id)

    def cancel(self, execution_id: str, reason: str = "") -> None:
        """Cancel one execution; `UnknownExecutionError` for an id that was never given."""
        self.check()
        reply: Reply[bool] = Reply(closed_error)
        ask(self._environment.allocator, CancelExecution(execution_id, reason, reply))
        if not reply.get() and not was_issued(execution_id):
            raise UnknownExecutionError(execution_id)

    def release_group(self, group_id: str) -> None:
        """Forget a decided group now."""
        entry = self._group(group_id)
        reply: Reply[None] = Reply(lambda: UnknownGroupError(group_id))
        ask(entry.parent, Release(group_id, reply))
        reply.get()

    def _group(self, group_id: str) -> GroupEntry:
        self.check()
        try:
            return self._groups[group_id]
        except (KeyError, TypeError):
            raise UnknownGroupError(group_id) from None

    def now(self) -> float:
        """Monotonic seconds of the runtime's clock."""
        return self._environment.clock.now()

    def wait(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """Block this thread for *future*; the worker of an action is free meanwhile."""
        self._check_fork()
        try:
            return self._waits.wait(future, timeout, subject)
        except AwaitTimeoutError as error:
            if subject.kind == "resume":
                return self._withdraw(future, error).get()
            raise

    async def wait_async(self, future: Any, timeout: float | None, subject: Subject) -> Any:  # noqa: ASYNC109
        """The same in a task."""
        self._check_fork()
        try:
            return await self._waits.wait_async(future, timeout, subject)
        except AwaitTimeoutError as error:
            if subject.kind == "resume":
                return await self._withdraw(future, error)
            raise

    def _withdraw(self, future: Future[Execution], error: Exception) -> Future[Execution]:
        """Take back an `await_resume`; the execution's actor settles whether it came in time."""
        attempt = current_attempt(self._environment)
        if attempt is not None:
            tell(attempt.ref, WithdrawUnblock(future, error))
        return future

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*; a cancel ends it."""
        self._waits.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """The same in a task."""
        await self._waits.sleep_async(seconds)

    def blocking(self) -> AbstractContextManager[None]:
        """Free this thread's worker within the block."""
        return self._waits.blocking()

    # Closing

    def check(self) -> None:
        """Raise `RuntimeClosedError` on a closed runtime, or in a forked child."""
        self._check_fork()
        if self._closed:
            raise closed_error()

    def _check_fork(self) -> None:
        if self._forked:
            message = (
                "this is a forked copy of the process that the runtime lives in, and none of its"
                " threads; make a runtime of your own after the fork"
            )
            raise RuntimeClosedError(message)

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
        self._closed = True
        self._closing.shut_down(deadline, seconds)

    async def aclose(self, timeout: float | None = None, *, cancel: bool = False) -> None:  # noqa: ASYNC109
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
        thread.start()
        await over
        thread.join()  # it has nothing left to do

    def _begin_close(self, seconds: float | None) -> float | None:
        self._check_fork()
        attempt = current_attempt(self._environment)
        if attempt is not None and not self._closed:
            name = attempt.execution_id
            raise DeadlockError((name, "the close of its runtime", name))
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
        self.close(cancel=raised is not None)

    async def __aenter__(self) -> Self:
        self.check()
        import asyncio  # noqa: PLC0415 - imported by every user of this method already

        self._loops.adopt(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose(cancel=raised is not None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<LocalRuntime with {self._workers} workers, {state}>"

    def forget_threads(self) -> None:
        """Called in a forked child, where none of them exists."""
        self._forked = True


class _Announcements:
    """Tells the subscriptions of changes."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self.active: Sized = subscriptions.open

    def changed(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        """Publish one event."""
        self._subscriptions.publish(ExecutionEvent(execution, previous, at))


def _error_of(future: Future[Any]) -> BaseException | None:
    try:
        future.get(timeout=0)
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        return error
    return None


_runtimes: weakref.WeakSet[LocalRuntime] = weakref.WeakSet()


def _after_fork() -> None:
    for runtime in tuple(_runtimes):
        runtime.forget_threads()


os.register_at_fork(after_in_child=_after_fork)
