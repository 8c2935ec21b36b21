"""A second Ctrl-C in every function that the loop's thread runs, under `asyncio.run`."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
from asyncio import base_events, events
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from orchestrator import ActionRegistry, AsyncOrchestrator, Retry, Task
from orchestrator.errors import GroupFailedError, OrchestratorError
from runtime import Handle, LocalRuntime
from tests.conformance.support import child, quiet, standard_actions

ROOT = Path(__file__).parents[2]
WATCHED = (
    *(f"{ROOT / package}/" for package in ("actors", "orchestrator", "runtime")),
    base_events.__file__,
    events.__file__,
)

Place = tuple[str, str]

SEEN: set[Place] = set()  # by any test here: what one has interrupted is not worth it again


@contextmanager
def interrupted_in_a_new_function(seen: set[Place]) -> Iterator[None]:
    """Call the handler for SIGINT as the first function that is not in *seen* begins, once.

    Python looks for signals there, among other places. Where in a function it is interrupted makes
    no difference to the handler.
    """
    before = len(seen)

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if len(seen) > before or event != "call" or not watched(frame):
            return
        place = (frame.f_code.co_filename, frame.f_code.co_qualname)
        if place not in seen:
            seen.add(place)
            handler: Any = signal.getsignal(signal.SIGINT)
            handler(signal.SIGINT, frame)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def watched(frame: FrameType) -> bool:
    """Whether it runs in the library or the loop, and not in a ``__del__``, which can't raise."""
    if not frame.f_code.co_filename.startswith(WATCHED):
        return False
    up: FrameType | None = frame
    while up is not None and up.f_code.co_name != "__del__":
        up = up.f_back
    return up is None


def actions_of_a_family() -> ActionRegistry:
    actions = standard_actions()

    @actions.register("t:parent")
    async def parent() -> None:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        await orchestrator.call(child("t:echo_async", 1))
        await orchestrator.await_group(
            await orchestrator.emit_children([child("t:echo_async", n) for n in range(2)])
        )
        with pytest.raises(GroupFailedError):
            await orchestrator.await_group(await orchestrator.emit_one(child("t:flaky")))

    @actions.register("t:flaky", retry=Retry(max_attempts=2))
    async def flaky() -> None:
        await asyncio.sleep(0)
        raise OSError

    return actions


async def emits(runtime: LocalRuntime) -> None:
    async with runtime.execution() as orchestrator:
        some = [child(name, 1) for name in ("t:echo_async", "t:echo") * 3]
        group = await orchestrator.emit_children(some)
        assert await orchestrator.await_group(group) == [1] * 6


async def draws(runtime: LocalRuntime) -> None:
    async with runtime.execution() as orchestrator:
        group = await orchestrator.emit_for_each(
            range(3), "n", Task("t:echo_async"), max_in_flight=1
        )
        assert len([end async for end in orchestrator.as_completed(group)]) == 3


async def calls(runtime: LocalRuntime) -> None:
    async with runtime.execution() as orchestrator:
        assert await orchestrator.call(child("t:echo_async", 1)) == 1
        await orchestrator.sleep(1e-4)
        assert await orchestrator.await_resume() is None


async def runs(runtime: LocalRuntime) -> None:
    assert await runtime.run_async("t:echo", 1) == 1
    assert await runtime.spawn("t:echo_async", 2) == 2


async def nests(runtime: LocalRuntime) -> None:
    async with runtime.execution() as orchestrator:
        group = await orchestrator.emit_children([child("t:parent") for _ in range(2)])
        await orchestrator.await_group(group)


@pytest.mark.parametrize("work", [emits, draws, calls, runs, nests])
def test_a_second_ctrl_c_in_any_function_ends_the_loop_and_leaves_nothing(
    work: Callable[[LocalRuntime], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    actions = actions_of_a_family()
    caplog.set_level(logging.ERROR)
    seen = SEEN
    whole = 0
    while not whole:
        before = len(seen)
        runtimes: list[LocalRuntime] = []
        with asyncio.Runner() as runner:
            try:
                runner.run(interrupted(runner, runtimes, actions, work, seen))
            except KeyboardInterrupt:
                whole = 0
            else:
                assert len(seen) == before, f"lost at {seen}"
                whole += 1
        assert quiet(runtimes[0].stats())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not caplog.records


async def interrupted(
    runner: Any,
    runtimes: list[LocalRuntime],
    actions: ActionRegistry,
    work: Callable[[LocalRuntime], Awaitable[None]],
    seen: set[Place],
) -> None:
    runner._interrupt_count = 1  # the first one is over, and nobody has listened to it
    async with LocalRuntime(actions, workers=2) as runtime:
        runtimes.append(runtime)
        with interrupted_in_a_new_function(seen):
            await work(runtime)


def test_a_ctrl_c_in_an_async_action_ends_the_loop_and_not_the_action_alone() -> None:
    actions = ActionRegistry()

    @actions.register("t:hit")
    async def hit() -> None:
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        runner._interrupt_count = 1
        async with LocalRuntime(actions) as runtime:
            handles.append(runtime.spawn("t:hit"))
            await asyncio.Event().wait()

    handles: list[Handle] = []
    runner: Any
    with pytest.raises(KeyboardInterrupt), asyncio.Runner() as runner:
        runner.run(main())
    with pytest.raises(OrchestratorError, match="raised KeyboardInterrupt"):
        handles[0].result()


def test_the_first_ctrl_c_cancels_the_main_task_as_without_a_runtime() -> None:
    heard = []

    async def main() -> None:
        async with LocalRuntime(ActionRegistry()):
            signal.raise_signal(signal.SIGINT)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                heard.append("cancelled")
                raise

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert heard == ["cancelled"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_on_a_loop_that_sets_no_handler_the_first_ctrl_c_is_raised_by_the_loop() -> None:
    async def main() -> None:
        async with LocalRuntime(standard_actions()) as runtime:
            with interrupted_in_a_new_function(set()):
                await runtime.run_async("t:echo", 1)

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_runtimes_side_by_side_share_the_handler_and_the_last_one_takes_it_away() -> None:
    async def main() -> None:
        asyncio_s = signal.getsignal(signal.SIGINT)
        first, second = (LocalRuntime(ActionRegistry()) for _ in range(2))
        await first.__aenter__()
        ours = signal.getsignal(signal.SIGINT)
        assert ours is not asyncio_s
        async with second:
            assert signal.getsignal(signal.SIGINT) is ours
            await first.__aexit__(None, None, None)
            assert signal.getsignal(signal.SIGINT) is ours
        assert signal.getsignal(signal.SIGINT) is asyncio_s

    asyncio.run(main())


def test_a_handler_of_the_applications_own_is_left_alone() -> None:
    came = []
    mine = functools.partial(came.append)
    previous = signal.signal(signal.SIGINT, lambda number, _frame: mine(number))
    own = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        async with LocalRuntime(ActionRegistry()):
            assert signal.getsignal(signal.SIGINT) is own
        signal.raise_signal(signal.SIGINT)

    async def sets_one() -> None:
        async with LocalRuntime(ActionRegistry()):
            signal.signal(signal.SIGINT, own)
        assert signal.getsignal(signal.SIGINT) is own

    try:
        asyncio.run(main())
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asyncio.run(sets_one())
    finally:
        signal.signal(signal.SIGINT, previous)
    assert came == [signal.SIGINT]


def test_a_runtime_that_was_left_open_gives_the_handler_back_at_the_next_ctrl_c() -> None:
    left = LocalRuntime(ActionRegistry())

    async def main() -> None:
        await left.__aenter__()

    asyncio.run(main())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    left.close()
