"""The pytest plugin: options for the tests that are run under schedules, and a fixture for others.

It is found by pytest wherever this distribution is installed, and its import is that of
`runtime.simulation`: what simulations replace is replaced before conftest files and tests are
imported, so none of them binds the original. ``pytest -p no:simulation`` does without.
"""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from orchestrator.registry import ActionRegistry
from runtime.simulation.decorators import FIXTURE, runs_by_itself, simulate
from runtime.simulation.exploring import current_schedule, new_seed, totals
from runtime.simulation.runtime import SimulatedRuntime

__all__ = ["SimulatedRuntimes", "simulated_runtime"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--schedules`` and ``--schedule-seed``."""
    group = parser.getgroup("simulation", "schedules of simulated tests")
    group.addoption(
        "--schedules",
        type=_positive,
        metavar="N",
        help="run each test that is decorated with @simulate, or has the fixture"
        f" {FIXTURE}, under N schedules, whatever it asks for itself",
    )
    group.addoption(
        "--schedule-seed",
        type=int,
        metavar="S",
        help="draw their schedules from this seed, whatever they ask for themselves",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        message = f"{number}: at least one schedule is needed"
        raise argparse.ArgumentTypeError(message)
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Take the options over; a session inside another (pytester's) begins at nought."""
    config.stash[_BEFORE] = (totals.tests, totals.schedules)
    totals.asked_schedules = config.getoption("--schedules")
    totals.asked_seed = config.getoption("--schedule-seed")
    given: dict[str, int] = getattr(config, "workerinput", {})  # what pytest-xdist hands a worker
    totals.default_seed = given.get(_SEED) or new_seed()


_BEFORE = pytest.StashKey[tuple[int, int]]()
_SEED, _RAN = "schedule_seed", "schedules_ran"  # between pytest-xdist's processes


def _ran(config: pytest.Config) -> tuple[int, int]:
    """The tests and the schedules of this session, so far, in this process."""
    tests_before, schedules_before = config.stash[_BEFORE]
    return totals.tests - tests_before, totals.schedules - schedules_before


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of pytest-xdist is about to start: it draws from the seed that is printed here."""
    node.workerinput[_SEED] = totals.default_seed


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: tell the controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_RAN] = _ran(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended, or died, and then nobody knows."""
    tests, schedules = getattr(node, "workeroutput", {}).get(_RAN, (0, 0))
    totals.tests += tests
    totals.schedules += schedules


def pytest_unconfigure() -> None:
    """What was asked for was asked of this session."""
    totals.asked_schedules = totals.asked_seed = totals.default_seed = None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many schedules were run."""
    tests, schedules = _ran(config)
    if schedules:
        seed = totals.default_seed if totals.asked_seed is None else totals.asked_seed
        terminalreporter.write_line(
            f"simulation: {schedules} schedules in {tests} test{'' if tests == 1 else 's'}"
            f" (--schedule-seed {seed})"
        )


class SimulatedRuntimes:
    """What the fixture gives: makes a `SimulatedRuntime` under the schedule of the present run."""

    def __call__(self, actions: ActionRegistry, **options: Any) -> SimulatedRuntime:
        """A runtime, for a ``with`` block.

        Args:
            actions: What can be run.
            options: As for `SimulatedRuntime`.

        Raises:
            pytest.UsageError: called outside the test function, or under Hypothesis.
        """
        schedule = current_schedule()
        if schedule is None:
            message = (
                f"{FIXTURE} was called where no schedule is being run: call it in the test"
                " function itself, not in a fixture, and under Hypothesis use @given(schedules())"
                " and SimulatedRuntime(actions, schedule) in its place"
            )
            raise pytest.UsageError(message)
        return SimulatedRuntime(actions, schedule, **options)


@pytest.fixture
def simulated_runtime() -> SimulatedRuntimes:
    """A maker of simulated runtimes; the test that has it is run under many schedules.

    ``with simulated_runtime(actions) as runtime:`` is all that it says of them. It is run as if it
    were decorated with `simulate`, which can be added to say how often. Other fixtures are made
    once for all these runs.
    """
    return SimulatedRuntimes()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a test that has the fixture under schedules, unless it brings its own."""
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - pytest's own implementation does
    if FIXTURE not in names or runs_by_itself(pyfuncitem.obj):
        return None
    simulate()(pyfuncitem.obj)(**{name: pyfuncitem.funcargs[name] for name in names})
    return True
