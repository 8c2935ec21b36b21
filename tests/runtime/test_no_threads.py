"""Where no thread can be started: what needs one waits for it, and is told if there is no hope."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from actors.system import ActorSystem, Dispatcher, PooledActor
from orchestrator import ActionRegistry, Execution, Retry, Task, current_context
from runtime import LocalRuntime
from tests.conformance.support import (
    LIMIT,
    Boom,
    Gate,
    children,
    here,
    standard_actions,
)

Run = Callable[..., Any]


@pytest.fixture
def actions() -> ActionRegistry:
    return standard_actions()


class Exhausted:
    """While it is closed, no thread can be started."""

    def __init__(self) -> None:
        self.refused = Gate()
        self.over = threading.Event()
        self._start = threading.Thread.start

    def start(self, thread: threading.Thread) -> None:
        if not self.over.is_set():
            self.refused.open()
            raise RuntimeError("can't start new thread")
        self._start(thread)


def _meet(runtime: LocalRuntime) -> Any:
    """Two that need a thread each, twice."""
    given = {"barrier": threading.Barrier(2)}
    handles = [runtime.spawn("t:meet", given, timeout=LIMIT) for _ in range(2)]
    return [handle.result(LIMIT) for handle in handles]


def _emit(runtime: LocalRuntime) -> Any:
    with runtime.execution() as orchestrator:
        some = [*children("t:echo", [1, 2]), *children("t:echo_async", [3, 4])]
        return orchestrator.await_group(orchestrator.emit_children(some, timeout=LIMIT), LIMIT)


def _lazy(runtime: LocalRuntime) -> Any:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(4), "n", Task("t:echo"), max_in_flight=2)
        return orchestrator.await_group(group, LIMIT)


def _nested(runtime: LocalRuntime) -> Any:
    def down(left: int) -> int:
        return 1 + here().call(Execution.ad_hoc("t:down", left - 1)) if left else 0

    runtime._preparing._actions.register("t:down")(down)
    return runtime.run("t:down", 10)


def _listened(runtime: LocalRuntime) -> Any:
    told = Gate()
    runtime.subscribe(lambda _news: told.open())
    runtime.run("t:echo", 1)
    told.wait()
    return 1


async def _close_async(runtime: LocalRuntime) -> None:
    await runtime.aclose(LIMIT)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (_meet, [2, 2]),
        (lambda runtime: runtime.run("t:echo_async", 1), 1),
        (_emit, [1, 2, 3, 4]),
        (_lazy, [0, 1, 2, 3]),
        (_nested, 10),
        (_listened, 1),
        (lambda runtime: asyncio.run(_close_async(runtime)), None),
    ],
    ids=["blocking", "async", "emit", "lazy", "nested", "listener", "aclose"],
)
def test_where_no_thread_can_be_had_everything_waits_and_nothing_fails(
    actions: ActionRegistry, monkeypatch: pytest.MonkeyPatch, what: Run, expected: Any
) -> None:
    @actions.register("t:meet", retry=Retry(2, delay=1e-3))
    def meet(barrier: threading.Barrier) -> int:
        barrier.wait(LIMIT)
        attempts = current_context().execution.attempts
        if attempts == 1:
            raise Boom("the first time")
        return attempts

    runtime = LocalRuntime(actions, workers=2)
    running = Gate()
    exhausted = Exhausted()
    outcome: list[Any] = []

    def run() -> None:
        running.wait()
        try:
            outcome.append(what(runtime))
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            outcome.append(error)

    caller = threading.Thread(target=run, daemon=True)
    caller.start()
    with monkeypatch.context() as patched:
        # A function of its own: a bound method would not be given the thread.
        patched.setattr(threading.Thread, "start", lambda thread: exhausted.start(thread))  # noqa: PLW0108
        running.open()
        exhausted.refused.wait()
        assert outcome == []
        exhausted.over.set()
        caller.join(LIMIT)
    assert outcome == [expected]
    runtime.close(LIMIT)


def _refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_runtime_that_cannot_have_its_first_thread_is_not_made(
    actions: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError, match="thread"):
            LocalRuntime(actions)


@pytest.mark.pykka_errors_expected
def test_an_actor_or_a_job_without_any_hope_of_a_thread_is_refused_and_later_ones_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Echo(PooledActor):
        def on_receive(self, message: Any) -> Any:
            return message

    class Starter(Echo):
        def on_start(self) -> None:
            ran.append("started")

    ran: list[str] = []
    with ActorSystem(workers=1) as system:
        dispatcher = Dispatcher(1)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _refuse)
            with pytest.raises(RuntimeError, match="none can be started"):
                system.spawn(Starter)
            idle = system.spawn(Echo)  # which needs none until it is told something
            with pytest.raises(RuntimeError, match="none can be started"):
                dispatcher.execute(lambda: ran.append("refused"))
        assert system.actors == 1
        assert idle.ask(1, timeout=LIMIT) == 1
        assert system.spawn(Starter).ask(1, timeout=LIMIT) == 1
        dispatcher.execute(lambda: ran.append("run"))
        assert dispatcher.shutdown(LIMIT)
    assert ran == ["started", "run"]
