"""DESIGN.md section 5, the invariants of whole trees of executions, over generated ones.

See `test_invariants` for those of one group.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    AwaitMode,
    AwaitTimeoutError,
    ExecutionCancelledError,
    Orchestrator,
)
from tests.conformance.planned import Record, made, planned_actions, settle
from tests.conformance.support import (
    LIMIT,
    Boom,
    in_thread,
    quiet,
)
from tests.strategies import (
    FanOut,
    fan_outs,
    leaves,
    size,
    without_failures,
)

pytestmark = pytest.mark.usefixtures("_threads_cross_often")

Make = Callable[..., Any]
milliseconds = st.integers(0, 5)
PATIENCE = LIMIT  # for a whole plan, which takes milliseconds


def watched(make: Make, **options: Any) -> tuple[Any, Record]:
    record = Record()
    runtime = make(planned_actions(record), **options)
    runtime.subscribe(record.events.append)
    return runtime, record


@given(plan=fan_outs(attempts=2, lazy=True), workers=st.integers(1, 4))
def test_9_10_13_what_was_emitted_has_ended_once_and_run_once_per_attempt(
    runtime_factory: Make, plan: FanOut, workers: int
) -> None:
    runtime, record = watched(runtime_factory, workers=workers)
    told = answer_or_error(lambda: runtime.spawn(made(plan)).result(PATIENCE))
    assert not isinstance(told, AwaitTimeoutError), "it hangs"
    stats = settle(runtime, record)
    assert stats.emitted <= size(plan)
    attempts = {event.execution.id: event.execution.attempts for event in record.events}
    assert {name: runs for name, runs in record.runs.items() if attempts[name] != runs} == {}


def answer_or_error(wait: Callable[[], Any]) -> Any:
    try:
        return wait()
    except Exception as error:  # noqa: BLE001 - plans fail in every way there is
        return error


@given(plans=st.lists(fan_outs(stuck=True, deadlines=True, levels=1) | leaves(), max_size=3))
def test_10_nothing_outlives_a_scope_that_is_left_by_an_error(
    runtime_factory: Make, plans: list[Any]
) -> None:
    runtime, record = watched(runtime_factory)
    try:
        with runtime.execution() as orchestrator:
            for plan in plans:
                orchestrator.emit_one(made(plan))
            raise Boom("out of the scope")  # noqa: TRY301 - the scope must see it
    except Boom:
        pass
    assert quiet(runtime.stats())
    assert record.inside == set()
    settle(runtime, record)


@given(plan=fan_outs(stuck=True, attempts=2), delay=milliseconds, is_async=st.booleans())
def test_11_a_cancel_reaches_everything_below_once_whatever_it_was_doing(
    runtime_factory: Make, plan: FanOut, delay: int, is_async: bool
) -> None:
    runtime, record = watched(runtime_factory, workers=2)
    handle = runtime.spawn(made(evolve(plan, is_async=is_async)))
    Orchestrator(runtime).sleep(delay / 1000)
    handle.cancel("enough")
    told = answer_or_error(lambda: handle.result(LIMIT))
    stats = settle(runtime, record)
    if isinstance(told, ExecutionCancelledError):
        assert handle.snapshot().state == "cancelled"
        assert stats.cancelled >= 1
    else:  # it had ended before
        assert handle.snapshot().state in ("completed", "failed")
    assert answer_or_error(lambda: str(handle.result(0))) is not None


@given(plan=fan_outs(levels=3, modes=[AwaitMode.ALL, AwaitMode.ANY_ERROR]))
def test_12_nested_groups_and_calls_finish_with_one_worker(
    runtime_factory: Make, plan: FanOut
) -> None:
    runtime, record = watched(runtime_factory, workers=1)
    runtime.run(made(without_failures(plan)))
    stats = settle(runtime, record)
    assert stats.completed == stats.emitted == size(plan)


@given(plan=fan_outs(deadlines=True), timeout=st.sampled_from([None, 0.003, 3600.0]))
def test_17_a_childs_deadline_is_never_later_than_its_parents(
    runtime_factory: Make, plan: FanOut, timeout: float | None
) -> None:
    runtime, record = watched(runtime_factory)
    answer_or_error(lambda: runtime.run(made(plan), timeout=timeout))
    settle(runtime, record)  # the actions compare, and note what is wrong


@given(
    plans=st.lists(fan_outs(stuck=True, deadlines=True, lazy=True, levels=1), max_size=3),
    delay=milliseconds,
    is_async=st.booleans(),
)
def test_20_after_close_there_is_no_thread_and_no_unanswered_waiter(
    runtime_factory: Make, plans: list[FanOut], delay: int, is_async: bool
) -> None:
    before = set(threading.enumerate())
    runtime, record = watched(runtime_factory, workers=2)
    handles = [runtime.spawn(made(plan)) for plan in plans]
    waits = [
        in_thread(lambda handle=handle: answer_or_error(lambda: handle.result(LIMIT)))
        for handle in handles
    ]
    Orchestrator(runtime).sleep(delay / 1000)
    if is_async:
        asyncio.run(runtime.aclose(LIMIT, cancel=True))
    else:
        runtime.close(LIMIT, cancel=True)
    for handle, wait in zip(handles, waits, strict=True):
        assert handle.snapshot().state.ended
        told = wait.result(LIMIT)  # a plan's own call may have run out of time, but this has not
        assert not isinstance(told, AwaitTimeoutError) or told.timeout < LIMIT
    settle(runtime, record)
    left = [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith(("runtime", "actors"))
    ]
    assert left == []
