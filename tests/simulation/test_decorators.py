import asyncio
import contextlib
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from orchestrator import ActionRegistry
from runtime.simulation import (
    NotDeterministicError,
    NotReachedError,
    Reach,
    ReplayError,
    Schedule,
    SimulatedRuntime,
    Simulation,
    SimulationDeadlockError,
    reproduce_schedule,
    schedules,
    simulate,
)
from runtime.simulation.exploring import totals
from tests.simulation.fan_outs import RUNS
from tests.simulation.faults import FAULTS

FAILURES = (AssertionError, SimulationDeadlockError)
FIRST_FIVE = list(FAULTS)[:5]


def _run(schedule: Schedule, name: str = "lost_update") -> None:
    with Simulation(schedule):
        FAULTS[name]()


def _note_of(test: Callable[[], object]) -> str:
    with pytest.raises(FAILURES) as caught:
        test()
    return "\n".join(caught.value.__notes__)


def _token_in(text: str) -> str:
    tokens = re.findall(r'@reproduce_schedule\("([^"]+)"\)', text)
    assert tokens
    return str(tokens[-1])


@simulate(schedules=100, seed=1)
def _simulated(schedule: Schedule) -> None:
    _run(schedule)


TOKEN = _token_in(_note_of(_simulated))


def test_the_plain_order_comes_first_and_then_the_others() -> None:
    seen: list[Schedule] = []

    @simulate(schedules=30, seed=1)
    def test(schedule: Schedule) -> None:
        seen.append(schedule)
        with Simulation(schedule):
            for _ in range(3):
                threading.Thread(target=time.sleep, args=(1,)).start()

    test()
    assert len(seen) == 30
    assert seen[0].deviations == [()]
    assert len({schedule.token for schedule in seen}) > 10


def test_a_seed_gives_the_same_schedules_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def tokens(seed: int | None) -> list[str]:
        seen: list[Schedule] = []

        @simulate(schedules=20, seed=seed)
        def test(schedule: Schedule) -> None:
            seen.append(schedule)
            with Simulation(schedule):
                for _ in range(3):
                    threading.Thread(target=time.sleep, args=(1,)).start()

        test()
        return [schedule.token for schedule in seen]

    assert tokens(7) == tokens(7) != tokens(8)
    monkeypatch.setattr(totals, "default_seed", None)
    assert tokens(None) != tokens(None)


def test_a_failure_tells_how_it_was_found_and_how_to_run_it_again() -> None:
    note = _note_of(_simulated)
    assert "of 100 with seed=1" in note
    assert re.search(r"found by schedule \d+, made smaller from \d+ choices", note)
    assert re.search(r"\d+ choices, 1 of them not the plain one, 1 preemption;", note)
    assert f'@reproduce_schedule("{TOKEN}")' in note


def test_a_failure_in_the_plain_order_says_so() -> None:
    @simulate(seed=1)
    def test(schedule: Schedule) -> None:
        with Simulation(schedule):
            time.sleep(1)
            pytest.fail("always")

    with pytest.raises(pytest.fail.Exception) as caught:
        test()
    assert "found by the plain order, of 500 with seed=1" in caught.value.__notes__[0]


def test_without_minimising_the_schedule_is_reported_as_it_was_found() -> None:
    @simulate(schedules=200, seed=1, minimise=False)
    def test(schedule: Schedule) -> None:
        _run(schedule, "lost_wakeup")

    assert "made smaller" not in _note_of(test)


def test_a_failure_that_other_things_decide_is_told_as_such() -> None:
    calls: list[int] = []

    @simulate(schedules=20)
    def test(schedule: Schedule) -> None:
        with Simulation(schedule):
            calls.append(1)
            assert len(calls) != 5

    with pytest.raises(NotDeterministicError, match="the test passed") as caught:
        test()
    assert isinstance(caught.value.__cause__, AssertionError)


def test_a_run_that_takes_another_way_with_the_same_choices_is_told_as_such() -> None:
    numbers = random.Random(1)

    @simulate(schedules=20)
    def test(schedule: Schedule) -> None:
        with Simulation(schedule):
            time.sleep(numbers.random())
        pytest.fail("always")

    with pytest.raises(NotDeterministicError, match=r"simulation 1 ended at 0\.\d+ s after"):
        test()


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, pytest.skip.Exception])
def test_what_ends_the_whole_test_is_no_failure(ending: type[BaseException]) -> None:
    calls: list[int] = []

    @simulate(schedules=20)
    def test(schedule: Schedule) -> None:
        calls.append(schedule.steps)
        raise ending("the end")

    with pytest.raises(ending) as caught:
        test()
    assert calls == [0]
    assert not hasattr(caught.value, "__notes__")


def test_other_parameters_are_left_to_pytest(tmp_path: Any) -> None:
    seen: list[Any] = []

    @simulate(schedules=2)
    def test(schedule: Schedule, tmp_path: Any, extra: int = 3) -> None:
        seen.append((schedule.steps, tmp_path, extra))

    test(tmp_path=tmp_path)  # type: ignore[call-arg]
    assert seen == [(0, tmp_path, 3)] * 2


class TestMethods:
    @simulate(schedules=5)
    def test_a_method_can_be_simulated_and_use_fixtures(
        self, schedule: Schedule, tmp_path: Any
    ) -> None:
        assert tmp_path.is_dir()
        with Simulation(schedule):
            time.sleep(1)


@simulate(schedules=20, clock="jump")
async def test_an_async_test_runs_in_a_simulation_of_its_own() -> None:
    began = time.monotonic()
    async with asyncio.timeout(7200):
        await asyncio.gather(asyncio.sleep(3600), asyncio.to_thread(time.sleep, 3600))
    assert time.monotonic() - began == pytest.approx(3600)


@simulate(schedules=20)
async def test_a_runtime_in_an_async_test_may_be_given_the_schedule_of_that_test(
    schedule: Schedule,
) -> None:
    async with SimulatedRuntime(ActionRegistry(), schedule) as runtime:
        assert await runtime.run_async(lambda: 3) == 3
    with pytest.raises(ValueError, match="another schedule"):
        SimulatedRuntime(ActionRegistry(), Schedule.plain())


def test_a_race_in_async_code_is_found_and_replayed() -> None:
    async def test() -> None:
        told: list[str] = []

        def decide(what: str, after: float) -> None:
            time.sleep(after)
            told.append(what)

        await asyncio.gather(
            asyncio.to_thread(decide, "first", 1), asyncio.to_thread(decide, "second", 2)
        )
        assert told == ["first", "second"]

    token = _token_in(_note_of(simulate(schedules=500, seed=1)(test)))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        reproduce_schedule(token)(simulate()(test))()  # type: ignore[unused-coroutine]


def test_what_a_test_demands_must_have_happened_in_one_of_its_runs() -> None:
    def test(schedule: Schedule) -> None:
        with contextlib.suppress(AssertionError):
            RUNS["impatient"](schedule)

    simulate(schedules=100, seed=1, covers=[Reach.WAIT_TIMED_OUT])(test)()  # type: ignore[call-arg]
    never = simulate(schedules=100, seed=1, covers=[Reach.WAIT_TIMED_OUT, Reach.RETRY])(test)
    with pytest.raises(NotReachedError, match=r"in 100 runs .*\n.*RETRY") as caught:
        never()  # type: ignore[call-arg]
    assert caught.value.missing == (Reach.RETRY,)


def test_only_what_can_be_reached_can_be_demanded() -> None:
    with pytest.raises(TypeError, match="covers"):
        simulate(covers=["everything"])  # type: ignore[list-item]


def test_a_test_without_a_schedule_cannot_be_simulated() -> None:
    with pytest.raises(TypeError, match="has no parameter 'schedule'"):

        @simulate()
        def test() -> None: ...


@pytest.mark.parametrize(
    "options", [{"schedules": 0}, {"clock": "sun"}, {"backend": "steam"}], ids=str
)
def test_wrong_numbers_and_names_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        simulate(**options)


@pytest.mark.parametrize("backend", ["greenlet", "threads"])
@pytest.mark.parametrize("name", FIRST_FIVE)
def test_a_token_reproduces_the_failure(name: str, backend: str) -> None:
    @simulate(schedules=1000, seed=2, backend=backend)
    def test(schedule: Schedule) -> None:
        _run(schedule, name)

    token = _token_in(_note_of(test))
    with pytest.raises(FAILURES):
        reproduce_schedule(token)(test)()  # type: ignore[call-arg]


def test_a_token_is_run_exactly_once() -> None:
    seen: list[Schedule] = []

    @reproduce_schedule(TOKEN)
    def test(schedule: Schedule) -> None:
        seen.append(schedule)
        _run(schedule)

    with pytest.raises(AssertionError):
        test()  # type: ignore[call-arg]
    assert [schedule.token for schedule in seen] == [TOKEN]


def test_a_wrong_token_is_refused_before_any_test_is_run() -> None:
    with pytest.raises(ReplayError, match="damaged"):
        reproduce_schedule(TOKEN[:-3])


def test_a_run_that_is_not_the_one_of_the_token_is_an_error_unless_that_is_allowed() -> None:
    def test(schedule: Schedule) -> None:
        _run(schedule, "double_resume")

    with pytest.raises(ReplayError, match=r"not the run of the token: .* strict=False"):
        reproduce_schedule(TOKEN)(test)()  # type: ignore[call-arg]

    def mended(schedule: Schedule) -> None:
        with Simulation(schedule):
            time.sleep(1)

    with pytest.raises(ReplayError, match="The test passed"):
        reproduce_schedule(TOKEN)(mended)()  # type: ignore[call-arg]
    reproduce_schedule(TOKEN, strict=False)(mended)()  # type: ignore[call-arg]


def test_a_test_that_asks_for_no_schedule_did_not_run_the_token() -> None:
    @reproduce_schedule(TOKEN)
    @settings(max_examples=2, database=None)
    @given(st.integers())
    def test(number: int) -> None: ...

    with pytest.raises(ReplayError, match="asked for no schedule"):
        test()


def _failing_under_hypothesis(name: str, seed: int, seen: list[Schedule]) -> Callable[[], None]:
    @hypothesis_seed(seed)
    @settings(
        max_examples=1000,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules())
    def test(schedule: Schedule) -> None:
        seen.append(schedule)
        _run(schedule, name)

    return test


@pytest.mark.parametrize("name", FIRST_FIVE)
def test_hypothesis_finds_each_fault_makes_it_small_and_tells_the_token(name: str) -> None:
    seen: list[Schedule] = []
    test = _failing_under_hypothesis(name, 1, seen)
    note = _note_of(test)
    token = _token_in(note)
    assert seen[-1].token == token
    assert seen[-1].preemptions <= 3
    with pytest.raises(FAILURES):
        reproduce_schedule(token)(test)()


def test_hypothesis_runs_the_plain_order_first() -> None:
    seen: list[Schedule] = []
    with pytest.raises(AssertionError):
        _failing_under_hypothesis("lost_update", 1, seen)()
    assert seen[0].deviations == [()]


def test_what_hypothesis_draws_can_be_left_in_the_midst_of_a_run() -> None:
    """An example that is too long ends in the task that happens to draw."""

    @settings(
        max_examples=20, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(schedules(modes=["uniform"]))
    def test(schedule: Schedule) -> None:
        with Simulation(schedule):
            lock = threading.Lock()

            def work() -> None:
                for _ in range(4000):
                    with lock:
                        pass

            for thread in [threading.Thread(target=work) for _ in range(3)]:
                thread.start()

    test()


@pytest.mark.parametrize("backend", ["greenlet", "threads"])
def test_other_arguments_are_drawn_beside_the_schedule_of_a_token(backend: str) -> None:
    numbers: set[int] = set()

    @settings(max_examples=100, database=None, deadline=None)
    @given(schedules(backend=backend), st.integers(0, 3))
    def test(schedule: Schedule, number: int) -> None:
        numbers.add(number)
        if number == 3:
            _run(schedule)

    with pytest.raises(AssertionError):
        reproduce_schedule(TOKEN)(test)()
    assert 3 in numbers


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="modes="):
        schedules(modes=["best"])
    with pytest.raises(ValueError, match="modes="):
        schedules(modes=[])


def test_a_failure_before_any_simulation_tells_no_token_and_no_story() -> None:
    @simulate(schedules=3, seed=1)
    def test(schedule: Schedule) -> None:
        SimulatedRuntime(None, schedule)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="ActionRegistry") as caught:
        test()
    assert not hasattr(caught.value, "__notes__")
