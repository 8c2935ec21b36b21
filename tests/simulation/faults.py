"""Small programs with a fault each, in plain threading code: what a schedule has to find.

Each is a function of no argument to be called inside a simulation. Under the schedules that meet
its fault it raises `AssertionError`, or the simulation finds a deadlock; in the plain order it is
right.
"""

import threading
import time
from collections.abc import Callable


class Cell:
    """A variable of which reading and writing are atomic, and nothing else is."""

    def __init__(self, value: int = 0) -> None:
        self._lock = threading.Lock()
        self._value = value

    def get(self) -> int:
        with self._lock:
            return self._value

    def put(self, value: int) -> None:
        with self._lock:
            self._value = value


def _together(*functions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lost_update() -> None:
    """Two of five children add to the same account, and one of the sums is lost."""
    accounts = [Cell() for _ in range(4)]

    def child(index: int) -> None:
        account = accounts[index % 4]
        account.put(account.get() + 1)

    _together(*(lambda index=index: child(index) for index in range(5)))  # type: ignore[misc]
    total = sum(account.get() for account in accounts)
    assert total == 5


def double_resume() -> None:
    """A completion and a cancellation both find the waiter unanswered, and both answer."""
    answered, answers = Cell(), []

    def answer(what: str) -> None:
        if not answered.get():
            answered.put(1)
            answers.append(what)

    _together(lambda: answer("completed"), lambda: answer("cancelled"))
    assert len(answers) == 1


def lost_wakeup() -> None:
    """The signal comes between the waiter's look and its wait, and is cleared."""
    ready, signal = Cell(), threading.Event()

    def wait() -> None:
        while not ready.get():
            signal.clear()
            signal.wait()

    def produce() -> None:
        time.sleep(1)
        ready.put(1)
        signal.set()

    _together(wait, produce)


def stale_resume() -> None:
    """A waiter gives up its first wait; the late answer then ends its second one."""
    signal, answers = threading.Event(), []

    def answer_first() -> None:
        time.sleep(1)
        answers.append("first")
        signal.set()

    def answer_second() -> None:
        time.sleep(5)
        answers.append("second")
        signal.set()

    threading.Thread(target=answer_first).start()
    if not signal.wait(timeout=2):
        threading.Thread(target=answer_second).start()
        signal.wait()
        assert "second" in answers


def timeout_and_completion() -> None:
    """The deadline and the completion are both told to the listener."""
    decided, told = Cell(), []

    def decide(what: str, after: float) -> None:
        time.sleep(after)
        if decided.get() == 0:
            told.append(what)
            decided.put(1)

    _together(lambda: decide("completed", 1), lambda: decide("timed out", 2))
    assert len(told) == 1


def late_child() -> None:
    """One child has not even begun when its parent has done thirty steps and needs it."""
    begun, lock = Cell(), threading.Lock()
    first = threading.Thread(target=lambda: begun.put(1))
    first.start()
    others = [threading.Thread(target=lock.locked) for _ in range(4)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    for _ in range(30):
        with lock:
            pass
    assert begun.get()


def narrow_window() -> None:
    """Three steps of one task must fall between two particular steps of another."""
    cells = [Cell() for _ in range(3)]

    def walk() -> None:
        for cell in cells:
            cell.put(1)

    def look() -> None:
        seen = [cell.get() for cell in reversed(cells)]
        assert seen != [0, 0, 1], "unreachable but by a switch between each"

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            look()
        except AssertionError as error:
            failures.append(error)

    _together(guarded, walk)
    assert not failures


FAULTS = {
    function.__name__: function
    for function in (
        lost_update,
        double_resume,
        lost_wakeup,
        stale_resume,
        timeout_and_completion,
        late_child,
        narrow_window,
    )
}
