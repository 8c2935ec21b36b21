"""A close that finds work of every kind, or can wait no longer; a cancel in the middle of it."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors.run import Run
from actors.system import Clock
from orchestrator import (
    ActionRegistry,
    CloseTimeoutError,
    ExecutionCancelledError,
    Retry,
    RuntimeClosedError,
)
from runtime import LocalRuntime
from runtime.loops import Loops
from runtime.places import Places
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    SOON,
    Boom,
    Gate,
    child,
    children,
    here,
    in_thread,
    quiet,
    standard_actions,
)


@pytest.fixture
def actions() -> ActionRegistry:
    return standard_actions()


@pytest.mark.parametrize("cancel", [False, True])
def test_a_close_finds_children_queued_running_waiting_and_between_attempts(
    actions: ActionRegistry, cancel: bool
) -> None:
    gate, sleeping = Gate(), Gate()
    failures = itertools.count()

    @actions.register("t:again", retry=Retry(2, delay=FOREVER if cancel else 1e-3))
    def again() -> str:
        if next(failures) == 0:
            raise Boom("the first time")
        return "again"

    @actions.register("t:parent")
    def parent() -> list[Any]:
        orchestrator = here()
        group = orchestrator.emit_children(
            [
                child("t:again"),
                child("t:forever" if cancel else "t:echo"),
                child("t:forever_async" if cancel else "t:echo_async"),
                *children("t:hold", [None] * 5),
            ]
        )
        sleeping.open()
        return orchestrator.await_group(group)

    @actions.register("t:hold")
    def hold() -> None:
        gate.wait()

    runtime = LocalRuntime(actions, workers=2)
    handle = runtime.spawn("t:parent")
    sleeping.wait()
    closes = [in_thread(lambda: runtime.close(LIMIT, cancel=cancel)) for _ in range(2)]
    gate.open()
    for closing in closes:
        closing.result(LIMIT)
    if cancel:
        with pytest.raises(ExecutionCancelledError):
            handle.result(0)
    else:
        assert handle.result(0) == ["again", *[None] * 7]
    stats = runtime.stats()
    assert quiet(stats)
    assert stats.emitted == stats.settled == 9


def test_a_close_that_can_wait_no_longer_names_what_runs_and_the_rest_still_answers(
    actions: ActionRegistry,
) -> None:
    gate, started, listened = Gate(), Gate(), Gate()

    @actions.register("t:endless")
    def endless() -> None:
        started.open()
        gate.wait()

    @actions.register("t:parent")
    def parent() -> Any:
        orchestrator = here()
        with orchestrator.blocking():
            listened.wait()
        return orchestrator.await_group(orchestrator.emit_children(children("t:echo", [1, 2])))

    runtime = LocalRuntime(actions, workers=3)
    endless_one, other = runtime.spawn("t:endless"), runtime.spawn("t:parent")
    started.wait()
    with pytest.raises(CloseTimeoutError, match=r"t:endless(.|\n)*in endless"):
        runtime.close(SOON)
    assert runtime.stats().running >= 1
    assert endless_one.snapshot().state == "running"
    listened.open()
    assert other.result(LIMIT) == [1, 2]  # what ran when the close began may still emit
    with pytest.raises(RuntimeClosedError):
        runtime.spawn("t:echo", 1)
    gate.open()
    runtime.close(LIMIT)
    assert endless_one.result(0) is None


def test_a_listener_that_never_returns_is_named_by_the_close_and_holds_up_nothing_else(
    actions: ActionRegistry,
) -> None:
    gate, stuck = Gate(), Gate()

    def sticks(_news: object) -> None:
        stuck.open()
        gate.wait()

    runtime = LocalRuntime(actions, workers=2)
    runtime.subscribe(sticks)
    assert runtime.run("t:echo", 1) == 1
    stuck.wait()
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", range(100)))
        assert orchestrator.await_group(group, LIMIT) == list(range(100))
    with pytest.raises(CloseTimeoutError, match="sticks"):
        runtime.close(SOON)
    gate.open()
    runtime.close(LIMIT)


def test_what_was_made_before_the_close_says_so_after_it(actions: ActionRegistry) -> None:
    runtime = LocalRuntime(actions, workers=2)
    handle = runtime.spawn("t:echo", 1)
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children([child("t:echo", 2)])
        reader = orchestrator.as_completed(group)
        assert next(reader).output == 2
    scope = runtime.execution()
    runtime.close(LIMIT)
    assert handle.result(0) == 1
    assert handle.snapshot().output == 1
    handle.cancel("nothing happens")
    calls: list[Callable[[], Any]] = [
        lambda: orchestrator.await_group(group),
        lambda: list(orchestrator.as_completed(group)),
        lambda: orchestrator.call(child("t:echo", 1)),
        lambda: orchestrator.emit_children([child("t:echo", 1)]),
        lambda: orchestrator.cancel_group(group),
        lambda: orchestrator.release_group(group),
        lambda: orchestrator.cancel(handle.id),
        lambda: runtime.run("t:echo", 1),
        lambda: runtime.subscribe(print),
        scope.__enter__,
        runtime.execution,
    ]
    for call in calls:
        with pytest.raises(RuntimeClosedError):
            call()


def test_a_runtime_that_is_let_go_unclosed_goes_on_for_its_handles(actions: ActionRegistry) -> None:
    gate = Gate()
    handle = LocalRuntime(actions, workers=1).spawn("t:gated", {"gate": gate, "value": 7})
    gc.collect()
    gate.open()
    assert handle.result(LIMIT) == 7
    handle._runtime.close(LIMIT)


def test_a_cancel_in_the_middle_of_everything_answers_every_waiter(
    actions: ActionRegistry,
) -> None:
    def scope_that_is_cancelled(runtime: LocalRuntime) -> None:
        with runtime.execution("import") as orchestrator:
            some = [*children("t:echo", range(20)), child("t:forever")]
            group = orchestrator.emit_children(some)
            in_thread(lambda: runtime.cancel_root("import", "somebody else's wish"))
            orchestrator.await_group(group)

    for _ in range(20):
        with LocalRuntime(actions, workers=2) as runtime:
            with pytest.raises(ExecutionCancelledError):
                scope_that_is_cancelled(runtime)
            stats = runtime.stats()
            assert quiet(stats)
            assert stats.emitted == stats.settled == 22


def test_async_code_that_ends_as_a_close_looks_at_it_is_named_all_the_same(
    actions: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ending:
        """An attempt that lets go of its task while somebody looks."""

        execution_id, thread_id, action = "e1", None, actions.get("t:forever_async")

        @property
        def task(self) -> Any:
            return tasks.pop() if tasks else None

    async def code() -> None:
        """What the task runs."""

    coroutine = code()
    tasks = [SimpleNamespace(get_coro=lambda: coroutine)]
    runtime = LocalRuntime(actions)
    with monkeypatch.context() as patched:
        patched.setattr(Places, "running", [Ending()])
        assert "t:forever_async (execution e1)" in str(runtime._closing.late(SOON))
    coroutine.close()
    runtime.close(LIMIT)


def test_starts_on_a_loop_that_has_closed_are_refused_by_several_threads_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.close()
    nobody: Any = None
    loops = Loops("loops", Clock())
    loops.serve(nobody, nobody, nobody, lambda run, _error: refused.append(run))
    loops.adopt(loop)

    others = [loops._refuse_all]

    def made_meanwhile(message: str) -> RuntimeClosedError:
        """The error of one of them is made, and the others go on."""
        while others:
            others.pop()()
        return RuntimeClosedError(message)

    run = Run.__new__(Run)
    monkeypatch.setattr("runtime.loops.RuntimeClosedError", made_meanwhile)
    loops.start(run)
    assert refused == [run]
    assert not others


def test_what_a_loop_did_not_take_in_before_it_closed_is_refused_with_the_next_start() -> None:
    refused: list[Any] = []
    loop = asyncio.new_event_loop()
    nobody: Any = None
    loops = Loops("loops", Clock())
    loops.serve(nobody, nobody, nobody, lambda run, _error: refused.append(run))
    loops.adopt(loop)
    first, second = Run.__new__(Run), Run.__new__(Run)

    loops.start(first)
    loop.close()
    assert refused == []
    loops.start(second)
    assert refused == [first, second]
