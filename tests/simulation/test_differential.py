"""What real threads show lies within what the simulation reaches.

A scenario gives one outcome for each run: in which order children ended, what the group decided,
what each waiter was told. `LocalRuntime` runs it under stress until it has shown enough different
outcomes; each of them must be among those that many schedules reach in the simulation.

Real time takes no part: nobody sleeps or times out by a clock that one of the two could read
differently. What is left to chance is who is faster, which a spin of a drawn length and a short
switch interval stir up, so that a loaded machine only shows more.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

from orchestrator import (
    ActionRegistry,
    Execution,
    GroupFailedError,
    Orchestrator,
    OrchestratorError,
)
from runtime import LocalRuntime
from runtime.simulation import Schedule, SimulatedRuntime

WANTED = 20  # different outcomes of real threads, of all scenarios together
ROUNDS = 400  # of each scenario at most, until there are so many
SCHEDULES = 20_000  # of each scenario in the simulation at most; it ends when all was reached
SPIN = 2000  # turns of a loop at most

Outcome = Any
Scenario = Callable[[Any, Callable[[], None]], Outcome]


class Boom(Exception):  # noqa: N818 - what failing children raise
    """What failing children raise."""


def told(wait: Callable[[], Any]) -> Any:
    """What a waiter was told, comparable."""
    try:
        return tuple(wait())
    except GroupFailedError as error:
        return ("failed", tuple(error.outputs), tuple(map(str, error.exceptions)))
    except OrchestratorError as error:
        return type(error).__name__


def actions_for(stir: Callable[[], None]) -> ActionRegistry:
    """Children that are there for being fast or slow."""
    actions = ActionRegistry()

    @actions.register("t:value")
    def value(number: int) -> int:
        stir()
        return number

    @actions.register("t:value_async")
    async def value_async(number: int) -> int:
        stir()
        return number

    @actions.register("t:fails")
    def fails(number: int) -> int:
        stir()
        raise Boom(number)

    return actions


def children(*names: str) -> list[Execution]:
    return [Execution.ad_hoc(name, number) for number, name in enumerate(names)]


def side_by_side(*functions: Callable[[], Any]) -> list[Any]:
    """Run them on threads, and return what each came to."""
    found: list[Any] = [None] * len(functions)

    def run(place: int) -> None:
        found[place] = functions[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def order_of_ends(runtime: Any, stir: Callable[[], None]) -> Outcome:  # noqa: ARG001
    """The order in which four children end."""
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children(*["t:value"] * 3, "t:value_async"))
        return tuple(end.index for end in orchestrator.as_completed(group))


def first_of_three(runtime: Any, stir: Callable[[], None]) -> Outcome:
    """Who decides a group, one of whose children fails, and how the others end."""
    with runtime.execution() as orchestrator:
        given = children("t:value", "t:fails", "t:value")
        group = orchestrator.emit_children(given, mode="first")
        outside = Orchestrator(runtime)

        def look() -> Any:
            stir()
            return told(lambda: outside.await_group(group, 0))  # it looks once

        early, last = side_by_side(look, lambda: told(lambda: outside.await_group(group)))
        ends: list[Any] = []
        with suppress(GroupFailedError):
            ends.extend((e.index, str(e.state)) for e in orchestrator.as_completed(group))
        told(lambda: orchestrator.await_group(group))
        return early, last, tuple(ends)


def cancel_meets_end(runtime: Any, stir: Callable[[], None]) -> Outcome:
    """A group is cancelled while its children end."""
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:value", "t:value_async"))
        outside = Orchestrator(runtime)

        def cancel() -> None:
            stir()
            outside.cancel_group(group)

        _, answer = side_by_side(cancel, lambda: told(lambda: outside.await_group(group)))
        states: list[str] = []
        with suppress(OrchestratorError):
            states.extend(f"{e.index} {e.state}" for e in orchestrator.as_completed(group))
        told(lambda: orchestrator.await_group(group))
        return answer, tuple(states)


SCENARIOS: tuple[Scenario, ...] = (order_of_ends, first_of_three, cancel_meets_end)


@contextmanager
def hasty_switching() -> Iterator[None]:
    """Let real threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def shown(scenario: Scenario, wanted: int) -> set[Outcome]:
    """What real threads come to, until there is enough of it."""
    random, found = Random(1), set[Outcome]()

    def stir() -> None:
        for _ in range(random.randrange(SPIN)):
            pass

    with hasty_switching():
        for _ in range(ROUNDS):
            with LocalRuntime(actions_for(stir), workers=4) as runtime:
                if random.randrange(2):  # every child is an actor, as the simulation does too
                    runtime._environment.longest_run = 0
                found.add(scenario(runtime, stir))
            if len(found) >= wanted:
                break
    return found


def reached(scenario: Scenario, wanted: set[Outcome]) -> set[Outcome]:
    """What the simulation comes to, until all that is *wanted* has been among it."""
    found: set[Outcome] = set()

    def nothing() -> None:
        """In the simulation the schedule stirs."""

    for seed in range(SCHEDULES):
        schedule = Schedule.seeded(seed)
        with SimulatedRuntime(
            actions_for(nothing), schedule, workers=4, thorough=seed % 2 == 1, check=False
        ) as runtime:
            found.add(scenario(runtime, nothing))
        if wanted <= found:
            break
    return found


def test_what_real_threads_show_is_among_what_the_simulation_reaches() -> None:
    each = WANTED  # as they differ in how much they can show
    real = {scenario.__name__: shown(scenario, each) for scenario in SCENARIOS}
    count = sum(map(len, real.values()))
    for scenario in SCENARIOS:
        outcomes = real[scenario.__name__]
        missing = outcomes - reached(scenario, outcomes)
        assert not missing, f"the simulation never reached these of {scenario.__name__}: {missing}"
    assert count >= WANTED, f"real threads have shown {count} outcomes only: {real}"
