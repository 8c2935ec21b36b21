"""Large numbers: deep calls, many children alive at once, long emits, endless sources."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from orchestrator import ActionRegistry, Execution, GroupCancelledError, Task
from runtime import LocalRuntime
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    Gate,
    children,
    here,
    here_async,
    standard_actions,
)
from tests.runtime.census import objects


@pytest.fixture
def actions() -> ActionRegistry:
    registry = standard_actions()

    @registry.register("s:down")
    def down(left: int, kinds: tuple[str, ...]) -> int:
        return 1 + here().call(below(left, kinds)) if left else 0

    @registry.register("s:down_async")
    async def down_async(left: int, kinds: tuple[str, ...]) -> int:
        return 1 + await here_async().call(below(left, kinds)) if left else 0

    def below(left: int, kinds: tuple[str, ...]) -> Execution:
        action = kinds[left % len(kinds)]
        return Execution.ad_hoc(action, {"left": left - 1, "kinds": kinds})

    @registry.register("s:tree")
    def tree(left: int) -> int:
        orchestrator = here()
        inputs = [{"left": left - 1}] if left else []
        group = orchestrator.emit_children(children("s:tree", inputs))
        return 1 + sum(orchestrator.await_group(group))

    return registry


class Counter:
    """Opens its gate when as many as it expects have arrived."""

    def __init__(self, expected: int) -> None:
        self._left = itertools.count(expected - 1, -1)
        self.all_here = Gate()

    def arrive(self) -> None:
        if next(self._left) == 0:
            self.all_here.open()


# Depth


@pytest.mark.parametrize(
    "kinds", [("s:down",), ("s:down_async",), ("s:down", "s:down_async")], ids="-".join
)
def test_a_thousand_nested_calls_finish_with_one_worker(
    actions: ActionRegistry, kinds: tuple[str, ...]
) -> None:
    with LocalRuntime(actions, workers=1) as runtime:
        assert runtime.run(kinds[0], {"left": 1000, "kinds": kinds}, timeout=LIMIT) == 1000


def test_groups_nested_three_hundred_deep_finish_with_one_worker(actions: ActionRegistry) -> None:
    with LocalRuntime(actions, workers=1) as runtime:
        assert runtime.run("s:tree", {"left": 300}, timeout=LIMIT) == 301


# Breadth


def test_two_thousand_blocking_children_are_alive_at_once(actions: ActionRegistry) -> None:
    number = 2000
    counter = Counter(number)

    @actions.register("s:sleeps")
    def sleeps(_place: int) -> None:
        counter.arrive()
        here().sleep(FOREVER)

    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("s:sleeps", range(number)))
        counter.all_here.wait()
        assert runtime.stats().settled == 0
        orchestrator.cancel_group(group)


def test_five_thousand_async_children_are_alive_at_once(actions: ActionRegistry) -> None:
    number = 5000
    counter = Counter(number)

    @actions.register("s:sleeps")
    async def sleeps(_place: int) -> None:
        counter.arrive()
        await here_async().sleep(FOREVER)

    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("s:sleeps", range(number)))
        counter.all_here.wait()
        assert runtime.stats().settled == 0
        orchestrator.cancel_group(group)


def test_two_thousand_parents_that_each_call_a_child_need_tens_of_threads(
    actions: ActionRegistry,
) -> None:
    most = 0

    @actions.register("s:parent")
    def parent(place: int) -> int:
        nonlocal most
        most = max(most, threading.active_count())
        return here().call(Execution.ad_hoc("t:echo", place))

    before = threading.active_count()
    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("s:parent", range(2000)))
        assert orchestrator.await_group(group, LIMIT) == list(range(2000))
    assert most - before < 100


@pytest.mark.parametrize("action", ["t:echo", "t:echo_async"])
def test_many_thousand_children_of_one_emit_keep_their_order(
    actions: ActionRegistry, action: str
) -> None:
    number = 30_000 if action == "t:echo" else 10_000
    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(number), "n", Task(action))
        assert orchestrator.await_group(group) == list(range(number))


def test_an_emit_of_twenty_thousand_executions_of_ones_own(actions: ActionRegistry) -> None:
    number = 20_000
    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", range(number)))
        assert orchestrator.await_group(group, LIMIT) == list(range(number))
        assert runtime.stats().completed == number


def test_an_emit_of_many_priorities_starts_the_highest_first(actions: ActionRegistry) -> None:
    number = 2000
    started: list[int] = []

    @actions.register("s:note")
    def note(priority: int) -> None:
        started.append(priority)

    with LocalRuntime(actions, workers=1) as runtime:
        gate, busy = Gate(), Gate()

        def hold() -> None:
            busy.open()
            gate.wait()

        holding = runtime.spawn(hold)
        busy.wait()
        with runtime.execution() as orchestrator:
            some = [
                Execution.ad_hoc("s:note", place % 7, priority=place % 7) for place in range(number)
            ]
            group = orchestrator.emit_children(some)
            gate.open()
            orchestrator.await_group(group, LIMIT)
        holding.result(LIMIT)
    assert started == sorted(started, reverse=True)
    assert len(started) == number


# Endless sources


def test_twenty_thousand_ends_of_an_endless_source_are_read_in_flat_memory(
    actions: ActionRegistry,
) -> None:
    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(
            itertools.count(), "n", Task("t:echo"), max_in_flight=50, keep=False
        )
        read, samples = 0, []
        with pytest.raises(GroupCancelledError):  # noqa: PT012 - the loop is what raises
            for _end in orchestrator.as_completed(group):
                read += 1
                if read in (2_000, 18_000):
                    samples.append(objects())
                if read == 20_000:
                    orchestrator.cancel_group(group)
        early, late = samples
        grown = late - early
        del grown["orchestrator.values.Execution"]  # ends that this reader has still to read
        assert sum(grown.values()) < 2000, grown  # and not some for each of 16,000 children
        assert orchestrator.await_resume() is None


def test_a_lazy_group_of_many_children_keeps_all_outputs_in_order(actions: ActionRegistry) -> None:
    number = 5000
    with LocalRuntime(actions, workers=2) as runtime, runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each(range(number), "n", Task("t:echo"), max_in_flight=20)
        outputs: list[Any] = orchestrator.await_group(group, LIMIT)
    assert outputs == list(range(number))
