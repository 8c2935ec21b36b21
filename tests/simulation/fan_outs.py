"""Small applications with a fault each, on the runtime: actions that fan out, wait and share."""

import threading
from typing import Any

from orchestrator import ActionRegistry, AwaitTimeoutError, Execution, Orchestrator, Task
from runtime.simulation import Schedule, SimulatedRuntime, Simulation
from tests.simulation.faults import Cell, timeout_and_completion

__all__ = ["RUNS", "impatient", "shared_counter", "trace", "twice_told"]


def _orchestrator() -> Orchestrator:
    found = Orchestrator.from_context()
    assert found is not None
    return found


def _run(schedule: Schedule, actions: ActionRegistry, name: str, argument: Any = None) -> Any:
    with SimulatedRuntime(actions, schedule) as runtime:
        return runtime.run(name, argument)


def shared_counter(schedule: Schedule) -> int:
    """Two of five children add to one counter without holding its lock; 5 is right."""
    actions = ActionRegistry()
    counters = [Cell() for _ in range(4)]

    @actions.register("count:add")
    def add(index: int) -> None:
        counter = counters[index % 4]
        counter.put(counter.get() + 1)

    @actions.register("count:all")
    def count_all(children: int) -> int:
        orchestrator = _orchestrator()
        names = {f"child-{index}" for index in range(children)}  # in an order of the hash seed's
        group = orchestrator.emit_for_each(range(len(names)), "index", Task("count:add"))
        orchestrator.await_group(group)
        return sum(counter.get() for counter in counters)

    total: int = _run(schedule, actions, "count:all", 5)
    return total


def impatient(schedule: Schedule) -> list[str]:
    """A parent gives up its wait, asks again, and may be told the old answer; ["new"] is right."""
    actions = ActionRegistry()
    answers: list[str] = []
    seen: list[str] = []
    arrived = threading.Event()

    @actions.register("ask:tool")
    def tool(question: str) -> None:
        _orchestrator().sleep(1)
        answers.append(question)
        arrived.set()

    @actions.register("ask:plan")
    def plan() -> None:
        orchestrator = _orchestrator()
        first = orchestrator.emit_one(Execution.ad_hoc("ask:tool", "old"))
        try:
            orchestrator.await_group(first, timeout=2)
        except AwaitTimeoutError:
            pass
        else:
            arrived.clear()
            answers.clear()
        second = orchestrator.emit_one(Execution.ad_hoc("ask:tool", "new"))
        arrived.wait()
        seen.extend(answers)
        orchestrator.await_group(second)

    _run(schedule, actions, "ask:plan")
    return seen


def twice_told(schedule: Schedule) -> list[str]:
    """A completion and a timeout are both told to the listener; one of them is right."""
    actions = ActionRegistry()
    decided, told = Cell(), []

    @actions.register("tell:decide")
    def decide(what: str, after: float) -> None:
        _orchestrator().sleep(after)
        if not decided.get():
            decided.put(1)
            told.append(what)

    @actions.register("tell:both")
    def both() -> None:
        orchestrator = _orchestrator()
        children = [
            Execution.ad_hoc("tell:decide", {"what": what, "after": after})
            for what, after in (("completed", 1), ("timed out", 2))
        ]
        orchestrator.await_group(orchestrator.emit_children(children))

    _run(schedule, actions, "tell:both")
    return told


def trace(backend: str, token: str = "") -> tuple[str, ...]:
    """Run production code, then threads, under one schedule; its token, and what came of them."""
    if token:
        schedule = Schedule.replay(token, backend=backend)
    else:
        schedule = Schedule.seeded(11, backend=backend)
    outcomes = [str(shared_counter(schedule)), ",".join(impatient(schedule))]
    try:
        with Simulation(schedule):
            timeout_and_completion()
    except AssertionError:
        outcomes.append("failed")
    assert schedule.difference() is None
    return schedule.token, *outcomes


def _shared_counter(schedule: Schedule) -> None:
    assert shared_counter(schedule) == 5


def _impatient(schedule: Schedule) -> None:
    assert "new" in impatient(schedule)


def _twice_told(schedule: Schedule) -> None:
    assert len(twice_told(schedule)) == 1


RUNS = {"shared_counter": _shared_counter, "impatient": _impatient, "twice_told": _twice_told}
