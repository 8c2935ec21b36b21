"""The blocking face of the orchestrator."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self, Unpack

from orchestrator.checks import checked_timeout, instance
from orchestrator.context import (
    ORCHESTRATOR_CONTEXT_KEY,
    ExecutionContext,
    peek_context,
)
from orchestrator.core import Children, Core, checked_items, output_of
from orchestrator.errors import AwaitTimeoutError, BlockingCallError
from orchestrator.options import GroupOptions, policy_of
from orchestrator.protocols import Runtime, Subject
from orchestrator.values import Execution, Task

__all__ = ["Orchestrator", "refuse_on_loop"]


def refuse_on_loop(method: str, twin: str) -> None:
    """Raise `BlockingCallError` where an event loop runs on this thread."""
    # Where asyncio is not loaded, or is just being loaded, no loop runs; see adapting.py.
    running_loop = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None:
        raise BlockingCallError(method, twin)


class Orchestrator:
    """Fan-out and fan-in for blocking code: emit children, go on or wait, get their results.

    An action finds one in its context under `ORCHESTRATOR_CONTEXT_KEY`, or with `from_context`.
    Every method can be called from any thread that has the execution's context; on an event
    loop's thread each raises `BlockingCallError` and names its awaitable twin.

    Raises:
        NotInitialisedError: *runtime* is ``None``.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._core = Core(runtime)

    @classmethod
    def _over(cls, core: Core) -> Self:
        orchestrator = cls.__new__(cls)
        orchestrator._core = core  # noqa: SLF001 - its own
        return orchestrator

    @classmethod
    def from_context(cls, context: Mapping[str, Any] | None = None) -> Self | None:
        """The orchestrator of *context*, by default of the running action; ``None`` without one."""
        core = core_of(context)
        return None if core is None else cls._over(core)

    def emit_for_each(
        self, items: Iterable[Any], as_: str, template: Task, **policy: Unpack[GroupOptions]
    ) -> str:
        """Emit one child of *template* for each of *items*; the id of their group.

        The item is the child's input, or what ``${as_.key[0].field}`` in the template's input
        stands for. Task ids are ``parent[i]``, or ``parent.template[i]`` where the template has
        an id. All or nothing: everything is checked before anything is queued. The execution
        turns ``waitAsync`` until its groups have ended.

        Args:
            items: Read to the end here, or lazily, on a thread of its own, with *max_in_flight*.
            as_: The item's name in references and in the child's ``data``.
            template: What every child runs; it can be used again.
            **policy: As for `emit_children`.

        Raises:
            InvalidInputError: a reference leads nowhere, or the action can't take the input.
            UnknownActionError: no such action.
            MissingExecutionError: outside an execution, or its attempt has ended.
            Cancelled: the execution has been cancelled.
            TypeError, ValueError: a wrong argument.
        """
        refuse_on_loop("Orchestrator.emit_for_each", "AsyncOrchestrator.emit_for_each")
        rules = policy_of(policy)
        expansion = self._core.expansion(as_, template)
        source = checked_items(items)
        if rules.max_in_flight is not None:
            children = Children(iter(source), expansion.child, in_task=False)
            return self._core.emit_lazily(children, rules, expansion, template).get()
        return self._core.emit_items(source, expansion, template, rules).get()

    def emit_children(self, children: Iterable[Execution], **policy: Unpack[GroupOptions]) -> str:
        """Emit *children* as one group and return its id. All or nothing.

        Args:
            children: Executions made with `Execution.ad_hoc`; each can be emitted once.
            **policy: ``mode`` (when the group decides, by default `AwaitMode.ALL`), ``merge``
                (`Merge.APPEND`), ``timeout`` (seconds to the group's own deadline), ``quorum``
                (successes needed), ``until`` (a predicate that narrows what counts as a success
                for ``any`` and ``quorum``), ``cancel_rest`` (cancel what is still out when the
                group decides early, ``True``), ``max_in_flight`` (at most so many children exist
                at a time; the source is drawn lazily), ``keep`` (``False``: counts only, outputs
                are ``[]``).

        Raises:
            DuplicateExecutionError: a child was emitted before, or two share an id.
            TypeError: a child is no `Execution`.
            And what `emit_for_each` raises.
        """
        refuse_on_loop("Orchestrator.emit_children", "AsyncOrchestrator.emit_children")
        rules = policy_of(policy)
        source = checked_items(children)
        if rules.max_in_flight is not None:
            return self._core.emit_lazily(
                Children(iter(source), _itself, in_task=False), rules
            ).get()
        return self._core.emit(list(source), rules).get()

    def emit_one(self, child: Execution, **policy: Unpack[GroupOptions]) -> str:
        """Emit a single child as a group of one; see `emit_children`."""
        refuse_on_loop("Orchestrator.emit_one", "AsyncOrchestrator.emit_one")
        children = [self._core.check_child(child)]
        rules = policy_of(policy)
        if rules.max_in_flight is not None:
            return self.emit_children(children, **policy)
        return self._core.emit(children, rules).get()

    def await_group(
        self, group_id: str, timeout: float | None = None, *, return_exceptions: bool = False
    ) -> list[Any]:
        """Wait until a group has decided and return its children's outputs.

        Outputs keep the order of the emission, however the children happened to end; a child that
        returned ``None`` keeps its place. Any number of callers may wait, from any thread, before
        or after the decision: all get the same answer.

        Args:
            group_id: What ``emit_children`` or its siblings returned.
            timeout: Seconds that *this caller* waits. ``0`` looks once; ``None`` waits for the
                group's own deadline, if it has one. Giving up changes nothing for others.
            return_exceptions: For a failed group, return the list by emission with the exceptions
                in their places. A deadline or a cancelled group still raises.

        Raises:
            AwaitTimeoutError: *timeout* passed first; the group goes on.
            GroupTimeoutError: the group's own deadline passed; its children were cancelled.
            GroupFailedError: the mode decided against the group; an ``ExceptionGroup``.
            GroupCancelledError: the group was cancelled.
            UnknownGroupError: no such group, or its emitter has ended.
            DeadlockError: the group holds the waiter, or the wait would close a cycle of waits.
            Cancelled: the waiting execution has been cancelled.
            ValueError: *timeout* is negative or NaN.
        """
        refuse_on_loop("Orchestrator.await_group", "AsyncOrchestrator.await_group")
        seconds = None if timeout is None else checked_timeout(timeout)
        core = self._core
        if core.is_mute:
            with core.speaking():
                return self.await_group(group_id, seconds, return_exceptions=return_exceptions)
        future = core.runtime.await_group(group_id)
        result = core.runtime.wait(future, seconds, Subject("group", group_id))
        return core.outputs(group_id, result, return_exceptions=return_exceptions)

    def await_resume(self, timeout: float | None = None) -> Any:
        """Wait until none of this execution's groups is open; its pending output, merged.

        Groups whose decision this code has not been given yet are merged in the order in which
        they were emitted. With nothing emitted it returns the pending output at once (``None``
        at first).

        Raises:
            AwaitTimeoutError: *timeout* seconds passed first; nothing was merged.
            GroupFailedError, GroupTimeoutError, GroupCancelledError: of a group not yet consumed,
                after merging the others; several are raised in one ``ExceptionGroup``.
            MissingExecutionError: outside an execution.
            Cancelled: the execution has been cancelled.
        """
        refuse_on_loop("Orchestrator.await_resume", "AsyncOrchestrator.await_resume")
        seconds = checked_timeout(timeout)
        core = self._core
        execution_id = core.context().execution.id
        with core.speaking():
            future = core.runtime.wait_for_unblock(execution_id)
            return core.runtime.wait(future, seconds, Subject("resume", execution_id)).output

    def call(self, child: Execution, timeout: float | None = None) -> Any:
        """Run one child outside any group, wait for it and return its output.

        The caller stays ``running``; outside an execution the child is a root. A caller that
        gives up or is cancelled cancels the child.

        Raises:
            AwaitTimeoutError: *timeout* seconds passed first; the child was cancelled.
            Cancelled: the calling execution has been cancelled.
            Exception: whatever the child raised, with its original traceback.
        """
        refuse_on_loop("Orchestrator.call", "AsyncOrchestrator.call")
        seconds = None if timeout is None else checked_timeout(timeout)
        core = self._core
        if child.__class__ is not Execution:
            core.check_child(child)
        if core.is_mute:
            with core.speaking():
                return self.call(child, seconds)
        try:
            ended = core.runtime.call(child, seconds)
        except BaseException as error:
            core.give_up(child, error)
            raise
        return ended[0] if isinstance(ended, tuple) else output_of(ended)

    def as_completed(self, group_id: str, timeout: float | None = None) -> Iterator[Execution]:
        """Yield the group's children as they end, in the order of ending, cancelled ones too.

        Every reader gets every end from the first one on, whenever it comes (of a ``keep=False``
        group, from its arrival on). After the last it raises what `await_group` would. Leaving
        early consumes nothing. *timeout* is one deadline, in seconds, for the whole iteration.

        Raises:
            AwaitTimeoutError, UnknownGroupError: as `await_group`.
        """
        refuse_on_loop("Orchestrator.as_completed", "AsyncOrchestrator.as_completed")
        seconds = checked_timeout(timeout)
        return self._ends(group_id, seconds)

    def _ends(self, group_id: str, timeout: float | None) -> Iterator[Execution]:
        core = self._core
        runtime = core.runtime
        with core.speaking():
            deadline = None if timeout is None else runtime.now() + timeout
            result = runtime.await_group(group_id)
            reader = runtime.read_ends(group_id)
        return self._read(group_id, timeout, deadline, reader, result)

    def _read(
        self, group_id: str, timeout: float | None, deadline: float | None, reader: Any, result: Any
    ) -> Iterator[Execution]:
        core = self._core
        runtime = core.runtime
        subject = Subject("ends", group_id)
        try:
            while True:
                left = None if deadline is None else max(0.0, deadline - runtime.now())
                try:
                    with core.speaking():
                        ends = runtime.wait(reader.next(), left, subject)
                except AwaitTimeoutError:
                    raise AwaitTimeoutError(str(subject), timeout or 0.0) from None
                if ends is None:
                    break
                yield from ends
        finally:
            reader.close()
        with core.speaking():
            outcome = runtime.wait(result, None, Subject("group", group_id))
        core.outputs(group_id, outcome, return_exceptions=False)

    def cancel_group(self, group_id: str, reason: str = "") -> None:
        """Decide a group as cancelled: its children are cancelled, its waiters are told so.

        A group that has decided stays as it is.

        Raises:
            UnknownGroupError: no such group.
        """
        refuse_on_loop("Orchestrator.cancel_group", "AsyncOrchestrator.cancel_group")
        with self._core.speaking():
            self._core.runtime.cancel_group(group_id, reason)

    def cancel(self, execution_id: str, reason: str = "") -> None:
        """Cancel one execution and everything below it; nothing happens to one that has ended.

        Raises:
            UnknownExecutionError: no such execution was ever made here.
        """
        refuse_on_loop("Orchestrator.cancel", "AsyncOrchestrator.cancel")
        self._core.runtime.cancel(execution_id, reason)

    def release_group(self, group_id: str) -> None:
        """Forget a decided group now, not at its emitter's end.

        Raises:
            UnknownGroupError: no such group.
            ValueError: it is still open.
        """
        refuse_on_loop("Orchestrator.release_group", "AsyncOrchestrator.release_group")
        with self._core.speaking():
            self._core.runtime.release_group(group_id)

    def sleep(self, seconds: float) -> None:
        """Wait *seconds* of the runtime's clock; a cancel ends it, the worker is free meanwhile.

        Raises:
            Cancelled: the execution has been cancelled.
            ValueError: *seconds* is negative or NaN.
        """
        refuse_on_loop("Orchestrator.sleep", "AsyncOrchestrator.sleep")
        self._core.runtime.sleep(_pause(seconds))

    def blocking(self) -> AbstractContextManager[None]:
        """A ``with`` block around a wait of one's own (a socket, a lock): keeps parallelism.

        The worker is given to others within the block. Outside an execution it does nothing.
        """
        refuse_on_loop("Orchestrator.blocking", "AsyncOrchestrator.blocking")
        return self._core.runtime.blocking()


def _itself(_index: int, child: Execution) -> Execution:
    return child


def _pause(seconds: float) -> float:
    pause = checked_timeout(seconds, "seconds")
    if pause is None:
        message = f"seconds must be a finite number; got {seconds!r}"
        raise ValueError(message)
    return pause


def core_of(context: Mapping[str, Any] | None) -> Core | None:
    """The core behind what *context* holds under the key, whichever face it has."""
    if context is None:
        context = peek_context()
        if context is None:
            return None
    instance(Mapping, context, "context", "a mapping that holds the orchestrator")
    found = context.get(ORCHESTRATOR_CONTEXT_KEY)
    core = getattr(found, "_core", None)
    if not isinstance(core, Core):
        return None
    return core.bound_to(context) if isinstance(context, ExecutionContext) else core
