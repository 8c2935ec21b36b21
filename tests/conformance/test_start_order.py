"""DESIGN.md section 3, *Slots*: priorities and the order of starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, Execution, Task
from tests.conformance.support import (
    LIMIT,
    Gate,
    child,
    children,
    here,
    here_async,
)

Run = Callable[..., Any]


class Blocker:
    """Holds the only worker until the test has queued what it wants to see started in order."""

    def __init__(self, actions: ActionRegistry, make_runtime: Run) -> None:
        self.started, self.gate = Gate(), Gate()
        self.order: list[Any] = []
        actions.register("t:block")(self._block)
        actions.register("t:note")(self._note)
        self.runtime = make_runtime(workers=1)
        self.runtime.spawn("t:block")
        self.started.wait()

    def _block(self) -> None:
        self.started.open()
        self.gate.wait()

    def _note(self, name: Any) -> Any:
        self.order.append(name)
        return name

    def finish(self) -> list[Any]:
        self.gate.open()
        self.runtime.close(LIMIT)
        return self.order


@pytest.fixture
def blocker(actions: ActionRegistry, make_runtime: Run) -> Blocker:
    return Blocker(actions, make_runtime)


def test_a_higher_priority_starts_first(blocker: Blocker) -> None:
    for priority in (0, 5, -1, 3, 5):
        blocker.runtime.spawn(Execution.ad_hoc("t:note", priority, priority=priority))

    assert blocker.finish() == [5, 5, 3, 0, -1]


def test_among_equals_the_first_to_arrive_starts_first(blocker: Blocker) -> None:
    for name in range(10):
        blocker.runtime.spawn("t:note", name)

    assert blocker.finish() == list(range(10))


def test_a_childs_priority_is_its_parents_unless_it_has_one(
    actions: ActionRegistry, blocker: Blocker
) -> None:
    @actions.register("t:urgent")
    async def urgent(queued: Gate) -> None:
        orchestrator = here_async()
        await orchestrator.emit_children(children("t:note", ["inherits"]))
        await orchestrator.emit_children(children("t:note", ["own"], priority=-5))
        await orchestrator.emit_for_each(["template"], "x", Task("t:note", priority=20))
        queued.open()

    queued = Gate()
    blocker.runtime.spawn(Execution.ad_hoc("t:urgent", {"queued": queued}, priority=10))
    queued.wait()
    blocker.runtime.spawn("t:note", "ordinary")
    blocker.runtime.spawn(Execution.ad_hoc("t:note", "urgent", priority=5))

    assert blocker.finish() == ["template", "inherits", "urgent", "ordinary", "own"]


def test_what_belongs_to_a_running_process_goes_before_a_new_root(
    actions: ActionRegistry, blocker: Blocker
) -> None:
    @actions.register("t:parent")
    async def parent(queued: Gate) -> None:
        await here_async().emit_children(children("t:note", ["child 1", "child 2"]))
        queued.open()

    queued = Gate()
    blocker.runtime.spawn("t:note", "root")
    blocker.runtime.spawn("t:parent", {"queued": queued})
    queued.wait()

    assert blocker.finish() == ["child 1", "child 2", "root"]


def test_within_a_process_the_deepest_goes_first(actions: ActionRegistry, blocker: Blocker) -> None:
    @actions.register("t:level")
    async def level(depth: int, queued: Gate) -> None:
        orchestrator = here_async()
        await orchestrator.emit_children(children("t:note", [f"depth {depth}"]))
        if depth == 3:
            queued.open()
        else:
            await orchestrator.emit_one(child("t:level", {"depth": depth + 1, "queued": queued}))

    queued = Gate()
    blocker.runtime.spawn("t:level", {"depth": 1, "queued": queued})
    queued.wait()

    assert blocker.finish() == ["depth 3", "depth 2", "depth 1"]


def test_running_processes_take_turns(actions: ActionRegistry, blocker: Blocker) -> None:
    @actions.register("t:parent")
    async def parent(name: str, queued: Gate) -> None:
        await here_async().emit_children(children("t:note", [name] * 3))
        queued.open()

    for name in "ab":
        queued = Gate()
        blocker.runtime.spawn("t:parent", {"name": name, "queued": queued})
        queued.wait()
    order = blocker.finish()

    assert sorted(order) == ["a"] * 3 + ["b"] * 3
    assert [set(order[place : place + 2]) for place in (0, 2, 4)] == [{"a", "b"}] * 3


def test_a_waiter_that_returns_goes_ahead_of_every_start(
    actions: ActionRegistry, make_runtime: Run
) -> None:
    """Urgent starts never run out here: a waiter that had to queue among them would starve."""
    runtime = make_runtime(workers=1)
    released, returned = Gate(), Gate()

    @actions.register("t:again")
    def again(count: int) -> None:
        if count == 20:
            released.open()
        if not returned.is_open:
            urgent = Execution.ad_hoc("t:again", {"count": count + 1}, priority=100)
            runtime.spawn(urgent)

    @actions.register("t:waiter")
    def waiter() -> None:
        orchestrator = here()
        group = orchestrator.emit_one(child("t:gated_async", {"gate": released}))
        for _ in range(2):
            runtime.spawn(Execution.ad_hoc("t:again", {"count": 0}, priority=100))
        orchestrator.await_group(group)
        returned.open()

    try:
        runtime.run("t:waiter", timeout=LIMIT)
    finally:
        returned.open()
