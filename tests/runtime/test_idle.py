"""Nothing polls: what waits uses no processor and wakes up for nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator import ActionRegistry, Rate, Retry, Task
from runtime import LocalRuntime
from tests.conformance.support import FOREVER, LIMIT, child, children, standard_actions

WHILE = 0.3  # seconds of doing nothing
BUSY = 0.03  # seconds of the processor that are nothing


@pytest.fixture
def runtime() -> Iterator[LocalRuntime]:
    made = LocalRuntime(_actions(), workers=2)
    yield made
    made.close(LIMIT, cancel=True)


def _actions() -> ActionRegistry:
    return standard_actions()


def idle() -> None:
    """Wait in this thread, for nothing."""
    threading.Event().wait(WHILE)


def switches(threads: set[int]) -> dict[int, int]:
    """How often each of these threads went to sleep by itself; Linux knows."""
    found: dict[int, int] = {}
    for thread in threads:
        with suppress(OSError):  # another system, or a thread that has ended
            lines = Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
            count = next(line for line in lines if line.startswith("voluntary_ctxt_switches"))
            found[thread] = int(count.split()[1])
    return found


def stays_idle(runtime: LocalRuntime, wait: Callable[[], object] = idle, wakes: int = 0) -> None:
    """While *wait* waits, this process uses no processor and no thread of the runtime wakes up.

    No more than *wakes* times, that is: as often as it takes to begin a wait and to end it.
    """
    prefix = runtime._environment.system.name
    threads = {
        thread.native_id
        for thread in threading.enumerate()
        if thread.name.startswith(prefix) and thread.native_id is not None
    }
    assert threads
    settle(threads)
    before, used = switches(threads), time.process_time()
    wait()
    used, after = time.process_time() - used, switches(threads)
    assert used < BUSY
    assert all(after[thread] - before[thread] <= wakes for thread in after)


def settle(threads: set[int]) -> None:
    """Wait until the threads have gone to sleep after what they last did."""
    pause = threading.Event()
    deadline = time.monotonic() + LIMIT
    last: dict[int, int] | None = None
    while (now := switches(threads)) != last:
        assert time.monotonic() < deadline, "they never sleep"
        last = now
        pause.wait(0.05)


def test_a_runtime_that_has_nothing_to_do_is_idle(runtime: LocalRuntime) -> None:
    runtime.run("t:echo", 1)
    runtime.run("t:echo_async", 1)
    stays_idle(runtime)


@pytest.mark.parametrize("action", ["t:forever_async", "t:forever"])
def test_a_thousand_waiting_children_are_idle(runtime: LocalRuntime, action: str) -> None:
    number = 1000 if action == "t:forever_async" else 200
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children(action, [None] * number), timeout=FOREVER)
        while runtime.stats().waiting < number:
            pass
        stays_idle(runtime)
        orchestrator.cancel_group(group)


def test_queued_children_and_those_between_two_attempts_are_idle() -> None:
    actions = _actions()

    @actions.register("t:again", retry=Retry(2, delay=FOREVER))
    def again() -> None:
        raise ValueError("again")

    with LocalRuntime(actions, workers=1) as runtime, runtime.execution() as orchestrator:
        gate = threading.Event()
        retrying = orchestrator.emit_children(children("t:again", [None] * 20))
        while runtime.stats().running > 1 or runtime.stats().pending < 20:
            pass
        holding = runtime.spawn(gate.wait)
        while runtime.stats().running < 2:
            pass
        queued = orchestrator.emit_children(children("t:echo", range(1000)))
        stays_idle(runtime)
        for group in (retrying, queued):
            orchestrator.cancel_group(group)
        gate.set()
        holding.result(LIMIT)


def test_waiters_with_a_timeout_are_idle(runtime: LocalRuntime) -> None:
    handle = runtime.spawn("t:forever_async")
    while runtime.stats().waiting < 1:
        pass

    def wait() -> None:
        with pytest.raises(TimeoutError):
            handle.result(WHILE)

    stays_idle(runtime, wait, wakes=5)


def test_tasks_that_wait_are_idle(runtime: LocalRuntime) -> None:
    handle = runtime.spawn("t:forever_async")
    while runtime.stats().waiting < 1:
        pass

    async def body() -> None:
        waiting = [asyncio.ensure_future(handle._wait()) for _ in range(100)]
        await asyncio.sleep(0)
        used = time.process_time()
        await asyncio.sleep(WHILE)
        assert time.process_time() - used < BUSY
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(body())


def test_a_full_lazy_group_and_a_reader_of_it_are_idle(runtime: LocalRuntime) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(
            iter(int, 1), "n", Task("t:forever_async", {}), max_in_flight=5
        )
        while runtime.stats().waiting < 5:
            pass

        def wait() -> None:
            with pytest.raises(TimeoutError):
                next(orchestrator.as_completed(group, WHILE))

        stays_idle(runtime, wait, wakes=10)
        orchestrator.cancel_group(group)


def test_a_rate_that_is_used_up_is_waited_for_by_one_timer() -> None:
    actions = _actions()

    @actions.register("t:rated", rate_limit=Rate(1, FOREVER))
    def rated() -> None:
        pass

    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_children([child("t:rated") for _ in range(100)])
        while runtime.stats().completed < 1:
            pass
        stays_idle(runtime)
        orchestrator.cancel_group(group)


def test_a_subscription_without_events_is_idle(runtime: LocalRuntime) -> None:
    told = threading.Event()
    subscription = runtime.subscribe(lambda _event: told.set())
    runtime.run("t:echo", 1)
    assert told.wait(LIMIT)
    stays_idle(runtime)
    subscription.close()
