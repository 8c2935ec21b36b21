"""Runtimes with the seed's four methods and nothing else, and with futures of two kinds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pykka

from orchestrator.values import Execution, ExecutionState, GroupPolicy, GroupResult

Action = Callable[[Any], Any]


class CallbackFuture:
    """A future of somebody else's, with callbacks."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Any], object]] = []
        self._value: Any = None

    def set(self, value: Any) -> None:
        with self._lock:
            self._value = value
            self._done.set()
        for callback in self._callbacks:
            callback(self)

    def get(self, *, timeout: float | None = None) -> Any:
        if not self._done.wait(timeout):
            raise pykka.Timeout
        return self._value

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        with self._lock:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback(self)


class PlainRuntime:
    """Runs a child where it is asked for, on the calling thread; groups are held until let go."""

    def __init__(self, future: type[Any], **actions: Action) -> None:
        self._future = future
        self._actions = actions
        self.held = False
        self.groups: dict[str, Any] = {}
        self.results: dict[str, GroupResult] = {}
        self.policies: list[GroupPolicy] = []
        self.emitted: list[Execution] = []
        self.parents: list[str] = []
        self.never: set[str] = set()

    def _resolved(self, value: Any) -> Any:
        future = self._future()
        future.set(value)
        return future

    def _run(self, child: Execution, at: float) -> Execution:
        try:
            output = self._actions[child.action](child.input)
        except Exception as error:  # noqa: BLE001 - it is the child's end
            state, output, failure = ExecutionState.FAILED, None, error
        else:
            state, failure = ExecutionState.COMPLETED, None  # type: ignore[assignment]
        return Execution(
            child.action, child.input, id=child.id, state=state, output=output, error=failure,
            task_id=child.task_id, completed_at=at,
        )  # fmt: skip

    def emit_executions(
        self, parent: Execution, children: Sequence[Execution], policy: GroupPolicy
    ) -> Any:
        group_id = f"g{len(self.groups)}"
        self.parents.append(parent.id)
        self.policies.append(policy)
        self.emitted += children
        # They end in the reverse order of their emission.
        ends = [self._run(child, -float(place)) for place, child in enumerate(children)]
        errors = [end.error for end in ends if end.error is not None]
        error = None
        if errors:
            from orchestrator.errors import GroupFailedError  # noqa: PLC0415

            error = GroupFailedError("failed", errors, group_id, [end.output for end in ends], ends)
        self.groups[group_id] = self._future()
        self.results[group_id] = GroupResult([end.output for end in ends], ends, error)
        if not self.held:
            self.let_go(group_id)
        return self._resolved(group_id)

    def let_go(self, group_id: str) -> None:
        self.groups[group_id].set(self.results[group_id])

    def wait_for_unblock(self, execution_id: str) -> Any:
        outputs = [output for result in self.results.values() for output in result.outputs]
        return self._resolved(Execution("t:t", id=execution_id, output=outputs))

    def await_group(self, group_id: str) -> Any:
        return self.groups[group_id]

    def schedule_execution(self, execution: Execution) -> Any:
        if execution.action in self.never:
            return self._future()
        return self._resolved(self._run(execution, 0.0))
