"""Leaves: what threads that the code of one has started find when they ask at the same moment."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import ActionRegistry, ExecutionContext, Task, current_context
from runtime import LocalRuntime


def test_all_threads_of_a_leaf_are_given_the_same_context(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = ActionRegistry()
    asked: list[ExecutionContext] = []

    def made_meanwhile(*given: Any, **named: Any) -> ExecutionContext:
        """The context of one who asks is made, and meanwhile another asks and is answered."""
        if not asked:
            asked.append(nobody)
            asked.append(current_context())
        return ExecutionContext(*given, **named)

    @actions.register("t:ask")
    def ask() -> None:
        asked.append(current_context())
        asked.append(current_context())

    nobody: Any = None
    monkeypatch.setattr("actors.leaf.ExecutionContext", made_meanwhile)
    with LocalRuntime(actions) as runtime, runtime.execution() as orchestrator:
        orchestrator.await_group(orchestrator.emit_for_each(range(1), "x", Task("t:ask", {})))
    _, first, second, third = asked
    assert first is second is third
