"""Where an execution comes from: what all children of one emit share, and snapshots of one."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen

from orchestrator.drafts import draft_of
from orchestrator.errors import ExecutionCancelledError
from orchestrator.values import DraftExecution, Execution, ExecutionState, Process

__all__ = ["Emission", "build_emission", "cancelled_snapshot", "snapshot"]

_NO_VARIABLES = contextvars.Context()
_NO_ENTRIES: Mapping[str, Any] = MappingProxyType({})


@frozen(eq=False, weakref_slot=False)
class Emission:
    """What one emit gives to every child that it makes."""

    process: Process
    depth: int  # 0 for a root; the order of starts and the names of children come from here
    priority: int
    variables: contextvars.Context  # as they were at the emit; each child runs in a copy
    entries: Mapping[str, Any]
    task_base: str = ""  # the parent's task id
    parent_id: str | None = None
    parent: Any = None  # the parent's ref: hears the ends where there is no group
    group_id: str | None = None
    group: Any = None  # the group's ref: hears the ends
    deadline: float | None = None  # inherited, in the clock's seconds
    own_timeout: float | None = None  # seconds: set where the execution itself fails by it
    until: Callable[[Any], Any] | None = None
    emitted_at: float | None = None  # when its group was opened

    def for_snapshots(self, at: float) -> Emission:
        """As much of a group that was opened *at* as `snapshot` reads.

        Whoever keeps a snapshot, or what makes one later, keeps neither the actors nor what was in
        the emitting code's variables: its context, and so its runtime.
        """
        return build_emission(
            self.process,
            self.depth,
            self.priority,
            _NO_VARIABLES,
            _NO_ENTRIES,
            self.task_base,
            self.parent_id,
            None,
            self.group_id,
            None,
            None,
            None,
            None,
            at,
        )

    def opened(self, at: float, group: Any, parent: Any) -> Emission:
        """The same of a group that was opened *at*; `attrs.evolve` takes ten times as long."""
        return build_emission(
            self.process,
            self.depth,
            self.priority,
            self.variables,
            self.entries,
            self.task_base,
            self.parent_id,
            parent,
            self.group_id,
            group,
            self.deadline,
            self.own_timeout,
            self.until,
            at,
        )


_DraftEmission = draft_of(Emission)  # there are three of a group (see benchmarks/latency.py)


def build_emission(*fields: Any) -> Emission:
    """One of all of its fields, in the order of the class."""
    emission = _DraftEmission(*fields)
    emission.__class__ = Emission
    return emission  # type: ignore[no-any-return]


def snapshot(
    emission: Emission,
    given: Execution,
    index: int | None,
    state: ExecutionState,
    *,
    output: Any = None,
    error: Exception | None = None,
    attempts: int = 0,
    scheduled_at: float | None = None,
    started_at: float | None = None,
    completed_at: float | None = None,
) -> Execution:
    """*given*, as it is now."""
    task_id = given.task_id
    if not task_id and index is not None:
        task_id = f"{emission.task_base}[{index}]"
    execution: Any = DraftExecution(
        given.action,
        given.input,
        given.id,
        emission.process.id,
        emission.parent_id,
        task_id,
        emission.group_id,
        index,
        given.data,
        state,
        output,
        error,
        attempts,
        given.retry,
        given.timeout,
        emission.priority if given.priority is None else given.priority,
        scheduled_at,
        started_at,
        completed_at,
        given.meta,
    )
    execution.__class__ = Execution
    return execution  # type: ignore[no-any-return]


def cancelled_snapshot(
    emission: Emission, given: Execution, index: int | None, reason: str, at: float | None
) -> Execution:
    """*given*, cancelled before it ever started."""
    return snapshot(
        emission,
        given,
        index,
        ExecutionState.CANCELLED,
        error=ExecutionCancelledError(given.id, reason),
        completed_at=at,
    )
