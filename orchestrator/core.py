"""What the blocking and the awaitable orchestrator do alike: everything but the waiting.

Each operation is cut at its wait: a part before, which checks and sends, and a part after, which
turns what came into a value or an error.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager
from typing import Any, Self

from orchestrator.adapting import adapt
from orchestrator.context import (
    ExecutionContext,
    current,
    current_context,
    peek_context,
    use_context,
)
from orchestrator.errors import (
    AwaitTimeoutError,
    DuplicateExecutionError,
    ExecutionCancelledError,
    GroupFailedError,
    OrchestratorError,
)
from orchestrator.expansion import Expansion, TemplateChildren, is_template
from orchestrator.protocols import FullRuntime, Future, Runtime
from orchestrator.tasks import with_tasks
from orchestrator.texts import excerpt
from orchestrator.values import (
    AwaitMode,
    Execution,
    ExecutionState,
    GroupPolicy,
    GroupResult,
    Task,
)

__all__ = ["Children", "Core", "Expansion"]


_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


class Children:
    """A lazy source: an iterator, and how a child is made of what it yields."""

    def __init__(
        self,
        iterator: Iterator[Any] | AsyncIterator[Any],
        make: Callable[[int, Any], Execution],
        *,
        in_task: bool,
    ) -> None:
        self.iterator = iterator
        self.in_task = in_task
        self.child = make


class _Ready:
    """An operation's answer that needs no wait."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self, *, timeout: float | None = None) -> Any:  # noqa: ARG002 - Pykka's interface
        return self.value


class Core:
    """One runtime, and the context of the execution that speaks."""

    def __init__(self, runtime: Runtime | None, bound: ExecutionContext | None = None) -> None:
        self.runtime = adapt(runtime)
        self.bound = bound

    @classmethod
    def over(cls, runtime: FullRuntime, bound: ExecutionContext) -> Self:
        """The same over a runtime that is known to offer everything; each wait may need one."""
        core = cls.__new__(cls)
        core.runtime = runtime
        core.bound = bound
        return core

    def bound_to(self, context: ExecutionContext) -> Core:
        """This one, or its like, for the execution of *context*."""
        return self if self.bound is context else Core.over(self.runtime, context)

    def context(self) -> ExecutionContext:
        """The speaking execution's context; `MissingExecutionError` outside one."""
        context = peek_context()
        if context is None:
            context = self.bound
        return current_context() if context is None else context

    def peek(self) -> ExecutionContext | None:
        """The same, ``None`` outside an execution."""
        context = peek_context()
        return self.bound if context is None else context

    def speaking(self) -> AbstractContextManager[object]:
        """Make the context of a bound orchestrator current, for threads that have none."""
        return use_context(self.bound) if self.is_mute and self.bound is not None else _NOTHING

    @property
    def is_mute(self) -> bool:
        """Whether the calling code is outside of the bound execution's, and has to be `speaking`.

        Mostly it is not; to look costs less than a block that does nothing.
        """
        return self.bound is not None and current.get() is None

    # Emit

    def expansion(self, as_: Any, template: Any) -> Expansion:
        """Check the arguments of an `emit_for_each`."""
        context = self.context()
        if not isinstance(template, Task):
            message = (
                f"template must be a Task, not {excerpt(template)}; write Task('service:method')"
            )
            raise TypeError(message)
        if not template.action:
            message = "the template has no action; write Task('service:method', ...)"
            raise ValueError(message)
        if not isinstance(as_, str) or not as_.isidentifier():
            message = f"as_ names the item in the template's references, not {excerpt(as_)}"
            raise ValueError(message) if isinstance(as_, str) else TypeError(message)
        return Expansion(context, as_, template)

    def emit_items(
        self, items: Iterable[Any], expansion: Expansion, template: Task, policy: GroupPolicy
    ) -> Future[str]:
        """Emit a child for each of *items*, all read already."""
        children = TemplateChildren(expansion, list(items))
        reply = self.emit(children, policy)
        self._add_tasks(expansion, template, len(children))
        return reply

    def emit(self, children: Sequence[Execution], policy: GroupPolicy) -> Future[str]:
        """Emit children all at once, or none of them."""
        context = self.context()
        given = () if is_template(children) else children
        for place, child in enumerate(given):
            if not isinstance(child, Execution):
                message = (
                    f"child {place} must be an Execution, not {excerpt(child)}; make one with"
                    " Execution.ad_hoc('service:method', input)"
                )
                raise TypeError(message)
        if policy.quorum is not None and policy.quorum > len(children):
            message = f"quorum={policy.quorum} can't be reached by {len(children)} children"
            raise ValueError(message)
        if not self.is_mute:
            return self.runtime.emit_executions(context.execution, children, policy)
        with self.speaking():
            return self.runtime.emit_executions(context.execution, children, policy)

    def emit_lazily(
        self,
        source: Children,
        policy: GroupPolicy,
        expansion: Expansion | None = None,
        template: Task | None = None,
    ) -> Future[str]:
        """Open a group whose children are drawn as there is room."""
        with self.speaking():
            reply = self.runtime.emit_lazily(self.context().execution, source, policy)
        if expansion is not None and template is not None:
            self._add_tasks(expansion, template, None)
        return reply

    def _add_tasks(self, expansion: Expansion, template: Task, count: int | None) -> None:
        context = self.context()
        context.replace_process(with_tasks(context.process, expansion.prefix, template, count))

    # Await

    def outputs(self, group_id: str, result: GroupResult, *, return_exceptions: bool) -> list[Any]:
        """A group's decision as its waiter gets it: a list, or an error of its own."""
        with self.speaking():
            self.runtime.consume(group_id)
        error = result.error
        if error is None:
            return list(result.outputs)
        if isinstance(error, GroupFailedError):
            if return_exceptions and not error.source_failed:
                return _outcomes(result)
            raise error.copy()
        if isinstance(error, OrchestratorError):
            raise copy.copy(error)
        raise error

    def give_up(self, child: Execution, error: BaseException) -> None:
        """The caller leaves a call: cancel the child, nobody else could get its answer."""
        if isinstance(error, DuplicateExecutionError):
            return  # it was refused, and what runs under its id is another's
        reason = (
            f"its caller gave up after {error.timeout:g} s"
            if isinstance(error, AwaitTimeoutError)
            else f"its caller was ended by {type(error).__name__}"
        )
        with contextlib.suppress(OrchestratorError):  # it has ended, or can't be cancelled here
            self.runtime.cancel(child.id, reason)

    def check_child(self, child: Any) -> Execution:
        """Refuse anything but an execution."""
        if not isinstance(child, Execution):
            message = (
                f"an Execution is needed, not {excerpt(child)}; make one with"
                " Execution.ad_hoc('service:method', input)"
            )
            raise TypeError(message)
        return child


def output_of(execution: Execution) -> Any:
    """The output of an ended execution, or its error raised with its original traceback."""
    if execution.state is ExecutionState.CANCELLED:
        raise copy.copy(execution.error or ExecutionCancelledError(execution.id))
    if execution.error is not None:
        raise execution.error.with_traceback(
            getattr(execution, "_traceback", execution.error.__traceback__)
        )
    return execution.output


def _outcomes(result: GroupResult) -> list[Any]:
    """What each child came to, by emission: its output, or the error in its place."""
    outputs, executions = result.outputs, result.executions
    if len(outputs) != len(executions):
        return [_outcome(execution) for execution in executions]
    # What did arrive needs no look at its execution, which is made by that.
    return [
        _outcome(executions[index]) if output is None else output
        for index, output in enumerate(outputs)
    ]


def _outcome(execution: Execution) -> Any:
    if execution.error is not None:
        return execution.error
    if execution.state is ExecutionState.CANCELLED:
        return ExecutionCancelledError(execution.id)
    return execution.output


def is_async_iterable(items: Any) -> bool:
    """Whether *items* must be read with ``async for``."""
    return isinstance(items, AsyncIterable)


def checked_items(items: Any) -> Iterable[Any]:
    """Refuse what can't be iterated, with a text that says so."""
    if not isinstance(items, Iterable):
        message = f"expected an iterable, not {excerpt(items)}"
        if is_async_iterable(items):
            message += "; an async one needs AsyncOrchestrator"
        raise TypeError(message)
    return items


__all__ += ["AwaitMode", "checked_items", "is_async_iterable", "output_of"]
