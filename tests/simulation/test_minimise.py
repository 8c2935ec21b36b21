import math
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.simulation import Schedule, Simulation, SimulationDeadlockError, exploring, simulate
from runtime.simulation.minimise import Choice, Failure, minimise
from tests.simulation.fan_outs import RUNS
from tests.simulation.faults import FAULTS

AT_MOST = 3  # preemptions


def _choices(numbers: Sequence[int]) -> list[Choice]:
    return [(0, ("task", number, 0, "other")) for number in numbers]


def _numbers(failure: Failure[None]) -> set[int]:
    return {step for _, (_, step, _, _) in failure.choices}


def _failure(choices: Sequence[Choice]) -> Failure[None]:
    return Failure(choices=choices, detail=None)


class _Model:
    """Fails if it meets all choices of any of the given sets."""

    def __init__(self, *culprits: set[int]) -> None:
        self.culprits = culprits
        self.replays = 0

    def replay(self, choices: Sequence[Choice]) -> Failure[None] | None:
        self.replays += 1
        failure = _failure(choices)
        return failure if any(each <= _numbers(failure) for each in self.culprits) else None


@given(
    st.integers(1, 60).flatmap(
        lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1)))
    )
)
def test_only_the_choices_that_matter_are_left(case: tuple[int, set[int]]) -> None:
    size, culprits = case
    model = _Model(culprits)
    smallest = minimise(_failure(_choices(range(size))), model.replay)
    assert _numbers(smallest) == culprits


@given(st.lists(st.sets(st.integers(0, 29), min_size=1), min_size=1, max_size=3))
def test_no_single_choice_of_the_result_can_be_left_out(culprits: list[set[int]]) -> None:
    model = _Model(*culprits)
    smallest = minimise(_failure(_choices(range(30))), model.replay)
    for choice in smallest.choices:
        assert model.replay([each for each in smallest.choices if each != choice]) is None


def test_few_replays_are_needed_where_few_choices_matter() -> None:
    model = _Model({7, 40})
    minimise(_failure(_choices(range(64))), model.replay)
    assert model.replays < 64


def test_other_failures_are_made_small_too_and_the_smallest_is_kept() -> None:
    model = _Model({1, 2, 3}, {10})
    others = iter([None, _failure(_choices([9, 10, 11])), _failure(_choices([1, 2, 3]))])
    smallest = minimise(_failure(_choices([1, 2, 3, 4])), model.replay, others)
    assert _numbers(smallest) == {10}
    assert next(others) is not None  # one choice: nothing smaller is looked for


def test_preemptions_decide_between_failures_of_as_many_choices() -> None:
    one, other = (
        Failure(choices=_choices([1, 2]), preemptions=number, detail=None) for number in (2, 1)
    )
    assert minimise(one, lambda _: None, [other]) is other
    assert minimise(other, lambda _: None, [one]) is other


def test_the_smallest_so_far_has_to_do_when_the_budget_is_spent() -> None:
    times = iter(range(1000))
    model = _Model({5})

    def others() -> Iterator[Failure[None] | None]:
        raise AssertionError
        yield None

    smallest = minimise(
        _failure(_choices(range(1000))), model.replay, others(), budget=4, clock=lambda: next(times)
    )
    assert 1 < len(smallest.choices) < 1000
    assert model.replays <= 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [*FAULTS, *RUNS])
def test_what_is_reported_has_few_preemptions(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "BUDGET", math.inf)  # no matter how slow the machine is
    schedules: list[Schedule] = []

    @simulate(schedules=1000, seed=seed)
    def test(schedule: Schedule) -> None:
        schedules.append(schedule)
        if name in RUNS:
            RUNS[name](schedule)
        else:
            with Simulation(schedule):
                FAULTS[name]()

    with pytest.raises((AssertionError, SimulationDeadlockError)) as caught:
        test()
    (note,) = caught.value.__notes__
    reported = next(schedule for schedule in schedules if f'"{schedule.token}"' in note)
    assert reported.preemptions <= AT_MOST
