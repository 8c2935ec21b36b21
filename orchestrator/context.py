"""The context of a running execution: its data, its deadline, and the way to its orchestrator."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from orchestrator.errors import MissingExecutionError
from orchestrator.values import Execution, Process

__all__ = [
    "ORCHESTRATOR_CONTEXT_KEY",
    "ExecutionContext",
    "ExecutionScope",
    "current_context",
    "peek_context",
    "use_context",
]

ORCHESTRATOR_CONTEXT_KEY = "fluxor.orchestrator"
"""The key under which an action finds its orchestrator in its context."""


class ExecutionScope(Protocol):
    """The attempt (or scope) that a context belongs to, as its runtime sees it."""

    @property
    def context(self) -> ExecutionContext:
        """Its context."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the execution has been cancelled, or this attempt has run out of time."""
        ...

    def now(self) -> float:
        """The runtime clock's monotonic seconds."""
        ...

    def snapshot(self) -> Execution:
        """The execution as it is now."""
        ...

    def orchestrator(self, context: ExecutionContext) -> Any:
        """What the action finds under `ORCHESTRATOR_CONTEXT_KEY`."""
        ...


class ExecutionContext(Mapping[str, Any]):
    """A mapping of the entries that the run was given, and the execution that runs.

    Args:
        execution: The execution that the context is for.
        process: What it belongs to; a new one of its own where ``None``.
        entries: What ``run(context=...)`` was given; every child sees it too.
        deadline: In the runtime clock's monotonic seconds, ``None`` for none.

    Safe to read from any thread.
    """

    __slots__ = ("_entries", "_execution", "_process", "deadline", "scope")

    def __init__(
        self,
        execution: Execution | None,
        process: Process | None = None,
        entries: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        *,
        scope: ExecutionScope | None = None,
    ) -> None:
        self._execution = execution
        self._process = process
        self._entries: Mapping[str, Any] = {} if entries is None else entries
        self.deadline = deadline
        self.scope = scope

    @property
    def execution(self) -> Execution:
        """A snapshot of the execution."""
        if self._execution is not None:
            return self._execution
        if self.scope is None:
            message = "this context has no execution; give ExecutionContext one"
            raise MissingExecutionError(message)
        return self.scope.snapshot()

    @property
    def process(self) -> Process:
        """What the execution and all below it belong to, with the tasks emitted so far."""
        if self._process is None:
            execution = self.execution
            self._process = Process(execution.process_id or execution.id)
        return self._process

    def replace_process(self, process: Process) -> None:
        """Make *process* this context's; `emit_for_each` does so with the tasks it adds."""
        self._process = process

    @property
    def entries(self) -> Mapping[str, Any]:
        """What the run was given, without the orchestrator's own key."""
        return self._entries

    @property
    def cancelled(self) -> bool:
        """Whether the code should end: the execution was cancelled or the attempt timed out."""
        return self.scope is not None and self.scope.cancelled

    def remaining(self) -> float | None:
        """Seconds to the deadline, never negative; ``None`` where there is none."""
        if self.deadline is None:
            return None
        now = time.monotonic() if self.scope is None else self.scope.now()
        return max(0.0, self.deadline - now)

    def __getitem__(self, key: str) -> Any:
        if key == ORCHESTRATOR_CONTEXT_KEY and self.scope is not None:
            return self.scope.orchestrator(self)
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        if self.scope is not None and ORCHESTRATOR_CONTEXT_KEY not in self._entries:
            yield ORCHESTRATOR_CONTEXT_KEY

    def __len__(self) -> int:
        return sum(1 for _ in self)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        name = "?" if self._execution is None and self.scope is None else self.execution.id
        return f"<ExecutionContext of {name!r}>"


# A runtime may set the scope in place of its context, which is then made when somebody asks.
current: ContextVar[ExecutionContext | ExecutionScope | None] = ContextVar(
    "actor_orchestrator", default=None
)


def current_context() -> ExecutionContext:
    """The context of the execution whose code is running.

    It follows `contextvars`: tasks made by an async action have it, threads that an action starts
    have it only when they are run in a copied context.

    Raises:
        MissingExecutionError: called outside an execution.
    """
    context = peek_context()
    if context is None:
        message = (
            "no execution is running here; call this inside an action, or make the calling code"
            " an execution with `with runtime.execution() as orchestrator:`"
        )
        raise MissingExecutionError(message)
    return context


def peek_context() -> ExecutionContext | None:
    """The same, ``None`` outside an execution."""
    found = current.get()
    if (
        found is None or found.__class__ is ExecutionContext
    ):  # as an isinstance of a mapping is dear
        return found
    return found if isinstance(found, ExecutionContext) else found.context


@contextmanager
def use_context(context: ExecutionContext) -> Iterator[ExecutionContext]:
    """Make *context* the current one within the ``with`` block; for runtimes and tests."""
    token = current.set(context)
    try:
        yield context
    finally:
        current.reset(token)
