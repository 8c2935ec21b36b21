"""DESIGN.md section 3, *Emit*: max_in_flight over lazy and endless sources, keep=False."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    ExecutionCancelledError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    RejectedError,
    Task,
    UnknownActionError,
    current_context,
)
from tests.conformance.support import (
    LIMIT,
    SOON,
    Boom,
    Gate,
    Meter,
    child,
    children,
    ends_of,
    here,
    here_async,
    quiet,
)

Run = Callable[..., Any]
colour: ContextVar[str] = ContextVar("colour", default="none")


class Source:
    """An iterator that knows how far it was drawn, how far ahead, and whether it was closed."""

    def __init__(self, items: Any, make: Callable[[Any], Any] = lambda item: item) -> None:
        self.drawn = 0
        self.closed = Gate()
        self.threads: set[int] = set()
        self.generator = self._generate(items, make)

    def _generate(self, items: Any, make: Callable[[Any], Any]) -> Iterator[Any]:
        try:
            for item in items:
                self.drawn += 1
                self.threads.add(threading.get_ident())
                yield make(item)
        finally:
            self.closed.open()


@pytest.mark.parametrize("most", [1, 2, 5])
def test_at_most_max_in_flight_children_exist_at_a_time(
    actions: ActionRegistry, run_body: Run, most: int
) -> None:
    in_flight = Meter()

    @actions.register("t:counted")
    def counted(value: int) -> int:
        in_flight.__exit__()
        return value

    def items() -> Iterator[int]:
        for number in range(20):
            yield number
            in_flight.__enter__()  # asked for the next one: the last one is a child now

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_for_each(
            items(), "n", Task("t:counted"), max_in_flight=most
        )
        assert await orchestrator.await_group(group, LIMIT) == list(range(20))

    run_body(body)
    assert in_flight.highest <= most + 1  # one may have ended before it was counted as begun


def test_no_more_than_max_in_flight_are_drawn_while_none_ends(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        gate, full = Gate(), Gate()
        source = Source(range(10))

        def items() -> Iterator[int]:
            for number in source.generator:
                if source.drawn == 3:
                    full.open()
                yield number

        task = Task("t:gated_async", {"gate": gate, "value": "${n}"})
        group = orchestrator.emit_for_each(items(), "n", task, max_in_flight=3)
        full.wait()
        before = runtime.stats().emitted
        assert before <= 1 + 3
        gate.open()
        assert orchestrator.await_group(group, LIMIT) == list(range(10))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("action", ["t:nap", "t:nap_async"])
def test_each_drawn_child_is_shown_with_the_time_at_which_it_was_drawn(
    run_body: Run, actions: ActionRegistry, action: str, keep: bool
) -> None:
    @actions.register("t:nap")
    def nap(n: int) -> int:
        here().sleep(0.001)
        return n

    @actions.register("t:nap_async")
    async def nap_async(n: int) -> int:
        await here_async().sleep(0.001)
        return n

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_for_each(
            range(6), "n", Task(action), max_in_flight=1, keep=keep
        )
        ends = await ends_of(orchestrator, group)
        first = ends[0].index if ends else 6  # without keep, a reader may come late
        assert [end.index for end in ends] == list(range(first, 6))
        assert [end.output for end in ends] == [end.input for end in ends] == list(range(first, 6))
        for one, next_one in itertools.pairwise(ends):
            assert one.scheduled_at <= one.started_at < one.completed_at <= next_one.scheduled_at
        assert keep <= (first == 0)

    run_body(body)


def test_max_in_flight_children_do_run_at_once(actions: ActionRegistry, make_runtime: Run) -> None:
    barrier = threading.Barrier(3)

    @actions.register("t:meet")
    def meet(_n: int) -> None:
        barrier.wait(LIMIT)

    with make_runtime(workers=8).execution() as orchestrator:
        group = orchestrator.emit_for_each(range(9), "n", Task("t:meet"), max_in_flight=3)
        orchestrator.await_group(group, LIMIT)


def test_an_endless_source_is_fine_and_is_closed_when_the_group_has_ended(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        source = Source(itertools.count())
        group = await orchestrator.emit_for_each(
            source.generator,
            "n",
            Task("t:echo"),
            max_in_flight=4,
            mode="quorum",
            quorum=10,
            until=lambda n: n % 2 == 0,
        )
        outputs = await orchestrator.await_group(group, LIMIT)
        assert outputs == sorted(outputs)
        assert len(outputs) == 10
        await source.closed

    run_body(body)


def test_a_source_is_closed_when_its_group_is_cancelled_or_expires(
    run_body: Run, actions: ActionRegistry
) -> None:
    @actions.register("t:paced")
    def paced(number: int) -> int:
        here().sleep(SOON / 20)  # simulated time passes when nothing else can
        return number

    async def body(orchestrator: Any) -> None:
        for action, policy, error in (
            ("t:echo", {}, GroupCancelledError),
            ("t:paced", {"timeout": SOON}, GroupTimeoutError),
        ):
            source = Source(itertools.count())
            group = await orchestrator.emit_for_each(
                source.generator, "n", Task(action), max_in_flight=2, keep=False, **policy
            )
            if not policy:
                await orchestrator.cancel_group(group)
            with pytest.raises(error):
                await orchestrator.await_group(group, LIMIT)
            if source.drawn:
                await source.closed

    run_body(body)


def test_a_source_is_closed_when_its_emitter_is_cancelled(
    runtime: Any, actions: ActionRegistry
) -> None:
    source, started = Source(itertools.count()), Gate()

    @actions.register("t:emitter")
    def emitter() -> None:
        orchestrator = here()
        group = orchestrator.emit_for_each(
            source.generator, "n", Task("t:echo"), max_in_flight=2, keep=False
        )
        next(iter(orchestrator.as_completed(group)))
        started.open()
        orchestrator.await_group(group)

    handle = runtime.spawn("t:emitter")
    started.wait()
    handle.cancel()
    source.closed.wait()
    with pytest.raises(ExecutionCancelledError):
        handle.result(LIMIT)
    runtime.close(LIMIT)
    assert quiet(runtime.stats())


def test_a_source_is_read_on_a_thread_of_its_own_in_the_context_of_the_emit(runtime: Any) -> None:
    seen: list[tuple[int, str, str]] = []

    def items() -> Iterator[int]:
        for number in range(3):
            seen.append((threading.get_ident(), colour.get(), current_context().execution.id))
            yield number

    def parent() -> str:
        colour.set("red")
        orchestrator = here()
        group = orchestrator.emit_for_each(items(), "n", Task("t:echo"), max_in_flight=1)
        colour.set("blue")
        orchestrator.await_group(group)
        assert threading.get_ident() not in {ident for ident, _, _ in seen}
        return current_context().execution.id

    mine = runtime.run(parent)
    assert {(paint, execution) for _, paint, execution in seen} == {("red", mine)}


def test_the_async_twin_takes_async_sources_lazily_in_a_task_and_eagerly(runtime: Any) -> None:
    closed = Gate()
    loops: set[Any] = set()

    async def items() -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                await asyncio.sleep(0)
                loops.add(asyncio.get_running_loop())
                yield number
        finally:
            closed.open()

    async def three() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def main() -> None:
        async with runtime.execution() as orchestrator:
            policy = {"max_in_flight": 2, "mode": "quorum", "quorum": 5}
            group = await orchestrator.emit_for_each(items(), "n", Task("t:echo"), **policy)
            assert len(await orchestrator.await_group(group, LIMIT)) == 5
            await closed
            assert loops == {asyncio.get_running_loop()}
            group = await orchestrator.emit_for_each(three(), "n", Task("t:echo"))
            assert await orchestrator.await_group(group) == [0, 1, 2]
            given = (child("t:echo", n) async for n in three())
            group = await orchestrator.emit_children(given, max_in_flight=1)
            assert await orchestrator.await_group(group) == [0, 1, 2]

    asyncio.run(main())


def test_the_blocking_face_refuses_an_async_source_and_names_the_other(runtime: Any) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    with runtime.execution() as orchestrator:
        for policy in ({}, {"max_in_flight": 2}):
            with pytest.raises(TypeError, match=AsyncOrchestrator.__name__):
                orchestrator.emit_for_each(items(), "n", Task("t:echo"), **policy)


def test_emit_children_draws_lazily_as_well(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        source = Source(range(6), lambda n: child("t:echo", n))
        group = await orchestrator.emit_children(source.generator, max_in_flight=2)
        assert await orchestrator.await_group(group, LIMIT) == list(range(6))
        assert source.drawn == 6

    run_body(body)


def test_a_lazy_source_that_raises_fails_the_group(run_body: Run) -> None:
    def broken() -> Iterator[int]:
        yield 0
        yield 1
        raise LookupError("the source is broken")

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_for_each(broken(), "n", Task("t:echo"), max_in_flight=1)
        for options in ({}, {"return_exceptions": True}):
            with pytest.raises(GroupFailedError) as caught:
                await orchestrator.await_group(group, LIMIT, **options)
            errors = [error for error in caught.value.exceptions if isinstance(error, LookupError)]
            assert len(errors) == 1

    run_body(body)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("not an execution", TypeError),
        (lambda: child("t:nobody"), UnknownActionError),
        (lambda: child("t:echo", {"wrong": 1}), Exception),
    ],
)
def test_a_child_that_turns_out_bad_fails_the_group(
    run_body: Run, bad: Any, error: type[Exception]
) -> None:
    async def body(orchestrator: Any) -> None:
        given = iter([child("t:echo", 0), bad() if callable(bad) else bad, child("t:echo", 2)])
        group = await orchestrator.emit_children(given, max_in_flight=1)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group, LIMIT)
        assert any(isinstance(inner, error) for inner in caught.value.exceptions)

    run_body(body)


def test_a_child_drawn_twice_fails_the_group(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        once = child("t:echo", 0)
        group = await orchestrator.emit_children(iter([once, once]), max_in_flight=1)
        with pytest.raises(GroupFailedError):
            await orchestrator.await_group(group, LIMIT)

    run_body(body)


def test_a_reference_that_leads_nowhere_fails_a_lazy_group(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        task = Task("t:echo", {"value": "${n.missing}"})
        group = await orchestrator.emit_for_each([{}], "n", task, max_in_flight=1)
        with pytest.raises(GroupFailedError, match=r".*") as caught:
            await orchestrator.await_group(group, LIMIT)
        assert "missing" in str(caught.value.exceptions[0])

    run_body(body)


def test_an_empty_lazy_source_is_a_complete_group(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        for mode in ("all", "first", "any", "anyError"):
            group = await orchestrator.emit_children(iter([]), max_in_flight=1, mode=mode)
            assert await orchestrator.await_group(group, LIMIT) == []

    run_body(body)


def test_a_lazy_source_that_ends_short_of_its_quorum_fails_the_group(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = iter(children("t:echo", [1, 2]))
        policy = {"max_in_flight": 2, "mode": "quorum", "quorum": 3}
        group = await orchestrator.emit_children(given, **policy)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group, LIMIT)
        assert any(isinstance(error, RejectedError) for error in caught.value.exceptions)

    run_body(body)


def test_a_failed_child_of_a_lazy_group_is_told_as_any_other(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:echo", 1), child("t:fail", "two"), child("t:echo", 3)]
        group = await orchestrator.emit_children(iter(given), max_in_flight=1)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group, LIMIT)
        assert caught.value.outputs == [1, None, 3]
        assert isinstance(caught.value.exceptions[0], Boom)

    run_body(body)


def test_task_ids_of_a_lazy_emit_are_those_of_any_other(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        mine = current_context().execution
        base = mine.task_id or mine.id
        task = Task("t:echo", id="lazy")
        group = await orchestrator.emit_for_each(iter("ab"), "x", task, max_in_flight=1)
        ends = await ends_of(orchestrator, group)
        assert [end.task_id for end in ends] == [f"{base}.lazy[0]", f"{base}.lazy[1]"]
        assert current_context().process.tasks[f"{base}.lazy[1]"].action == "t:echo"

    run_body(body)


def test_a_parent_that_returns_waits_for_its_lazy_groups(runtime: Any) -> None:
    def parent() -> None:
        here().emit_for_each(iter(range(10)), "n", Task("t:echo"), max_in_flight=2)

    async def parent_async() -> None:
        await here_async().emit_for_each(iter(range(10)), "n", Task("t:echo"), max_in_flight=2)

    assert runtime.run(parent) == list(range(10))
    assert runtime.run(parent_async) == list(range(10))
