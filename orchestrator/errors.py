"""Everything that can go wrong, one class for each thing a caller could handle differently.

All of them are below `OrchestratorError`, carry the facts as fields, say what to do about it, and
survive pickling. `Cancelled` alone is a `BaseException`: it unwinds the code of a cancelled
execution and must pass through every ``except Exception``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs
from attrs import define, field

from orchestrator.texts import excerpt, fields_repr

if TYPE_CHECKING:
    from orchestrator.values import Execution

__all__ = [
    "AwaitTimeoutError",
    "BlockingCallError",
    "Cancelled",
    "CloseTimeoutError",
    "DeadlockError",
    "DuplicateExecutionError",
    "ExecutionCancelledError",
    "ExecutionTimeoutError",
    "GroupCancelledError",
    "GroupFailedError",
    "GroupTimeoutError",
    "InvalidInputError",
    "MissingExecutionError",
    "NotInitialisedError",
    "OrchestratorError",
    "RejectedError",
    "RuntimeClosedError",
    "UnknownActionError",
    "UnknownExecutionError",
    "UnknownGroupError",
    "UnknownTaskError",
]


class OrchestratorError(Exception):
    """The base of every error that this package raises."""

    def __repr__(self) -> str:
        return fields_repr(self) if attrs.has(type(self)) else super().__repr__()


class NotInitialisedError(OrchestratorError):
    """An orchestrator was made without a runtime."""


class MissingExecutionError(OrchestratorError):
    """A call that needs a running execution was made outside one, or after its attempt ended."""


@define(eq=False, repr=False, slots=False)
class UnknownActionError(OrchestratorError):
    """No action has this name."""

    action: str
    nearest: tuple[str, ...] = ()  # registered names that look like it, the likeliest first

    def __str__(self) -> str:
        hint = (
            f"did you mean {' or '.join(map(repr, self.nearest))}?"
            if self.nearest
            else "register it with ActionRegistry.register, or pass the registry that has it"
        )
        return f"no action is named {self.action!r}; {hint}"


@define(eq=False, repr=False, slots=False)
class UnknownTaskError(OrchestratorError):
    """An execution names a task that its process does not hold."""

    task_id: str
    process_id: str = ""

    def __str__(self) -> str:
        return (
            f"process {self.process_id!r} holds no task {self.task_id!r}; give the execution an"
            " action, or emit the task with emit_for_each first"
        )


@define(eq=False, repr=False, slots=False)
class UnknownGroupError(OrchestratorError):
    """No such group: never emitted here, released, or its emitter has ended."""

    group_id: str

    def __str__(self) -> str:
        return (
            f"no group {excerpt(self.group_id)} is known; a group can be awaited until the"
            " execution that emitted it ends or release_group forgets it"
        )


@define(eq=False, repr=False, slots=False)
class UnknownExecutionError(OrchestratorError):
    """No live execution has this id."""

    execution_id: str

    def __str__(self) -> str:
        return (
            f"no live execution has the id {excerpt(self.execution_id)}; what has ended can be"
            " read from its handle or its group's result"
        )


@define(eq=False, repr=False, slots=False)
class DuplicateExecutionError(OrchestratorError):
    """An execution was emitted a second time, or shares its id with another one."""

    execution_id: str
    reason: str = "was emitted before"

    def __str__(self) -> str:
        return (
            f"execution {excerpt(self.execution_id)} {self.reason}; make a new one for each emit"
            " with Execution.ad_hoc"
        )


@define(eq=False, repr=False, slots=False)
class InvalidInputError(OrchestratorError):
    """Input that does not fit: a bad reference, or values that the action can't take."""

    problem: str
    action: str = ""
    parameter: str = ""
    expected: str = ""
    got: str = ""

    def __str__(self) -> str:
        parts = [f"action {self.action!r}: {self.problem}" if self.action else self.problem]
        if self.parameter:
            parts.append(f"parameter {self.parameter!r}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.got:
            parts.append(f"got {self.got}")
        return "; ".join(parts)


@define(eq=False, repr=False, slots=False)
class AwaitTimeoutError(OrchestratorError, TimeoutError):
    """A waiter's own patience ran out; what it waited for goes on (a `call` is cancelled)."""

    subject: str
    timeout: float  # seconds

    def __str__(self) -> str:
        return (
            f"{self.subject} had not ended after {self.timeout:g} s; wait again, or with a"
            " longer timeout="
        )


@define(eq=False, repr=False, slots=False)
class ExecutionTimeoutError(OrchestratorError, TimeoutError):
    """An execution missed its deadline, or an attempt took longer than its timeout."""

    execution_id: str
    action: str
    timeout: float  # seconds
    what: str = "its deadline"

    def __str__(self) -> str:
        return (
            f"execution {self.execution_id!r} ({self.action}) missed {self.what} of"
            f" {self.timeout:g} s; give it a longer timeout="
        )


@define(eq=False, repr=False, slots=False)
class GroupTimeoutError(OrchestratorError, TimeoutError):
    """A group's deadline passed before its mode could decide; its children were cancelled."""

    group_id: str
    timeout: float  # seconds from the emit to the deadline
    outputs: list[Any] = field(repr=excerpt)  # by emission; None where nothing had arrived
    missing: tuple[int, ...]  # indexes of the children that were still out
    # By emission, every child's last snapshot: who had failed, and why (none where keep=False).
    executions: Sequence[Execution] = field(default=(), repr=False)

    def __str__(self) -> str:
        if not self.missing:
            return (
                f"group {self.group_id!r} closed after {self.timeout:g} s, before its source had"
                " ended; emit it with a longer timeout=, or read what had arrived from .outputs"
            )
        shown = ", ".join(map(str, self.missing[:10])) + (", ..." if self.missing[10:] else "")
        return (
            f"group {self.group_id!r} closed after {self.timeout:g} s with"
            f" {len(self.missing)} children still out ([{shown}]); emit it"
            " with a longer timeout=, or read what had arrived from .outputs"
        )


class GroupFailedError(OrchestratorError, ExceptionGroup[Exception]):
    """A group's mode decided against it: the exceptions of its children, each with a note.

    ``except*``, `split`, `subgroup` and pickling keep the fields.

    Attributes:
        group_id: The group.
        outputs: By emission, what did arrive; ``None`` where nothing did.
        executions: By emission, every child's last snapshot (``None`` where ``keep=False``).
        source_failed: The lazy source raised, so the group holds not all that it should.
    """

    group_id: str
    outputs: list[Any]
    executions: Sequence[Execution]
    source_failed: bool

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        *_args: object,
        **_fields: object,
    ) -> Self:
        """Make the group; the fields are set by `__init__`."""
        return super().__new__(cls, message, exceptions)

    def __init__(
        self,
        message: str,  # noqa: ARG002 - taken by __new__
        exceptions: Sequence[Exception],  # noqa: ARG002 - taken by __new__
        group_id: str = "",
        outputs: Sequence[Any] = (),
        executions: Sequence[Execution] = (),
        *,
        source_failed: bool = False,
    ) -> None:
        self.group_id = group_id
        self.outputs = list(outputs)
        self.executions = executions
        self.source_failed = source_failed

    def derive(self, excs: Sequence[Exception]) -> GroupFailedError:  # type: ignore[override]
        """Make a group of *excs* with the same fields; `split` and ``except*`` call it."""
        return GroupFailedError(
            self.message,
            excs,
            self.group_id,
            self.outputs,
            self.executions,
            source_failed=self.source_failed,
        )

    def copy(self) -> GroupFailedError:
        """A group of one's own with the same exceptions, to be raised without touching others'."""
        twin = self.derive(self.exceptions)
        twin.__cause__ = self.__cause__
        for note in getattr(self, "__notes__", ()):
            twin.add_note(note)
        return twin


@define(eq=False, repr=False, slots=False)
class GroupCancelledError(OrchestratorError):
    """A group was cancelled before it decided, by `cancel_group` or with its emitter."""

    group_id: str
    reason: str = ""

    def __str__(self) -> str:
        return f"group {self.group_id!r} was cancelled" + (
            f": {self.reason}" if self.reason else ""
        )


@define(eq=False, repr=False, slots=False)
class ExecutionCancelledError(OrchestratorError):
    """An execution was cancelled; what everyone but its own code is told."""

    execution_id: str
    reason: str = ""

    def __str__(self) -> str:
        return f"execution {self.execution_id!r} was cancelled" + (
            f": {self.reason}" if self.reason else ""
        )


@define(eq=False, repr=False, slots=False)
class RejectedError(OrchestratorError):
    """An output that ``until=`` did not accept, or a quorum that can't be reached any more."""

    problem: str
    output: Any = field(default=None, repr=excerpt)  # it may be of any size, and unprintable

    def __str__(self) -> str:
        return self.problem


@define(eq=False, repr=False, slots=False)
class DeadlockError(OrchestratorError):
    """A wait that could never end: everything it needs waits, in the end, for the waiter."""

    cycle: tuple[str, ...]  # who waits for whom, the waiter first and last

    def __str__(self) -> str:
        return (
            f"this wait could never end: {' waits for '.join(self.cycle)}; let one of them end"
            " first, or wait with a timeout="
        )


@define(eq=False, repr=False, slots=False)
class BlockingCallError(OrchestratorError):
    """A blocking method was called on the thread of a running event loop."""

    method: str
    twin: str

    def __str__(self) -> str:
        return (
            f"{self.method} would block the event loop that runs on this thread; use"
            f" {self.twin}, or call it from another thread (asyncio.to_thread)"
        )


class RuntimeClosedError(OrchestratorError):
    """The runtime was closed, or this is a forked copy of its process."""


@define(eq=False, repr=False, slots=False)
class CloseTimeoutError(OrchestratorError, TimeoutError):
    """`close` gave up waiting; it can be called again."""

    timeout: float  # seconds
    still_running: tuple[str, ...]  # each action or thread that still runs, with its stack

    def __str__(self) -> str:
        listing = "\n".join(self.still_running)
        return (
            f"{len(self.still_running)} still running after {self.timeout:g} s; close again to"
            f" wait longer:\n{listing}"
        )


class Cancelled(BaseException):
    """Raised by every wait and emit inside a cancelled execution, at once and ever again.

    A `BaseException`, so that no ``except Exception`` swallows it: let it pass. Everyone else is
    told `ExecutionCancelledError`. Async code gets `asyncio.CancelledError` instead.
    """
