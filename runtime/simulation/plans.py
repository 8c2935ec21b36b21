"""Fan-outs as data: what each execution does, what waits for it, and what happens to it.

A plan is a plain value. `planned` makes it an execution and `planned_actions` the actions that run
it, on any runtime; `strategies` draws plans. All times are seconds, virtual ones in a simulation.
The ``repr`` of a plan leaves out what is as usual, and can be executed.
"""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import attrs
from attrs import field, frozen

from orchestrator.values import AwaitMode

__all__ = [
    "FanOutPlan",
    "Fault",
    "FaultKind",
    "MergePlan",
    "Outcome",
    "Path",
    "Plan",
    "TaskPlan",
    "Wait",
    "WaiterPlan",
    "plan_at",
    "size",
]

Path: TypeAlias = tuple[int, ...]  # from the root, the index of each child; () is the root


class _Named(enum.StrEnum):
    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Outcome(_Named):
    """How a task ends, left alone."""

    VALUE = "value"  # returns its name
    NONE = "none"  # returns None
    ERROR = "error"  # raises PlannedError
    BASE_EXCEPTION = "base exception"  # raises PlannedExit, which is no Exception
    REJECTED = "rejected"  # returns what until= does not accept
    HANGS = "hangs"  # waits an hour, then returns its name


class Wait(_Named):
    """How an execution waits for the children that it emitted."""

    AWAIT = "await_group"
    RESUME = "await_resume"
    ENDS = "as_completed"
    RETURN = "it returns"
    CALLS = "calls"  # no group: each child is called, one after the other


class MergePlan(_Named):
    """How a group's outputs enter the pending output."""

    APPEND = "append"
    REPLACE = "replace"
    REDUCER = "reducer"  # a callable, which gives the outputs as a tuple


def _brief(plan: Any) -> str:
    told = [
        f"{each.name}={each.repr(value) if callable(each.repr) else repr(value)}"
        for each in attrs.fields(type(plan))
        if (value := getattr(plan, each.name)) != each.default
    ]
    return f"{type(plan).__name__}({', '.join(told)})"


def _pretty(plan: Any, printer: Any, cycle: bool) -> None:  # noqa: ARG001, FBT001 - a protocol
    """What Hypothesis shows of a failing example."""
    printer.text(repr(plan))


@frozen(kw_only=True, repr=False)
class TaskPlan:
    """An execution without children."""

    outcome: Outcome = Outcome.VALUE
    delay: float = 0.0  # seconds that its code waits before it ends
    is_async: bool = False
    fails_first: int = 0  # attempts that raise, before the one that ends as *outcome* says
    pause: float = 0.0  # seconds between attempts
    timeout: float | None = None  # seconds for each attempt
    lingers: float = 0.0  # seconds that its code goes on after it was told to end

    __repr__ = _brief
    _repr_pretty_ = _pretty


@frozen(kw_only=True, repr=False)
class WaiterPlan:
    """Somebody outside who waits for a group."""

    after: float = 0.0  # seconds from the emit to his coming
    timeout: float | None = None  # his patience, in seconds
    reads_ends: bool = False  # by as_completed, not await_group

    __repr__ = _brief
    _repr_pretty_ = _pretty


@frozen(kw_only=True, repr=False)
class FanOutPlan:
    """An execution that emits children and waits for them."""

    children: tuple[TaskPlan | FanOutPlan, ...] = ()
    mode: AwaitMode = field(default=AwaitMode.ALL, repr=lambda mode: f"AwaitMode.{mode.name}")
    quorum: int | None = None
    until: bool = False  # with a predicate that refuses what `Outcome.REJECTED` returns
    cancel_rest: bool = True
    timeout: float | None = None  # seconds to the group's deadline
    max_in_flight: int | None = None  # draw the children lazily
    keep: bool = True
    merge: MergePlan = MergePlan.APPEND
    wait: Wait = Wait.AWAIT
    patience: float | None = None  # seconds that its own wait lasts
    waiters: tuple[WaiterPlan, ...] = ()
    is_async: bool = False
    tolerant: bool = False  # it survives what its wait raises
    fails_first: int = 0  # attempts that raise behind the emit, without waiting

    __repr__ = _brief
    _repr_pretty_ = _pretty


Plan: TypeAlias = TaskPlan | FanOutPlan


class FaultKind(_Named):
    """What somebody outside does to an execution."""

    CANCEL = "cancel"
    CANCEL_GROUP = "cancel its group"  # the one that it has emitted


@frozen(kw_only=True, repr=False)
class Fault:
    """Something done to one execution of a plan from outside, if it is there by then."""

    kind: FaultKind = FaultKind.CANCEL
    path: Path = ()  # to whom; an index counts on from the first child where there are fewer
    after: float = 0.0  # seconds from the start; where in that instant, the schedule decides

    __repr__ = _brief
    _repr_pretty_ = _pretty


def size(plan: Plan) -> int:
    """How many executions the plan is, itself included."""
    if isinstance(plan, TaskPlan):
        return 1
    return 1 + sum(size(child) for child in plan.children)


def plan_at(plan: Plan, path: Path) -> tuple[Path, Plan]:
    """The part of *plan* that *path* leads to, as far as there are children, and its true path."""
    true: list[int] = []
    for step in path:
        if isinstance(plan, TaskPlan) or not plan.children:
            break
        index = step % len(plan.children)
        true.append(index)
        plan = plan.children[index]
    return tuple(true), plan
