import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.system import Relay
from actors.system.interrupts import may_be_interrupted

PATIENCE = 20.0


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay("a relay")
    made.start()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _pythons_own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_calls_are_made_in_their_order_on_the_relays_own_thread(relay: Relay) -> None:
    made: list[tuple[int, str]] = []
    over = threading.Event()
    for number in range(100):
        relay.call(lambda number: made.append((number, threading.current_thread().name)), number)
    relay.call(over.set)
    assert over.wait(PATIENCE)
    assert made == [(number, "a relay") for number in range(100)]


def test_a_call_that_raises_is_logged_and_the_next_one_is_made(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    def raises() -> None:
        raise SystemExit("no way")

    over = threading.Event()
    relay.call(raises)
    relay.call(over.set)
    assert over.wait(PATIENCE)
    assert "no way" in caplog.text


def test_close_makes_what_is_left_and_later_calls_are_made_by_their_callers() -> None:
    relay = Relay()
    relay.start()
    gate, made = threading.Event(), []
    relay.call(gate.wait, PATIENCE)
    for number in range(3):
        relay.call(made.append, number)
    gate.set()
    relay.close()
    assert made == [0, 1, 2]
    relay.call(lambda: made.append(threading.current_thread()))
    assert made[3] is threading.current_thread()
    relay.close()


def test_many_threads_may_call_and_close_at_once_and_every_call_is_made_once() -> None:
    for _ in range(20):
        relay = Relay()
        relay.start()
        made: list[int] = []
        together = threading.Barrier(5)

        def calls(
            first: int,
            relay: Relay = relay,
            made: list[int] = made,
            together: threading.Barrier = together,
        ) -> None:
            together.wait(PATIENCE)
            for number in range(first, first + 50):
                relay.call(made.append, number)

        threads = [threading.Thread(target=calls, args=(50 * place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        together.wait(PATIENCE)
        relay.close()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(made) == list(range(200))


def test_a_relay_that_closes_itself_ends_with_that_call() -> None:
    relay = Relay("closes itself")
    relay.start()
    relay.call(relay.close)
    for thread in threading.enumerate():
        if thread.name == "closes itself":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def in_thread(function: Callable[[], Any]) -> Any:
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(function()))
    thread.start()
    thread.join(PATIENCE)
    return outcome[0]


def test_only_the_main_thread_with_a_handler_that_raises_may_be_interrupted() -> None:
    assert may_be_interrupted()
    assert not in_thread(may_be_interrupted)
    signal.signal(signal.SIGINT, lambda *_: None)
    assert not may_be_interrupted()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert not may_be_interrupted()


def test_under_asyncio_run_it_may_be_once_the_first_ctrl_c_has_come() -> None:
    seen: list[bool] = []

    async def main() -> None:
        seen.append(may_be_interrupted())
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(PATIENCE)
        finally:
            seen.append(may_be_interrupted())

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen == [False, True]
