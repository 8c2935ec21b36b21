"""One attempt: who gets the start token, and who hears of an interruption."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.attempt import Attempt, Interruption
from actors.system.parking import Parker
from actors.wait import Wait
from orchestrator import AsyncOrchestrator, Orchestrator
from orchestrator.context import ORCHESTRATOR_CONTEXT_KEY, ExecutionContext
from orchestrator.errors import Cancelled, MissingExecutionError
from orchestrator.values import Execution
from tests.actors.fakes import World, action


class FourMethods:
    """A plain runtime, never called."""

    def emit_executions(self, *_args: Any) -> Any: ...
    def wait_for_unblock(self, *_args: Any) -> Any: ...
    def await_group(self, *_args: Any) -> Any: ...
    def schedule_execution(self, *_args: Any) -> Any: ...


def attempt_of(world: World | None = None, *, is_async: bool = False, **options: Any) -> Attempt:
    world = world or World()
    world.environment.runtime = FourMethods()  # type: ignore[assignment]
    is_scope = options.pop("is_scope", False)
    attempt = Attempt(
        world.environment,
        "ref",
        "e",
        1,
        action(**options),
        None,
        lambda: Execution("t:t", id="e"),
        contextvars.copy_context(),
        None,
        None,
        announced=False,
        is_async=is_async,
        is_scope=is_scope,
    )
    attempt.context = ExecutionContext(None, scope=attempt)
    return attempt


def test_of_the_worker_and_the_cancel_exactly_one_gets_the_start_token() -> None:
    for _ in range(50):
        attempt = attempt_of()
        barrier = threading.Barrier(4)
        got: list[bool] = []

        def contend(attempt: Attempt, barrier: threading.Barrier, got: list[bool]) -> None:
            barrier.wait()
            got.append(attempt.take())

        arguments = (attempt, barrier, got)
        threads = [threading.Thread(target=contend, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == [False, False, False, True]
        assert not attempt.take()


class Noted:
    """A waker that notes by number when it is used."""

    def __init__(self, number: int, woken: list[int]) -> None:
        self.number = number
        self.woken = woken

    def unpark(self) -> None:
        self.woken.append(self.number)


@given(st.lists(st.sampled_from(["cancel", "end", "watch", "unwatch"]), max_size=12))
def test_every_wait_hears_of_an_interruption_or_sees_it_whenever_it_registers(
    steps: list[str],
) -> None:
    attempt = attempt_of()
    expected: Interruption | None = None
    watching: dict[Wait, int] = {}
    woken: list[int] = []
    for number, step in enumerate(steps):
        before = list(woken)
        match step:
            case "cancel":
                attempt.cancel()
                expected = expected or Interruption.CANCELLED  # over, it stays over
                assert woken[len(before) :] == list(watching.values())
            case "end":
                attempt.end()
                expected = Interruption.OVER
                assert woken[len(before) :] == list(watching.values())
            case "watch":
                wait = Wait(attempt, Noted(number, woken), main=True)
                attempt.watch(wait)
                watching[wait] = number
                # What came before is not told again: the wait looks after it has registered.
                assert woken == before
            case _:
                for key in list(watching)[:1]:
                    attempt.unwatch(key)
                    del watching[key]
                attempt.unwatch(Wait(attempt, Noted(number, woken), main=True))  # a stranger
        assert attempt.interruption is expected
        assert attempt.cancelled is (expected is Interruption.CANCELLED)


def test_a_wait_that_registers_while_another_thread_interrupts_is_woken_or_sees_it() -> None:
    for _ in range(100):
        attempt = attempt_of()
        waker = Parker()
        barrier = threading.Barrier(2)

        def interrupt(attempt: Attempt = attempt, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            attempt.cancel()

        thread = threading.Thread(target=interrupt)
        thread.start()
        barrier.wait()
        attempt.watch(Wait(attempt, waker, main=True))
        seen = attempt.interruption
        thread.join()
        assert seen is Interruption.CANCELLED or waker.park(0)


def test_waits_of_a_cancelled_blocking_action_raise_what_no_except_exception_swallows() -> None:
    attempt = attempt_of()
    attempt.check()
    attempt.cancel()
    for _ in range(2):  # at once and ever again
        with pytest.raises(Cancelled) as caught:
            attempt.check()
        assert not isinstance(caught.value, Exception)


def test_waits_of_a_cancelled_async_action_raise_asyncio_s_own() -> None:
    attempt = attempt_of(is_async=True)
    attempt.cancel()
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            attempt.check()


def test_what_outlives_its_attempt_is_told_so_even_where_it_was_cancelled() -> None:
    attempt = attempt_of()
    attempt.cancel()
    attempt.end()
    attempt.cancel()
    with pytest.raises(MissingExecutionError, match="'e'"):
        attempt.check()
    assert not attempt.cancelled


def test_a_cancel_kills_the_process_and_cancels_the_task_on_its_own_loop() -> None:
    world = World()
    attempt = attempt_of(world)
    killed: list[str] = []
    attempt.kill = lambda: killed.append("killed")

    async def main() -> None:
        attempt.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[assignment]
        attempt.cancel()
        (cancel,) = world.on_loop
        cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt.task  # type: ignore[misc]

    asyncio.run(main())
    assert killed == ["killed"]


def test_the_end_of_its_code_cancels_no_task() -> None:
    world = World()
    attempt = attempt_of(world)
    attempt.kill = lambda: pytest.fail("killed")

    async def main() -> None:
        attempt.task = asyncio.current_task()
        attempt.end()

    asyncio.run(main())
    assert world.on_loop == []


def test_only_code_that_holds_slots_gets_them_back_after_a_wait() -> None:
    assert attempt_of().holds_slots
    assert attempt_of(max_concurrency=1).holds_slots
    assert not attempt_of(is_async=True).holds_slots
    assert attempt_of(is_async=True, max_concurrency=1).holds_slots
    assert not attempt_of(is_scope=True, max_concurrency=1).holds_slots


def test_the_speaker_is_the_attempts_own_thread_or_task_and_nobody_else() -> None:
    blocking, awaiting = attempt_of(), attempt_of(is_async=True)
    assert not blocking.on_own_thread()
    blocking.thread_id = awaiting.thread_id = threading.get_ident()
    assert blocking.on_own_thread()
    assert not awaiting.on_own_thread()
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(blocking.on_own_thread()))
    thread.start()
    thread.join()
    assert elsewhere == [False]

    async def main() -> tuple[bool, bool]:
        awaiting.task = asyncio.current_task()

        async def other() -> bool:
            return awaiting.in_own_task()

        return awaiting.in_own_task(), await asyncio.create_task(other())

    assert asyncio.run(main()) == (True, False)


@pytest.mark.parametrize(("is_async", "face"), [(False, Orchestrator), (True, AsyncOrchestrator)])
def test_under_the_context_key_an_action_finds_the_face_of_its_own_kind(
    is_async: bool, face: type
) -> None:
    context = attempt_of(is_async=is_async).context
    assert isinstance(context[ORCHESTRATOR_CONTEXT_KEY], face)
    assert isinstance(Orchestrator.from_context(context), Orchestrator)
    assert isinstance(AsyncOrchestrator.from_context(context), AsyncOrchestrator)
    assert context.execution.id == "e"
    assert not context.cancelled
