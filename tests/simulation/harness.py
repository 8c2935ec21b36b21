"""Plays a plan under a schedule on the production actors, and keeps what could be seen of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Self

from attrs import define
from hypothesis import currently_in_test_context, note

from runtime.simulation import SimulatedRuntime
from runtime.simulation.planned import planned_actions, run_plan
from runtime.simulation.plans import FanOutPlan, Fault, Path, Plan
from runtime.simulation.records import Kind, Record, Step, Told

__all__ = ["Run", "play", "still_there"]


@define(eq=False)
class Run:
    """What was seen of one run of a plan."""

    plan: Plan
    record: Record
    answer: Told  # what the root came to
    events: list[Any]
    stats: Any
    left: list[str]  # what was still there after the close
    strict_time: bool  # time moved only when nothing could run
    faults: Sequence[Fault]
    logged: list[str]  # of the library's own errors

    def fan_out(self, path: Path) -> FanOutPlan:
        """The fan-out of the plan at *path*."""
        plan = self.plan
        for index in path:
            assert isinstance(plan, FanOutPlan)
            plan = plan.children[index]
        assert isinstance(plan, FanOutPlan)
        return plan

    def groups(self) -> dict[str, Step]:
        """Each group, and the step of its emit."""
        return {step.group_id: step for step in self.record.of(Kind.EMITS)}


def play(
    plan: Plan,
    schedule: Any,
    *,
    faults: Sequence[Fault] = (),
    workers: int = 4,
    strict_time: bool = False,
    timeout: float | None = None,
    watched: bool = True,
    listens: bool = True,
    settles: bool = True,
) -> Run:
    """Run *plan* to its end, and the runtime to its close; with *settles* all is over before."""
    record, events = Record(watched=watched), []
    left: list[str] = []
    runtime = SimulatedRuntime(
        planned_actions(record),
        schedule,
        workers=workers,
        clock="jump" if strict_time else "choose",
    )
    with Errors() as errors, runtime:
        if listens:
            runtime.subscribe(events.append)
        answer = run_plan(runtime, plan, record, faults=faults, timeout=timeout)
        if settles:
            left = quiet_of(runtime)
        runtime.close()
        left += still_there(runtime)
    if currently_in_test_context():
        note(f"the root came to {answer}")
    return Run(
        plan, record, answer, events, runtime.stats(), left, strict_time, faults, errors.texts
    )


def quiet_of(runtime: Any) -> list[str]:
    """Let all of it end; what is then still known of it, beside the allocator.

    All is decided by now, so no timer of the runtime's has anything left to do.
    """
    runtime.world.jump = True
    time.sleep(INSTANT)
    timers = [f"timer at {timer.when}" for timer in runtime._environment.clock._timers]
    time.sleep(HOUR)
    actors = [repr(ref) for ref in runtime._environment.system._refs][1:]
    lent = [f"called child {name}" for name in runtime._environment.loans.runs]
    return timers + actors + lent + [f"group {name}" for name in runtime._groups]


class Errors(logging.Handler):
    """Keeps what the library, or an event loop, logs as its own failures."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name}: {self.format(record)[-300:]}")

    def __enter__(self) -> Self:
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)


_LOGGERS = ("actors.system", "pykka", "asyncio")


def still_there(runtime: Any) -> list[str]:
    """What of a closed runtime is left in its simulation: tasks, timers, actors, groups."""
    world = runtime.world
    world.jump = True
    time.sleep(HOUR)  # all that can run does, and every timer that was forgotten fires
    tasks = [repr(task) for task in world.tasks]
    actors = [repr(ref) for ref in runtime._environment.system._refs]
    timers = [f"timer at {when}" for when, _order, alarm in world._alarms.heap if alarm.live]
    groups = [f"group {name}" for name in runtime._groups]
    return tasks + actors + timers + groups


INSTANT = 2.0**-20  # seconds: all that can run does so before it is over
HOUR = 3 * 3600.0
