"""The runtimes under test. A new kind of runtime is one entry in `KINDS`."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from orchestrator import ActionRegistry
from runtime import LocalRuntime
from runtime.simulation import SimulatedRuntime
from runtime.simulation.choosers import Uniform
from runtime.simulation.world import World
from tests.conformance.support import LIMIT, PLACES, Body, run_in, standard_actions

KINDS: dict[str, Callable[..., Any]] = {"local": LocalRuntime, "simulated": SimulatedRuntime}


class Patient(Uniform):
    """Any task, and the clock only when many choices have passed without it.

    So whoever waits with a timeout gets enough of it, and who runs until one passes is not alone.
    """

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._tasks = random.randrange
        self._since = 0

    def choose(self, current: Any, options: list[Any], clock: bool) -> int:  # noqa: ARG002
        self._since += 1
        if clock and self._since > PATIENCE:
            self._since = 0
            return len(options)
        return self._tasks(len(options))


PATIENCE = 50_000  # choices
MAX_STEPS = 10_000_000  # of a test, all of its Hypothesis examples together


@pytest.fixture(scope="session", params=sorted(KINDS))
def runtime_factory(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes runtimes of the kind under test; whoever calls it closes them."""
    return KINDS[request.param]


@pytest.fixture
def actions() -> ActionRegistry:
    """The standard actions, to which a test adds its own."""
    return standard_actions()


@pytest.fixture(autouse=True)
def simulation(
    request: pytest.FixtureRequest, runtime_factory: Callable[..., Any]
) -> Iterator[World | None]:
    """The simulation that a test of a simulated runtime runs in, from first to last.

    Its schedule is the test's own, the same in every run. Time is patient, as the tests were
    written for real seconds.
    """
    if runtime_factory is not SimulatedRuntime:
        yield None
        return
    chooser = Patient(Random(zlib.crc32(request.node.nodeid.encode())))
    world = World(chooser, lag=math.inf, max_steps=MAX_STEPS)
    world.enter()
    yield world
    world.leave()


@pytest.fixture
def _threads_cross_often() -> Iterator[None]:
    """Real threads take turns every ten microseconds, so that they meet between any two steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def make_runtime(
    runtime_factory: Callable[..., Any],
    actions: ActionRegistry,
    simulation: World | None,  # noqa: ARG001 - it is entered first and left last
) -> Iterator[Callable[..., Any]]:
    """Makes runtimes that are closed, with what still runs cancelled, when the test has ended."""
    made: list[Any] = []

    def make(registry: ActionRegistry = actions, **options: Any) -> Any:
        runtime = runtime_factory(registry, **options)
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        runtime.close(LIMIT, cancel=True)


@pytest.fixture
def runtime(make_runtime: Callable[..., Any]) -> Any:
    """A runtime of the standard actions, with its own choice of workers."""
    return make_runtime()


@pytest.fixture(params=PLACES)
def run_body(request: pytest.FixtureRequest, runtime: Any) -> Callable[..., Any]:
    """Runs a test's body on both faces, in a scope and in an action."""

    def run(body: Body[Any], **options: Any) -> Any:
        return run_in(request.param, runtime, body, **options)

    return run
