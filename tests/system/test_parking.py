import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from actors.system import Future, wait_first
from actors.system.parking import (
    Parker,
    current_blocker,
    new_parker,
    set_thread_hooks,
)

PATIENCE = 20.0


def test_a_permit_given_before_the_wait_is_not_lost() -> None:
    parker = Parker()
    parker.unpark()
    assert parker.park(PATIENCE)


def test_there_is_at_most_one_permit() -> None:
    parker = Parker()
    parker.unpark()
    parker.unpark()
    assert parker.park(0)
    assert not parker.park(0)


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_without_a_permit_the_wait_ends_with_its_time(timeout: float) -> None:
    assert not Parker().park(timeout)


@pytest.mark.parametrize("timeout", [None, math.inf, threading.TIMEOUT_MAX * 2])
def test_a_timeout_beyond_all_measure_is_none(timeout: float | None) -> None:
    parker = Parker()
    thread = threading.Timer(0.01, parker.unpark)
    thread.start()
    assert parker.park(timeout)
    thread.join(PATIENCE)


def test_a_timeout_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"NaN|nan"):
        Parker().park(math.nan)


def test_hooks_belong_to_their_thread_and_can_be_restored() -> None:
    class Mine(Parker):
        pass

    seen: list[type[Parker]] = []
    previous = set_thread_hooks(parker_factory=Mine)
    try:
        thread = threading.Thread(target=lambda: seen.append(type(new_parker())))
        thread.start()
        thread.join(PATIENCE)
        seen.append(type(new_parker()))
    finally:
        set_thread_hooks(*previous)
    assert seen == [Parker, Mine]
    assert type(new_parker()) is Parker
    assert current_blocker() is None


def test_only_a_wait_that_really_waits_is_wrapped_in_the_blocker() -> None:
    waits: list[str] = []
    future: Future[int] = Future()

    @contextmanager
    def blocker() -> Iterator[None]:
        waits.append("begin")
        future.set(1)
        yield
        waits.append("end")

    done: Future[int] = Future()
    done.set(0)
    previous = set_thread_hooks(blocker=blocker)
    try:
        assert done.get() == 0
        assert wait_first(done, Future())
        assert waits == []
        assert future.get(timeout=PATIENCE) == 1
        assert future.get() == 1
    finally:
        set_thread_hooks(*previous)
    assert waits == ["begin", "end"]
