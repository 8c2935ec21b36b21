import asyncio
import gc
import logging
import math
import queue
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pykka
import pytest

from actors.system import Future, dropped_waiters, get_all, wait_first
from tests.collecting import others_come_in

PATIENCE = 20.0  # seconds that no test should ever need
ROOT = Path(__file__).parents[2]


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


@contextmanager
def restless_threads() -> Iterator[None]:
    """Let threads take turns as often as they can, so that races are met."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def failing(text: str = "broken") -> Future[int]:
    future: Future[int] = Future()
    try:
        fail(text)
    except LookupError:
        future.set_exception()
    return future


def fail(text: str) -> None:
    raise LookupError(text)


# Resolving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("racers", [2, 5])
def test_a_future_is_resolved_by_exactly_one_of_many(racers: int) -> None:
    rounds = 1000
    futures = [Future[int]() for _ in range(rounds)]
    start = threading.Barrier(racers)
    won: list[tuple[int, int]] = []

    def race(number: int) -> None:
        start.wait(PATIENCE)
        for index, future in enumerate(futures):
            try:
                future.set_error(KeyError(number)) if number % 2 else future.set(number)
            except queue.Full:
                continue
            won.append((index, number))

    with restless_threads():
        threads = [in_thread(lambda number=number: race(number)) for number in range(racers)]
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(index for index, _ in won) == list(range(rounds))
    for index, number in won:
        if number % 2:
            with pytest.raises(KeyError, match=str(number)):
                futures[index].get(timeout=0)
        else:
            assert futures[index].get(timeout=0) == number


def test_try_set_says_whether_it_did() -> None:
    future: Future[int] = Future()
    assert future.try_set(1)
    assert not future.try_set(2)
    assert future.get() == 1


def test_set_exception_without_an_exception_is_refused_and_resolves_nothing() -> None:
    future: Future[int] = Future()
    with pytest.raises(ValueError, match="exc_info"):
        future.set_exception()
    assert not future.done()


def test_an_exception_class_alone_is_made_an_instance() -> None:
    future: Future[int] = Future()
    future.set_exception((KeyError, None, None))
    with pytest.raises(KeyError):
        future.get()


def test_an_exception_keeps_its_traceback_however_often_and_by_whomever_it_is_raised() -> None:
    future = failing()
    lengths: list[int] = []
    names: list[list[str]] = []

    def read() -> None:
        for _ in range(20):
            try:
                future.get(timeout=0)
            except LookupError as error:
                frames = traceback.extract_tb(error.__traceback__)
                lengths.append(len(frames))
                names.append([frame.name for frame in frames])

    for _ in range(3):
        in_thread(read).join(PATIENCE)
    assert len(set(lengths)) == 1
    assert all(name[-1] == "fail" for name in names)


def test_set_error_keeps_the_traceback_that_the_exception_has() -> None:
    future: Future[int] = Future()
    try:
        failing().get()
    except LookupError as error:
        future.set_error(error)
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            future.get()
        assert caught.traceback[-1].name == "fail"


# Waiting --------------------------------------------------------------------------------------


def test_every_waiter_is_woken() -> None:
    future: Future[int] = Future()
    waiting = threading.Barrier(9)
    got: list[int] = []

    def wait() -> None:
        waiting.wait(PATIENCE)
        got.append(future.get(timeout=PATIENCE))

    threads = [in_thread(wait) for _ in range(8)]
    waiting.wait(PATIENCE)
    future.set(7)
    for thread in threads:
        thread.join(PATIENCE)
    assert got == [7] * 8


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_a_wait_that_times_out_leaves_nothing_behind(timeout: float) -> None:
    future: Future[int] = Future()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=timeout)
    assert not future._callbacks
    future.set(1)
    assert future.get(timeout=timeout) == 1


def test_a_wait_that_is_interrupted_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    future: Future[int] = Future()

    def interrupt(*_args: object) -> bool:
        assert future._callbacks
        raise KeyboardInterrupt

    monkeypatch.setattr("actors.system.parking.park", interrupt)
    with pytest.raises(KeyboardInterrupt):
        future.get(timeout=1)
    assert not future._callbacks
    with pytest.raises(KeyboardInterrupt):
        wait_first(future, timeout=1)
    assert not future._callbacks


def test_nan_is_no_timeout() -> None:
    for wait in (
        Future().get,
        Future().map(str).get,
        lambda *, timeout: wait_first(Future(), timeout=timeout),
        lambda *, timeout: get_all([Future()], timeout=timeout),
    ):
        with pytest.raises(ValueError, match="nan"):
            wait(timeout=math.nan)


def test_wait_first_returns_when_any_is_done_and_unregisters_from_the_others() -> None:
    futures = [Future[int]() for _ in range(3)]
    peer: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    assert not wait_first(*futures, timeout=0)
    assert not wait_first(*futures, timeout=0.001)
    threading.Timer(0.01, futures[1].set).start()
    assert wait_first(*futures, peer, timeout=PATIENCE)
    assert not any(future._callbacks for future in futures)
    assert wait_first(*futures, timeout=0)
    threading.Timer(0.01, peer.set).start()
    assert wait_first(futures[0], peer, timeout=PATIENCE)
    peer_failed: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    peer_failed.set_exception((KeyError, KeyError(), None))
    assert wait_first(futures[0], peer_failed, timeout=0)


def test_wait_first_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wait_first()


class Hours:
    """A time in which every wait takes as long as it may."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float | None] = []

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("join", [False, True])
def test_several_futures_share_one_deadline(monkeypatch: pytest.MonkeyPatch, join: bool) -> None:
    futures = [Future[int]() for _ in range(4)]
    hours = Hours()

    def park(_parker: object, timeout: float | None) -> bool:
        hours.waits.append(timeout)
        hours.now += 0.25
        if len(hours.waits) < 4:
            futures[len(hours.waits) - 1].set(0)
        return True

    monkeypatch.setattr("actors.system.parking.now", hours)
    monkeypatch.setattr("actors.system.parking.park", park)
    joined = futures[0].join(*futures[1:])
    with pytest.raises(pykka.Timeout):
        joined.get(timeout=1.0) if join else get_all(futures, timeout=1.0)
    assert hours.waits == [1.0, 0.75, 0.5, 0.25]


def test_get_all_takes_futures_of_pykka_and_keeps_the_order() -> None:
    mine: Future[int] = Future()
    peer: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    threading.Timer(0.01, lambda: (peer.set(2), mine.set(1))).start()
    assert get_all([mine, peer], timeout=PATIENCE) == [1, 2]
    assert get_all([]) == []


def test_get_all_raises_what_failed_first_in_order_without_waiting_for_the_rest() -> None:
    done: Future[int] = Future()
    done.set(1)
    with pytest.raises(LookupError, match="first"):
        get_all([done, failing("first"), Future(), failing("last")], timeout=PATIENCE)


# Callbacks ------------------------------------------------------------------------------------


def test_callbacks_run_once_in_order_and_at_once_if_it_is_done() -> None:
    future: Future[int] = Future()
    calls: list[object] = []
    future.add_done_callback(lambda done: calls.append((1, done.get())))
    future.add_done_callback(lambda done: calls.append((2, done.get())))
    assert calls == []
    future.set(5)
    assert calls == [(1, 5), (2, 5)]
    future.add_done_callback(lambda done: calls.append((3, done.get())))
    assert calls == [(1, 5), (2, 5), (3, 5)]


def test_a_callback_that_races_with_the_result_runs_exactly_once() -> None:
    rounds = 3000
    futures = [Future[int]() for _ in range(rounds)]
    calls: list[int] = []
    start = threading.Barrier(2)

    def resolve() -> None:
        start.wait(PATIENCE)
        for future in futures:
            future.set(0)

    with restless_threads():
        thread = in_thread(resolve)
        start.wait(PATIENCE)
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: calls.append(number))
        thread.join(PATIENCE)
    assert sorted(calls) == list(range(rounds))


def test_a_result_that_comes_while_a_callback_is_registered_runs_it_once() -> None:
    calls: list[object] = []

    class Racing(Future[int]):
        """Is resolved in the middle of ``add_done_callback``, when the callback is in."""

        def done(self) -> bool:
            if not super().done():
                self.set(1)
            return super().done()

    future = Racing()
    future.add_done_callback(calls.append)
    assert calls == [future]


def test_a_callback_registered_while_the_callbacks_begin_to_run_runs_once() -> None:
    calls: list[object] = []

    class Racing(Future[int]):
        """Gets a callback when it is resolved and has not run the others yet."""

        def _run_callbacks(self) -> None:
            self.add_done_callback(calls.append)
            super()._run_callbacks()

    future = Racing()
    future.add_done_callback(lambda _: None)
    future.set(1)
    assert calls == [future]


def test_a_callback_that_raises_is_logged_and_the_others_still_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    future: Future[int] = Future()
    calls: list[int] = []

    def broken(_future: object) -> None:
        raise asyncio.CancelledError("no good")

    future.add_done_callback(broken)
    future.add_done_callback(lambda _: calls.append(1))
    with caplog.at_level(logging.ERROR, "actors.system"):
        future.set(0)
        future.add_done_callback(broken)
    assert calls == [1]
    assert len(caplog.records) == 2


def test_ctrl_c_in_a_callback_is_not_swallowed_and_the_others_still_run() -> None:
    future: Future[int] = Future()
    calls: list[int] = []

    def interrupted(_future: object) -> None:
        raise KeyboardInterrupt

    future.add_done_callback(interrupted)
    future.add_done_callback(lambda _: calls.append(1))
    with pytest.raises(KeyboardInterrupt):
        future.set(0)
    assert calls == [1]


def test_a_callback_is_removed_while_others_are_registered() -> None:
    future: Future[int] = Future()
    with others_come_in(lambda: future.add_done_callback(print)) as tries:
        for _ in tries:
            future.add_done_callback(repr)
            assert future.remove_done_callback(repr)


def test_a_callback_that_was_removed_does_not_run() -> None:
    future: Future[int] = Future()
    calls: list[object] = []
    future.add_done_callback(calls.append)
    future.add_done_callback(calls.append)
    assert future.remove_done_callback(calls.append)
    future.set(0)
    assert calls == [future]
    assert not future.remove_done_callback(calls.append)


# Hooks and derived futures --------------------------------------------------------------------


def test_a_future_with_a_hook_that_has_a_callback_is_gotten_by_a_thread() -> None:
    future: Future[int] = Future()
    called: Future[object] = Future()
    future.add_done_callback(lambda done: called.set(done.get()))
    future.set_get_hook(lambda timeout: (timeout, threading.current_thread().name))
    assert called.get(timeout=PATIENCE) == (None, "future")
    assert future.done()


def test_a_hook_that_raises_answers_callbacks_with_it() -> None:
    future: Future[int] = Future()
    future.set_get_hook(lambda _: {}["nothing"])
    called: Future[bool] = Future()
    future.add_done_callback(lambda _: called.set(True))
    assert called.get(timeout=PATIENCE)
    with pytest.raises(KeyError):
        future.get()


def test_a_hook_that_raises_is_called_again_as_in_pykka() -> None:
    future: Future[int] = Future()
    answers = iter([ValueError, 5])

    def hook(_timeout: float | None) -> int:
        answer = next(answers)
        if answer is ValueError:
            raise ValueError
        return answer

    future.set_get_hook(hook)
    with pytest.raises(ValueError):  # noqa: PT011
        future.get()
    assert future.get() == 5
    assert future.get() == 5


def test_a_hook_runs_in_one_thread_at_a_time_and_only_once() -> None:
    future: Future[int] = Future()
    begun, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def hook(_timeout: float | None) -> int:
        calls.append(1)
        begun.set()
        assert go_on.wait(PATIENCE)
        return 5

    future.set_get_hook(hook)
    got: list[int] = []
    first = in_thread(lambda: got.append(future.get()))
    assert begun.wait(PATIENCE)
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0.001)
    second = in_thread(lambda: got.append(future.get(timeout=PATIENCE)))
    go_on.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert got == [5, 5]
    assert calls == [1]


def test_a_derived_future_is_done_when_its_sources_are_and_computes_when_it_is_read() -> None:
    source: Future[int] = Future()
    calls: list[int] = []
    derived = source.map(lambda value: calls.append(value) or value + 1)
    told: list[bool] = []
    derived.add_done_callback(lambda done: told.append(done.done()))
    assert not derived.done()
    source.set(1)
    assert told == [True]
    assert calls == []
    assert derived.get(timeout=0) == 2
    assert derived.get(timeout=0) == 2
    assert calls == [1]


def test_a_function_that_raises_runs_once_and_its_error_goes_to_every_reader() -> None:
    source: Future[int] = Future()
    calls: list[int] = []
    derived = source.map(lambda value: calls.append(value) or {}[value])
    source.set(3)
    for _ in range(2):
        with pytest.raises(KeyError):
            derived.get()
    assert calls == [3]


def test_a_derived_future_can_not_be_set() -> None:
    derived = Future[int]().map(str)
    with pytest.raises(queue.Full):
        derived.set("")
    with pytest.raises(queue.Full):
        derived.set_error(ValueError())
    with pytest.raises(queue.Full):
        derived.set_get_hook(lambda _: "")


def test_a_join_is_done_at_its_first_failure_in_order() -> None:
    first: Future[int] = Future()
    told: list[object] = []
    joined = first.join(failing(), Future())
    joined.add_done_callback(told.append)
    assert told == []
    first.set(1)
    assert told == [joined]
    with pytest.raises(LookupError):
        joined.get()


def test_a_join_with_a_future_of_pykka_tells_when_that_is_done() -> None:
    mine: Future[int] = Future()
    peer: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    told: Future[object] = Future()
    mine.join(peer).add_done_callback(lambda done: told.set(done.get()))
    mine.set(1)
    assert not told.done()
    peer.set(2)
    assert told.get(timeout=PATIENCE) == [1, 2]


def test_a_long_chain_of_sources_is_followed_to_its_end() -> None:
    futures = [Future[int]() for _ in range(500)]
    told: list[list[int]] = []
    futures[0].join(*futures[1:]).add_done_callback(lambda done: told.append(done.get()))
    for future in reversed(futures):
        future.set(1)
    assert told == [[1] * 500]


# Awaiting -------------------------------------------------------------------------------------


def test_awaiting_leaves_the_loop_free() -> None:
    future: Future[int] = Future()
    derived = future.map(lambda value: value + 1)

    async def main() -> list[int]:
        asyncio.get_running_loop().call_soon(future.set, 1)  # by a task of the same loop
        return await asyncio.wait_for(
            asyncio.gather(future, derived, future.join(derived)), PATIENCE
        )

    assert asyncio.run(main()) == [1, 2, [1, 2]]


def test_a_future_resolved_in_the_loops_own_thread_wakes_its_task_without_going_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    future: Future[int] = Future()

    async def main() -> int:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_soon_threadsafe", pytest.fail)
        loop.call_soon(future.set, 1)
        value = await future
        monkeypatch.undo()
        return value

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("hooked", [False, True])
def test_several_loops_may_await_the_same_future(hooked: bool) -> None:
    future: Future[int] = Future()
    waiting = threading.Barrier(4)
    got: list[int] = []

    async def wait() -> None:
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        waiting.wait(PATIENCE)
        got.append(await asyncio.wait_for(task, PATIENCE))

    threads = [in_thread(lambda: asyncio.run(wait())) for _ in range(3)]
    waiting.wait(PATIENCE)
    if hooked:
        future.set_get_hook(lambda _: 9)
    else:
        future.set(9)
    for thread in threads:
        thread.join(PATIENCE)
    assert got == [9, 9, 9]


@pytest.mark.parametrize("derive", [lambda f: f, lambda f: f.map(str), lambda f: f.join(f)])
def test_a_cancelled_awaiter_leaves_nothing_behind_and_cancels_nothing_else(
    derive: Callable[[Future[int]], Future[object]],
) -> None:
    future: Future[int] = Future()
    others: list[weakref.ref[object]] = []

    async def main() -> None:
        for _ in range(10):
            awaited = derive(future)
            if awaited is not future:
                others.append(weakref.ref(awaited))
            task = asyncio.ensure_future(awaited)
            await asyncio.sleep(0)
            assert future._callbacks
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not future._callbacks
            del awaited, task

    asyncio.run(main())
    gc.collect()
    assert all(other() is None for other in others)
    future.set(1)
    assert future.get() == 1


def test_a_waiter_whose_loop_has_closed_is_dropped_and_counted() -> None:
    future: Future[int] = Future()
    loop = asyncio.new_event_loop()

    async def wait() -> int:
        return await future

    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    before = dropped_waiters()
    loop.close()
    future.set(1)
    assert dropped_waiters() == before + 1
    task._log_destroy_pending = False
    del task
    assert future.get() == 1


def test_outside_asyncio_an_await_is_pykkas() -> None:
    future: Future[int] = Future()
    future.set(3)
    steps = future.__await__()
    assert next(steps) is None
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == 3


def test_awaiting_a_derived_future_that_another_thread_computes_leaves_the_loop_free() -> None:
    source: Future[int] = Future()
    source.set(1)
    begun, go_on = threading.Event(), threading.Event()

    def compute(value: int) -> int:
        begun.set()
        assert go_on.wait(PATIENCE)
        return value + 1

    derived = source.map(compute)
    thread = in_thread(derived.get)
    assert begun.wait(PATIENCE)

    async def main() -> int:
        asyncio.get_running_loop().call_soon(go_on.set)  # never comes if the loop is blocked
        return await derived

    assert asyncio.run(main()) == 2
    thread.join(PATIENCE)


CROWD = """
import gc, queue, sys, threading
from actors.system import Future

def in_the_middle(_phase, _info):
    for _ in range(50):
        pass  # lets other threads in

sys.setswitchinterval(1e-6)
gc.callbacks.append(in_the_middle)
gc.set_threshold(5, 1000, 1000)
for _ in range(30):
    futures = [Future() for _ in range(3000)]

    def resolve():
        for future in futures:
            try:
                future.set([])
            except queue.Full:
                pass

    threads = [threading.Thread(target=resolve) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_a_garbage_collection_in_the_middle_of_a_race_does_not_crash_the_interpreter() -> None:
    """As it does in CPython 3.11 where two threads make an object's ``__dict__`` at once."""
    crowd = subprocess.run([sys.executable, "-c", CROWD], cwd=ROOT, timeout=60, check=False)
    assert crowd.returncode == 0
