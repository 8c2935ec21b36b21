"""The idle threads of a dispatcher: which of them end, when, and in what order."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from actors.system.idle import IdleLine
from actors.system.parking import Parker
from actors.system.worker import Worker

PATIENCE = 20.0  # seconds that no test should ever need


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0
        self.due: list[tuple[float, Callable[[], object]]] = []
        self.broken = False

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        if self.broken:
            message = "no thread can be started for timers"
            raise RuntimeError(message)
        self.due.append((self.time + seconds, function))

    def move(self, seconds: float) -> None:
        """Let time pass, and call what is due then."""
        self.time += seconds
        due, self.due = self.due, []
        for when, function in due:
            if when <= self.time:
                function()
            else:
                self.due.append((when, function))


class Told(Parker):
    """A parker that tells when somebody is about to park on it."""

    def __init__(self, parks: threading.Semaphore) -> None:
        super().__init__()
        self._parks = parks

    def park(self, timeout: float | None = None) -> bool:
        self._parks.release()
        return super().park(timeout)


class Idlers:
    """Threads that stand in a line, until they are to end."""

    def __init__(self, keep: int, linger: float) -> None:
        self.clock = HandClock()
        clock: Any = self.clock
        self.line = IdleLine(keep, linger, clock)
        self.parks = threading.Semaphore(0)
        self.ends = threading.Semaphore(0)
        self.ended: list[int] = []
        self.workers: list[Worker] = []

    def come(self, count: int = 1, *, together: bool = False) -> None:
        """Let so many more stand in line, one after another or all at once."""
        start = threading.Barrier(count if together else 1)
        for number in range(len(self.workers), len(self.workers) + count):
            worker = Worker(None, lambda: None, lambda: None)
            worker.parker = Told(self.parks)
            worker.has_permit = False
            self.workers.append(worker)
            arguments = (worker, number, start)
            threading.Thread(target=self._idle, args=arguments, daemon=True).start()
            if not together:
                assert self.parks.acquire(timeout=PATIENCE)
        for _ in range(count if together else 0):
            assert self.parks.acquire(timeout=PATIENCE)

    def _idle(self, worker: Worker, number: int, start: threading.Barrier) -> None:
        start.wait()
        assert self.line.stand(worker) is worker.has_permit
        self.ended.append(number)
        self.ends.release()

    def wait_for_ends(self, count: int) -> None:
        for _ in range(count):
            assert self.ends.acquire(timeout=PATIENCE)


def test_those_that_are_too_many_end_one_after_another_those_that_came_first_before() -> None:
    idlers = Idlers(keep=2, linger=1.0)
    idlers.come(3)
    idlers.line.pop()  # two have gone to work: nobody is too many
    idlers.line.pop()
    idlers.clock.move(0.5)
    idlers.come(4)
    assert len(idlers.clock.due) == 1  # one timer for all
    idlers.clock.move(0.5)  # the first is due, and finds that the next one is not
    idlers.wait_for_ends(1)
    assert idlers.ended == [0]
    idlers.clock.move(0.25)
    assert idlers.ended == [0]
    idlers.clock.move(0.25)  # of the four that came together, two may stay
    idlers.wait_for_ends(2)
    assert sorted(idlers.ended) == [0, 3, 4]
    idlers.clock.move(100.0)
    assert not idlers.clock.due  # nothing is left to see to
    assert idlers.line.pop() is idlers.workers[6]  # the warmest is sent first
    assert idlers.line.pop() is idlers.workers[5]
    with pytest.raises(IndexError):
        idlers.line.pop()


def test_the_close_ends_all_and_whoever_comes_after_it() -> None:
    idlers = Idlers(keep=3, linger=1.0)
    idlers.come(10)
    sent = idlers.line.pop()
    sent.has_permit = True
    sent.parker.unpark()
    idlers.wait_for_ends(1)
    assert idlers.ended == [9]
    idlers.line.close()
    idlers.wait_for_ends(9)
    assert sorted(idlers.ended) == list(range(10))
    late = Worker(None, lambda: None, lambda: None)
    late.has_permit = False
    assert not idlers.line.stand(late)


def test_where_no_timer_can_be_had_the_next_one_that_is_too_many_tries_again() -> None:
    idlers = Idlers(keep=0, linger=1.0)
    idlers.clock.broken = True
    idlers.come(2)
    assert not idlers.clock.due
    idlers.clock.broken = False
    idlers.come()
    idlers.clock.move(1.0)
    idlers.wait_for_ends(3)
    assert sorted(idlers.ended) == [0, 1, 2]


def test_without_patience_nobody_stays_who_is_too_many() -> None:
    idlers = Idlers(keep=1, linger=0.0)
    idlers.come()
    worker = Worker(None, lambda: None, lambda: None)
    assert not idlers.line.stand(worker)
    idlers.line.close()
    idlers.wait_for_ends(1)


def test_of_several_that_come_at_once_somebody_sees_that_they_are_too_many() -> None:
    idlers = Idlers(keep=1, linger=1.0)
    together = threading.Barrier(2)
    time = idlers.clock.now
    idlers.clock.now = lambda: time() * together.wait()  # type: ignore[method-assign]
    idlers.come(2, together=True)
    idlers.clock.now = time  # type: ignore[method-assign]
    idlers.clock.move(1.0)
    idlers.wait_for_ends(1)
    idlers.line.close()
    idlers.wait_for_ends(1)
