"""What interrupts a runtime's block while it waits for the rest cancels the rest."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, AsyncOrchestrator, Cancelled, Orchestrator, Task
from runtime import LocalRuntime

LIMIT = 30.0
SLEEP = Task("t:sleep")


def threads_of_runtimes() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("runtime-")]


class Leaving(LocalRuntime):
    """Tells when its block is being left."""

    def __init__(self, actions: ActionRegistry) -> None:
        super().__init__(actions)
        self.leaves = threading.Event()

    def _begin_close(self, seconds: float | None) -> float | None:
        deadline = super()._begin_close(seconds)
        self.leaves.set()
        return deadline


def sleeping(ended: list[str]) -> Callable[[], None]:
    """An action that sleeps, and tells where it was cancelled."""

    def work() -> None:
        try:
            orchestrator = Orchestrator.from_context()
            assert orchestrator is not None
            orchestrator.sleep(LIMIT)
        except Cancelled:
            ended.append("cancelled")
            raise

    return work


class Interrupted(LocalRuntime):
    """Its first close is interrupted where it waits.

    By no signal: where one comes just before a thread blocks, Python itself may sleep over it.
    """

    interrupted = False

    def close(self, timeout: float | None = None, *, cancel: bool = False) -> None:
        if not self.interrupted:
            self.interrupted = True
            self._closing.drain(cancel=cancel)
            raise KeyboardInterrupt
        super().close(timeout, cancel=cancel)


def test_an_interrupt_while_a_block_waits_for_the_rest_cancels_the_rest() -> None:
    ended: list[str] = []

    runtime = Interrupted(ActionRegistry())
    with pytest.raises(KeyboardInterrupt), runtime:  # noqa: PT012 - its exit is what raises
        runtime.spawn(sleeping(ended))
        while runtime.stats().waiting == 0:
            threading.Event().wait(0.001)
    assert ended == ["cancelled"]
    assert runtime.stats().cancelled == 1
    assert threads_of_runtimes() == []


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_cancel_while_an_async_block_waits_for_the_rest_cancels_the_rest(kind: str) -> None:
    ended: list[str] = []

    async def work_async() -> None:
        try:
            orchestrator = AsyncOrchestrator.from_context()
            assert orchestrator is not None
            await orchestrator.sleep(LIMIT)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def serve(runtime: Leaving) -> None:
        async with runtime:
            code: Any = sleeping(ended) if kind == "blocking" else work_async
            runtime.spawn(code)
            while runtime.stats().waiting == 0:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)

    async def main() -> None:
        runtime = Leaving(ActionRegistry())
        server = asyncio.create_task(serve(runtime))
        await asyncio.get_running_loop().run_in_executor(None, runtime.leaves.wait, LIMIT)
        server.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await server
        assert server.cancelled()
        assert ended == ["cancelled"]
        assert runtime.stats().cancelled == 1

    asyncio.run(main())
    assert threads_of_runtimes() == []


@pytest.mark.parametrize("children", [0, 3])
@pytest.mark.parametrize("cancel", [False, True])
def test_what_ran_on_a_loop_that_was_closed_does_not_hold_up_the_close(
    children: int, *, cancel: bool
) -> None:
    actions = ActionRegistry()

    @actions.register("t:sleep")
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @actions.register("t:emits")
    async def emits(seconds: float) -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        if children:
            times = [seconds] * children
            await orchestrator.await_group(await orchestrator.emit_for_each(times, "x", SLEEP))
        await asyncio.sleep(seconds)

    before = signal.getsignal(signal.SIGINT)
    runtime = LocalRuntime(actions)
    loop = asyncio.new_event_loop()
    kept: list[Any] = []  # so that no garbage collection ends them

    async def begin() -> None:
        await runtime.__aenter__()
        kept.append(runtime.spawn("t:emits", LIMIT))
        while len(runtime._places.running) < 1 + children:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)
        kept.append(asyncio.all_tasks())
        for task in kept[-1]:
            task._log_destroy_pending = False  # that they are lost is the point

    loop.run_until_complete(begin())
    loop.close()
    runtime.close(cancel=cancel)
    stats = runtime.stats()
    assert (stats.emitted, stats.cancelled) == (1 + children, 1 + children)
    assert signal.getsignal(signal.SIGINT) is before  # it stands in front of no handler any more
    assert threads_of_runtimes() == []
