import itertools
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtime.subscriptions
from runtime.subscriptions import (
    Announcements,
    EventsLost,
    ExecutionEvent,
    Listener,
    Subscription,
    Subscriptions,
)
from tests.collecting import TRIES, others_come_in

GENEROUS = 30.0  # seconds; a test waits this long only if it fails


def event(number: int) -> ExecutionEvent:
    return ExecutionEvent(execution=number, previous="pending", at=0.0)  # type: ignore[arg-type]


def announce(subscriptions: Subscriptions, number: int) -> None:
    Announcements(subscriptions).changed(number, "pending", 0.0)  # type: ignore[arg-type]


def numbers(news: list[ExecutionEvent | EventsLost]) -> list[Any]:
    """Events as their numbers, losses as themselves."""
    return [each if isinstance(each, EventsLost) else each.execution for each in news]


def lost_in(news: list[ExecutionEvent | EventsLost]) -> int:
    return sum(each.count for each in news if isinstance(each, EventsLost))


class Gate:
    """A listener that takes one step per permit, and tells when it has begun one."""

    def __init__(self) -> None:
        self.news: list[ExecutionEvent | EventsLost] = []
        self.entered = threading.Semaphore(0)
        self.permits = threading.Semaphore(0)
        self.open = False

    def __call__(self, news: ExecutionEvent | EventsLost) -> None:
        self.news.append(news)
        if not self.open:
            self.entered.release()
            assert self.permits.acquire(timeout=GENEROUS)

    def wait_until_entered(self) -> None:
        assert self.entered.acquire(timeout=GENEROUS)

    def let_all_through(self) -> None:
        self.open = True
        self.permits.release()


@contextmanager
def subscribed(listener: Listener, buffer: int = 10_000) -> Iterator[Subscription]:
    subscription = Subscription(listener, buffer)
    yield subscription
    subscription.close(GENEROUS)
    assert not subscription.thread.is_alive()


def test_events_arrive_in_the_order_in_which_they_were_published() -> None:
    news: list[ExecutionEvent | EventsLost] = []
    with subscribed(news.append) as subscription:
        for number in range(1000):
            subscription.publish(event(number))
    assert numbers(news) == list(range(1000))


def test_a_listener_runs_on_one_daemon_thread_that_the_first_event_starts() -> None:
    threads: set[threading.Thread] = set()
    before = threading.active_count()
    with subscribed(lambda _: threads.add(threading.current_thread())) as subscription:
        assert threading.active_count() == before
        for number in range(10):
            subscription.publish(event(number))
    assert threads == {subscription.thread}
    assert subscription.thread.daemon


def test_a_subscription_without_events_ends_without_a_thread() -> None:
    subscription = Subscription(print)
    subscription.close()
    assert subscription.thread.ident is None


def test_a_publisher_never_starts_the_thread_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # Thread.start takes a lock of threading's, which a thread interrupted by a __del__ may hold.
    starters = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        starters.append(threading.get_ident())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    with subscribed(lambda _: None) as subscription:
        subscription.publish(event(0))
    assert len(starters) == 1
    assert threading.get_ident() not in starters


def test_a_wake_up_is_never_lost() -> None:
    arrived = threading.Semaphore(0)
    with subscribed(lambda _: arrived.release()) as subscription:
        for number in range(2000):  # the listener is falling asleep at every one of them
            subscription.publish(event(number))
            assert arrived.acquire(timeout=GENEROUS), number


class Looked(deque[Any]):
    """A queue in which something happens right after the thread has found it empty."""

    looks = 0
    happens: Callable[[], object]
    at = 0

    def __bool__(self) -> bool:
        found = len(self) > 0
        self.looks += not found
        if not found and self.looks == self.at:
            self.happens()
        return found


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("then_stop", [False, True])
def test_what_comes_between_a_look_at_the_queue_and_sleep_is_delivered(
    at: int, then_stop: bool
) -> None:
    news: list[ExecutionEvent | EventsLost] = []
    published, arrived = threading.Event(), threading.Semaphore(0)

    def listener(each: ExecutionEvent | EventsLost) -> None:
        published.wait(GENEROUS)  # what comes after a stop is not taken
        news.append(each)
        arrived.release()

    def happens() -> None:
        subscription.publish(event(99))
        if then_stop:
            subscription.stop()

    with subscribed(listener) as subscription:
        queue = Looked(maxlen=10)
        queue.at = at
        queue.happens = happens
        subscription._events = queue
        for number in range(2):
            subscription.publish(event(number))
        published.set()
        for _ in range(3):
            assert arrived.acquire(timeout=GENEROUS)
    assert 99 in numbers(news)


def test_one_that_falls_behind_loses_the_oldest_and_is_told_how_many_before_the_next() -> None:
    gate = Gate()
    with subscribed(gate, buffer=2) as subscription:
        subscription.publish(event(0))
        gate.wait_until_entered()
        for number in range(1, 7):
            subscription.publish(event(number))
        gate.let_all_through()
    assert numbers(gate.news) == [0, EventsLost(4), 5, 6]
    assert subscription.lost == 4


def test_as_many_events_as_the_buffer_holds_may_wait_and_none_is_lost() -> None:
    gate = Gate()
    with subscribed(gate, buffer=3) as subscription:
        subscription.publish(event(0))
        gate.wait_until_entered()
        for number in range(1, 4):
            subscription.publish(event(number))
        gate.let_all_through()
    assert numbers(gate.news) == [0, 1, 2, 3]
    assert subscription.lost == 0


@given(
    buffer=st.integers(1, 4),
    bursts=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=8),
)
def test_delivered_and_lost_add_up_to_published_in_order_however_slow_the_listener_is(
    buffer: int, bursts: list[tuple[int, int]]
) -> None:
    gate = Gate()
    published = itertools.count()
    with subscribed(gate, buffer) as subscription:
        for burst, steps in bursts:
            for _ in range(burst):
                subscription.publish(event(next(published)))
            for _ in range(steps):
                gate.permits.release()
        gate.open = True
        for _ in range(sum(burst for burst, _ in bursts) * 2):
            gate.permits.release()

    expected = 0
    told = 0
    for each in numbers(gate.news):
        if isinstance(each, EventsLost):
            assert told == 0  # one telling per gap
            told = each.count
        else:
            assert each == expected + told  # the gap is as long as it was told to be
            expected, told = each + 1, 0
    assert told == 0
    assert expected == next(published)  # the newest is never the one that is lost
    assert subscription.lost == lost_in(gate.news)


@pytest.fixture
def _threads_switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_switch_often")
@pytest.mark.parametrize("buffer", [1, 7, 100_000])
def test_with_many_publishers_the_counts_are_exact_and_each_ones_order_is_kept(
    buffer: int,
) -> None:
    publishers, each = 4, 3000
    news: list[ExecutionEvent | EventsLost] = []
    begin = threading.Barrier(publishers)

    def publish(publisher: int) -> None:
        begin.wait(GENEROUS)
        for number in range(each):
            subscription.publish(event(publisher * each + number))

    with subscribed(news.append, buffer) as subscription:
        threads = [threading.Thread(target=publish, args=(which,)) for which in range(publishers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    delivered = [number for number in numbers(news) if not isinstance(number, EventsLost)]
    assert len(delivered) + lost_in(news) == publishers * each
    assert subscription.lost == lost_in(news)
    for publisher in range(publishers):
        own = [number for number in delivered if number // each == publisher]
        assert own == sorted(own)
    if buffer > publishers * each:
        assert lost_in(news) == 0


class _Awkward:
    """Raises on every event, and when it is asked for its name."""

    def __repr__(self) -> str:
        raise RuntimeError("no name for you")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self, _: object) -> None:
        raise SystemExit("not today")


def test_a_listener_that_raises_is_logged_by_name_with_its_traceback_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def raises_at_first(news: ExecutionEvent | EventsLost) -> None:
        calls.append(news)
        if len(calls) == 1:
            raise ValueError("at first")

    with subscribed(raises_at_first) as subscription:
        subscription.publish(event(0))
        subscription.publish(event(1))

    assert numbers(calls) == [0, 1]
    assert subscription.failures == 1
    (record,) = (record for record in caplog.records if record.name == "runtime")
    assert record.levelno == logging.ERROR
    assert "raises_at_first" in record.getMessage()
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "ValueError('at first')"


def test_a_listener_that_can_not_even_be_named_is_kept_whatever_it_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with subscribed(_Awkward()) as subscription:
        subscription.publish(event(0))
        subscription.publish(event(1))
    assert subscription.failures == 2
    assert "_Awkward" in caplog.text


def test_a_logging_handler_that_raises_does_not_end_the_listener() -> None:
    class Bad(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt(record.msg)

    handler = Bad()
    logging.getLogger("runtime").addHandler(handler)
    try:
        with subscribed(_Awkward()) as subscription:
            subscription.publish(event(0))
            subscription.publish(event(1))
    finally:
        logging.getLogger("runtime").removeHandler(handler)
    assert subscription.failures == 2


def test_close_delivers_what_was_published_before_and_nothing_after() -> None:
    gate = Gate()
    subscription = Subscription(gate)
    for number in range(3):
        subscription.publish(event(number))
    gate.wait_until_entered()
    subscription.close(timeout=0)
    subscription.publish(event(99))
    assert subscription.thread.is_alive()
    gate.let_all_through()
    subscription.close()
    subscription.close()
    subscription.publish(event(100))
    assert numbers(gate.news) == [0, 1, 2]
    assert not subscription.thread.is_alive()


def test_close_gives_up_waiting_at_its_timeout() -> None:
    gate = Gate()
    with subscribed(gate) as subscription:
        subscription.publish(event(0))
        gate.wait_until_entered()
        began = time.monotonic()
        subscription.close(timeout=0.05)
        assert 0.05 <= time.monotonic() - began < GENEROUS
        gate.let_all_through()


def test_a_listener_may_close_its_own_subscription_and_still_gets_the_rest() -> None:
    got = []
    queued = threading.Event()

    def closes(news: ExecutionEvent | EventsLost) -> None:
        got.append(news)
        assert queued.wait(GENEROUS)
        subscription.close()

    subscription = Subscription(closes)
    for number in range(3):
        subscription.publish(event(number))
    queued.set()
    subscription.close(GENEROUS)
    assert numbers(got) == [0, 1, 2]
    assert subscription.failures == 0
    assert not subscription.thread.is_alive()


def test_any_number_of_threads_may_close_it_at_once() -> None:
    gate = Gate()
    subscription = Subscription(gate)
    subscription.publish(event(0))
    gate.wait_until_entered()
    closers = [threading.Thread(target=subscription.close) for _ in range(4)]
    for closer in closers:
        closer.start()
    gate.let_all_through()
    for closer in closers:
        closer.join(GENEROUS)
        assert not closer.is_alive()
    assert not subscription.thread.is_alive()


def test_where_no_thread_can_be_had_the_next_event_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    news: list[ExecutionEvent | EventsLost] = []
    with subscribed(news.append) as subscription:
        with monkeypatch.context() as patch:
            patch.setattr(runtime.subscriptions, "start_new_thread", refused)
            subscription.publish(event(0))
        subscription.publish(event(1))
    assert numbers(news) == [0, 1]


def test_where_no_thread_can_be_had_to_the_end_the_events_are_counted_as_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(runtime.subscriptions, "start_new_thread", refused)
    with subscribed(print) as subscription:
        subscription.publish(event(0))
        subscription.publish(event(1))
    assert subscription.lost == 2


@pytest.mark.parametrize("buffer", [0, -1])
def test_a_buffer_below_one_is_refused_by_name_and_value(buffer: int) -> None:
    with pytest.raises(ValueError, match=rf"buffer .* {buffer}"):
        Subscription(print, buffer)


def test_a_listener_that_is_not_callable_is_refused() -> None:
    with pytest.raises(TypeError, match=r"callable.*'print'"):
        Subscription("print")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_bad_timeout_ends_nothing(timeout: float) -> None:
    news: list[ExecutionEvent | EventsLost] = []
    with subscribed(news.append) as subscription:
        with pytest.raises(ValueError, match="timeout"):
            subscription.close(timeout)
        subscription.publish(event(0))
    assert numbers(news) == [0]


def test_every_listener_gets_what_is_published_from_its_subscription_to_its_end() -> None:
    subscriptions = Subscriptions()
    one: list[ExecutionEvent | EventsLost] = []
    two: list[ExecutionEvent | EventsLost] = []
    assert not subscriptions.active
    first = subscriptions.subscribe(one.append)
    assert subscriptions.active
    announce(subscriptions, 0)
    subscriptions.subscribe(two.append)
    announce(subscriptions, 1)
    first.close()
    announce(subscriptions, 2)
    assert subscriptions.active
    assert subscriptions.close() == []
    assert not subscriptions.active
    assert numbers(one) == [0, 1]
    assert numbers(two) == [1, 2]


def test_whoever_publishes_is_not_disturbed_by_others_who_subscribe() -> None:
    subscriptions, news = Subscriptions(), list[ExecutionEvent | EventsLost]()

    def subscribe(publish: Callable[[ExecutionEvent], object]) -> None:
        one: Any = Mock(publish=publish)  # which has no thread
        subscriptions.open[one] = None

    subscribe(news.append)
    for _ in range(40):
        subscribe(id)
    with others_come_in(lambda: subscribe(id)) as tries:
        for number in tries:
            announce(subscriptions, number)
    assert numbers(news) == list(range(TRIES))


def test_closing_all_names_the_listeners_that_still_run_and_can_be_called_again() -> None:
    subscriptions = Subscriptions()
    gate = Gate()
    stuck = subscriptions.subscribe(gate)
    done = subscriptions.subscribe(lambda _: None)
    announce(subscriptions, 0)
    gate.wait_until_entered()
    assert subscriptions.close(time.monotonic() + 0.05) == [gate]
    gate.let_all_through()
    assert subscriptions.close(time.monotonic() + GENEROUS) == []
    assert not stuck.thread.is_alive()
    assert not done.thread.is_alive()


def test_closing_all_waits_for_one_that_was_closed_without_waiting() -> None:
    subscriptions = Subscriptions()
    gate = Gate()
    subscription = subscriptions.subscribe(gate)
    announce(subscriptions, 0)
    gate.wait_until_entered()
    subscription.close(timeout=0)
    assert subscriptions.close(time.monotonic()) == [gate]
    gate.let_all_through()
    assert subscriptions.close() == []


def test_a_listener_may_close_all_of_them() -> None:
    subscriptions = Subscriptions()
    still_running: list[list[Listener]] = []
    subscription = subscriptions.subscribe(lambda _: still_running.append(subscriptions.close()))
    announce(subscriptions, 0)
    subscription.join(time.monotonic() + GENEROUS)
    assert still_running == [[]]


def test_after_the_end_nobody_can_subscribe() -> None:
    subscriptions = Subscriptions()
    subscriptions.close()
    with pytest.raises(RuntimeError, match="closed"):
        subscriptions.subscribe(print)
    assert not subscriptions.active


def test_events_compare_by_identity_and_have_no_dict() -> None:
    assert event(1) != event(1)
    assert not hasattr(event(1), "__dict__")
