"""The values that travel: tasks, executions, policies and results.

All are frozen attrs classes, safe to share between threads. Times are in the runtime clock's
monotonic seconds. None of them compares or prints the user's own inputs and outputs, which may be
things that can't be compared, copied or printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeAlias

import attrs
from attrs import field, frozen

from orchestrator.checks import at_least, checked_timeout, instance
from orchestrator.drafts import draft_of
from orchestrator.ids import new_id
from orchestrator.texts import excerpt, fields_repr

__all__ = [
    "AwaitMode",
    "Execution",
    "ExecutionState",
    "GroupPolicy",
    "GroupResult",
    "Merge",
    "MergeRule",
    "Process",
    "Rate",
    "Retry",
    "Task",
]

_NOTHING_YET: Mapping[str, Any] = MappingProxyType({})
_INFINITY = float("inf")


class ExecutionState(StrEnum):
    """Where an execution is in its life; ``skipped`` and ``paused`` are reserved."""

    PENDING = "pending"  # made, not yet given to a runtime
    SCHEDULED = "scheduled"  # queued, or between two attempts
    RUNNING = "running"
    WAIT_ASYNC = "waitAsync"  # it has emitted groups that have not ended
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    PAUSED = "paused"

    @property
    def ended(self) -> bool:
        """Whether nothing follows this state."""
        return self in _ENDED


_ENDED = frozenset(
    {
        ExecutionState.COMPLETED,
        ExecutionState.FAILED,
        ExecutionState.CANCELLED,
        ExecutionState.SKIPPED,
    }
)


class AwaitMode(StrEnum):
    """When a group decides."""

    ALL = "all"  # every child has ended; a failure fails the group
    FIRST = "first"  # the first child ended, either way
    ANY = "any"  # the first success, or every child failed
    ANY_ERROR = "anyError"  # the first failure, or every child succeeded
    QUORUM = "quorum"  # so many successes, or they can't be reached any more


class Merge(StrEnum):
    """How a group's outputs enter its parent's pending output."""

    APPEND = "append"
    REPLACE = "replace"


MergeRule: TypeAlias = Merge | Callable[[list[Any]], Any]


@frozen
class Rate:
    """At most *limit* starts in any window of *per* seconds."""

    limit: int = field()
    per: float = field(default=1.0)

    __repr__ = fields_repr

    @limit.validator
    def _check_limit(self, _attribute: object, value: object) -> None:
        at_least(1, value, "Rate.limit")

    @per.validator
    def _check_per(self, _attribute: object, value: object) -> None:
        if not checked_timeout(value, "Rate.per"):
            message = f"Rate.per must be more than 0 seconds and finite; got {value!r}"
            raise ValueError(message)


@frozen
class Retry:
    """How often an action is attempted, and how long apart.

    The pause before attempt ``n + 1`` is ``delay * multiplier ** (n - 1)`` seconds, at most
    *max_delay*, less a random share of it of at most *jitter* (0 to 1). *retry_on* is matched
    against what the action raised; errors of wrong use are never retried.
    """

    max_attempts: int = field(default=3)
    delay: float = field(default=0.0)
    multiplier: float = field(default=2.0)
    max_delay: float | None = field(default=None)
    jitter: float = field(default=0.0)
    retry_on: tuple[type[BaseException], ...] = field(default=(Exception,))

    __repr__ = fields_repr

    @max_attempts.validator
    def _check_attempts(self, _attribute: object, value: object) -> None:
        at_least(1, value, "Retry.max_attempts")

    @delay.validator
    @multiplier.validator
    def _check_seconds(self, attribute: attrs.Attribute[float], value: float) -> None:
        if checked_timeout(value, f"Retry.{attribute.name}") is None:
            message = f"Retry.{attribute.name} must be a finite number; got {value!r}"
            raise ValueError(message)

    @max_delay.validator
    def _check_max_delay(self, _attribute: object, value: float | None) -> None:
        checked_timeout(value, "Retry.max_delay")

    @jitter.validator
    def _check_jitter(self, _attribute: object, value: float) -> None:
        if checked_timeout(value, "Retry.jitter") is None or value > 1:
            message = f"Retry.jitter is a share of the delay, 0 to 1; got {value!r}"
            raise ValueError(message)

    @retry_on.validator
    def _check_retry_on(self, _attribute: object, value: object) -> None:
        if not isinstance(value, tuple) or not all(
            isinstance(kind, type) and issubclass(kind, BaseException) for kind in value
        ):
            message = f"Retry.retry_on must be a tuple of exception classes; got {excerpt(value)}"
            raise TypeError(message)

    def pause(self, attempts: int, random: float = 0.0) -> float:
        """Seconds to wait after *attempts* have failed; *random* is drawn from 0 to 1."""
        try:
            seconds = self.delay * self.multiplier ** (attempts - 1)
        except OverflowError:
            seconds = _INFINITY if self.delay else 0.0
        if self.max_delay is not None:
            seconds = min(seconds, self.max_delay)
        return seconds * (1.0 - self.jitter * random)


def _is_retry(_instance: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, Retry):
        message = f"retry must be a Retry or None, not {excerpt(value)}"
        raise TypeError(message)


def _is_timeout(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    checked_timeout(value, attribute.name)


@frozen(eq=False)
class Task:
    """A template for executions: one action and what each of its children is given.

    ``input`` may hold references such as ``${item.path}``; see `Orchestrator.emit_for_each`.
    """

    action: str = field()
    input: Any = field(default=None, repr=False)
    id: str = ""
    name: str = ""
    retry: Retry | None = field(default=None, validator=_is_retry)
    timeout: float | None = field(default=None, validator=_is_timeout)  # seconds, each attempt
    priority: int | None = None

    __repr__ = fields_repr

    @action.validator
    def _check_action(self, _attribute: object, value: object) -> None:
        if not isinstance(value, str):
            message = f"a Task's action is a name such as 'service:method', not {excerpt(value)}"
            raise TypeError(message)
        instance(str, self.id, "a Task's id", "a string")
        instance(str, self.name, "a Task's name", "a string")


@frozen(eq=False)
class Process:
    """What a root execution and all below it belong to; *tasks* maps task ids to tasks."""

    id: str
    tasks: Mapping[str, Task] = field(factory=dict, repr=False)

    __repr__ = fields_repr


class _Hidden:
    """What an `Execution` carries beside its fields: its one claim, and its error's traceback."""

    __slots__ = ("_traceback", "_unclaimed")
    _unclaimed: bool
    _traceback: TracebackType | None


@frozen(eq=False, repr=False, weakref_slot=False, getstate_setstate=False)
class Execution(_Hidden):
    """One run of an action: a template while it is pending, a snapshot from then on.

    Compared by identity. Each can be emitted or called once. *timeout* is in seconds for each
    attempt; the ``*_at`` times are in the runtime clock's monotonic seconds.
    """

    action: str = ""
    input: Any = None
    id: str = field(factory=new_id)
    process_id: str = ""
    parent_id: str | None = None
    task_id: str = ""
    group_id: str | None = None
    index: int | None = None  # place in the emission
    data: Mapping[str, Any] = _NOTHING_YET
    state: ExecutionState = ExecutionState.PENDING
    output: Any = None
    error: Exception | None = None
    attempts: int = 0
    retry: Retry | None = None
    timeout: float | None = None
    priority: int | None = None
    scheduled_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    meta: Mapping[str, Any] = _NOTHING_YET

    def __attrs_post_init__(self) -> None:
        if self.state is _PENDING:
            _set(self, "_unclaimed", True)  # noqa: FBT003

    @classmethod
    def ad_hoc(cls, action: str, input: Any = None, **fields: Any) -> Self:  # noqa: A002
        """Make an execution to emit or call; *fields* are any other fields of the class.

        Raises:
            TypeError: *action* is no string, or *fields* names no field.
            ValueError: *action* is empty, or a timeout is negative or NaN.
        """
        if not isinstance(action, str):
            message = f"action must be a name such as 'service:method', not {excerpt(action)}"
            raise TypeError(message)
        if not action:
            message = "action must be a name such as 'service:method'; got ''"
            raise ValueError(message)
        if not fields and cls is Execution:  # as mostly; see benchmarks/fan_out.py
            execution: Any = DraftExecution(action, input, new_id(), *_AD_HOC)
            execution._unclaimed = True  # noqa: SLF001 - as in `build_pending`
            execution.__class__ = cls
            return execution  # type: ignore[no-any-return]
        checked_timeout(fields.get("timeout"))
        _is_retry(None, None, fields.get("retry"))
        for name in fields.keys() & {"data", "meta"}:
            instance(Mapping, fields[name], name, "a mapping")
        return cls(action=action, input=input, **fields)

    def claim(self) -> bool:
        """Take this execution's one claim; ``False`` if it was taken before. Atomic."""
        try:
            _delete(self, "_unclaimed")
        except AttributeError:
            return False
        return True

    def unclaim(self) -> None:
        """Give the claim back: the emit that took it has queued nothing."""
        _set(self, "_unclaimed", True)  # noqa: FBT003

    def __repr__(self) -> str:
        return (
            f"<Execution {self.id!r} of {self.action!r}: {self.state.value}"
            + (f", {type(self.error).__name__}" if self.error is not None else "")
            + ">"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in _FIELD_NAMES}
        for name in ("data", "meta"):
            state[name] = dict(state[name])
        state["_unclaimed"] = hasattr(self, "_unclaimed")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        unclaimed = state.pop("_unclaimed", False)
        for name, value in state.items():
            _set(self, name, value)
        if unclaimed:
            self.unclaim()


_PENDING = ExecutionState.PENDING
# The defaults of all fields after the id.
_AD_HOC = tuple(attribute.default for attribute in attrs.fields(Execution)[3:])
_set = object.__setattr__
_delete = object.__delattr__
_FIELD_NAMES = tuple(attribute.name for attribute in attrs.fields(Execution))

DraftExecution = draft_of(Execution, bases=(_Hidden,))  # it is made twice for every child


def build_pending(*fields: Any) -> Execution:
    """One that is still to be emitted, of all of its fields: it has its claim."""
    execution = DraftExecution(*fields)
    execution._unclaimed = True  # noqa: SLF001 - a part of it
    execution.__class__ = Execution
    return execution  # type: ignore[no-any-return]


def _mode(value: Any) -> AwaitMode:
    try:
        return AwaitMode(value)
    except ValueError:
        names = ", ".join(repr(mode.value) for mode in AwaitMode)
        message = f"mode must be an AwaitMode ({names}), not {excerpt(value)}"
        raise ValueError(message) from None


def _merge(value: Any) -> MergeRule:
    if callable(value):
        return value  # type: ignore[no-any-return]
    try:
        return Merge(value)
    except ValueError:
        message = f"merge must be 'append', 'replace' or a callable, not {excerpt(value)}"
        raise ValueError(message) from None


@frozen(eq=False)
class GroupPolicy:
    """How a group decides and merges; see `Orchestrator.emit_children` for each field.

    Raises:
        ValueError: a value out of range, or two that don't go together.
        TypeError: a value of the wrong type.
    """

    mode: AwaitMode = field(default=AwaitMode.ALL, converter=_mode)
    merge: MergeRule = field(default=Merge.APPEND, converter=_merge)
    timeout: float | None = field(default=None, converter=checked_timeout)
    quorum: int | None = None
    until: Callable[[Any], Any] | None = None
    cancel_rest: bool = True
    max_in_flight: int | None = None
    keep: bool = True

    __repr__ = fields_repr

    def __attrs_post_init__(self) -> None:
        instance(bool, self.cancel_rest, "cancel_rest", "True or False")
        instance(bool, self.keep, "keep", "True or False")
        if (self.mode is AwaitMode.QUORUM) != (self.quorum is not None):
            message = (
                f"quorum={self.quorum!r} with mode={self.mode.value!r}: give quorum= exactly when"
                " the mode is 'quorum'"
            )
            raise ValueError(message)
        if self.quorum is not None:
            at_least(0, self.quorum, "quorum")
        if self.max_in_flight is not None:
            at_least(1, self.max_in_flight, "max_in_flight")
        if self.until is not None:
            if not callable(self.until):
                message = f"until must be a predicate of one output, not {excerpt(self.until)}"
                raise TypeError(message)
            if self.mode not in (AwaitMode.ANY, AwaitMode.QUORUM):
                message = f"until= narrows 'any' and 'quorum' only; the mode is {self.mode.value!r}"
                raise ValueError(message)


@frozen(eq=False, repr=False)
class GroupResult:
    """What a group came to. *error* is what a waiter is raised, or ``None``."""

    outputs: list[Any]  # as the mode gives them; by emission, what had arrived, in an error
    executions: Sequence[Execution]  # by emission, the last snapshot of each child
    error: Exception | None = None

    def __repr__(self) -> str:
        outcome = "ok" if self.error is None else type(self.error).__name__
        return f"<GroupResult {outcome}: {len(self.outputs)} outputs>"


RunsIn: TypeAlias = Literal["thread", "process"]
