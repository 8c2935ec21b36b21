"""What orchestrators, handles and scopes ask of a runtime: the protocol, over the actors.

Everything here sends a message and returns the future that it will be answered by; only the waits
block. A runtime is this and the objects that it is given: clock, dispatcher, places.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

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
    Release,
    SnapshotOther,
    SubmitOne,
    UnblockOther,
    WithdrawUnblock,
)
from actors.protocol_actor import PromptReply, Reply, put_aside, request, send
from actors.system import Future
from orchestrator.checks import instance
from orchestrator.context import current, peek_context
from orchestrator.errors import (
    AwaitTimeoutError,
    MissingExecutionError,
    RuntimeClosedError,
    UnknownExecutionError,
    UnknownGroupError,
)
from orchestrator.ids import was_issued
from orchestrator.protocols import ChildSource, Subject
from orchestrator.registry import Action
from orchestrator.values import Execution, GroupPolicy, GroupResult, Process
from runtime.calls import Calls
from runtime.closing import closed_error
from runtime.feeding import Feeders
from runtime.naps import Naps
from runtime.preparing import Preparing
from runtime.waits import Waits, current_attempt

__all__ = ["RuntimePort", "error_of"]


class RuntimePort:
    """The `Runtime` protocol, and what more an orchestrator can use.

    Args:
        environment: The runtime's; its allocator may still be missing.
        preparing: Checks what is to run.
    """

    def __init__(self, environment: Environment, preparing: Preparing) -> None:
        self._environment = environment
        self._preparing = preparing
        self._waits = Waits(environment)
        self._calls = Calls(environment, self._waits)
        self._naps = Naps(environment, self._waits)
        self._feeders = Feeders(environment, preparing.child)
        self._groups: dict[str, GroupEntry] = {}  # written by the allocator alone
        self._draining = False  # a close has begun: there are no new roots
        self._closed = False
        self._forked = False

    # Roots

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
        if self._draining:  # the allocator may not have heard of it
            raise closed_error()
        if context is not None:
            instance(Mapping, context, "context", "a mapping of names to values")
        process = Process(execution.process_id or execution.id)
        variables = contextvars.copy_context()
        if peek_context() is not None:  # one that each starts the next must not keep them all
            variables.run(current.set, None)
        emission = Emission(
            process=process,
            depth=0,
            priority=0 if execution.priority is None else execution.priority,
            variables=variables,
            entries=dict(context) if context is not None else {},
            own_timeout=timeout,
        )
        reply: Reply[Execution] = Reply(closed_error)
        request(
            self._environment.allocator,
            SubmitOne(emission, execution, action, reply, scope, over),
        )
        return reply

    def cancel_root(self, execution_id: str, reason: str) -> None:
        """Cancel by id whatever still runs; the parts of this runtime call it."""
        self.check_fork()
        send(self._environment.allocator, CancelExecution(execution_id, reason))

    def snapshot_of(self, execution_id: str, ended: Future[Execution]) -> Execution:
        """A live execution as it is now, or as it ended."""
        self.check_fork()
        reply: PromptReply[Execution] = PromptReply(closed_error)
        request(self._environment.allocator, SnapshotOther(execution_id, reply))
        try:
            return reply.get()
        except UnknownExecutionError:
            return ended.get()  # it has ended meanwhile

    def check(self) -> None:
        """Raise `RuntimeClosedError` on a closed runtime, or in a forked child."""
        if self._closed or self._forked:
            self.check_fork()
            raise closed_error()

    def check_fork(self) -> None:
        """Raise `RuntimeClosedError` in a forked child."""
        if self._forked:
            message = (
                "this is a forked copy of the process that the runtime lives in, and none of its"
                " threads; make a runtime of your own after the fork"
            )
            raise RuntimeClosedError(message)

    def forget_threads(self) -> None:
        """Called in a forked child, where none of them exists."""
        self._forked = True

    # The protocol

    def emit_executions(
        self, parent: Execution, children: Sequence[Execution], policy: GroupPolicy
    ) -> Future[str]:
        """Queue *children* as one group of *parent*, whose code must be calling."""
        attempt = self._attempt_of(parent)
        ready, actions = self._preparing.children(children)
        return self._emit(attempt, ready, actions, policy)

    def emit_lazily(
        self, parent: Execution, source: ChildSource, policy: GroupPolicy
    ) -> Future[str]:
        """Open a group of *parent* and draw its children as there is room."""
        attempt = self._attempt_of(parent)
        variables = contextvars.copy_context()
        loop = asyncio.get_running_loop() if source.in_task else None

        def begin(opened: Future[str]) -> None:
            if error_of(opened) is None:
                group_id = opened.get()
                group = self._groups[group_id]  # in its emitter's turn, it can't be forgotten yet
                self._feeders.start(group, group_id, source, variables, loop)

        return self._emit(attempt, (), (), policy, begin)

    def _emit(
        self,
        attempt: Attempt,
        children: Sequence[Execution],
        actions: Sequence[Action],
        policy: GroupPolicy,
        draw: Callable[[Future[str]], object] | None = None,
    ) -> Future[str]:
        """Ask for a group; a lazy one is drawn by *draw*, which is told when it is open."""
        # A reply may be kept, the attempt must not be.
        reply: PromptReply[str] = PromptReply(partial(attempt_over, attempt.execution_id))
        variables = contextvars.copy_context()
        lazy = draw is not None
        if draw is not None:  # before it can open: an open group without its source never ends
            reply.add_done_callback(draw)
        request(
            attempt.ref, Emit(attempt.number, children, actions, policy, variables, lazy, reply)
        )
        return reply

    def _attempt_of(self, parent: Execution) -> Attempt:
        if self._closed or self._forked:
            self.check()
        attempt = current_attempt(self._environment)
        if attempt is None or attempt.execution_id != parent.id:
            message = (
                f"execution {parent.id!r} is not running here; only the code of a running"
                " execution can emit: call this inside an action, or in"
                " `with runtime.execution() as orchestrator:`"
            )
            raise MissingExecutionError(message)
        if attempt.interruption is not None:
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
        reply: Reply[Execution] = Reply(partial(attempt_over, attempt.execution_id))
        variables = contextvars.copy_context()
        request(attempt.ref, Call(attempt.number, child, action, variables, reply))
        return reply

    def await_group(self, group_id: str) -> Future[GroupResult]:
        """The group's decision; `UnknownGroupError` at once for an unknown id."""
        if self._closed or self._forked:
            self.check()
        self._check_attempt()  # of a cancelled one the groups are forgotten, the waits cancelled
        return self._group(group_id).decided

    def wait_for_unblock(self, execution_id: str) -> Future[Execution]:
        """The execution when none of its groups is open, its pending output merged."""
        self.check()
        attempt = current_attempt(self._environment)
        reply: Reply[Execution] = Reply(lambda: attempt_over(execution_id))
        if attempt is not None and attempt.execution_id == execution_id:
            attempt.check()
            request(attempt.ref, AwaitUnblock(reply))
        else:
            request(self._environment.allocator, UnblockOther(execution_id, reply))
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
            put_aside(attempt.ref, Consumed(group_id))  # until more is emitted, awaited or merged

    def cancel_group(self, group_id: str, reason: str = "") -> None:
        """Decide the group as cancelled, unless it has decided."""
        entry = self._group(group_id)
        send(entry.ref, CancelGroup(reason))
        self.consume(group_id)

    def cancel(self, execution_id: str, reason: str = "") -> None:
        """Cancel one execution; `UnknownExecutionError` for an id that was never given."""
        self.check()
        if not isinstance(execution_id, str):
            raise UnknownExecutionError(execution_id)
        attempt = current_attempt(self._environment)
        found = None if attempt is None else self._cancel(attempt.ref, execution_id, reason)
        if found is None:  # or the attempt is over, and its actor gone
            found = self._cancel(self._environment.allocator, execution_id, reason)
        if found is None:
            raise closed_error()
        if not found and not was_issued(execution_id):
            raise UnknownExecutionError(execution_id)

    def _cancel(self, ref: Any, execution_id: str, reason: str) -> bool | None:
        """Whether it was live; ``None`` where the actor asked has ended."""
        reply: PromptReply[bool] = PromptReply(closed_error)
        request(ref, CancelExecution(execution_id, reason, reply))
        try:
            return reply.get()
        except RuntimeClosedError:
            return None

    def release_group(self, group_id: str) -> None:
        """Forget a decided group now."""
        entry = self._group(group_id)
        reply: PromptReply[None] = PromptReply(lambda: UnknownGroupError(group_id))
        request(entry.parent, Release(group_id, reply))
        reply.get()

    def _group(self, group_id: str) -> GroupEntry:
        if self._closed or self._forked:
            self.check()
        try:
            entry = self._groups.get(group_id)
        except TypeError:
            entry = None
        if entry is None or not entry.parent.is_alive():  # its emitter has ended: it is forgotten
            self._check_attempt()  # or the caller was cancelled just now, and they were with it
            raise UnknownGroupError(group_id)
        return entry

    def now(self) -> float:
        """Monotonic seconds of the runtime's clock."""
        return self._environment.clock.now()

    def wait(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """Block this thread for *future*; the worker of an action is free meanwhile."""
        if self._forked:
            self.check_fork()
        try:
            return self._waits.wait(future, timeout, subject)
        except AwaitTimeoutError as error:
            if subject.kind == "resume":
                ended = self._withdraw(future, error).get()
                self._check_attempt()
                return ended
            raise

    async def wait_async(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """The same in a task."""
        self.check_fork()
        try:
            return await self._waits.wait_async(future, timeout, subject)
        except AwaitTimeoutError as error:
            if subject.kind == "resume":
                ended = await self._withdraw(future, error)
                self._check_attempt()
                return ended
            raise

    def call(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        """Run one child outside any group and block for it."""
        if self._closed or self._forked:
            self.check()
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.on_own_thread() or timeout == 0:
            future = self.schedule_execution(child)
            return self.wait(future, timeout, Subject("execution", child.id))  # type: ignore[no-any-return]
        ready, action = self._preparing.one(child)
        return self._calls.call(attempt, ready, action, timeout)

    def call_async(
        self, child: Execution, timeout: float | None
    ) -> Coroutine[Any, Any, Execution | tuple[Any]]:
        """The same in a task."""
        if self._closed or self._forked:
            self.check()
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.in_own_task() or timeout == 0:
            future = self.schedule_execution(child)
            return self.wait_async(future, timeout, Subject("execution", child.id))
        ready, action = self._preparing.one(child)
        return self._calls.call_async(attempt, ready, action, timeout)

    def _withdraw(self, future: Future[Execution], error: Exception) -> Future[Execution]:
        """Take back an `await_resume`; the execution's actor settles whether it came in time."""
        attempt = current_attempt(self._environment)
        if attempt is not None:
            send(attempt.ref, WithdrawUnblock(future, error))
        return future

    def _check_attempt(self) -> None:
        """Raise what a wait of a cancelled execution raises: it may have been answered as ended."""
        attempt = current_attempt(self._environment)
        if attempt is not None and attempt.interruption is not None:
            attempt.check()

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*; a cancel ends it."""
        self.check()
        self._naps.sleep(seconds)

    def sleep_async(self, seconds: float) -> Coroutine[Any, Any, None]:
        """The same in a task."""
        self.check()
        return self._naps.sleep_async(seconds)

    def blocking(self) -> AbstractContextManager[None]:
        """Free this thread's worker within the block."""
        self.check()
        return self.wait_as_worker()

    def wait_as_worker(self) -> AbstractContextManager[None]:
        """The same for whatever a thread of this runtime waits for, to the end of its close."""
        return self._waits.blocking()


def error_of(future: Future[Any]) -> BaseException | None:
    """What a future that is done was resolved with, if that is an error."""
    try:
        future.get(timeout=0)
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        return error
    return None
