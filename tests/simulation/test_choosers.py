from collections import Counter
from random import Random

import pytest

from runtime.simulation import Schedule, Simulation, SimulationDeadlockError
from runtime.simulation.choosers import MODES, Plain, portfolio
from runtime.simulation.schedule import SEEDED_MODES
from runtime.simulation.tasks import SimTask
from tests.simulation.fan_outs import RUNS
from tests.simulation.faults import FAULTS

TRIALS = 10
SCHEDULES = 1000


class _Drawn:
    """Gives some numbers, and then the plainest everywhere."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = iter(numbers)

    def randrange(self, start: int, /) -> int:
        number = next(self._numbers, 0)
        assert number < start
        return number


def _is_found(name: str, schedule: Schedule) -> bool:
    try:
        if name in RUNS:
            RUNS[name](schedule)
        else:
            with Simulation(schedule):
                FAULTS[name]()
    except (AssertionError, SimulationDeadlockError):
        return True
    return False


def _until_found(name: str, trial: int) -> int | None:
    for number in range(SCHEDULES):
        if _is_found(name, Schedule.seeded(f"{trial}/{number}")):
            return number
    return None


@pytest.mark.parametrize("name", [*FAULTS, *RUNS])
def test_the_plain_order_meets_no_fault(name: str) -> None:
    schedule = Schedule.plain()
    assert not _is_found(name, schedule)
    assert schedule.preemptions == 0


@pytest.mark.parametrize("name", [*FAULTS, *RUNS])
def test_the_portfolio_finds_every_fault_in_every_trial(name: str) -> None:
    found = [_until_found(name, trial) for trial in range(TRIALS)]
    assert None not in found, found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAULTS)
def test_with_nothing_but_zeros_drawn_every_mode_is_the_plain_order(mode: str, name: str) -> None:
    schedule = Schedule.drawn(_Drawn(), modes=[mode])
    assert not _is_found(name, schedule)
    assert schedule.deviations == [()]


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_chooses_what_is_no_option(mode: str) -> None:
    tasks = [SimTask(number, f"task-{number}", lambda: None) for number in range(6)]
    random = Random(1)
    for _ in range(200):
        chooser = portfolio(random, [mode], random.choice([None, 40]))
        for _ in range(40):
            clock = random.random() < 0.5
            options = random.sample(tasks, random.randrange(1 if clock else 2, 6))
            assert 0 <= chooser.choose(options[0], options, clock) < len(options) + clock
            assert 0 <= chooser.decide(options[0], "a fault", 3) < 3
            assert chooser.decide(options[0], "no fault", 1) == 0


@pytest.mark.parametrize("mode", sorted(set(MODES) - {"still"}))
def test_time_passes_early_in_every_mode_but_one(mode: str) -> None:
    assert _chosen_of(mode, clock=True)[-1] > 0


def test_there_is_a_mode_in_which_time_never_passes_early() -> None:
    assert _chosen_of("still", clock=True)[-1] == 0


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_preempts(mode: str) -> None:
    chosen = _chosen_of(mode, clock=False)
    assert chosen[0] > 0
    assert chosen[1] > 0
    assert chosen[2] > 0


def _chosen_of(mode: str, *, clock: bool) -> Counter[int]:
    """What a mode chooses of three tasks, the clock as -1."""
    tasks = [SimTask(number, f"task-{number}", lambda: None) for number in range(3)]
    chosen: Counter[int] = Counter()
    for seed in range(100):
        chooser = portfolio(Random(seed), [mode], 40)
        for _ in range(40):
            choice = chooser.choose(tasks[0], tasks, clock)
            chosen[-1 if choice == 3 else choice] += 1
    return chosen


def test_a_starved_task_waits_for_as_long_as_another_can_run() -> None:
    tasks = [SimTask(number, f"task-{number}", lambda: None) for number in range(2)]
    # The mode, the first task that is seen, for ever.
    chooser = portfolio(_Drawn(0, 1, 5), ["starve"])
    assert [chooser.choose(tasks[0], tasks, False) for _ in range(100)] == [1] * 100
    assert chooser.choose(tasks[0], tasks[:1], False) == 0


def test_the_modes_of_the_portfolio_are_drawn_as_often_as_they_are_listed() -> None:
    draws = [_Drawn(number) for number in range(len(SEEDED_MODES))]
    kinds = Counter(type(portfolio(each, SEEDED_MODES)).__name__ for each in draws)
    assert sum(kinds.values()) == len(SEEDED_MODES)
    assert set(kinds) == {"Deviating", "Uniform", "Prioritised", "Starving"}


def test_the_plain_chooser_answers_every_question_plainly() -> None:
    task = SimTask(1, "task", lambda: None)
    assert Plain().choose(task, [task, task], True) == 0
    assert Plain().decide(task, "a fault", 3) == 0


def test_a_chooser_that_raises_ends_the_simulation_with_what_it_raised() -> None:
    class Broken(Plain):
        def choose(self, *_arguments: object) -> int:
            raise LookupError

    with pytest.raises(LookupError), Simulation(Schedule(Broken, "broken")):
        FAULTS["lost_update"]()
