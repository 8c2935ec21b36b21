"""Many alike children: however they are handed out, each is an execution like any other."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    DuplicateExecutionError,
    ExecutionCancelledError,
    ExecutionContext,
    ExecutionState,
    GroupFailedError,
    Retry,
    Task,
    UnknownExecutionError,
    current_context,
)
from tests.conformance.support import LIMIT, Boom, Gate, child, here, here_async, in_thread, quiet

Make = Callable[..., Any]

MANY = 300  # so many that a worker is handed several at a time


def test_what_a_worker_was_handed_an_idle_one_takes_over(
    actions: ActionRegistry, make_runtime: Make
) -> None:
    last = Gate()

    @actions.register("t:waits_for_the_last")
    def waits_for_the_last(number: int) -> int:
        if number == MANY // 2:
            last.wait()  # a wait of its own, of which nothing tells the runtime
        elif number == MANY - 1:
            last.open()
        return number

    with make_runtime(workers=2).execution() as orchestrator:
        group = orchestrator.emit_for_each(range(MANY), "n", Task("t:waits_for_the_last"))
        assert orchestrator.await_group(group, LIMIT) == list(range(MANY))


@pytest.mark.parametrize("workers", [1, 2])
def test_children_that_were_handed_out_are_cancelled_by_id_before_they_start(
    actions: ActionRegistry, make_runtime: Make, workers: int
) -> None:
    reached, go_on = Gate(), Gate()
    ran: list[int] = []
    stop_at = MANY // 2

    @actions.register("t:stops_midway")
    def stops_midway(number: int) -> int:
        ran.append(number)
        if number == stop_at:
            reached.open()
            go_on.wait()
        return number

    def cancel() -> None:
        reached.wait()
        with runtime.execution() as other:
            for number in range(stop_at + 1, MANY):
                with contextlib.suppress(UnknownExecutionError):  # it has ended already
                    other.cancel(f"one-{number}")
        go_on.open()

    runtime = make_runtime(workers=workers)
    with runtime.execution() as orchestrator:
        cancelling = in_thread(cancel)
        group = orchestrator.emit_children(
            child("t:stops_midway", number, id=f"one-{number}") for number in range(MANY)
        )
        outputs = orchestrator.await_group(group, LIMIT, return_exceptions=True)
        cancelling.result(LIMIT)
    assert sorted(ran)[: stop_at + 1] == list(range(stop_at + 1))
    assert len(ran) == len(set(ran))
    for number, output in enumerate(outputs):
        if number in ran:
            assert output == number or isinstance(output, ExecutionCancelledError)
        else:
            assert isinstance(output, ExecutionCancelledError)
    if workers == 1:  # nobody could have started them meanwhile
        assert sorted(ran) == list(range(stop_at + 1))
    stats = runtime.stats()
    assert quiet(stats)
    assert stats.emitted == stats.settled


def test_one_child_among_many_is_cancelled_while_it_runs(
    actions: ActionRegistry, make_runtime: Make
) -> None:
    started = Gate()
    name: list[str] = []
    seen: list[bool] = []

    @actions.register("t:one_hangs")
    def one_hangs(number: int, context: ExecutionContext) -> int:
        if number == MANY // 2:
            name.append(context.execution.id)
            started.open()
            try:
                here().sleep(LIMIT)
            finally:
                seen.append(context.cancelled)
        return number

    runtime = make_runtime(workers=2)

    def cancel() -> None:
        started.wait()
        with runtime.execution() as other:
            other.cancel(name[0])

    with runtime.execution() as orchestrator:
        cancelling = in_thread(cancel)
        group = orchestrator.emit_for_each(
            ({"number": number} for number in range(MANY)), "x", Task("t:one_hangs")
        )
        outputs = orchestrator.await_group(group, LIMIT, return_exceptions=True)
        cancelling.result(LIMIT)
    assert seen == [True]
    assert isinstance(outputs.pop(MANY // 2), ExecutionCancelledError)
    assert outputs == [number for number in range(MANY) if number != MANY // 2]


@pytest.mark.parametrize("name", ["t:each", "t:each_async"])
def test_every_child_has_its_id_its_context_and_variables_of_its_own(
    actions: ActionRegistry, make_runtime: Make, name: str
) -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    contexts: dict[int, ExecutionContext] = {}

    def look(number: int) -> str:
        assert variable.get() == 7
        variable.set(number)
        context = contexts[number] = current_context()
        assert current_context() is context
        execution = context.execution
        assert (execution.state, execution.attempts) == (ExecutionState.RUNNING, 1)
        assert (execution.index, execution.input) == (number, number)
        assert execution.started_at is not None
        return execution.id

    @actions.register("t:each")
    def each(number: int) -> str:
        return look(number)

    @actions.register("t:each_async")
    async def each_async(number: int) -> str:
        return look(number)

    with make_runtime(workers=2).execution() as orchestrator:
        variable.set(7)
        group = orchestrator.emit_for_each(range(MANY), "n", Task(name))
        ids = orchestrator.await_group(group, LIMIT)
        ends = list(orchestrator.as_completed(group, LIMIT))
        assert variable.get() == 7
    assert len(set(ids)) == MANY
    assert sorted(end.index or 0 for end in ends) == list(range(MANY))
    for end in ends:
        assert end.id == ids[end.index or 0]
        assert end.state is ExecutionState.COMPLETED
        assert end.scheduled_at <= end.started_at <= end.completed_at
        assert end.data == {"n": end.index}
        kept = contexts[end.index or 0].execution
        assert (kept.id, kept.state, kept.output) == (end.id, end.state, end.output)


@pytest.mark.parametrize("name", ["t:tries", "t:tries_async"])
def test_those_that_fail_are_tried_again_and_the_rest_is_not_disturbed(
    actions: ActionRegistry, make_runtime: Make, name: str
) -> None:
    tries: Counter[int] = Counter()

    def attempt(number: int) -> int:
        tries[number] += 1
        if number % 10 == 0 and tries[number] < 3:
            raise Boom(str(number))
        if number == 5:
            raise Boom("for good")
        return number

    @actions.register("t:tries", retry=Retry(max_attempts=3))
    def tries_(number: int) -> int:
        return attempt(number)

    @actions.register("t:tries_async", retry=Retry(max_attempts=3))
    async def tries_async(number: int) -> int:
        return attempt(number)

    with make_runtime(workers=2).execution() as orchestrator:
        group = orchestrator.emit_for_each(range(MANY), "n", Task(name))
        with pytest.raises(GroupFailedError) as caught:
            orchestrator.await_group(group, LIMIT)
    assert [str(error) for error in caught.value.exceptions] == ["for good"]
    assert caught.value.outputs == [None if n == 5 else n for n in range(MANY)]
    executions = caught.value.executions
    assert [executions[n].attempts for n in (0, 1, 5, 10)] == [3, 1, 3, 3]
    assert all(tries[n] == (3 if n % 10 == 0 or n == 5 else 1) for n in range(MANY))


@pytest.mark.parametrize("name", ["t:busy", "t:busy_async"])
def test_children_that_emit_call_and_sleep_are_mixed_with_those_that_do_not(
    actions: ActionRegistry, make_runtime: Make, name: str
) -> None:
    @actions.register("t:busy")
    def busy(number: int) -> int:
        if number % 7 == 0:
            return here().call(child("t:echo", number))
        if number % 11 == 0:
            group = here().emit_for_each([number, 1], "x", Task("t:echo"))
            return here().await_group(group)[0]
        if number % 13 == 0:
            here().sleep(0.001)
        return number

    @actions.register("t:busy_async")
    async def busy_async(number: int) -> int:
        orchestrator = here_async()
        if number % 7 == 0:
            return await orchestrator.call(child("t:echo_async", number))
        if number % 11 == 0:
            group = await orchestrator.emit_for_each([number, 1], "x", Task("t:echo_async"))
            return (await orchestrator.await_group(group))[0]
        if number % 13 == 0:
            await orchestrator.sleep(0.001)
        return number

    runtime = make_runtime(workers=2)
    changes: list[tuple[str, str, str]] = []
    subscription = runtime.subscribe(
        lambda event: changes.append(
            (event.execution.id, event.previous.value, event.execution.state.value)
        )
    )
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(MANY), "n", Task(name))
        assert orchestrator.await_group(group, LIMIT) == list(range(MANY))
    stats = runtime.stats()
    assert quiet(stats)
    assert stats.completed == stats.emitted
    subscription.close(LIMIT)
    latest: dict[str, str] = {}
    for execution_id, previous, state in changes:
        assert latest.get(execution_id, "pending") == previous
        latest[execution_id] = state
    assert Counter(latest.values()) == {"completed": stats.completed}


def test_a_thread_that_a_child_leaves_behind_can_neither_emit_nor_call(
    actions: ActionRegistry, make_runtime: Make
) -> None:
    over = threading.Event()
    refused: list[type[BaseException]] = []

    def left_behind() -> None:
        over.wait(LIMIT)
        for attempt in (
            lambda: here().emit_for_each([1], "x", Task("t:echo")),
            lambda: here().call(child("t:echo")),
            lambda: here().sleep(1),
        ):
            try:
                attempt()
            except Exception as error:  # noqa: BLE001 - it is what is looked at
                refused.append(type(error))

    threads: list[threading.Thread] = []

    @actions.register("t:leaves")
    def leaves(number: int) -> int:
        if number == MANY // 2:
            variables = contextvars.copy_context()
            threads.append(threading.Thread(target=variables.run, args=(left_behind,)))
            threads[0].start()
        return number

    with make_runtime(workers=2).execution() as orchestrator:
        orchestrator.await_group(orchestrator.emit_for_each(range(MANY), "n", Task("t:leaves")))
        over.set()
        threads[0].join(LIMIT)
    assert [kind.__name__ for kind in refused] == ["MissingExecutionError"] * 3


@pytest.mark.parametrize("how", ["emitted", "called"])
@pytest.mark.parametrize(
    "again", ["called by an action", "called by a scope", "emitted", "spawned"]
)
def test_an_id_under_which_a_child_runs_is_refused(
    actions: ActionRegistry, make_runtime: Make, how: str, again: str
) -> None:
    started, over = Gate(), Gate()
    name: list[str] = []

    @actions.register("t:runs")
    def runs() -> None:
        name.append(current_context().execution.id)
        started.open()
        over.wait()

    @actions.register("t:starts_it")
    def starts_it() -> None:
        if how == "called":
            here().call(child("t:runs"))
        else:
            here().await_group(here().emit_for_each([None], "x", Task("t:runs")))

    @actions.register("t:calls_again")
    def calls_again() -> None:
        here().call(child("t:echo"))  # as the first call of an execution tells of it
        here().call(child("t:echo", id=name[0]))

    runtime = make_runtime(workers=4)
    first = runtime.spawn("t:starts_it")
    started.wait()
    with pytest.raises(DuplicateExecutionError):  # noqa: PT012, SIM117 - one of four ways
        with runtime.execution() as orchestrator:
            match again:
                case "called by an action":
                    runtime.run("t:calls_again")
                case "called by a scope":
                    orchestrator.call(child("t:echo", id=name[0]))
                case "emitted":
                    orchestrator.emit_children([child("t:echo", id=name[0])])
                case _:
                    runtime.run(child("t:echo", id=name[0]))
    over.open()
    first.result(LIMIT)


@pytest.mark.parametrize("name", ["t:held", "t:held_async"])
def test_children_that_have_started_are_not_counted_as_queued(
    actions: ActionRegistry, make_runtime: Make, name: str
) -> None:
    all_started, gate = Gate(), Gate()
    some = 40
    started: list[int] = []

    def start(number: int) -> None:
        started.append(number)
        if len(started) == some:
            all_started.open()

    @actions.register("t:held")
    def held(number: int) -> None:
        start(number)
        with here().blocking():
            gate.wait()

    @actions.register("t:held_async")
    async def held_async(number: int) -> None:
        start(number)
        await gate

    runtime = make_runtime(workers=2)
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(some), "n", Task(name))
        all_started.wait()
        stats = runtime.stats()
        assert (stats.pending, stats.queue_age) == (0, 0.0)
        assert stats.running + stats.waiting == some + 1
        gate.open()
        orchestrator.await_group(group, LIMIT)
