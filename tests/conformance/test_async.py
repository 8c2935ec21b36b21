"""DESIGN.md section 3, *Async*: blocking calls on a loop's thread, loops that have closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    BlockingCallError,
    NotInitialisedError,
    Orchestrator,
    Task,
)
from tests.conformance.support import LIMIT, Gate, child, children, here_async

Run = Callable[..., Any]


def test_every_blocking_method_is_refused_on_a_loops_thread_and_names_its_twin(
    runtime: Any,
) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_one(child("t:echo", 1))
        handle = runtime.spawn("t:echo", 1)
        calls: dict[str, Callable[[], Any]] = {
            "emit_for_each": lambda: orchestrator.emit_for_each([1], "n", Task("t:echo")),
            "emit_children": lambda: orchestrator.emit_children([child("t:echo", 1)]),
            "emit_one": lambda: orchestrator.emit_one(child("t:echo", 1)),
            "await_group": lambda: orchestrator.await_group(group),
            "await_resume": orchestrator.await_resume,
            "call": lambda: orchestrator.call(child("t:echo", 1)),
            "as_completed": lambda: orchestrator.as_completed(group),
            "cancel_group": lambda: orchestrator.cancel_group(group),
            "cancel": lambda: orchestrator.cancel(handle.id),
            "release_group": lambda: orchestrator.release_group(group),
            "sleep": lambda: orchestrator.sleep(0),
            "run_async": lambda: runtime.run("t:echo", 1),
            "await handle": handle.result,
            "aclose": runtime.close,
            "async with": runtime.__enter__,
            "async with runtime.execution": lambda: runtime.execution().__enter__(),
        }

        async def main() -> None:
            before = runtime.stats().emitted
            for twin, call in calls.items():
                with pytest.raises(BlockingCallError, match=twin):
                    call()
            assert runtime.stats().emitted == before

        asyncio.run(main())
        assert orchestrator.await_group(group) == [1]


def test_in_an_async_action_blocking_methods_are_refused_as_well(runtime: Any) -> None:
    async def action() -> None:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        with pytest.raises(BlockingCallError, match="AsyncOrchestrator"):
            orchestrator.call(child("t:echo", 1))
        assert await here_async().call(child("t:echo", 1)) == 1

    runtime.run(action)


def test_spawn_never_blocks_and_can_be_called_on_a_loop(runtime: Any) -> None:
    async def main() -> Any:
        return await runtime.spawn("t:echo", 1)

    assert asyncio.run(main()) == 1


def test_the_loop_stays_free_while_it_waits(runtime: Any) -> None:
    async def main() -> None:
        gate = Gate()
        async with runtime.execution() as orchestrator:
            given = child("t:gated", {"gate": gate, "value": 1})
            waits = asyncio.create_task(
                orchestrator.await_group(await orchestrator.emit_one(given))
            )
            for _ in range(100):  # the loop turns though nothing has ended
                await asyncio.sleep(0)
            assert not waits.done()
            gate.open()
            assert await waits == [1]

    asyncio.run(main())


def test_a_waiter_whose_loop_has_closed_is_dropped_and_does_no_harm(runtime: Any) -> None:
    gate = Gate()
    handle = runtime.spawn("t:gated_async", {"gate": gate, "value": 1})

    async def give_up() -> None:
        asyncio.ensure_future(read(handle))  # noqa: RUF006 - it is left behind on purpose
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(give_up())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    gate.open()
    assert handle.result(LIMIT) == 1
    assert asyncio.run(read(handle)) == 1


async def read(handle: Any) -> Any:
    return await handle


def test_async_actions_of_two_loops_meet_in_one_group(make_runtime: Run) -> None:
    runtime = make_runtime()
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo_async", range(5)))

        async def wait() -> Any:
            return await AsyncOrchestrator(runtime).await_group(group, LIMIT)

        assert asyncio.run(wait()) == asyncio.run(wait()) == [0, 1, 2, 3, 4]


def test_an_orchestrator_needs_a_runtime() -> None:
    for face in (Orchestrator, AsyncOrchestrator):
        with pytest.raises(NotInitialisedError):
            face(None)  # type: ignore[arg-type]


def test_tasks_that_an_async_action_made_have_its_context(runtime: Any) -> None:
    async def action() -> list[Any]:
        async def helper(n: int) -> Any:
            return await here_async().call(child("t:echo", n))

        return await asyncio.gather(*(helper(n) for n in range(5)))

    assert runtime.run(action) == [0, 1, 2, 3, 4]


def test_a_thousand_async_children_wait_at_once_with_one_worker(
    make_runtime: Run, actions: ActionRegistry
) -> None:
    everyone = Gate()
    inside: list[int] = []

    @actions.register("t:joins")
    async def joins(n: int) -> int:
        inside.append(n)
        if len(inside) == 1000:
            everyone.open()
        await everyone
        return n

    with make_runtime(workers=1).execution() as orchestrator:
        group = orchestrator.emit_children(children("t:joins", range(1000)))
        assert orchestrator.await_group(group, LIMIT) == list(range(1000))
