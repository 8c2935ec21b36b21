"""What a run has made is freed when it is over, without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from runtime.simulation import Schedule, SimulatedRuntime, Simulation
from tests.simulation.faults import FAULTS
from tests.simulation.shop import Shop

RUNS = 3  # the first fills tables that are there for good


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def left_by(run: Callable[[], None]) -> int:
    """How many objects the last run has left to the collector."""
    for _ in range(RUNS):
        gc.collect()
        run()
    return gc.collect()


@pytest.mark.parametrize("seed", range(8))
def test_a_simulated_runtime_leaves_nothing_to_the_collector(seed: int) -> None:
    shop = Shop()

    def run() -> None:
        with SimulatedRuntime(shop.actions, Schedule.seeded(seed)) as runtime:
            runtime.run("shop:buyers", 5)

    assert left_by(run) == 0


@pytest.mark.parametrize("fault", ["lost_update", "timeout_and_completion"])
def test_a_bare_simulation_leaves_nothing_to_the_collector(fault: str) -> None:
    def run() -> None:
        with suppress(AssertionError), Simulation(Schedule.plain()):
            FAULTS[fault]()

    assert left_by(run) == 0
