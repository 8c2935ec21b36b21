import logging
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from actors.system import CallingThreadDispatcher, Dispatcher, Future

PATIENCE = 20.0


@pytest.fixture
def fallback() -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(1, name="fallback")
    yield dispatcher
    assert dispatcher.shutdown(PATIENCE)


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function, name="caller")
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_job_runs_on_the_calling_thread_before_execute_returns(fallback: Dispatcher) -> None:
    dispatcher = CallingThreadDispatcher(fallback)
    names: list[str] = []

    def call() -> None:
        dispatcher.execute(lambda: names.append(threading.current_thread().name))
        names.append("returned")

    in_thread(call)
    assert names == ["caller", "returned"]


def test_a_job_executed_by_a_job_runs_after_it_and_a_million_of_them_are_fine(
    fallback: Dispatcher,
) -> None:
    dispatcher = CallingThreadDispatcher(fallback)
    inside = False
    count = 0

    def job() -> None:
        nonlocal inside, count
        assert not inside
        inside = True
        count += 1
        if count < 1_000_000:
            dispatcher.execute(job)
        inside = False

    in_thread(lambda: dispatcher.execute(job))
    assert count == 1_000_000


def test_jobs_of_one_thread_run_in_the_order_of_their_execution(fallback: Dispatcher) -> None:
    dispatcher = CallingThreadDispatcher(fallback)
    order: list[int] = []

    def job() -> None:
        for number in range(5):
            dispatcher.execute(lambda number=number: order.append(number))

    in_thread(lambda: dispatcher.execute(job))
    assert order == list(range(5))


def test_what_a_job_raises_is_logged_and_does_not_reach_the_caller(
    fallback: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = CallingThreadDispatcher(fallback)
    ran: list[int] = []

    def broken() -> None:
        dispatcher.execute(lambda: ran.append(1))
        raise SystemExit("no way")

    def call() -> None:
        dispatcher.execute(broken)
        ran.append(2)
        dispatcher.execute(lambda: ran.append(3))

    with caplog.at_level(logging.ERROR, "actors.system"):
        in_thread(call)
    assert ran == [1, 2, 3]
    assert "no way" in caplog.text


def test_where_ctrl_c_could_come_in_between_the_job_runs_elsewhere(fallback: Dispatcher) -> None:
    dispatcher = CallingThreadDispatcher(fallback)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        name: Future[str] = Future()
        dispatcher.execute(lambda: name.set(threading.current_thread().name))
        assert name.get(timeout=PATIENCE).startswith("fallback")
        signal.signal(signal.SIGINT, lambda *_: None)
        here: Future[str] = Future()
        dispatcher.execute(lambda: here.set(threading.current_thread().name))
        assert here.get(timeout=0) == threading.main_thread().name
    finally:
        signal.signal(signal.SIGINT, previous)


def test_after_shutdown_no_job_is_taken(fallback: Dispatcher) -> None:
    dispatcher = CallingThreadDispatcher(fallback)
    assert dispatcher.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        dispatcher.execute(pytest.fail)
    assert dispatcher.threads == []
