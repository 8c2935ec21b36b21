# ruff: noqa: ARG002 - actions take what they are given, and a chooser all that it may ask
"""A small program with a race in it, and a chooser that takes one path through it."""

from __future__ import annotations

import threading
import time
from typing import Any

from orchestrator import ActionRegistry, Execution, Orchestrator, Retry, Task
from orchestrator.errors import AwaitTimeoutError
from runtime.simulation import SimulatedRuntime
from runtime.simulation.choosers import Plain
from runtime.simulation.schedule import Schedule
from runtime.simulation.tasks import SimTask

CLOCK = "clock!"


def here() -> Orchestrator:
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    return orchestrator


class Shop:
    """Some actions, whose state is made anew for every run."""

    def __init__(self) -> None:
        self.actions = ActionRegistry()
        self.sold = 0
        self.tries: dict[int, int] = {}
        self.lock = threading.Lock()
        register = self.actions.register
        register("shop:buy")(self.buy)
        register("shop:buyers")(self.buyers)
        register("shop:slow")(self.slow)
        register("shop:import")(self.import_all)
        register("shop:flaky", retry=Retry(max_attempts=2, delay=2.0))(self.flaky)
        register("shop:locked")(self.locked)
        register("shop:fan")(self.fan)
        register("shop:waits_above")(self.waits_above)

    def buy(self, i: int) -> int:
        sold = self.sold
        time.sleep(0)  # lets others go first
        self.sold = sold + 1
        return sold

    def buyers(self, n: int) -> int:
        orchestrator = here()
        orchestrator.await_group(orchestrator.emit_for_each(range(n), "i", Task("shop:buy")))
        return self.sold

    def slow(self, i: int) -> int:
        here().sleep(i)
        return i

    def import_all(self, n: int) -> Any:
        orchestrator = here()
        group = orchestrator.emit_for_each(range(n), "i", Task("shop:slow"), timeout=1.5)
        return orchestrator.await_group(group)

    def flaky(self, i: int) -> int:
        self.tries[i] = self.tries.get(i, 0) + 1
        if self.tries[i] == 1:
            message = f"not yet, says {object()!r}"
            raise ValueError(message)
        return i

    def locked(self, i: int) -> object:
        with self.lock:
            time.sleep(1)
        return object()

    def fan(self, kind: str, n: int, **policy: Any) -> Any:
        orchestrator = here()
        patience = policy.pop("patience", None)
        group = orchestrator.emit_children([Execution.ad_hoc(kind, i) for i in range(n)], **policy)
        try:
            return orchestrator.await_group(group, patience)
        except AwaitTimeoutError:
            return orchestrator.await_resume()

    def waits_above(self, group_id: str) -> None:
        here().await_group(group_id)


class Scripted(Plain):
    """The plain order, but for some choices, by task and step."""

    def __init__(self, choices: dict[tuple[str, int], str], answers: tuple[int, ...] = ()) -> None:
        self.choices = dict(choices)
        self.answers = list(answers)

    def choose(self, current: SimTask, options: list[SimTask], clock: bool) -> int:
        chosen = self.choices.pop((current.name, current.step), None)
        if chosen is None:
            return 0
        return [*(task.name for task in options), CLOCK].index(chosen)

    def decide(self, current: SimTask, what: str, options: int) -> int:
        return self.answers.pop(0) if self.answers else 0


def scripted(
    choices: dict[tuple[str, int], str] | None = None, answers: tuple[int, ...] = ()
) -> Schedule:
    return Schedule(lambda: Scripted(choices or {}, answers), "scripted")


def run(schedule: Schedule, target: str, given: Any, **options: Any) -> Any:
    """The world of a run, and what came of it."""
    shop = Shop()
    runtime = SimulatedRuntime(shop.actions, schedule, **options)
    answer: Any
    with runtime:
        try:
            answer = runtime.run(target, given)
        except Exception as error:  # noqa: BLE001 - it is the answer
            answer = error
    return runtime._world, answer
