"""Futures, mailboxes and workers, interleaved line by line: nothing is lost, nothing is twice."""

from __future__ import annotations

import threading
import time
from typing import Any

import pykka
from hypothesis import given, settings
from hypothesis import strategies as st
from pykka._envelope import Envelope

from actors.system import Dispatcher, Future
from actors.system.mailbox import Mailbox
from actors.system.stopped import StoppedFlag
from runtime.simulation import Schedule
from tests.simulation.interleaving import Stepped, stepped
from tests.simulation.schedules import orders

few = st.integers(1, 2)
many = settings(max_examples=300)  # short ones: a window of one line is narrow


@many
@given(few, few, st.integers(0, 2), orders())
def test_1_2_a_future_is_resolved_once_and_everyone_hears_of_it_once(
    resolvers: int, readers: int, callbacks: int, schedule: Any
) -> None:
    future: Future[int] = Future()
    won: list[int] = []
    read: list[int] = []
    heard: list[tuple[int, int]] = []
    with stepped(schedule) as tasks:
        for number in range(resolvers):
            tasks.start(lambda number=number: future.try_set(number) and won.append(number))
        for _ in range(readers):
            tasks.start(lambda: read.append(future.get()))
        for number in range(callbacks):
            tasks.start(
                lambda number=number: future.add_done_callback(
                    lambda done: heard.append((number, done.get()))
                )
            )
        tasks.join()
    assert len(won) == 1
    assert read == won * readers
    assert sorted(heard) == [(number, won[0]) for number in range(callbacks)]
    assert not future._callbacks


@given(st.integers(0, 2**32))
def test_8_who_registers_as_a_future_is_resolved_is_told_once(seed: int) -> None:
    for more in range(4):  # both have a line or two at which they may find each other
        register_as_it_is_resolved(Schedule.seeded(seed + more, modes=["uniform", "pct-3"]))


def register_as_it_is_resolved(schedule: Any) -> None:
    future: Future[int] = Future()
    heard: list[int] = []
    with stepped(schedule, clock="jump") as tasks:
        tasks.start(lambda: future.set(1))
        tasks.start(lambda: future.add_done_callback(lambda done: heard.append(done.get())))
        tasks.join()
    assert heard == [1]
    assert not future._callbacks


@many
@given(few, orders())
def test_6_a_waiter_that_gave_up_is_forgotten(waiters: int, schedule: Any) -> None:
    future: Future[int] = Future()
    told: list[str] = []

    def wait() -> None:
        try:
            told.append(str(future.get(timeout=1)))
        except pykka.Timeout:
            told.append("timeout")

    with stepped(schedule) as tasks:
        for _ in range(waiters):
            tasks.start(wait)
        tasks.join()
        assert not future._callbacks
        future.set(1)
    assert told == ["timeout"] * waiters


class Receiver:
    """An actor, as a mailbox sees it."""

    _actor_runs_user_code = False
    _actor_has_begin = True

    _actor_takes_plain = True

    def __init__(self, stops_after: int | None) -> None:
        self.actor_stopped = StoppedFlag()
        self.got: list[Any] = []
        self.ended = 0
        self._stops_after = stops_after

    def _actor_begin(self) -> None:
        """Nothing to do."""

    def _actor_receive(self, message: Any, reply: Any) -> None:
        self.got.append(message)
        if reply is not None:
            reply.set("handled")
        if len(self.got) == self._stops_after:
            self.actor_stopped.set()

    def on_receive(self, message: Any) -> None:
        self._actor_receive(message, None)
        raise ZeroDivisionError

    def _actor_raised(self, error: BaseException, message: Any) -> None:
        assert message is self.got[-1]
        assert isinstance(error, ZeroDivisionError)

    def _actor_abandon(self) -> None:
        raise AssertionError("its home takes every job")

    def _actor_end(self) -> None:
        self.ended += 1


class Home:
    """Runs each job on a task of its own."""

    def __init__(self, tasks: Stepped) -> None:
        self._tasks = tasks
        self.dead_letters = 0

    def execute(self, job: Any) -> None:
        self._tasks.start(job)

    requeue = execute
    relay = None
    closed = False

    def on_dead_letter(self) -> None:
        self.dead_letters += 1

    def on_ended(self, ref: Any) -> None:
        """Nothing to do."""

    def ask_all_to_stop(self) -> None:
        """Nothing to do."""


@many
@given(st.lists(few, min_size=1, max_size=3), st.none() | st.integers(1, 3), orders())
def test_2_20_no_message_is_lost_reordered_or_left_unanswered(
    counts: list[int], stops_after: int | None, schedule: Any
) -> None:
    deliver(counts, stops_after, schedule)


@many
@given(st.integers(2, 3), st.integers(0, 2**32))
def test_20_a_message_that_meets_the_end_of_its_actor_is_answered(senders: int, seed: int) -> None:
    for more in range(3):  # one sender is held up until the very end: a matter of priorities
        deliver([1] * senders, 1, Schedule.seeded(seed + more, modes=["pct-2"], length=60))


def deliver(counts: list[int], stops_after: int | None, schedule: Any) -> None:
    """Send so many messages from each sender to an actor that may stop, and look at all of them.

    Every other one is told, and raises.
    """
    receiver, replies = Receiver(stops_after), list[Future[Any]]()
    with stepped(schedule) as tasks:
        home, mailbox = Home(tasks), Mailbox()
        mailbox.start(receiver, home, lambda: "the actor")

        def send(sender: int, count: int) -> None:
            for number in range(count):
                if (sender + number) % 2:
                    mailbox.tell(f"{sender} {number}")
                    continue
                reply: Future[Any] = Future()
                replies.append(reply)
                mailbox.put(Envelope(f"{sender} {number}", reply))

        for sender, count in enumerate(counts):
            tasks.start(lambda sender=sender, count=count: send(sender, count))
        tasks.join()
    assert all(reply.done() for reply in replies)
    assert len(set(receiver.got)) == len(receiver.got)
    got = [tuple(map(int, message.split())) for message in receiver.got]
    told = sum(
        (sender + number) % 2 for sender, count in enumerate(counts) for number in range(count)
    )
    assert home.dead_letters == told - sum(sum(message) % 2 for message in got)
    for sender, count in enumerate(counts):
        mine = [number for who, number in got if who == sender]
        assert mine == list(range(len(mine)))
        if stops_after is None:
            assert len(mine) == count
    if stops_after is not None:
        assert len(receiver.got) == min(stops_after, sum(counts))
    assert receiver.ended == (receiver.actor_stopped.is_set())


def stepped_dispatcher(tasks: Stepped, workers: int) -> Dispatcher:
    """One whose threads are stepped too."""
    dispatcher = Dispatcher(workers, name="stepped")
    serve = dispatcher._serve
    dispatcher._serve = lambda worker: tasks.wrap(lambda: serve(worker))()  # type: ignore[method-assign]
    return dispatcher


@many
@given(few, st.lists(st.sampled_from(["plain", "waits", "leaves"]), max_size=4), orders())
def test_12_15_every_job_runs_once_and_every_permit_comes_back(
    workers: int, kinds: list[str], schedule: Any
) -> None:
    ran: list[str] = []
    with stepped(schedule) as tasks:
        dispatcher = stepped_dispatcher(tasks, workers)

        def job(name: str) -> None:
            ran.append(name)

        def waits(name: str) -> None:
            over = threading.Event()
            dispatcher.execute(tasks.wrap(over.set))
            with dispatcher.blocking():
                over.wait()
            ran.append(name)

        def leaves(name: str) -> None:
            over = threading.Event()
            with dispatcher.keeping():
                dispatcher.execute(tasks.wrap(over.set))
            with dispatcher.blocking():
                over.wait()
            ran.append(name)

        functions = {"plain": job, "waits": waits, "leaves": leaves}

        def send(name: str, kind: str) -> None:
            dispatcher.execute(tasks.wrap(lambda: functions[kind](name)))

        for place, kind in enumerate(kinds):
            tasks.start(lambda place=place, kind=kind: send(f"{place} {kind}", kind))
        tasks.join()
        for _ in range(20):  # all that can run does, and much more than once
            if len(ran) < len(kinds):
                threading.Event().wait(1)
        assert len(ran) == len(kinds)
        assert dispatcher.shutdown()
    assert sorted(ran) == sorted(f"{place} {kind}" for place, kind in enumerate(kinds))
    permits = dispatcher._permits
    assert permits is not None
    assert (len(permits._free), len(permits._debts)) == (workers, 0)


@given(st.integers(0, 2**32))
def test_2_a_job_that_is_left_to_another_who_adds_one_is_run(seed: int) -> None:
    for more in range(3):  # one who adds is held up until the very end: a matter of priorities
        leave_to_another(Schedule.seeded(seed + more, modes=["pct-2"], length=60))


def leave_to_another(schedule: Any) -> None:
    """Somebody adds a job while the only worker is in one, and is slow to see that it has ended."""
    ran: list[int] = []
    with stepped(schedule, clock="jump") as tasks:
        dispatcher = stepped_dispatcher(tasks, 1)
        begun, goes_on, second = threading.Event(), threading.Event(), threading.Event()

        def first_job() -> None:
            begun.set()
            goes_on.wait()

        def add() -> None:
            begun.wait()
            dispatcher.execute(second.set)

        def add_another() -> None:
            begun.wait()
            goes_on.set()
            second.wait()
            dispatcher.execute(lambda: ran.append(3))

        dispatcher.execute(first_job)
        tasks.start(add)
        tasks.start(add_another)
        tasks.join()
        time.sleep(1.0)  # all that can run does
        assert ran == [3]
        assert dispatcher.shutdown()


@given(st.integers(1, 3), orders())
def test_15_a_worker_too_many_takes_no_further_job(jobs: int, schedule: Any) -> None:
    began: list[float] = []
    with stepped(schedule, clock="jump") as tasks:
        dispatcher = stepped_dispatcher(tasks, 1)

        def comes_back() -> None:
            with dispatcher.blocking():
                time.sleep(1.0)
            time.sleep(10.0)  # at work beside the spare thread, which is in a job

        def job() -> None:
            began.append(time.monotonic())
            time.sleep(2.0)

        for each in (comes_back, *[job] * jobs):
            dispatcher.execute(tasks.wrap(each))
        time.sleep(30.0)
        assert dispatcher.shutdown()
    assert began == [0.0, 11.0, 13.0][:jobs]
