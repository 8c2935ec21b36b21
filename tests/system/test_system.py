import threading
from contextlib import suppress
from typing import Any

import pykka
import pytest

from actors.system import (
    ActorSystem,
    Clock,
    Dispatcher,
    Future,
    PooledActor,
    StopTimeoutError,
)

PATIENCE = 20.0  # seconds that no test should ever need


class Echo(PooledActor):
    def on_receive(self, message: Any) -> Any:
        return message() if callable(message) else message


def threads_of(system: ActorSystem) -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(system.name)]


def test_after_stop_no_actor_and_no_thread_is_left() -> None:
    system = ActorSystem(4, name="mine")
    refs = [system.spawn(Echo) for _ in range(50)]
    assert [ref.ask(1, timeout=PATIENCE) for ref in refs] == [1] * 50
    system.clock.call_later(3600, pytest.fail)
    assert threads_of(system)
    assert "mine" in repr(system)
    system.stop(PATIENCE)
    system.stop(PATIENCE)
    assert system.actors == 0
    assert not any(ref.is_alive() for ref in refs)
    assert threads_of(system) == []
    assert system.clock.pending == 0


@pytest.mark.parametrize("begins", [False, True], ids=["without on_start", "with on_start"])
def test_what_an_actor_is_sent_before_it_is_launched_comes_first(begins: bool) -> None:
    class Early(Echo):
        def on_start(self) -> None:
            """Makes a turn to begin with."""

    actor = Early() if begins else Echo()
    order: list[int] = []
    ref = actor.actor_ref
    first = ref.ask(lambda: order.append(1), block=False)
    system = ActorSystem(1)
    system.launch(actor)
    first.get(timeout=PATIENCE)  # nothing that comes later has it handled
    ref.ask(lambda: order.append(2), timeout=PATIENCE)
    assert order == [1, 2]
    system.stop(PATIENCE)


def test_actors_are_asked_to_stop_latest_first() -> None:
    order: list[int] = []

    class Numbered(PooledActor):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def on_stop(self) -> None:
            order.append(self.number)

    system = ActorSystem(1)
    for number in range(5):
        system.spawn(Numbered, number=number).ask(0, timeout=PATIENCE)
    system.stop(PATIENCE)
    assert order == [4, 3, 2, 1, 0]


def test_what_was_sent_before_the_stop_is_handled() -> None:
    seen: list[int] = []
    with ActorSystem(2) as system:
        ref = system.spawn(Echo)
        for number in range(500):
            ref.tell(lambda number=number: seen.append(number))
    assert seen == list(range(500))
    assert system.dead_letters == 0


def test_a_stop_that_takes_too_long_names_the_busy_actors_and_can_be_repeated() -> None:
    system = ActorSystem(2, name="busy one")
    begun, go_on = threading.Event(), threading.Event()
    idle, busy = system.spawn(Echo), system.spawn(Echo)
    assert idle.ask(1, timeout=PATIENCE) == 1
    busy.tell(lambda: (begun.set(), go_on.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    assert idle.stop(timeout=PATIENCE)
    with pytest.raises(StopTimeoutError, match=r"Echo \(urn:uuid:") as caught:
        system.stop(0.01)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.busy == (str(busy),)
    assert "busy one" in str(caught.value)
    go_on.set()
    system.stop(PATIENCE)


def test_a_stop_that_waits_for_another_job_names_its_thread() -> None:
    system = ActorSystem(2, name="job")
    begun, go_on = threading.Event(), threading.Event()
    system.dispatcher.execute(lambda: (begun.set(), go_on.wait(PATIENCE)))
    assert begun.wait(PATIENCE)
    with pytest.raises(StopTimeoutError, match="job-1"):
        system.stop(0.01)
    go_on.set()
    system.stop(PATIENCE)


def test_several_stops_at_once_all_wait_for_the_end() -> None:
    system = ActorSystem(2)
    go_on = threading.Event()
    system.spawn(Echo).tell(lambda: go_on.wait(PATIENCE))
    alive: list[int] = []

    def stop() -> None:
        system.stop(PATIENCE)
        alive.append(system.actors)

    threads = [threading.Thread(target=stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert alive == [0] * 4


@pytest.mark.parametrize("workers", [1, 4])
def test_an_actor_may_stop_its_own_system(workers: int) -> None:
    system = ActorSystem(workers, name="from inside")
    others = [system.spawn(Echo) for _ in range(5)]
    system.spawn(Echo).ask(system.stop, timeout=PATIENCE)
    system.stop(PATIENCE)
    assert not any(ref.is_alive() for ref in others)
    assert threads_of(system) == []


def test_an_actor_may_stop_its_system_while_another_waits_for_it() -> None:
    system = ActorSystem(1)
    first, second = system.spawn(Echo), system.spawn(Echo)
    asking = threading.Event()
    go_on: Future[None] = Future()

    def stop_when_asked() -> str:
        go_on.get(timeout=PATIENCE)
        system.stop()
        return "stopping"

    reply = first.ask(stop_when_asked, block=False)

    def ask_first() -> Any:
        asking.set()
        return first.ask("me", timeout=PATIENCE)

    waiting = second.ask(ask_first, block=False)
    assert asking.wait(PATIENCE)
    go_on.set()
    assert reply.get(timeout=PATIENCE) == "stopping"
    with suppress(pykka.ActorDeadError):  # it may have asked after the stop
        assert waiting.get(timeout=PATIENCE) == "me"
    system.stop(PATIENCE)


def test_a_job_may_stop_the_system_whose_thread_it_is_on() -> None:
    system = ActorSystem(1, name="by job")
    ref = system.spawn(Echo)
    done: Future[None] = Future()
    system.dispatcher.execute(lambda: done.set(system.stop(PATIENCE)))
    done.get(timeout=PATIENCE)
    assert not ref.is_alive()
    system.stop(PATIENCE)
    assert threads_of(system) == []


def test_after_stop_nothing_can_be_spawned() -> None:
    system = ActorSystem(name="over")
    system.stop()
    with pytest.raises(RuntimeError, match="over"):
        system.spawn(Echo)
    assert system.actors == 0


def test_a_spawn_that_races_with_stop_is_refused_or_stopped() -> None:
    for _ in range(30):
        system = ActorSystem(2)
        start = threading.Barrier(2)
        refs: list[pykka.ActorRef[Any]] = []

        def spawn(
            system: ActorSystem = system,
            start: threading.Barrier = start,
            refs: list[pykka.ActorRef[Any]] = refs,
        ) -> None:
            start.wait(PATIENCE)
            try:
                while True:
                    refs.append(system.spawn(Echo))
            except RuntimeError:
                pass

        thread = threading.Thread(target=spawn)
        thread.start()
        start.wait(PATIENCE)
        system.stop(PATIENCE)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert not any(ref.is_alive() for ref in refs)
        assert system.actors == 0


@pytest.mark.parametrize("wrong", [pykka.ThreadingActor, object, 5, "Echo"])
def test_only_pooled_actors_can_be_spawned(wrong: Any) -> None:
    with ActorSystem() as system, pytest.raises(TypeError, match="PooledActor"):
        system.spawn(wrong)


def test_an_actor_whose_init_forgets_its_base_class_is_refused() -> None:
    class Forgetful(PooledActor):
        def __init__(self) -> None:
            pass

    with ActorSystem() as system, pytest.raises(TypeError, match=r"super\(\)"):
        system.spawn(Forgetful)


def test_messages_told_to_the_dead_are_counted_and_questions_are_not() -> None:
    with ActorSystem(1) as system:
        ref = system.spawn(Echo)
        hold = threading.Event()
        ref.tell(lambda: hold.wait(PATIENCE))
        ref.stop(block=False)
        ref.tell("too late")
        reply = ref.ask("too late", block=False)
        hold.set()
        with pytest.raises(pykka.ActorDeadError, match=r"Echo \(urn.* stopped before"):
            reply.get(timeout=PATIENCE)
        assert system.dead_letters == 1
        for _ in range(2):
            with pytest.raises(pykka.ActorDeadError, match="not found"):
                ref.tell("much too late")
        assert system.dead_letters == 3


def test_a_dispatcher_and_a_clock_that_were_given_are_left_alone() -> None:
    dispatcher, clock = Dispatcher(1), Clock()
    with ActorSystem(dispatcher=dispatcher, clock=clock) as system:
        assert system.dispatcher is dispatcher
        assert system.clock is clock
        assert system.spawn(Echo).ask(1, timeout=PATIENCE) == 1
    ran: Future[None] = Future()
    clock.call_later(0, dispatcher.execute, ran.set)
    ran.get(timeout=PATIENCE)
    assert dispatcher.shutdown(PATIENCE)
    clock.close()
    with pytest.raises(ValueError, match="not both"):
        ActorSystem(1, dispatcher=dispatcher)


@pytest.mark.pykka_errors_expected
def test_a_dispatcher_shut_down_under_living_actors_leaves_nothing_unanswered() -> None:
    dispatcher = Dispatcher(1)
    system = ActorSystem(dispatcher=dispatcher)
    ref = system.spawn(Echo)
    assert ref.ask(1, timeout=PATIENCE) == 1
    assert dispatcher.shutdown(PATIENCE)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask(2, timeout=PATIENCE)
    with pytest.raises(RuntimeError, match="shut down"):
        system.spawn(Echo)
    system.stop(PATIENCE)
    assert system.actors == 0


def test_a_hundred_thousand_idle_actors_live_on_a_handful_of_threads() -> None:
    with ActorSystem(4, name="crowd") as system:
        refs = [system.spawn(Echo) for _ in range(100_000)]
        assert refs[0].ask("first", timeout=PATIENCE) == "first"
        assert refs[-1].ask("last", timeout=PATIENCE) == "last"
        assert system.actors == 100_000
        assert len(threads_of(system)) <= 8
        assert all(ref.is_alive() for ref in refs)
    assert system.actors == 0
    assert threads_of(system) == []


def test_an_actor_made_while_the_system_stops_is_refused_and_its_messages_answered() -> None:
    system = ActorSystem(1)
    replies: list[Any] = []

    class Late(PooledActor):
        def __init__(self) -> None:
            super().__init__()
            replies.append(self.actor_ref.ask("question", block=False))
            replies.append(self.actor_ref.stop(block=False))
            system.stop(PATIENCE)

    with pytest.raises(RuntimeError, match="has been stopped"):
        system.spawn(Late)
    with pytest.raises(pykka.ActorDeadError):
        replies[0].get(timeout=0)
    assert replies[1].get(timeout=0)
    assert system.actors == 0
    system.stop(PATIENCE)


def test_actors_without_on_start_are_started_without_a_thread() -> None:
    with ActorSystem(1) as system:
        refs = [system.spawn(Echo) for _ in range(100)]
        assert system.dispatcher.threads == []
        assert refs[-1].ask(1, timeout=PATIENCE) == 1
