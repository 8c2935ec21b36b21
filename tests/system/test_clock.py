import logging
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.system import Clock, Future

PATIENCE = 20.0  # seconds that no test should ever need


@pytest.fixture
def clock() -> Clock:
    return Clock(name="test-clock")


@given(delays=st.lists(st.integers(0, 5), max_size=30))
def test_timers_fire_in_the_order_of_their_times_and_equal_ones_as_they_were_set(
    delays: list[int],
) -> None:
    clock = Clock()
    fired: list[tuple[int, int]] = []
    hold = threading.Event()
    clock.call_at(-math.inf, hold.wait, PATIENCE)  # so that all are set before one fires
    start = clock.now() - 10  # they are all due
    for number, delay in enumerate(delays):
        clock.call_at(start + delay, fired.append, (delay, number))
    last: Future[None] = Future()
    clock.call_at(start + 6, last.set)
    hold.set()
    last.get(timeout=PATIENCE)
    clock.close()
    assert fired == sorted((delay, number) for number, delay in enumerate(delays))


def test_a_timer_never_fires_early(clock: Clock) -> None:
    fired: Future[float] = Future()
    due = clock.now() + 0.02
    clock.call_at(due, lambda: fired.set(clock.now()))
    assert fired.get(timeout=PATIENCE) >= due
    clock.close()


def test_an_earlier_timer_set_later_does_not_wait_for_the_one_before(clock: Clock) -> None:
    clock.call_later(3600, pytest.fail)
    fired: Future[None] = Future()
    clock.call_later(0, fired.set)
    fired.get(timeout=PATIENCE)
    assert clock.pending == 1
    clock.close()


def test_a_cancelled_timer_does_not_fire_and_cancelling_again_does_nothing(clock: Clock) -> None:
    fired: Future[None] = Future()
    timer = clock.call_later(0.01, pytest.fail)
    assert timer.pending
    timer.cancel()
    timer.cancel()
    assert not timer.pending
    clock.call_later(0.02, fired.set)
    fired.get(timeout=PATIENCE)
    clock.close()


def test_cancelled_timers_do_not_accumulate(clock: Clock) -> None:
    for _ in range(20):
        timers = [clock.call_later(3600, pytest.fail) for _ in range(1000)]
        for timer in timers:
            timer.cancel()
        reached: Future[None] = Future()
        clock.call_later(0, reached.set)  # the thread has been at its heap since
        reached.get(timeout=PATIENCE)
    assert clock.pending == 0
    assert len(clock._heap) + len(clock._incoming) < 1000
    clock.close()


def test_a_callback_that_raises_is_logged_and_the_clock_goes_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fired: Future[None] = Future()
    with caplog.at_level(logging.ERROR, "actors.system"):
        clock.call_later(0, int, "no number")
        clock.call_later(0, fired.set)
        fired.get(timeout=PATIENCE)
    assert "no number" in caplog.text
    clock.close()


def test_close_drops_what_is_pending_and_ends_the_thread(clock: Clock) -> None:
    timer = clock.call_later(3600, pytest.fail)
    clock.close()
    clock.close()
    assert not timer.pending
    assert clock.pending == 0
    assert "test-clock" not in [thread.name for thread in threading.enumerate()]


def test_after_close_a_timer_is_cancelled_from_the_start(clock: Clock) -> None:
    clock.close()
    assert not clock.call_later(0, pytest.fail).pending
    assert clock.pending == 0


def test_close_from_a_callback_returns_and_ends_the_thread(clock: Clock) -> None:
    clock.call_later(0, clock.close)
    clock.call_later(0, pytest.fail)
    thread = clock._thread
    assert thread is not None
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_timer_for_nan_is_refused_and_one_for_infinity_never_fires(clock: Clock) -> None:
    with pytest.raises(ValueError, match="nan"):
        clock.call_at(math.nan, pytest.fail)
    assert clock.call_at(math.inf, pytest.fail).pending
    clock.close()


def test_a_timer_without_a_thread_to_fire_it_is_an_error_and_no_timer(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="no thread"):
            clock.call_later(0, pytest.fail)
    assert clock.pending == 0
    fired: Future[None] = Future()
    clock.call_later(0, fired.set)
    fired.get(timeout=PATIENCE)
    clock.close()


def test_cancelling_most_timers_wakes_the_thread_to_clear_them_out() -> None:
    tidy = threading.Event()

    class Watched(Clock):
        def _take_in(self) -> None:
            super()._take_in()
            tidy.set()

    clock = Watched()
    for timer in [clock.call_later(3600, pytest.fail) for _ in range(1000)]:
        timer.cancel()
    while True:
        tidy.clear()
        if len(clock._heap) + len(clock._incoming) < 100:
            break
        assert tidy.wait(PATIENCE)
    clock.close()
