import asyncio
import gc
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pykka._envelope import Envelope

from actors.system import (
    ActorSystem,
    CallingThreadDispatcher,
    Dispatcher,
    Future,
    PooledActor,
    default_system,
)
from actors.system.mailbox import BATCH

PATIENCE = 20.0  # seconds that no test should ever need


class Echo(PooledActor):
    def on_receive(self, message: Any) -> Any:
        return message() if callable(message) else message


class Collector(PooledActor):
    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def on_receive(self, message: Any) -> Any:
        if message is list:
            return list(self.received)
        self.received.append(message)
        return None


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    with ActorSystem(2) as system:
        yield system


@given(
    senders=st.integers(1, 4),
    messages=st.integers(0, 300),
    workers=st.integers(1, 3),
    inline=st.booleans(),
)
def test_each_senders_messages_arrive_once_and_in_its_order(
    senders: int, messages: int, workers: int, inline: bool
) -> None:
    fallback = Dispatcher(workers)
    dispatcher = CallingThreadDispatcher(fallback) if inline else fallback
    with ActorSystem(dispatcher=dispatcher) as system:
        ref = system.spawn(Collector)

        def send(sender: int) -> None:
            for number in range(messages):
                ref.tell([sender, number])

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        received = ref.ask(list, timeout=PATIENCE)
    assert fallback.shutdown(PATIENCE)
    for sender in range(senders):
        mine = [number for who, number in received if who == sender]
        assert mine == list(range(messages))
    assert len(received) == senders * messages


@given(asks=st.integers(1, 60), tells=st.integers(0, 60), inline=st.booleans())
def test_no_message_that_races_with_stop_is_lost_or_left_unanswered(
    asks: int, tells: int, inline: bool
) -> None:
    fallback = Dispatcher(2)
    dispatcher = CallingThreadDispatcher(fallback) if inline else fallback
    with ActorSystem(dispatcher=dispatcher) as system:
        ref = system.spawn(Echo)
        seen: list[int] = []
        start = threading.Barrier(3)
        replies: list[pykka.Future[Any]] = []
        stops: list[pykka.Future[bool]] = []
        refused: list[int] = []

        def ask() -> None:
            start.wait(PATIENCE)
            replies.extend(ref.ask(number, block=False) for number in range(asks))

        def tell() -> None:
            start.wait(PATIENCE)
            for number in range(tells):
                try:
                    ref.tell(lambda number=number: seen.append(number))
                except pykka.ActorDeadError:
                    refused.append(number)

        threads = [threading.Thread(target=ask), threading.Thread(target=tell)]
        for thread in threads:
            thread.start()
        start.wait(PATIENCE)
        stops.extend(ref.stop(block=False) for _ in range(3))
        for thread in threads:
            thread.join(PATIENCE)
        assert stops[0].get(timeout=PATIENCE)
        answers: list[Any] = []
        for number, reply in enumerate(replies):
            try:
                assert reply.get(timeout=PATIENCE) == number
                answers.append(True)
            except pykka.ActorDeadError:
                answers.append(False)
        assert answers == sorted(answers, reverse=True)  # none is handled after one refused
        assert seen == list(range(len(seen)))
        for stop in stops:
            assert stop.get(timeout=PATIENCE) in {True, False}
        assert len(seen) + system.dead_letters == tells
        assert len(refused) <= system.dead_letters
    assert fallback.shutdown(PATIENCE)


def test_messages_sent_in_init_wait_until_the_actor_has_started(system: ActorSystem) -> None:
    class Eager(Collector):
        def __init__(self) -> None:
            super().__init__()
            self.actor_ref.tell("from init")

        def on_start(self) -> None:
            self.received.append("start")

    assert system.spawn(Eager).ask(list, timeout=PATIENCE) == ["start", "from init"]


@pytest.mark.parametrize("inline", [False, True])
def test_a_mailbox_that_is_never_empty_does_not_starve_the_others(inline: bool) -> None:
    class Busy(PooledActor):
        turns = 0
        enough = False

        def on_receive(self, message: Any) -> Any:
            if message == "go":
                self.actor_ref.tell("go" if not self.enough else "end")
                self.turns += 1
                if self.turns == 3 * BATCH:
                    other.tell(self.end)
            return self.turns

        def end(self) -> None:
            self.enough = True
            ended.set(self.turns)

    ended: Future[int] = Future()
    fallback = Dispatcher(1)
    dispatcher = CallingThreadDispatcher(fallback) if inline else fallback
    with ActorSystem(dispatcher=dispatcher) as system:
        other = system.spawn(Echo)
        busy = system.spawn(Busy)
        thread = threading.Thread(target=busy.tell, args=("go",))
        thread.start()
        assert ended.get(timeout=PATIENCE) <= 4 * BATCH
        thread.join(PATIENCE)
    assert fallback.shutdown(PATIENCE)


def test_a_message_may_be_sent_while_the_mailbox_is_in_the_middle_of_putting_one(
    system: ActorSystem,
) -> None:
    """As a signal handler or ``__del__`` does."""
    ref = system.spawn(Collector)
    inbox = ref.actor_inbox

    class Reentrant(list[Any]):
        def append(self, message: Any) -> None:
            messages.append(message)
            if message == "outer":
                ref.tell("inner")

    messages = inbox._messages
    inbox._idle.pop()  # as if a run were scheduled
    inbox._messages = Reentrant()  # type: ignore[assignment]
    ref.tell("outer")
    inbox._messages = messages
    inbox()
    assert ref.ask(list, timeout=PATIENCE) == ["outer", "inner"]


def test_ctrl_c_between_putting_a_message_and_scheduling_does_not_strand_it(
    system: ActorSystem,
) -> None:
    ref = system.spawn(Collector)
    inbox = ref.actor_inbox
    assert ref.ask(list, timeout=PATIENCE) == []
    messages = inbox._messages

    class Interrupted(list[Any]):
        def append(self, message: Any) -> None:
            messages.append(message)
            inbox._messages = messages
            raise KeyboardInterrupt

    inbox._messages = Interrupted()  # type: ignore[assignment]
    reply = Future[Any]()
    with pytest.raises(KeyboardInterrupt):
        inbox.put(Envelope("told", reply))
    assert reply.get(timeout=PATIENCE) is None


def test_an_envelope_told_as_a_message_arrives_as_it_is(system: ActorSystem) -> None:
    message = Envelope("inside")
    ref = system.spawn(Collector)
    ref.tell(message)
    assert ref.ask(list, timeout=PATIENCE)[0] is message


def test_a_mailbox_is_an_inbox_of_pykka() -> None:
    inbox = PooledActor._create_actor_inbox()
    assert inbox.empty()
    inbox.put(Envelope(1))
    inbox.tell(2)
    assert not inbox.empty()
    assert [inbox.get().message, inbox.get().message] == [1, 2]
    with pytest.raises(IndexError):
        inbox.get()


def test_stop_returns_when_all_is_over_and_its_future_resolves_unread(system: ActorSystem) -> None:
    events: list[str] = []

    class Last(PooledActor):
        def on_stop(self) -> None:
            events.append("on_stop")

    ref = system.spawn(Last)
    told: Future[bool] = Future()
    ref.stop(block=False).add_done_callback(lambda done: told.set(done.get()))
    assert told.get(timeout=PATIENCE) is True
    assert events == ["on_stop"]
    assert system.actors == 0
    assert ref.stop() is False
    assert ref.stop(block=False).get(timeout=0) is False


def test_an_exception_goes_to_who_asked_and_the_actor_lives_on(system: ActorSystem) -> None:
    def fail() -> None:
        raise LookupError("for you")

    ref = system.spawn(Echo)
    with pytest.raises(LookupError, match="for you"):
        ref.ask(fail, timeout=PATIENCE)
    assert ref.ask(1, timeout=PATIENCE) == 1


@pytest.mark.pykka_errors_expected
def test_an_exception_for_nobody_ends_the_actor_and_calls_on_failure(system: ActorSystem) -> None:
    failed: Future[object] = Future()

    class Failing(Echo):
        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            failed.set((exception_type, str(exception_value), traceback is not None))

    def fail() -> None:
        raise LookupError("for none")

    ref = system.spawn(Failing)
    ref.tell(fail)
    assert failed.get(timeout=PATIENCE) == (LookupError, "for none", True)
    assert ref.actor_stopped.wait(PATIENCE)
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError, match="Failing"):
        ref.tell(1)


@pytest.mark.pykka_errors_expected
@pytest.mark.parametrize("hook", ["on_start", "on_receive", "on_stop", "on_failure"])
def test_a_base_exception_ends_all_actors_and_is_the_answer(hook: str) -> None:
    class Crashing(Echo):
        pass

    def crash(*_args: object) -> None:
        raise SystemExit(hook)

    def fail() -> None:
        raise LookupError

    setattr(Crashing, hook, crash)
    system = ActorSystem(2)
    bystander, outsider = system.spawn(Echo), Echo.start()
    crashing = system.spawn(Crashing)
    if hook == "on_failure":
        del Crashing.on_failure
        Crashing.on_failure = crash  # type: ignore[method-assign, assignment]
        crashing.tell(fail)
    elif hook == "on_receive":
        with pytest.raises(SystemExit):
            crashing.ask(1, timeout=PATIENCE)
    elif hook == "on_stop":
        crashing.stop(block=False)
    assert bystander.actor_stopped.wait(PATIENCE)
    assert outsider.is_alive()
    outsider.stop(timeout=PATIENCE)
    system.stop(PATIENCE)


def test_a_base_exception_in_a_started_actor_ends_those_in_pykkas_registry() -> None:
    other, crashing = Echo.start(), Echo.start()

    def crash() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        crashing.ask(crash, timeout=PATIENCE)
    assert other.actor_stopped.wait(PATIENCE)


def test_an_actor_asking_another_never_uses_up_the_workers() -> None:
    class Asking(PooledActor):
        def on_receive(self, message: Any) -> Any:
            if message == 0:
                return 0
            child = system.spawn(Asking)
            return 1 + child.ask(message - 1)

    with ActorSystem(1) as system:
        assert system.spawn(Asking).ask(100, timeout=PATIENCE) == 100


def test_a_started_actor_is_in_pykkas_registry_and_a_spawned_one_is_not(
    system: ActorSystem,
) -> None:
    started, spawned = Echo.start(), system.spawn(Echo)
    assert pykka.ActorRegistry.get_by_urn(started.actor_urn) is started
    assert spawned not in pykka.ActorRegistry.get_all()
    assert all(pykka.ActorRegistry.stop_all(timeout=PATIENCE))
    assert spawned.is_alive()
    assert pykka.ActorRegistry.get_all() == []


def test_actors_that_block_their_threads_do_not_keep_started_ones_from_running() -> None:
    """As every ``ThreadingActor`` may: with a socket, a queue, an event."""
    together = threading.Barrier(60)
    refs = [Echo.start() for _ in range(60)]
    replies = [ref.ask(lambda: together.wait(PATIENCE), block=False) for ref in refs]
    assert sorted(reply.get(timeout=PATIENCE) for reply in replies) == list(range(60))
    pykka.ActorRegistry.stop_all(timeout=PATIENCE)


def test_a_urn_is_the_same_for_all_who_ask(system: ActorSystem) -> None:
    ref = system.spawn(Echo)
    urns: list[str] = []
    start = threading.Barrier(4)

    def read() -> None:
        start.wait(PATIENCE)
        urns.append(ref.actor_urn)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert set(urns) == {ref.actor_urn}
    assert uuid.UUID(ref.actor_urn).version == 4
    assert ref.proxy().actor_urn.get(timeout=PATIENCE) == ref.actor_urn


def test_a_proxy_works_as_pykkas(system: ActorSystem) -> None:
    class Counter(PooledActor):
        count = 0

        def add(self, number: int) -> int:
            self.count += number
            return self.count

    proxy = system.spawn(Counter).proxy()
    assert proxy.add(2).get(timeout=PATIENCE) == 2
    proxy.count = 10
    proxy.add.defer(1)
    assert proxy.count.get(timeout=PATIENCE) == 11

    async def main() -> int:
        return await proxy.add(1)

    assert asyncio.run(main()) == 12


def test_the_stopped_flag_is_an_event(system: ActorSystem) -> None:
    ref = system.spawn(Echo)
    stopped = ref.actor_stopped
    assert isinstance(stopped, threading.Event)
    assert not stopped.wait(0)
    assert not stopped.wait(0.001)
    waited: Future[bool] = Future()
    thread = threading.Thread(target=lambda: waited.set(stopped.wait(PATIENCE)))
    thread.start()
    ref.stop(timeout=PATIENCE)
    assert waited.get(timeout=PATIENCE)
    assert stopped.wait()
    assert "unset" not in repr(stopped)
    stopped.clear()
    assert "unset" in repr(stopped)
    thread.join(PATIENCE)


def test_an_actor_that_has_ended_is_let_go_though_its_reference_is_kept(
    system: ActorSystem,
) -> None:
    ref = system.spawn(Echo)
    actor = ref._actor_weakref
    gc.collect()
    assert actor() is not None
    assert ref.stop(timeout=PATIENCE)
    done: Future[None] = Future()
    system.spawn(Echo).ask(done.set, timeout=PATIENCE)
    gc.collect()
    system.stop(PATIENCE)
    assert actor() is None


def test_a_stopped_default_system_is_replaced() -> None:
    first = default_system()
    ref = Echo.start()
    first.stop(PATIENCE)
    assert not ref.is_alive()
    assert first.dispatcher.threads == []
    other = Echo.start()
    assert other.ask(1, timeout=PATIENCE) == 1
    other.stop(timeout=PATIENCE)
    assert default_system() is not first


def test_a_message_put_just_before_a_run_gives_up_is_not_left_lying(system: ActorSystem) -> None:
    ref = system.spawn(Collector)
    inbox = ref.actor_inbox
    assert ref.ask(list, timeout=PATIENCE) == []
    flag = inbox._idle
    late: Future[Any] = Future()

    class Flag(list[None]):
        """Lets a message arrive when the run has seen an empty queue and still has the flag."""

        def __bool__(self) -> bool:
            return bool(flag)

        def pop(self, *_index: Any) -> None:
            flag.pop()

        def append(self, token: None) -> None:
            inbox._idle = flag
            inbox.put(Envelope("late", late))
            flag.append(token)

    inbox._idle = Flag()
    ref.tell("early")
    assert late.get(timeout=PATIENCE) is None
    assert ref.ask(list, timeout=PATIENCE) == ["early", "late"]


def test_a_message_put_aside_is_handled_in_its_order_with_the_next_one(
    system: ActorSystem,
) -> None:
    ref = system.spawn(Collector)
    assert ref.ask(list, timeout=PATIENCE) == []
    ref.actor_inbox.put_aside("first")
    assert not ref.actor_inbox.empty()  # nobody is sent for it
    ref.tell("second")
    ref.actor_inbox.put_aside("third")
    assert ref.ask(list, timeout=PATIENCE) == ["first", "second", "third"]


def test_a_message_put_aside_is_handled_when_somebody_looks(system: ActorSystem) -> None:
    ref = system.spawn(Collector)
    reply: Future[Any] = Future()
    ref.actor_inbox.put_aside(Envelope("told", reply))
    ref.actor_inbox.look()
    assert reply.get(timeout=PATIENCE) is None
    assert ref.actor_inbox.empty()


def test_a_message_put_aside_just_before_a_run_gives_up_is_not_left_lying(
    system: ActorSystem,
) -> None:
    ref = system.spawn(Collector)
    inbox = ref.actor_inbox
    assert ref.ask(list, timeout=PATIENCE) == []
    flag = inbox._idle
    late: Future[Any] = Future()

    class Flag(list[None]):
        def __bool__(self) -> bool:
            return bool(flag)

        def pop(self, *_index: Any) -> None:
            flag.pop()

        def append(self, token: None) -> None:
            inbox._idle = flag
            inbox.put_aside(Envelope("late", late))
            flag.append(token)

    inbox._idle = Flag()
    ref.tell("early")
    assert late.get(timeout=PATIENCE) is None


def test_a_message_put_aside_for_a_dead_actor_is_a_dead_letter(system: ActorSystem) -> None:
    ref = system.spawn(Echo)
    assert ref.stop(timeout=PATIENCE)
    ref.actor_inbox.put_aside("late")
    assert ref.actor_inbox.empty()
    assert system.dead_letters == 1


def test_a_closed_mailbox_answers_what_is_put_into_it(system: ActorSystem) -> None:
    """As when the sender saw the actor alive and put its message after the end."""
    ref = system.spawn(Echo)
    assert ref.stop(timeout=PATIENCE)
    question, stop = Future[Any](), Future[Any]()
    ref.actor_inbox.put(Envelope("late", question))
    ref.actor_inbox.put(Envelope(pykka.messages._ActorStop(), stop))
    ref.actor_inbox.tell("late")
    ref.actor_inbox.tell(pykka.messages._ActorStop())
    with pytest.raises(pykka.ActorDeadError, match="Echo"):
        question.get(timeout=0)
    assert stop.get(timeout=0) is True
    assert system.dead_letters == 1


def test_a_reply_that_somebody_else_has_given_harms_nobody(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    ref = system.spawn(Echo)
    taken: Future[Any] = Future()
    taken.set("mine")
    ref.actor_inbox.put(Envelope("theirs", taken))
    assert ref.ask(1, timeout=PATIENCE) == 1
    assert "had been answered" in caplog.text
    assert taken.get() == "mine"


def test_when_a_stop_is_answered_so_is_all_that_came_after_it(system: ActorSystem) -> None:
    ref = system.spawn(Echo)
    hold = threading.Event()
    ref.tell(lambda: hold.wait(PATIENCE))
    stop = ref.stop(block=False)
    late = ref.ask("late", block=False)
    seen: Future[object] = Future()
    stop.add_done_callback(lambda _: seen.set((late.done(), system.actors)))
    hold.set()
    assert seen.get(timeout=PATIENCE) == (True, 0)
