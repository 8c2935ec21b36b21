"""DESIGN.md section 4: what closing waits for, refuses, cancels and names."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    CloseTimeoutError,
    ExecutionCancelledError,
    Orchestrator,
    RuntimeClosedError,
    Task,
)
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
)

Run = Callable[..., Any]


def test_leaving_the_block_waits_for_what_runs_which_may_still_emit(
    make_runtime: Run, actions: ActionRegistry
) -> None:
    gate = Gate()

    @actions.register("t:emits")
    def emits() -> Any:
        with here().blocking():
            gate.wait()
        return here().await_group(here().emit_children(children("t:echo", [1, 2])))

    with make_runtime() as runtime:
        handle = runtime.spawn("t:emits")
        closing = in_thread(lambda: runtime.close(LIMIT))
        gate.open()
    closing.result(LIMIT)
    assert handle.result(LIMIT) == [1, 2]
    assert handle.snapshot().state == "completed"


def test_a_new_root_is_refused_while_it_drains(make_runtime: Run, actions: ActionRegistry) -> None:
    gate, refused, started = Gate(), Gate(), Gate()
    outcomes: list[Any] = []

    @actions.register("t:hold")
    def hold() -> str:
        started.open()
        with here().blocking():
            gate.wait()
        try:
            runtime.spawn("t:echo", 1)
        except RuntimeClosedError as error:
            outcomes.append(error)
        return here().call(child("t:echo", "a call is no root"))

    runtime = make_runtime()
    handle = runtime.spawn("t:hold")
    started.wait()

    def close() -> None:
        refused.open()
        runtime.close(LIMIT)

    closing = in_thread(close)
    refused.wait()
    while True:  # until the close has begun: each of these is a root that ends, or is refused
        try:
            runtime.run("t:echo", 1)
        except RuntimeClosedError:
            break
    with pytest.raises(RuntimeClosedError):
        runtime.spawn("t:echo", 1)
    with pytest.raises(RuntimeClosedError), runtime.execution():
        raise AssertionError("it must not be entered")
    with pytest.raises(RuntimeClosedError):
        Orchestrator(runtime).call(child("t:echo", 1))
    gate.open()
    closing.result(LIMIT)
    assert handle.result(LIMIT) == "a call is no root"
    assert len(outcomes) == 1


def test_leaving_the_block_by_an_exception_cancels_what_runs(make_runtime: Run) -> None:
    started = Gate()
    with pytest.raises(Boom, match="out"), make_runtime() as runtime:  # noqa: PT012
        handle = runtime.spawn("t:forever", {"started": started})
        started.wait()
        raise Boom("out")
    with pytest.raises(ExecutionCancelledError):
        handle.result(LIMIT)

    async def main() -> None:
        async with make_runtime() as runtime:
            handles.append(runtime.spawn("t:forever_async", {"started": started}))
            await started
            raise Boom("out")

    handles: list[Any] = []
    started = Gate()
    with pytest.raises(Boom, match="out"):
        asyncio.run(main())
    with pytest.raises(ExecutionCancelledError):
        handles[0].result(LIMIT)


def test_close_with_cancel_cancels_everything(make_runtime: Run) -> None:
    runtime = make_runtime(workers=1)
    gates = [Gate(), Gate()]
    handles = [
        runtime.spawn("t:forever", {"started": gates[0]}),
        runtime.spawn("t:forever_async", {"started": gates[1]}),
    ]
    for gate in gates:
        gate.wait()
    handles += [runtime.spawn("t:forever") for _ in range(10)]
    runtime.close(LIMIT, cancel=True)
    for handle in handles:
        with pytest.raises(ExecutionCancelledError):
            handle.result(0)
    stats = runtime.stats()
    assert quiet(stats)
    assert stats.cancelled == 12


@pytest.mark.parametrize("face", ["blocking", "async"])
def test_a_close_that_runs_out_of_time_names_the_action_and_its_stack_and_can_be_repeated(
    make_runtime: Run, actions: ActionRegistry, face: str
) -> None:
    gate, started = Gate(), Gate()

    @actions.register("t:endless")
    def endless() -> None:
        started.open()
        never_returns(gate)

    def never_returns(gate: Gate) -> None:
        gate.wait()

    runtime = make_runtime()
    handle = runtime.spawn("t:endless")
    started.wait()

    def close(timeout: float) -> None:
        if face == "blocking":
            runtime.close(timeout, cancel=True)
        else:
            asyncio.run(runtime.aclose(timeout, cancel=True))

    for _ in range(2):
        with pytest.raises(CloseTimeoutError) as caught:
            close(SOON)
        assert isinstance(caught.value, TimeoutError)
        for part in ("t:endless", handle.id, "never_returns"):
            assert part in str(caught.value)
    with pytest.raises(ExecutionCancelledError):  # its waiters were answered at once
        handle.result(0)
    gate.open()
    close(LIMIT)
    assert quiet(runtime.stats())


@pytest.mark.parametrize("how", ["awaits", "holds up its loop"])
def test_the_stack_of_an_async_action_is_told_down_to_what_it_awaits(
    make_runtime: Run, how: str
) -> None:
    gate, started = Gate(), Gate()

    async def action() -> None:
        await on_and_on()

    async def on_and_on() -> None:
        if how == "awaits":
            started.open()
            await gate
        else:
            never_returns()

    def never_returns() -> None:
        started.open()
        gate.wait()

    runtime = make_runtime()
    runtime.spawn(action)
    started.wait()
    with pytest.raises(CloseTimeoutError) as caught:
        runtime.close(SOON)
    (told,) = caught.value.still_running
    assert "in on_and_on" in told
    assert ("in never_returns" in told) == (how != "awaits")
    gate.open()
    runtime.close(LIMIT)


def test_beside_an_action_that_never_ends_everything_else_still_answers(
    make_runtime: Run, actions: ActionRegistry
) -> None:
    gate, started = Gate(), Gate()

    @actions.register("t:endless")
    def endless() -> None:
        started.open()
        gate.wait()

    runtime = make_runtime(workers=2)
    handle = runtime.spawn("t:endless")
    started.wait()
    assert runtime.run("t:echo", 1) == 1
    assert runtime.run("t:echo_async", 2) == 2
    assert handle.snapshot().state == "running"
    assert runtime.stats().running == 1
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", [1, 2]))
        assert orchestrator.await_group(group) == [1, 2]
    handle.cancel()
    with pytest.raises(ExecutionCancelledError):
        handle.result(LIMIT)
    gate.open()


def test_a_second_close_waits_for_the_first_and_both_return(make_runtime: Run) -> None:
    gate, started = Gate(), Gate()
    runtime = make_runtime()
    runtime.spawn("t:gated", {"gate": gate})
    closes = [in_thread(lambda: runtime.close(LIMIT)) for _ in range(3)]
    closes.append(in_thread(lambda: asyncio.run(runtime.aclose(LIMIT))))
    started.open()
    gate.open()
    for closing in closes:
        closing.result(LIMIT)
    runtime.close()
    runtime.close(0)
    assert runtime.stats().completed == 1


def test_after_close_what_is_finished_can_be_read_and_every_other_call_is_refused(
    make_runtime: Run,
) -> None:
    runtime = make_runtime()
    done = runtime.spawn("t:echo", 1)
    failed = runtime.spawn("t:fail", "kept")
    done.result(LIMIT)
    with pytest.raises(Boom):
        failed.result(LIMIT)
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_one(child("t:echo", 1))
    runtime.close(LIMIT)

    assert done.result(0) == 1
    assert done.snapshot().output == 1
    with pytest.raises(Boom, match="kept"):
        failed.result(0)
    assert asyncio.run(read(done)) == 1
    assert runtime.stats().emitted == 4
    done.cancel("does nothing")
    outside = Orchestrator(runtime)
    refused: list[Callable[[], Any]] = [
        lambda: runtime.run("t:echo", 1),
        lambda: runtime.spawn("t:echo", 1),
        lambda: runtime.subscribe(print),
        lambda: runtime.execution("x").__enter__(),
        runtime.__enter__,
        lambda: outside.call(child("t:echo", 1)),
        lambda: outside.await_group(group),
        lambda: outside.cancel_group(group),
        lambda: outside.cancel(done.id),
        lambda: outside.sleep(0),
        lambda: outside.blocking().__enter__(),
        lambda: orchestrator.emit_one(child("t:echo", 1)),
        lambda: orchestrator.emit_for_each([1], "n", Task("t:echo")),
        lambda: asyncio.run(runtime.run_async("t:echo", 1)),
        lambda: asyncio.run(AsyncOrchestrator(runtime).call(child("t:echo", 1))),
        lambda: asyncio.run(AsyncOrchestrator(runtime).sleep(0)),
    ]
    for call in refused:
        with pytest.raises(RuntimeClosedError):
            call()


async def read(handle: Any) -> Any:
    return await handle


def test_every_outstanding_wait_has_been_answered_by_a_close_that_cancels(
    make_runtime: Run,
) -> None:
    runtime = make_runtime()
    started = Gate()
    handle = runtime.spawn("t:forever", {"started": started})
    started.wait()
    waits = [in_thread(lambda: handle.result(LIMIT)) for _ in range(3)]
    waits.append(in_thread(lambda: asyncio.run(read(handle))))
    runtime.close(LIMIT, cancel=True)
    for wait in waits:
        with pytest.raises(ExecutionCancelledError):
            wait.result(LIMIT)


def test_after_close_no_thread_of_the_runtime_is_alive(make_runtime: Run) -> None:
    before = set(threading.enumerate())
    runtime = make_runtime(workers=4)
    subscription = runtime.subscribe(lambda _event: None)
    with runtime.execution(timeout=FOREVER) as orchestrator:
        given = children("t:echo", range(10)) + children("t:echo_async", range(10))
        orchestrator.await_group(orchestrator.emit_children(given, timeout=FOREVER))
        lazily = orchestrator.emit_for_each(range(10), "n", Task("t:echo"), max_in_flight=2)
        orchestrator.await_group(lazily)
        with pytest.raises(TimeoutError):
            orchestrator.call(child("t:forever"), SOON)
        orchestrator.sleep(0.001)
    runtime.close(LIMIT)
    assert subscription is not None
    assert [thread for thread in threading.enumerate() if thread not in before] == []


def test_closing_an_unused_runtime_is_nothing(make_runtime: Run) -> None:
    before = set(threading.enumerate())
    make_runtime().close(LIMIT)
    with make_runtime():
        pass

    async def main() -> None:
        async with make_runtime():
            pass

    asyncio.run(main())
    assert [thread for thread in threading.enumerate() if thread not in before] == []


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_a_timeout_of_close_that_makes_no_sense_is_refused_and_closes_nothing(
    runtime: Any, timeout: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="timeout"):
        runtime.close(timeout)
    assert runtime.run("t:echo", 1) == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # 3.12 says it of any fork
def test_in_a_forked_child_every_call_is_refused(runtime: Any) -> None:
    if not hasattr(os, "fork"):
        return  # no process is ever a copy of another there
    assert runtime.run("t:echo", 1) == 1
    handle = runtime.spawn("t:echo", 2)
    handle.result(LIMIT)
    calls: list[Callable[[], Any]] = [
        lambda: runtime.run("t:echo", 1),
        lambda: runtime.spawn("t:echo", 1),
        lambda: runtime.subscribe(print),
        lambda: runtime.execution("x").__enter__(),
        lambda: Orchestrator(runtime).call(child("t:echo", 1)),
        lambda: Orchestrator(runtime).await_group("any"),
        runtime.close,
    ]
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = sum(1 << place for place, call in enumerate(calls) if not _refused(call))
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0  # otherwise the bits of those that were not
    assert runtime.run("t:echo", 3) == 3


def _refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except RuntimeClosedError:
        return True
    except BaseException:  # noqa: BLE001 - anything else is wrong
        return False
    return False
