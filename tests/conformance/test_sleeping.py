"""DESIGN.md section 3, *Slots*: who sleeps holds nothing, is counted, and can be told to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, GroupCancelledError
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    Gate,
    child,
    children,
    here,
    here_async,
)

Run = Callable[..., Any]

KINDS = ("t:sleeper", "t:sleeper_async")
MANY = 30


@pytest.fixture
def all_started(actions: ActionRegistry) -> Gate:
    """Opened by the last of MANY sleepers, each of which starts when those before it sleep."""
    started: list[int] = []
    gate = Gate()

    def note(number: int) -> None:
        started.append(number)
        if len(started) == MANY:
            gate.open()

    @actions.register("t:sleeper")
    def sleeper(number: int) -> None:
        note(number)
        here().sleep(FOREVER)

    @actions.register("t:sleeper_async")
    async def sleeper_async(number: int) -> None:
        note(number)
        await here_async().sleep(FOREVER)

    return gate


@pytest.mark.parametrize("kind", KINDS)
def test_sleepers_are_alive_all_at_once_counted_as_waiting_and_ended_by_a_cancel(
    make_runtime: Run, all_started: Gate, kind: str
) -> None:
    runtime = make_runtime(workers=1)
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children(kind, range(MANY)))
        with orchestrator.blocking():
            all_started.wait()
        stats = runtime.stats()
        assert stats.waiting >= MANY - 1  # the last may be about to
        assert stats.waiting + stats.running == MANY + 1
        orchestrator.cancel_group(group)
        with pytest.raises(GroupCancelledError):
            orchestrator.await_group(group, LIMIT)
    stats = runtime.stats()
    assert (stats.cancelled, stats.waiting, stats.running, stats.cancelling) == (MANY, 0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", [0, MANY - 1])
def test_one_sleeper_is_cancelled_by_its_id_and_the_others_sleep_on(
    make_runtime: Run, all_started: Gate, kind: str, which: int
) -> None:
    runtime = make_runtime(workers=1)
    with runtime.execution() as orchestrator:
        sleepers = children(kind, range(MANY))
        group = orchestrator.emit_children(sleepers)
        with orchestrator.blocking():
            all_started.wait()
        orchestrator.cancel(sleepers[which].id)
        first = next(orchestrator.as_completed(group, LIMIT))
        assert (first.id, first.state) == (sleepers[which].id, "cancelled")
        stats = runtime.stats()
        assert stats.cancelled + stats.cancelling == 1  # its code may still unwind
        orchestrator.cancel_group(group)
    assert runtime.stats().cancelled == MANY


@pytest.mark.parametrize("workers", [1, 2])
def test_sleepers_wake_no_earlier_than_asked_and_then_do_the_rest_of_their_code(
    actions: ActionRegistry, make_runtime: Run, workers: int
) -> None:
    runtime = make_runtime(workers=workers)

    @actions.register("t:nap")
    def nap(seconds: float) -> float:
        began = runtime.now()
        here().sleep(seconds)
        here().sleep(seconds)
        return float(runtime.now() - began - 2 * seconds)

    @actions.register("t:nap_async")
    async def nap_async(seconds: float) -> float:
        began = runtime.now()
        await here_async().sleep(seconds)
        await here_async().sleep(seconds)
        return float(runtime.now() - began - 2 * seconds)

    naps = [0.001 * (number % 7) for number in range(40)]
    with runtime.execution() as orchestrator:
        groups = [
            orchestrator.emit_children(children(kind, naps)) for kind in ("t:nap", "t:nap_async")
        ]
        late = [one for group in groups for one in orchestrator.await_group(group, LIMIT)]
    assert min(late) >= -1e-9
    assert runtime.stats().completed == 2 * len(naps) + 1


def test_a_sleeper_that_is_back_has_its_worker_to_itself(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    inside: list[int] = []
    most: list[int] = []

    @actions.register("t:nap_and_work")
    def nap_and_work(number: int) -> None:
        here().sleep(0.001 * (number % 3))
        inside.append(number)
        most.append(len(inside))
        sum(range(2000))  # long enough for another to come in, if it could
        inside.remove(number)

    with make_runtime(workers=1).execution() as orchestrator:
        group = orchestrator.emit_children(children("t:nap_and_work", range(50)))
        orchestrator.await_group(group, LIMIT)
    assert max(most) == 1


@pytest.mark.parametrize("suffix", ["", "_async"])
def test_parents_that_call_are_counted_and_so_is_what_they_call(
    actions: ActionRegistry, make_runtime: Run, suffix: str
) -> None:
    runtime = make_runtime(workers=2)
    counted: list[tuple[int, int]] = []

    @actions.register("t:parent")
    def parent(number: int) -> Any:
        return here().call(child("t:probe", number))

    @actions.register("t:probe")
    def probe(number: int) -> int:
        stats = runtime.stats()
        counted.append((stats.waiting, stats.running))
        return number

    @actions.register("t:parent_async")
    async def parent_async(number: int) -> Any:
        return await here_async().call(child("t:probe_async", number))

    @actions.register("t:probe_async")
    async def probe_async(number: int) -> int:
        return probe(number)

    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children(f"t:parent{suffix}", range(20)))
        assert orchestrator.await_group(group, LIMIT) == list(range(20))
    assert all(waiting >= 1 and running >= 1 for waiting, running in counted)
    stats = runtime.stats()
    assert (stats.emitted, stats.completed) == (41, 41)


@pytest.mark.parametrize("suffix", ["", "_async"])
def test_a_cancel_reaches_what_a_leaf_has_called(
    actions: ActionRegistry, make_runtime: Run, suffix: str
) -> None:
    runtime = make_runtime(workers=1)
    started = Gate()

    @actions.register("t:parent")
    def parent(gate: Gate) -> Any:
        return here().call(child("t:forever", {"started": gate}))

    @actions.register("t:parent_async")
    async def parent_async(gate: Gate) -> Any:
        return await here_async().call(child("t:forever_async", {"started": gate}))

    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children(f"t:parent{suffix}", [{"gate": started}]))
        with orchestrator.blocking():
            started.wait()
        orchestrator.cancel_group(group)
    stats = runtime.stats()
    assert (stats.emitted, stats.completed, stats.cancelled) == (3, 1, 2)
