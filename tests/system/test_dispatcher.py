import logging
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.system import Clock, Dispatcher, Future, get_all
from actors.system.permits import Permits

PATIENCE = 20.0  # seconds that no test should ever need


def refuse_to_start(*_args: object) -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


def barrier_met(dispatcher: Dispatcher, parties: int) -> bool:
    """Whether so many jobs run at a time."""
    barrier = threading.Barrier(parties)
    met: list[Future[bool]] = [Future() for _ in range(parties)]
    for future in met:
        dispatcher.execute(lambda future=future: future.set(barrier.wait(PATIENCE) >= 0))
    return all(future.get(timeout=PATIENCE) for future in met)


def test_queued_jobs_start_in_the_order_of_arrival() -> None:
    dispatcher = Dispatcher(1)
    order: list[int] = []
    for number in range(1000):
        dispatcher.execute(lambda number=number: order.append(number))
    assert dispatcher.shutdown(PATIENCE)
    assert order == list(range(1000))


@pytest.mark.parametrize("workers", [1, 3])
def test_at_most_so_many_jobs_run_at_a_time_and_so_many_do(workers: int) -> None:
    dispatcher = Dispatcher(workers)
    running: list[None] = []
    most: list[int] = []

    def job() -> None:
        running.append(None)
        most.append(len(running))
        running.pop()

    for _ in range(2000):
        dispatcher.execute(job)
    assert barrier_met(dispatcher, workers)
    assert dispatcher.shutdown(PATIENCE)
    assert max(most) <= workers


def test_without_a_limit_every_job_gets_a_thread_at_once() -> None:
    dispatcher = Dispatcher()
    assert barrier_met(dispatcher, 200)
    assert dispatcher.shutdown(PATIENCE)
    assert dispatcher.threads == []


def test_threads_beyond_those_kept_idle_end_by_themselves() -> None:
    dispatcher = Dispatcher(keep_idle=0)
    hold = threading.Event()
    begun = threading.Barrier(101)
    for _ in range(100):
        dispatcher.execute(lambda: (begun.wait(PATIENCE), hold.wait(PATIENCE)))
    begun.wait(PATIENCE)
    threads = dispatcher.threads
    assert len(threads) == 100
    hold.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert dispatcher.threads == []
    assert barrier_met(dispatcher, 3)
    assert dispatcher.shutdown(PATIENCE)


@pytest.mark.parametrize("keep_idle", [0, 2])
def test_threads_that_linger_end_by_themselves_when_no_work_comes(keep_idle: int) -> None:
    dispatcher = Dispatcher(keep_idle=keep_idle, linger=0.001)
    begun = threading.Barrier(21)
    threads: list[threading.Thread] = []

    def job() -> None:
        threads.append(threading.current_thread())
        begun.wait(PATIENCE)

    for _ in range(20):
        dispatcher.execute(job)
    begun.wait(PATIENCE)
    wait_for_ends(threads, 20 - keep_idle)
    assert barrier_met(dispatcher, 3)
    assert dispatcher.shutdown(PATIENCE)


def wait_for_ends(threads: list[threading.Thread], count: int) -> None:
    """Return when *count* of *threads* have ended, whichever these are."""
    gone = threading.Semaphore(0)

    def join(thread: threading.Thread) -> None:
        thread.join()
        gone.release()

    for thread in threads:
        threading.Thread(target=join, args=(thread,), daemon=True).start()
    for _ in range(count):
        assert gone.acquire(timeout=PATIENCE)


def test_a_shutdown_does_not_wait_for_threads_that_linger() -> None:
    dispatcher = Dispatcher(keep_idle=0, linger=10 * PATIENCE)
    assert barrier_met(dispatcher, 20)
    assert dispatcher.shutdown(PATIENCE)
    assert dispatcher.threads == []


def test_an_idle_thread_is_used_before_a_new_one_is_started() -> None:
    dispatcher = Dispatcher()
    names: set[str] = set()
    for _ in range(50):
        done: Future[None] = Future()
        dispatcher.execute(lambda done=done: done.set(names.add(threading.current_thread().name)))
        done.get(timeout=PATIENCE)
    assert len(names) <= 3  # a worker needs a moment to get back into the line
    assert all(name.startswith("dispatcher-") for name in names)
    assert dispatcher.shutdown(PATIENCE)


def test_a_job_that_raises_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = Dispatcher(1)
    done: Future[str] = Future()
    threads: list[threading.Thread] = []

    def broken() -> None:
        threads.append(threading.current_thread())
        raise SystemExit("out of here")

    with caplog.at_level(logging.ERROR, "actors.system"):
        dispatcher.execute(broken)
        dispatcher.execute(lambda: done.set(threading.current_thread().name))
        assert done.get(timeout=PATIENCE) == threads[0].name
    assert "out of here" in caplog.text
    assert dispatcher.shutdown(PATIENCE)


def nest(dispatcher: Dispatcher, depth: int) -> Future[int]:
    result: Future[int] = Future()

    def job() -> None:
        result.set(1 + nest(dispatcher, depth - 1).get(timeout=PATIENCE) if depth else 0)

    dispatcher.execute(job)
    return result


@pytest.mark.parametrize("workers", [1, 2, None])
def test_waits_nested_a_thousand_deep_finish_with_any_number_of_workers(
    workers: int | None,
) -> None:
    dispatcher = Dispatcher(workers, keep_idle=2)
    assert nest(dispatcher, 1000).get(timeout=PATIENCE) == 1000
    assert dispatcher.shutdown(PATIENCE)
    assert dispatcher.threads == []


def test_a_job_that_blocks_does_not_count_until_it_goes_on() -> None:
    dispatcher = Dispatcher(1)
    waits, spare_ran, ended = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def waiter() -> None:
        with dispatcher.blocking(), dispatcher.blocking():
            waits.set()
            assert spare_ran.wait(PATIENCE)
        order.append("waiter goes on")
        assert ended.wait(PATIENCE)
        order.append("waiter ends")

    def spare() -> None:
        spare_ran.set()
        assert waits.wait(PATIENCE)

    dispatcher.execute(waiter)
    assert waits.wait(PATIENCE)
    dispatcher.execute(spare)
    assert spare_ran.wait(PATIENCE)
    dispatcher.execute(lambda: order.append("next"))
    ended.set()
    assert dispatcher.shutdown(PATIENCE)
    assert order.index("waiter goes on") < order.index("waiter ends")
    assert "next" in order


def test_one_job_too_many_holds_new_ones_back_until_there_is_room() -> None:
    dispatcher = Dispatcher(1)
    parked, resumed = threading.Event(), threading.Event()
    go_on, end_spare, end_first = threading.Event(), threading.Event(), threading.Event()
    ran: Future[bool] = Future()

    def first() -> None:
        with dispatcher.blocking():
            parked.set()
            assert go_on.wait(PATIENCE)
        resumed.set()
        assert end_first.wait(PATIENCE)

    spare_began, spare_done = threading.Event(), threading.Event()

    def spare() -> None:
        spare_began.set()
        assert end_spare.wait(PATIENCE)
        spare_done.set()

    dispatcher.execute(first)
    assert parked.wait(PATIENCE)
    dispatcher.execute(spare)
    assert spare_began.wait(PATIENCE)  # or it would wait for room itself
    go_on.set()
    assert resumed.wait(PATIENCE)  # two run now, where there is room for one
    dispatcher.execute(lambda: ran.set(end_first.is_set()))
    end_spare.set()
    assert spare_done.wait(PATIENCE)
    end_first.set()
    assert ran.get(timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)


def test_blocking_does_nothing_on_other_threads() -> None:
    dispatcher, other = Dispatcher(1), Dispatcher(1)
    with dispatcher.blocking(), dispatcher.keeping():
        pass
    done: Future[bool] = Future()

    def job() -> None:
        with other.blocking(), other.keeping():
            other.execute(lambda: done.set(threading.current_thread().name.startswith("other")))

    other.name = "other"
    dispatcher.execute(job)
    assert done.get(timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)
    assert other.shutdown(PATIENCE)
    assert other._permits is not None
    assert len(other._permits._free) == 1


def test_the_first_job_executed_while_keeping_is_run_next_by_the_same_worker() -> None:
    dispatcher = Dispatcher(1)
    order: list[str] = []
    names: list[str] = []
    executed = threading.Event()

    def closing() -> None:
        dispatcher.execute(lambda: order.append("queued"))
        with dispatcher.keeping():
            dispatcher.execute(note)
            dispatcher.execute(lambda: order.append("second"))
        dispatcher.execute(lambda: order.append("third"))
        names.append(threading.current_thread().name)
        executed.set()

    def note() -> None:
        order.append("kept")
        names.append(threading.current_thread().name)

    dispatcher.execute(closing)
    assert executed.wait(PATIENCE)
    assert dispatcher.shutdown(PATIENCE)
    assert order == ["kept", "queued", "second", "third"]
    assert names[0] == names[1]


def test_a_kept_job_is_let_go_when_its_worker_waits_after_all() -> None:
    for dispatcher in (Dispatcher(1), Dispatcher()):
        result: Future[str] = Future()
        read: Future[str] = Future()

        def closing(
            dispatcher: Dispatcher = dispatcher,
            result: Future[str] = result,
            read: Future[str] = read,
        ) -> None:
            with dispatcher.keeping():
                dispatcher.execute(lambda: result.set("done"))
                read.set(result.get(timeout=PATIENCE))

        dispatcher.execute(closing)
        assert read.get(timeout=PATIENCE) == "done"
        assert dispatcher.shutdown(PATIENCE)


@pytest.mark.parametrize("workers", [2, None])
def test_where_no_thread_can_be_had_jobs_wait_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    clock = Clock()
    warm: Future[None] = Future()
    clock.call_later(0, warm.set)
    warm.get(timeout=PATIENCE)
    dispatcher = Dispatcher(workers, clock=clock)
    done: list[Future[None]] = [Future() for _ in range(20)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        for future in done:
            dispatcher.execute(future.set)
        assert not any(future.done() for future in done)
        assert clock.pending == 1
    for future in done:  # by the timer, as nothing else happens
        future.get(timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)
    clock.close()


def test_a_start_is_tried_again_when_a_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    dispatcher = Dispatcher(3, clock=clock)
    begun, go_on = threading.Event(), threading.Event()
    dispatcher.execute(lambda: (begun.set(), go_on.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "call_later", refuse_to_start)
        patch.setattr(threading.Thread, "start", refuse_to_start)
        barrier = threading.Barrier(3)
        met: list[Future[int]] = [Future() for _ in range(3)]
        for future in met:
            dispatcher.execute(lambda future=future: future.set(barrier.wait(PATIENCE)))
    go_on.set()  # the one thread that there is ends its job, and brings two more
    assert sorted(future.get(timeout=PATIENCE) for future in met) == [0, 1, 2]
    assert dispatcher.shutdown(PATIENCE)
    clock.close()


def test_shutdown_runs_what_is_queued_even_if_no_thread_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    clock.start()
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
    dispatcher = Dispatcher(1, clock=clock)
    ran: list[int] = []
    for number in range(3):
        dispatcher.execute(lambda number=number: ran.append(number))
    assert dispatcher.shutdown(PATIENCE)
    assert ran == [0, 1, 2]
    clock.close()


def test_after_shutdown_no_job_is_taken() -> None:
    dispatcher = Dispatcher(1, name="closed one")
    assert dispatcher.shutdown()
    assert dispatcher.shutdown()
    with pytest.raises(RuntimeError, match="closed one"):
        dispatcher.execute(pytest.fail)


def test_shutdown_has_one_deadline_and_says_whether_it_was_enough() -> None:
    dispatcher = Dispatcher(4)
    hold = threading.Event()
    begun = threading.Barrier(5)
    for _ in range(4):
        dispatcher.execute(lambda: (begun.wait(PATIENCE), hold.wait(PATIENCE)))
    begun.wait(PATIENCE)
    assert not dispatcher.shutdown(0.01)
    assert len(dispatcher.threads) == 4
    hold.set()
    assert dispatcher.shutdown(PATIENCE)
    assert dispatcher.threads == []


@pytest.mark.parametrize("workers", [1, None])
def test_shutdown_from_a_job_waits_for_the_others_and_not_for_itself(workers: int | None) -> None:
    dispatcher = Dispatcher(workers)
    ended: Future[bool] = Future()
    ran: list[int] = []

    def job() -> None:
        dispatcher.execute(lambda: ran.append(1))
        ended.set(dispatcher.shutdown(PATIENCE))

    dispatcher.execute(job)
    assert ended.get(timeout=PATIENCE)
    assert ran == [1]
    assert dispatcher.shutdown(PATIENCE)


@given(
    workers=st.one_of(st.none(), st.integers(1, 3)),
    senders=st.integers(1, 4),
    keep_idle=st.integers(0, 2),
    steps=st.lists(st.sampled_from(["run", "block", "spawn", "keep"]), max_size=30),
)
def test_every_job_runs_exactly_once_whatever_the_jobs_do(  # noqa: C901 -- one scenario
    workers: int | None, senders: int, keep_idle: int, steps: list[str]
) -> None:
    dispatcher = Dispatcher(workers, keep_idle=keep_idle)
    ran: list[object] = []
    all_ran: Future[None] = Future()
    expected = senders * (len(steps) + sum(step in {"spawn", "keep"} for step in steps))

    def note(name: object) -> None:
        ran.append(name)
        if len(ran) == expected:
            all_ran.try_set()

    def job(step: str, name: object) -> Callable[[], None]:
        def run() -> None:
            if step == "block":
                with dispatcher.blocking():
                    note(name)
                return
            note(name)
            if step == "spawn":
                dispatcher.execute(job("run", (name, "child")))
            elif step == "keep":
                with dispatcher.keeping():
                    dispatcher.execute(job("block", (name, "child")))

        return run

    def send(sender: int) -> None:
        for number, step in enumerate(steps):
            dispatcher.execute(job(step, (sender, number)))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if expected:
        all_ran.get(timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)
    assert len(ran) == len(set(map(str, ran))) == expected
    if dispatcher._permits is not None:
        assert len(dispatcher._permits._free) == workers
        assert not dispatcher._permits.overdrawn


@given(st.lists(st.sampled_from(["take", "give", "overdraw"]), max_size=50), st.integers(1, 3))
def test_permits_count_like_a_number_that_may_become_negative(steps: list[str], free: int) -> None:
    permits, model = Permits(free), free
    for step in steps:
        if step == "take":
            assert permits.take() == (model > 0)
            model -= model > 0
        elif step == "give":
            permits.give()
            model += 1
        else:
            permits.overdraw()
            model -= 1
        assert permits.overdrawn == (model < 0)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": 1, "keep_idle": -1}, {"linger": -1}])
def test_a_dispatcher_without_workers_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Dispatcher(**wrong)


def test_a_job_that_comes_just_before_the_last_permit_is_given_back_is_not_left_lying() -> None:
    dispatcher = Dispatcher(1)
    late: Future[None] = Future()

    class JustBefore(Permits):
        """Lets a job arrive when the worker has seen an empty queue and still has its permit."""

        def give(self) -> None:
            if not late.done() and not dispatcher._queue:
                dispatcher.execute(late.set)
            super().give()

    dispatcher._permits = JustBefore(1)
    dispatcher.execute(lambda: None)
    late.get(timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)


def test_a_job_that_comes_while_another_finds_no_room_is_not_left_lying() -> None:
    dispatcher = Dispatcher(1)
    early, late = Future[None](), Future[None]()

    class InBetween(Permits):
        """All comes free, and a job is added, just after somebody has found no room."""

        met = False

        def take(self) -> bool:
            if not self.met:
                self.met = True
                dispatcher.execute(late.set)
                return False
            return super().take()

    dispatcher._permits = InBetween(1)
    dispatcher.execute(early.set)
    assert get_all([early, late], timeout=PATIENCE) == [None, None]
    assert dispatcher.shutdown(PATIENCE)


@pytest.mark.parametrize("workers", [2, None])
def test_one_worker_at_a_time_is_on_its_way_however_many_jobs_come(
    workers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = Dispatcher(workers)
    sent: list[None] = []
    send = dispatcher._send_worker

    def hold_back() -> bool:
        sent.append(None)
        return True

    monkeypatch.setattr(dispatcher, "_send_worker", hold_back)
    done = [Future[None]() for _ in range(100)]
    for future in done:
        dispatcher.execute(future.set)
    assert len(sent) == 1
    monkeypatch.undo()
    send()
    get_all(done, timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)


def test_a_job_that_asks_to_go_on_later_is_run_by_the_same_thread_behind_the_others() -> None:
    dispatcher = Dispatcher(1)
    ran: list[str] = []
    over: Future[set[int]] = Future()
    threads: set[int] = set()

    def again() -> None:
        threads.add(threading.get_ident())
        ran.append("again")
        if len(ran) == 1:
            dispatcher.execute(lambda: ran.append("other"))
            dispatcher.requeue(again)
        else:
            over.set(threads)

    dispatcher.requeue(again)
    assert len(over.get(timeout=PATIENCE)) == 1
    assert ran == ["again", "other", "again"]
    assert dispatcher.shutdown(PATIENCE)
