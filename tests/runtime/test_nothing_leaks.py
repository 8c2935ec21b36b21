"""After a thousand of everything that can go wrong, what lives is what lived before."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from actors.system import ActorSystem, Future, dropped_waiters
from orchestrator import (
    ActionRegistry,
    AwaitTimeoutError,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    Retry,
    Task,
    UnknownGroupError,
)
from runtime import LocalRuntime
from runtime.handle import Handle
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    Boom,
    Gate,
    child,
    children,
    here,
    here_async,
    in_thread,
    standard_actions,
)
from tests.runtime.census import becomes, census, nothing_stays

MOMENT = 1e-4  # a patience that is meant to pass


@pytest.fixture
def actions() -> ActionRegistry:
    return standard_actions()


@pytest.fixture
def runtime(actions: ActionRegistry) -> Iterator[LocalRuntime]:
    made = LocalRuntime(actions, workers=4)
    yield made
    made.close(LIMIT, cancel=True)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def ends_with(kind: type[BaseException], function: Callable[[], object]) -> None:
    """Call *function*, which must raise *kind*; the exception is let go."""
    with suppress(kind):
        function()
        raise AssertionError(f"it raised no {kind.__name__}")


def forever(runtime: LocalRuntime) -> Handle:
    """Something to wait for in vain, once it waits itself."""
    handle = runtime.spawn("t:forever_async")
    until_waiting(runtime, 1)
    return handle


def until_waiting(runtime: LocalRuntime, number: int) -> None:
    while runtime.stats().waiting < number:
        pass


def all_workers_busy(runtime: LocalRuntime, gate: Gate) -> list[Handle]:
    """An action for every worker, each of which has begun; they end when *gate* opens."""

    def run(begun: Gate) -> None:
        begun.open()
        gate.wait()

    begun = [Gate() for _ in range(4)]
    handles = [runtime.spawn(run, {"begun": one}) for one in begun]
    for one in begun:
        one.wait()
    return handles


# Waiters that give up


def test_a_thread_that_stops_waiting_for_a_handle_leaves_nothing(runtime: LocalRuntime) -> None:
    handle = forever(runtime)
    nothing_stays(
        lambda: ends_with(AwaitTimeoutError, lambda: handle.result(MOMENT)), 1000, runtime
    )
    assert not handle._ended._callbacks


def test_a_task_that_stops_waiting_for_a_handle_leaves_nothing(
    runtime: LocalRuntime, loop: asyncio.AbstractEventLoop
) -> None:
    handle = forever(runtime)

    async def cancelled() -> None:
        waiting = asyncio.ensure_future(handle._wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting

    nothing_stays(lambda: loop.run_until_complete(cancelled()), 1000, runtime)
    assert not handle._ended._callbacks


def test_an_execution_that_stops_waiting_leaves_nothing(runtime: LocalRuntime) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children([child("t:forever_async")])
        until_waiting(runtime, 1)

        def once() -> None:
            ends_with(AwaitTimeoutError, lambda: orchestrator.await_group(group, MOMENT))
            ends_with(AwaitTimeoutError, lambda: orchestrator.await_resume(MOMENT))
            ends_with(
                AwaitTimeoutError, lambda: next(iter(orchestrator.as_completed(group, MOMENT)))
            )
            ends_with(
                AwaitTimeoutError, lambda: orchestrator.call(child("t:forever_async"), MOMENT)
            )

        nothing_stays(once, 250, runtime)
        orchestrator.cancel_group(group)


def test_an_async_execution_that_stops_waiting_leaves_nothing(
    runtime: LocalRuntime, loop: asyncio.AbstractEventLoop
) -> None:
    async def body() -> None:
        async with runtime.execution() as orchestrator:
            group = await orchestrator.emit_children([child("t:forever_async")])

            async def give_up_and_be_cancelled() -> None:
                for patience in (MOMENT, None):
                    waiting = asyncio.ensure_future(orchestrator.await_group(group, patience))
                    await asyncio.sleep(0)
                    if patience is None:
                        waiting.cancel()
                    with suppress(AwaitTimeoutError, asyncio.CancelledError):
                        await waiting
                with suppress(AwaitTimeoutError):
                    await orchestrator.await_resume(MOMENT)
                with suppress(AwaitTimeoutError):
                    await orchestrator.call(child("t:forever_async"), MOMENT)
                with suppress(AwaitTimeoutError):
                    async for _end in orchestrator.as_completed(group, MOMENT):
                        raise AssertionError("nothing can have ended")

            while runtime.stats().waiting < 1:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)
            for _ in range(20):
                await give_up_and_be_cancelled()
            before = census(runtime)
            for _ in range(250):
                await give_up_and_be_cancelled()
            becomes(before, lambda: census(runtime))
            await orchestrator.cancel_group(group)

    loop.run_until_complete(body())


def test_a_waiter_of_a_bare_future_that_gives_up_leaves_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    future: Future[None] = Future()

    async def cancelled() -> None:
        waiting = asyncio.ensure_future(_awaited(future))
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting

    def once() -> None:
        with suppress(Exception):
            future.get(timeout=MOMENT)
        loop.run_until_complete(cancelled())

    nothing_stays(once, 1000)
    assert not future._callbacks


async def _awaited(future: Future[Any]) -> Any:
    return await future


# Loops that close


@pytest.mark.parametrize("what", ["handle", "group"])
def test_waiters_of_a_loop_that_has_closed_are_dropped_and_counted(
    runtime: LocalRuntime, what: str
) -> None:
    number = 200

    def once(number: int = 1) -> None:
        gate = Gate()
        with runtime.execution() as orchestrator:
            group = orchestrator.emit_children([child("t:gated", {"gate": gate})])
            handle = runtime.spawn("t:gated", {"gate": gate})
            decided = runtime.await_group(group)
            left = []
            for _ in range(number):
                loop = asyncio.new_event_loop()
                waiter = handle._wait() if what == "handle" else _awaited(decided)
                task = loop.create_task(waiter)
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                loop.run_until_complete(asyncio.sleep(0))
                loop.close()
                left.append(task)
            gate.open()
            orchestrator.await_group(group, LIMIT)
        handle.result(LIMIT)

    for _ in range(3):
        once()
    before, dropped = census(runtime), dropped_waiters()
    once(number)
    becomes(before, lambda: census(runtime))
    assert dropped_waiters() - dropped == number == runtime.stats().dropped_waiters - dropped


# Executions that fail or are cancelled


def test_plain_functions_of_ten_thousand_names_leave_nothing(runtime: LocalRuntime) -> None:
    numbers = iter(range(20_000))

    def once() -> None:
        def plain() -> int:
            return 1

        plain.__name__ = plain.__qualname__ = f"plain_{next(numbers)}"
        runtime.run(plain)

    nothing_stays(once, 10_000, runtime)


@pytest.mark.parametrize("action", ["t:fail", "t:fail_async"])
def test_what_has_failed_leaves_nothing(runtime: LocalRuntime, action: str) -> None:
    def once() -> None:
        ends_with(Boom, lambda: runtime.run(action))

    nothing_stays(once, 1000, runtime)


@pytest.mark.parametrize("action", ["t:forever", "t:forever_async"])
def test_what_was_cancelled_while_it_waited_leaves_nothing(
    runtime: LocalRuntime, action: str
) -> None:
    def once() -> None:
        started = Gate()
        handle = runtime.spawn(action, {"started": started})
        started.wait()
        handle.cancel("enough")
        ends_with(ExecutionCancelledError, handle.result)

    nothing_stays(once, 1000, runtime)


def test_what_was_cancelled_while_it_ran_leaves_nothing(runtime: LocalRuntime) -> None:
    def run(started: Gate, gate: Gate) -> None:
        started.open()
        gate.wait()

    def once() -> None:
        started, gate = Gate(), Gate()
        handle = runtime.spawn(run, {"started": started, "gate": gate})
        started.wait()
        handle.cancel("enough")
        ends_with(ExecutionCancelledError, handle.result)
        gate.open()

    nothing_stays(once, 1000, runtime)


def test_what_was_cancelled_in_the_queue_leaves_nothing_while_all_workers_are_busy(
    runtime: LocalRuntime,
) -> None:
    gate = Gate()
    busy = all_workers_busy(runtime, gate)

    def once() -> None:
        handle = runtime.spawn("t:echo", 1)
        handle.cancel("enough")
        ends_with(ExecutionCancelledError, handle.result)

    nothing_stays(once, 1000, runtime)
    gate.open()
    for handle in busy:
        handle.result(LIMIT)


def test_children_that_were_cancelled_in_the_queue_leave_nothing_while_all_workers_are_busy(
    runtime: LocalRuntime,
) -> None:
    gate = Gate()
    busy = all_workers_busy(runtime, gate)
    with runtime.execution() as orchestrator:

        def once() -> None:
            group = orchestrator.emit_children(children("t:echo", range(3)))
            orchestrator.cancel_group(group)
            ends_with(GroupCancelledError, lambda: orchestrator.await_group(group))
            orchestrator.release_group(group)

        nothing_stays(once, 500, runtime)
    gate.open()
    for handle in busy:
        handle.result(LIMIT)


def test_what_was_cancelled_between_two_attempts_leaves_nothing(
    runtime: LocalRuntime, actions: ActionRegistry
) -> None:
    @actions.register("t:again", retry=Retry(2, delay=FOREVER))
    def again() -> None:
        raise Boom("again")

    def once() -> None:
        handle = runtime.spawn("t:again")
        while handle.snapshot().attempts == 0 or handle.snapshot().state != "scheduled":
            pass
        handle.cancel("enough")
        ends_with(ExecutionCancelledError, handle.result)

    nothing_stays(once, 1000, runtime)


def test_what_missed_its_deadline_leaves_nothing(runtime: LocalRuntime) -> None:
    def once() -> None:
        for action in ("t:forever", "t:forever_async"):
            ends_with(ExecutionTimeoutError, lambda a=action: runtime.run(a, timeout=MOMENT))

    nothing_stays(once, 500, runtime)


def test_the_first_of_a_chain_that_starts_itself_again_is_not_kept_by_the_last(
    runtime: LocalRuntime,
) -> None:
    def link(left: int, done: Gate) -> None:
        if left:
            runtime.spawn(link, {"left": left - 1, "done": done})
        else:
            done.open()

    samples: list[Counter[str]] = []

    def sampled(left: int, done: Gate) -> None:
        if left in (900, 0):
            samples.append(census(runtime))
        if left:
            runtime.spawn(sampled, {"left": left - 1, "done": done})
        else:
            done.open()

    done = Gate()
    runtime.spawn(sampled, {"left": 1000, "done": done})
    done.wait()
    early, late = samples
    grown = late - early
    assert sum(grown.values()) < 200, grown  # and not some for each of the 900 links


# Groups


def test_failed_groups_leave_nothing(runtime: LocalRuntime) -> None:
    def parent() -> None:
        orchestrator = here()
        group = orchestrator.emit_children(children("t:fail", ["a", "b"]))
        with suppress(GroupFailedError):
            orchestrator.await_group(group)

    async def async_parent() -> None:
        orchestrator = here_async()
        group = await orchestrator.emit_children(children("t:fail_async", ["a", "b"]))
        with suppress(GroupFailedError):
            await orchestrator.await_group(group)

    def once() -> None:
        runtime.run(parent)
        runtime.run(async_parent)

    nothing_stays(once, 500, runtime)


def test_groups_that_missed_their_deadline_leave_nothing(runtime: LocalRuntime) -> None:
    def parent() -> None:
        orchestrator = here()
        group = orchestrator.emit_children(
            children("t:forever_async", [None, None]), timeout=MOMENT
        )
        with suppress(GroupTimeoutError):
            orchestrator.await_group(group)

    nothing_stays(lambda: runtime.run(parent), 1000, runtime)


def test_groups_that_decide_early_leave_nothing(runtime: LocalRuntime) -> None:
    def parent() -> None:
        orchestrator = here()
        some = [child("t:echo", 1), child("t:forever_async"), child("t:forever")]
        orchestrator.await_group(orchestrator.emit_children(some, mode="any"))

    nothing_stays(lambda: runtime.run(parent), 500, runtime)


def test_groups_that_are_released_leave_nothing_while_their_emitter_lives(
    runtime: LocalRuntime,
) -> None:
    with runtime.execution() as orchestrator:

        def once() -> None:
            group = orchestrator.emit_children(children("t:echo", [1, 2]))
            orchestrator.await_group(group)
            orchestrator.release_group(group)
            ends_with(UnknownGroupError, lambda: orchestrator.await_group(group))

        nothing_stays(once, 1000, runtime)


def test_readers_that_leave_early_leave_nothing(runtime: LocalRuntime) -> None:
    with runtime.execution() as orchestrator:
        kept = orchestrator.emit_children([child("t:echo", 1), child("t:forever_async")])
        flat = orchestrator.emit_children(
            iter([child("t:forever_async")]), keep=False, max_in_flight=1
        )

        def once() -> None:
            for _end in orchestrator.as_completed(kept):
                break
            ends_with(AwaitTimeoutError, lambda: next(orchestrator.as_completed(flat, MOMENT)))
            orchestrator.as_completed(flat)  # and one that reads nothing at all

        nothing_stays(once, 500, runtime)
        orchestrator.cancel_group(kept)
        orchestrator.cancel_group(flat)


def test_readers_that_leave_a_task_early_leave_nothing(
    runtime: LocalRuntime, loop: asyncio.AbstractEventLoop
) -> None:
    async def body() -> None:
        async with runtime.execution() as orchestrator:
            group = await orchestrator.emit_children(
                [child("t:echo_async", 1), child("t:forever_async")]
            )
            while runtime.stats().waiting < 1:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)

            async def once() -> None:
                async for _end in orchestrator.as_completed(group):
                    break
                await asyncio.sleep(0)  # the loop closes what was left behind

            for _ in range(20):
                await once()
            before = census(runtime)
            for _ in range(500):
                await once()
            becomes(before, lambda: census(runtime))
            await orchestrator.cancel_group(group)

    loop.run_until_complete(body())


def test_lazy_sources_that_are_abandoned_leave_nothing(runtime: LocalRuntime) -> None:
    closed = 0

    def endless() -> Iterator[int]:
        nonlocal closed
        try:
            while True:
                yield 1
        finally:
            closed += 1

    def parent() -> None:
        orchestrator = here()
        group = orchestrator.emit_for_each(endless(), "n", Task("t:echo"), max_in_flight=2)
        for _end in orchestrator.as_completed(group):
            break
        orchestrator.cancel_group(group)

    nothing_stays(lambda: runtime.run(parent), 500, runtime)
    assert closed == 505


def test_lazy_sources_that_are_abandoned_by_a_task_leave_nothing(runtime: LocalRuntime) -> None:
    async def endless() -> Any:
        while True:
            yield 1

    async def parent() -> None:
        orchestrator = here_async()
        group = await orchestrator.emit_for_each(
            endless(), "n", Task("t:echo_async"), max_in_flight=2
        )
        async for _end in orchestrator.as_completed(group):
            break
        await orchestrator.cancel_group(group)

    nothing_stays(lambda: runtime.run(parent), 300, runtime)


# What users hold on to, and the ends of runtimes


def test_an_exception_that_is_let_go_takes_its_frames_with_it(runtime: LocalRuntime) -> None:
    class Big:
        pass

    seen: list[weakref.ref[Big]] = []

    def fails() -> None:
        big = Big()
        seen.append(weakref.ref(big))
        raise Boom("boom")

    ends_with(Boom, lambda: runtime.run(fails))
    gc.collect()
    assert seen[0]() is None


def test_subscriptions_that_were_closed_leave_nothing(runtime: LocalRuntime) -> None:
    def once() -> None:
        told = Gate()
        subscription = runtime.subscribe(lambda _event: told.open())
        runtime.run("t:echo", 1)
        told.wait()
        subscription.close()

    nothing_stays(once, 500, runtime)


def test_runtimes_that_were_used_and_closed_leave_nothing(actions: ActionRegistry) -> None:
    def parent() -> list[Any]:
        orchestrator = here()
        group = orchestrator.emit_children(
            [*children("t:echo", [1, 2]), *children("t:echo_async", [3, 4])], timeout=LIMIT
        )
        with suppress(Boom):
            orchestrator.call(child("t:fail"))
        orchestrator.sleep(MOMENT)
        return orchestrator.await_group(group)

    def once() -> None:
        with LocalRuntime(actions, workers=2) as runtime:
            subscription = runtime.subscribe(lambda _event: None)
            assert runtime.run(parent, timeout=LIMIT) == [1, 2, 3, 4]
            runtime.spawn("t:forever_async").cancel()
            runtime.spawn("t:forever").cancel()
            del subscription

    async def once_async() -> None:
        async with LocalRuntime(actions, workers=2) as runtime:
            assert await runtime.run_async(parent, timeout=LIMIT) == [1, 2, 3, 4]

    def both() -> None:
        once()
        asyncio.run(once_async())

    for _ in range(3):
        both()
    before = census()
    for _ in range(50):
        both()
    becomes(before, census, Counter())


def test_after_close_nothing_is_left_of_what_was_cancelled_by_it(actions: ActionRegistry) -> None:
    def once() -> None:
        runtime = LocalRuntime(actions, workers=2)
        handles = [runtime.spawn(name) for name in ("t:forever", "t:forever_async") * 3]
        closing = in_thread(lambda: runtime.close(LIMIT, cancel=True))
        closing.result(LIMIT)
        for handle in handles:
            ends_with(ExecutionCancelledError, handle.result)

    for _ in range(3):
        once()
    before = census()
    for _ in range(50):
        once()
    becomes(before, census, Counter())


def test_a_result_that_is_kept_keeps_no_runtime(actions: ActionRegistry) -> None:
    runtime = LocalRuntime(actions, workers=2)
    with runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", range(3)))
        orchestrator.await_group(group)
        kept = runtime.await_group(group).get()
    gone = weakref.ref(runtime)
    del runtime, orchestrator
    gc.collect()
    assert gone() is None
    assert [each.output for each in kept.executions] == [0, 1, 2]


def test_actor_systems_that_were_stopped_leave_nothing() -> None:
    import pykka  # noqa: PLC0415 - needed here alone

    from actors.system import PooledActor  # noqa: PLC0415

    class Echo(PooledActor):
        def on_receive(self, message: Any) -> Any:
            return message

    def once() -> None:
        with ActorSystem(workers=2) as system:
            refs = [system.spawn(Echo) for _ in range(10)]
            assert pykka.get_all([ref.ask(1, block=False) for ref in refs]) == [1] * 10

    for _ in range(3):
        once()
    before = census()
    for _ in range(100):
        once()
    becomes(before, census, Counter())
