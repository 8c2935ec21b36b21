"""The context: a mapping of entries, a deadline, and where it is current."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    ORCHESTRATOR_CONTEXT_KEY,
    AsyncOrchestrator,
    Execution,
    ExecutionContext,
    MissingExecutionError,
    Orchestrator,
    Process,
    current_context,
    use_context,
)


class Scope:
    """What a runtime puts behind a context."""

    def __init__(self) -> None:
        self.cancelled = False
        self.time = 10.0

    def now(self) -> float:
        return self.time

    def snapshot(self) -> Execution:
        return Execution("t:t", id="now")

    def orchestrator(self, context: ExecutionContext) -> Any:
        return ("orchestrator of", context)


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=4))
def test_a_context_is_a_mapping_of_its_entries(entries: dict[str, int]) -> None:
    context = ExecutionContext(Execution("t:t"), entries=entries)
    assert dict(context) == entries
    assert len(context) == len(entries)
    assert context.get("no such key", "default") == "default"
    with pytest.raises(KeyError):
        context["no such key"]
    assert context.entries == entries


def test_with_a_scope_the_orchestrator_is_one_more_entry_under_the_seeds_key() -> None:
    assert ORCHESTRATOR_CONTEXT_KEY == "fluxor.orchestrator"
    context = ExecutionContext(None, entries={"tenant": "a"}, scope=Scope())
    assert context[ORCHESTRATOR_CONTEXT_KEY] == ("orchestrator of", context)
    assert list(context) == ["tenant", ORCHESTRATOR_CONTEXT_KEY]
    assert len(context) == 2
    assert dict(context.entries) == {"tenant": "a"}
    assert context.execution.id == "now"


def test_the_orchestrators_entry_cannot_be_shadowed_by_the_runs_own() -> None:
    context = ExecutionContext(None, entries={ORCHESTRATOR_CONTEXT_KEY: 1}, scope=Scope())
    assert context[ORCHESTRATOR_CONTEXT_KEY] == ("orchestrator of", context)
    assert len(context) == len(list(context)) == 1


def test_a_context_belongs_to_its_process_or_one_of_its_own() -> None:
    process = Process("p")
    assert ExecutionContext(Execution("t:t"), process).process is process
    own = ExecutionContext(Execution("t:t", id="e", process_id="q"))
    assert own.process.id == "q"
    assert own.process is own.process
    assert ExecutionContext(Execution("t:t", id="e")).process.id == "e"


def test_remaining_tells_the_time_to_the_deadline_on_the_runtimes_clock() -> None:
    scope = Scope()
    context = ExecutionContext(None, deadline=12.5, scope=scope)
    assert context.remaining() == 2.5
    scope.time = 99.0
    assert context.remaining() == 0.0
    assert ExecutionContext(None, scope=scope).remaining() is None
    far = ExecutionContext(None, deadline=time.monotonic() + 1000).remaining()
    assert far is not None
    assert 0 < far <= 1000


def test_a_context_is_cancelled_as_its_scope_is() -> None:
    scope = Scope()
    context = ExecutionContext(None, scope=scope)
    assert not context.cancelled
    scope.cancelled = True
    assert context.cancelled
    assert not ExecutionContext(Execution("t:t")).cancelled


def test_contexts_are_compared_by_identity_and_can_be_printed() -> None:
    one, other = ExecutionContext(Execution("t:t")), ExecutionContext(Execution("t:t"))
    assert one != other
    assert len({one, other}) == 2
    assert "'e'" in repr(ExecutionContext(Execution("t:t", id="e")))
    assert "?" in repr(ExecutionContext(None))
    with pytest.raises(MissingExecutionError):
        ExecutionContext(None).execution  # noqa: B018


# Which one is current


def test_outside_an_execution_there_is_none_and_the_error_says_what_to_do() -> None:
    with pytest.raises(MissingExecutionError, match=r"runtime\.execution"):
        current_context()
    assert Orchestrator.from_context() is None
    assert AsyncOrchestrator.from_context() is None


def test_use_context_nests_and_ends_with_its_block_even_by_an_exception() -> None:
    one, other = ExecutionContext(Execution("t:t")), ExecutionContext(Execution("t:t"))
    with use_context(one) as given_:
        assert given_ is one
        with pytest.raises(ZeroDivisionError), use_context(other):
            1 // (current_context() is not other)
        assert current_context() is one
    with pytest.raises(MissingExecutionError):
        current_context()


def test_tasks_inherit_the_context_and_threads_only_in_a_copied_one() -> None:
    context = ExecutionContext(Execution("t:t"))
    seen: list[object] = []

    def look() -> None:
        try:
            seen.append(current_context())
        except MissingExecutionError:
            seen.append(None)

    async def main() -> None:
        async def task() -> None:
            look()

        await asyncio.create_task(task())
        await asyncio.to_thread(look)

    with use_context(context):
        asyncio.run(main())
        bare = threading.Thread(target=look)
        copied = threading.Thread(target=contextvars.copy_context().run, args=(look,))
        for thread in (bare, copied):
            thread.start()
            thread.join()
    assert seen == [context, context, None, context]


@pytest.mark.parametrize("mapping", [{}, {ORCHESTRATOR_CONTEXT_KEY: "no orchestrator"}, {"a": 1}])
def test_from_a_mapping_without_an_orchestrator_there_is_none(mapping: dict[str, Any]) -> None:
    assert Orchestrator.from_context(mapping) is None
    assert AsyncOrchestrator.from_context(mapping) is None
