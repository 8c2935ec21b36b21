"""However many waits are told to end, few threads are woken at once, and each is."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors import waking
from actors.attempt import Attempt
from actors.system.parking import Parker
from actors.wait import Wait
from actors.waking import WakeUps
from tests.actors.test_attempt import Noted, attempt_of

_MOST = waking._AT_ONCE


def parked(attempt: Attempt, number: int, woken: list[int]) -> Wait:
    wait = Wait(attempt, Noted(number, woken), main=True)
    wait.parked = True
    return wait


@given(st.lists(st.integers(0, 30) | st.none(), max_size=60))
def test_those_who_are_woken_first_come_out_first_and_no_more_than_a_few_at_once(
    steps: list[int | None],
) -> None:
    # A number ends the wait of that place among those asked for; None asks for one more.
    wake_ups, attempt = WakeUps(), attempt_of()
    waits: list[Wait] = []
    woken: list[int] = []
    over: set[int] = set()

    def end(number: int) -> None:
        if number not in over:
            over.add(number)
            waits[number].parked = False
            wake_ups.over(waits[number])

    for step in steps:
        if step is None:
            waits.append(parked(attempt, len(waits), woken))
            wake_ups.wake(waits[-1])
        elif step < len(waits):
            end(step)
        assert woken == sorted(woken)
        assert len(set(woken) - over) <= _MOST
        # Nobody waits while there is room.
        assert len(set(woken) - over) == _MOST or set(woken) | over == set(range(len(waits)))
    for number in range(len(waits)):
        end(number)
    assert woken == sorted(set(woken))
    assert not wake_ups.on_their_way


def test_an_interruption_wakes_who_is_not_parked_at_once_and_the_others_in_turn() -> None:
    attempt = attempt_of()
    woken: list[int] = []
    waits = [parked(attempt, number, woken) for number in range(2 * _MOST)]
    for wait in waits:
        attempt.watch(wait)
    other = Wait(attempt, Noted(99, woken), main=False)
    attempt.watch(other)
    attempt.cancel()
    assert woken == [*range(_MOST), 99]
    attempt.unwatch(waits[-1])  # it has ended by itself meanwhile
    for wait in waits[:-1]:
        attempt.unwatch(wait)
    assert woken[: 2 * _MOST] == [*range(_MOST), 99, *range(_MOST, 2 * _MOST - 1)]
    assert not attempt.environment.wake_ups.on_their_way


def test_threads_that_come_and_go_meanwhile_are_all_woken() -> None:
    for _ in range(20):
        attempt = attempt_of()
        began = threading.Barrier(41)

        def sleep(attempt: Attempt = attempt, began: threading.Barrier = began) -> None:
            parker = Parker()
            wait = Wait(attempt, parker, main=True)
            wait.parked = True
            attempt.watch(wait)
            began.wait()
            while attempt.interruption is None:
                parker.park()
            attempt.unwatch(wait)

        threads = [threading.Thread(target=sleep) for _ in range(40)]
        for thread in threads:
            thread.start()
        began.wait()
        attempt.cancel()
        for thread in threads:
            thread.join()  # a hang is what would be wrong
        wake_ups: Any = attempt.environment.wake_ups
        assert not wake_ups.on_their_way
