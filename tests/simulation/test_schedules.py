import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.simulation import ReplayError, Schedule, Simulation, SimulationDeadlockError
from runtime.simulation.tokens import Recording, decode, encode
from tests.simulation.fan_outs import trace
from tests.simulation.faults import FAULTS

ROOT = Path(__file__).parent.parent.parent

NAMES = st.text(min_size=1, max_size=12)
DEVIATIONS = st.tuples(NAMES, st.integers(0, 10**6), st.integers(0, 9), NAMES)
RECORDINGS = st.lists(
    st.builds(Recording, st.lists(DEVIATIONS).map(tuple), st.just("0123abcd")), max_size=3
)
both_backends = pytest.mark.parametrize("backend", ["greenlet", "threads"])


def _run(schedule: Schedule, name: str = "lost_update") -> str:
    """What comes of one of the faults, as text."""
    try:
        with Simulation(schedule):
            FAULTS[name]()
    except (AssertionError, SimulationDeadlockError) as error:
        return f"{type(error).__name__}: {error}"
    return "passed"


def _failing(name: str = "lost_update") -> Schedule:
    return next(
        schedule
        for schedule in (Schedule.seeded(seed) for seed in range(1000))
        if _run(schedule, name) != "passed"
    )


@given(RECORDINGS)
def test_a_token_says_all_that_was_recorded(recordings: list[Recording]) -> None:
    assert decode(encode(recordings)) == recordings


def test_a_token_is_short_and_can_be_pasted_anywhere() -> None:
    token = _failing().token
    assert len(token) < 400
    assert token.isascii()
    assert not set(token) & set(" \"'\\\n\t")


@given(RECORDINGS, st.data())
def test_a_token_with_any_character_changed_or_missing_is_refused(
    recordings: list[Recording], data: st.DataObject
) -> None:
    token = encode(recordings)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(["", "A", "z", "=", "é"]))
    damaged = f"{token[:at]}{other}{token[at + 1 :]}"
    try:
        assert decode(damaged) == recordings  # the last character has bits that say nothing
    except ReplayError as error:
        assert "token" in str(error)  # noqa: PT017 - one or the other


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "is no token of this version"),
        ("s0-AAAA", "begin with 's1-'"),
        ("s1-", "a part of it is missing"),
        ("s1-AbC", "a part of it is missing"),
        ("s1-*", "is damaged"),
    ],
)
def test_what_is_no_token_is_refused_with_a_reason(token: str, reason: str) -> None:
    with pytest.raises(ReplayError, match=reason):
        Schedule.replay(token)


def test_something_else_than_a_text_is_no_token() -> None:
    with pytest.raises(ReplayError, match="a token is a text"):
        Schedule.replay(7)  # type: ignore[arg-type]


def test_the_plain_schedule_preempts_nobody() -> None:
    schedule = Schedule.plain()
    assert _run(schedule) == "passed"
    assert schedule.deviations == [()]
    assert schedule.preemptions == 0
    assert schedule.steps > 0


@both_backends
@pytest.mark.parametrize("name", FAULTS)
def test_a_replay_is_the_same_run_to_the_letter(name: str, backend: str) -> None:
    for seed in range(20):
        schedule = Schedule.seeded(seed, backend=backend)
        outcome = _run(schedule, name)
        replay = Schedule.replay(schedule.token, backend=backend)
        assert _run(replay, name) == outcome
        assert replay.worlds[0].path == schedule.worlds[0].path
        assert replay.difference() is None
        assert replay.token == schedule.token


@pytest.mark.parametrize("name", FAULTS)
def test_both_back_ends_run_a_token_alike(name: str) -> None:
    greenlets = _failing(name)
    threads = Schedule.replay(greenlets.token, backend="threads")
    assert _run(threads, name) != "passed"
    assert threads.difference() is None


def test_the_same_seed_is_the_same_schedule() -> None:
    tokens = []
    for seed in (5, 5, "5", 6):
        schedule = Schedule.seeded(seed)
        _run(schedule)
        tokens.append(schedule.token)
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) > 1


def test_choices_that_cannot_be_made_any_more_are_the_plain_ones() -> None:
    schedule = Schedule.replaying([[("nobody", 3, 0, "thread-1"), ("main", 1, 0, "thread-99")]])
    assert _run(schedule) == "passed"
    assert schedule.deviations == [()]


def test_a_replay_of_other_code_tells_where_it_parts() -> None:
    replay = Schedule.replay(_failing("lost_update").token)
    _run(replay, "lost_wakeup")
    assert replay.difference() is not None


def test_a_schedule_holds_the_choices_of_several_simulations() -> None:
    schedule = Schedule.seeded(3)
    outcomes = [_run(schedule) for _ in range(3)]
    assert len(schedule.worlds) == 3
    replay = Schedule.replay(schedule.token)
    assert [_run(replay) for _ in range(3)] == outcomes
    assert replay.difference() is None

    one_short = Schedule.replay(schedule.token)
    _run(one_short)
    assert one_short.difference() == "the test ran 1 simulations, the token's 3"


def test_a_schedule_tells_how_it_can_be_made_again() -> None:
    assert repr(Schedule.plain()) == "Schedule.plain()"
    assert repr(Schedule.seeded(4)) == "Schedule.seeded(4)"
    schedule = Schedule.plain()
    _run(schedule)
    assert repr(schedule) == f"Schedule.replay({schedule.token!r})"


@both_backends
def test_what_a_fault_is_asked_is_replayed(backend: str) -> None:
    def ask(schedule: Schedule) -> list[int]:
        with Simulation(schedule) as simulation:
            return [simulation.world.decide("a cut wire", 3) for _ in range(20)]

    schedule = Schedule.seeded(2, backend=backend)
    answers = ask(schedule)
    assert set(answers) > {0}
    replay = Schedule.replay(schedule.token, backend=backend)
    assert ask(replay) == answers
    assert ask(Schedule.plain(backend=backend)) == [0] * 20


SCRIPT = "import sys; from tests.simulation.fan_outs import trace; print(*trace(*sys.argv[1:]))"


def test_a_token_is_the_same_run_in_other_processes_with_other_hash_seeds() -> None:
    here = trace("greenlet")
    token = here[0]
    for backend, hash_seed, replayed in [
        ("greenlet", "1", []),
        ("greenlet", "2", [token]),
        ("threads", "3", [token]),
    ]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, backend, *replayed],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == list(here)


def test_a_simulation_takes_no_real_time_and_ends_what_is_left_over() -> None:
    began = time.monotonic()
    ends: list[float] = []

    def sleep_for_ever() -> None:
        try:
            time.sleep(1e9)
        finally:
            ends.append(time.monotonic())

    with Simulation() as simulation:
        threading.Thread(target=sleep_for_ever).start()
        time.sleep(3600)
        assert simulation.now == 3600
        assert time.monotonic() == 3600
    assert ends == [3600]
    assert time.monotonic() - began < 60


def test_a_simulation_can_take_over_a_running_event_loop() -> None:
    async def main() -> float:
        async with Simulation(Schedule.seeded(1)) as simulation:
            await asyncio.gather(*(asyncio.sleep(3600 * n) for n in range(3)))
        await asyncio.sleep(0)  # in the real world
        return simulation.now

    assert asyncio.run(main()) == pytest.approx(7200)


def test_an_unknown_clock_or_back_end_is_refused() -> None:
    with pytest.raises(ValueError, match="clock='sun': it is 'choose', 'jump'"):
        Simulation(clock="sun")
    with pytest.raises(ValueError, match="backend='steam'"):
        Simulation(backend="steam")


def test_with_jumping_time_no_timer_overtakes_who_can_run() -> None:
    for seed in range(200):
        schedule = Schedule.seeded(seed, clock="jump")
        assert _run(schedule, "timeout_and_completion") == "passed"
