"""How many schedules a second can be simulated, and how many does it take to find a fault?

    python -m benchmarks.simulation [--seconds S] [--trials N] [--backend NAME]

The first table is of whole runs a second: a fan-out of five children with one group on the
production actors, and five plain threads, under the plain order, seeds, and Hypothesis. Beside them
is a plain loop that does the same five additions, so that machines can be compared. The second one
is of schedules until each fault is found, in so many trials with at most 1,000 schedules each, and
of what is left of them when they are made small: deviations, preemptions and seconds. Both rows of
a fault are to be found in every trial. Seconds are those of this process' processor time: nothing
here waits, and other processes should not count.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count

from attrs import frozen
from hypothesis import HealthCheck, Phase, given, seed, settings

from runtime.simulation import (
    Schedule,
    SimulatedRuntime,
    Simulation,
    SimulationDeadlockError,
    schedules,
    simulate,
)
from tests.simulation.fan_outs import RUNS
from tests.simulation.faults import FAULTS

from benchmarks import ours  # isort: skip - after what simulations replace

AT_MOST = 1000  # schedules in a trial
FAILURES = (AssertionError, SimulationDeadlockError)
CHILDREN = 5


@frozen
class Found:
    """One trial in which a fault was found."""

    schedules: int
    deviations: int  # that are left
    preemptions: int
    seconds: float  # for making it small


def plain_loop() -> None:
    """The peer: what the children do, and nothing else."""
    values = [index + 1 for index in range(CHILDREN)]
    assert len(values) == CHILDREN


def fan_out(schedule: Schedule) -> None:
    """One group on the production actors."""
    with SimulatedRuntime(ours.actions, schedule) as runtime:
        _, outputs = runtime.run("bench:fan_out", CHILDREN)
    assert len(outputs) == CHILDREN


def threads(schedule: Schedule) -> None:
    """Five plain threads and a lock."""
    with Simulation(schedule):
        FAULTS["lost_update"]()


def per_second(runs: Iterable[Callable[[], object]], seconds: float) -> float:
    """How many of *runs* are done in a second, measured for so many *seconds*."""
    done = 0
    began = time.process_time()
    for run in runs:
        with suppress(*FAILURES):
            run()
        done += 1
        if time.process_time() - began > seconds:
            break
    return done / (time.process_time() - began)


def per_second_with_hypothesis(test: Callable[[Schedule], object], number: int) -> float:
    """The same, of *number* examples."""

    @seed(1)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules())
    def run(schedule: Schedule) -> None:
        with suppress(*FAILURES):
            test(schedule)

    began = time.process_time()
    run()
    return number / (time.process_time() - began)


def print_speed(seconds: float, backend: str) -> None:
    """The first table."""
    loop = per_second((plain_loop for _ in count()), seconds / 5)
    print(f"{'runs of five children':34}{'a second':>12}{'plain loops each':>18}")
    print(f"{'plain loop':34}{loop:12.0f}{1:18}")
    for name, test in (("fan-out", fan_out), ("threads", threads)):
        for source, speed in _speeds(test, seconds, backend):
            print(f"{f'{name}, {source}':34}{speed:12.0f}{loop / speed:18.0f}")


def _speeds(
    test: Callable[[Schedule], object], seconds: float, backend: str
) -> Iterable[tuple[str, float]]:
    plain = (partial(test, Schedule.plain(backend=backend)) for _ in count())
    yield "plain order", per_second(plain, seconds)
    seeded = (partial(test, Schedule.seeded(number, backend=backend)) for number in count())
    speed = per_second(seeded, seconds)
    yield "seeded", speed
    if backend == "greenlet":
        number = max(50, int(speed * seconds / 2))
        yield "Hypothesis", per_second_with_hypothesis(test, number)


def _test_of(name: str) -> Callable[[Schedule], object]:
    if name in RUNS:
        return RUNS[name]

    def test(schedule: Schedule) -> None:
        with Simulation(schedule):
            FAULTS[name]()

    return test


def _watched(
    test: Callable[[Schedule], object], seen: list[Schedule], failed: list[int]
) -> Callable[[Schedule], object]:
    """*test*, noting the schedules of its runs, and after how many it failed."""

    def run(schedule: Schedule) -> None:
        seen.append(schedule)
        try:
            test(schedule)
        except FAILURES:
            failed.append(len(seen))
            raise

    return run


def _found(
    decorated: Callable[[], object], seen: list[Schedule], failed: list[int]
) -> Found | None:
    times: list[float] = []
    began = time.process_time()
    try:
        decorated()
    except FAILURES as error:
        notes = "\n".join(error.__notes__)
        left = next(each for each in reversed(seen) if each.token in notes)
        times.append(time.process_time() - began)
        share = (len(seen) - failed[0]) / len(seen)
        return Found(
            schedules=failed[0],
            deviations=sum(len(each) for each in left.deviations),
            preemptions=left.preemptions,
            seconds=times[0] * share,
        )
    return None


def find_seeded(name: str, trial: int) -> Found | None:
    """One trial of `simulate`."""
    seen: list[Schedule] = []
    failed: list[int] = []
    run = _watched(_test_of(name), seen, failed)

    @simulate(schedules=AT_MOST, seed=trial)
    def test(schedule: Schedule) -> None:
        run(schedule)

    return _found(test, seen, failed)


def find_with_hypothesis(name: str, trial: int) -> Found | None:
    """One trial of `schedules`."""
    seen: list[Schedule] = []
    failed: list[int] = []
    run = _watched(_test_of(name), seen, failed)

    @seed(trial)
    @settings(
        max_examples=AT_MOST,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules())
    def test(schedule: Schedule) -> None:
        run(schedule)

    return _found(test, seen, failed)


def print_finding(trials: int) -> None:
    """The second table."""
    print(
        f"{'fault':24}{'drawn by':12}{'found':>8}{'schedules until':>17}{'most':>6}"
        f"{'deviations':>12}{'preemptions':>13}{'seconds':>9}"
    )
    for name in (*FAULTS, *RUNS):
        for source, find in (("a seed", find_seeded), ("Hypothesis", find_with_hypothesis)):
            all_trials = [find(name, trial) for trial in range(trials)]
            found = [each for each in all_trials if each is not None]
            row = f"{name:24}{source:12}{f'{len(found)}/{trials}':>8}"
            if found:
                until = [each.schedules for each in found]
                row += (
                    f"{statistics.median(until):17g}{max(until):6}"
                    f"{max(each.deviations for each in found):12}"
                    f"{max(each.preemptions for each in found):13}"
                    f"{max(each.seconds for each in found):9.2f}"
                )
            print(row, flush=True)
    print("deviations, preemptions and seconds are the most of all trials")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each speed")
    parser.add_argument("--trials", type=int, default=10, help="for each fault")
    parser.add_argument("--backend", default="greenlet")
    options = parser.parse_args(arguments)
    logging.disable()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cpus, {sys.platform};"
        f" back end {options.backend}"
    )
    if options.seconds > 0:
        print_speed(options.seconds, options.backend)
    if options.trials:
        print()
        print_finding(options.trials)


if __name__ == "__main__":
    main()
