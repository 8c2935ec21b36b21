"""Waiting for futures of any kind: for the first of several, for all of them, on an event loop.

A future with ``done`` and ``add_done_callback`` is simply asked. Any other of Pykka's, which only
knows ``get``, is waited for by a daemon thread.
"""

import asyncio
import threading
from asyncio.events import _get_running_loop
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import pykka

from actors.system import parking
from actors.system.tally import Tally

T = TypeVar("T")

Callback: TypeAlias = Callable[[Any], object]

_dropped = Tally()


@runtime_checkable
class Observable(Protocol):
    """A future that tells when it is done."""

    def done(self) -> bool: ...
    def add_done_callback(self, fn: Callback, /) -> object: ...
    def remove_done_callback(self, fn: Callback, /) -> object: ...


def dropped_waiters() -> int:
    """Return how many awaiters of this process could not be told, as their loop had closed."""
    return _dropped.value


def is_done(future: pykka.Future[Any]) -> bool:
    """Whether *future*'s ``get`` would not wait; looks once and never waits itself."""
    if isinstance(future, Observable):
        return future.done()
    try:
        future.get(timeout=0)
    except pykka.Timeout:
        return False
    except Exception:  # noqa: BLE001 -- the future keeps it for its readers
        return True
    return True


def when_done(future: pykka.Future[Any], fn: Callback) -> None:
    """Call ``fn(future)`` once it is done, at once if it is."""
    if isinstance(future, Observable):
        future.add_done_callback(fn)
    else:
        threading.Thread(
            target=_get_and_tell, args=(future, fn), name="future", daemon=True
        ).start()


def _get_and_tell(future: pykka.Future[Any], fn: Callback) -> None:
    with suppress(BaseException):  # the future keeps it for its readers
        future.get()
    fn(future)


def wait_first(*futures: pykka.Future[Any], timeout: float | None = None) -> bool:
    """Block the calling thread until one of *futures* is done, whichever way it went.

    Inside a dispatcher's worker the wait doesn't use it up. Nothing stays registered.

    Args:
        futures: One or more.
        timeout: Seconds to wait; zero or less looks once, ``None`` and infinity wait without
            limit.

    Returns:
        Whether one is done; ``False`` means that the time has passed.

    Raises:
        ValueError: there are no futures, or *timeout* is NaN.
    """
    if not futures:
        msg = "wait_first() needs at least one future: without any it would wait for ever"
        raise ValueError(msg)
    parking.check_timeout(timeout)
    if any(is_done(future) for future in futures):
        return True
    if timeout is not None and timeout <= 0:
        return False
    parker = parking.new_parker()

    def wake(_future: object) -> None:
        parker.unpark()

    try:
        for future in futures:
            when_done(future, wake)
        return parking.park(parker, timeout)
    finally:
        for future in futures:
            if isinstance(future, Observable):
                future.remove_done_callback(wake)


def get_all(futures: Iterable[pykka.Future[T]], timeout: float | None = None) -> list[T]:
    """Wait for all *futures* and return their values, in the same order.

    Args:
        futures: Any futures with Pykka's interface.
        timeout: Seconds for all of them together; zero or less looks once, ``None`` and infinity
            wait without limit.

    Raises:
        pykka.Timeout: the time has passed.
        Exception: what the first of them that failed, in their order, holds. Those before it have
            been waited for, those after it have not.
        ValueError: *timeout* is NaN.
    """
    deadline = parking.Deadline(timeout)
    values: list[T] = []
    with ExitStack() as wait:
        waiting = False
        for future in futures:
            remaining = deadline.remaining()
            if not waiting and remaining != 0 and not is_done(future):
                waiting = True  # one wait for all of them, as far as a dispatcher is concerned
                wait.enter_context(parking.blocked())
            values.append(future.get(timeout=remaining))
    return values


class LoopWaiter:
    """One awaiting task: a future of its loop, which any thread may wake."""

    __slots__ = ("_loop", "_lost", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lost = False
        self.future: asyncio.Future[None] = loop.create_future()

    def wake(self, _resolved: object) -> None:
        """`unpark`, as a future's callback."""
        self.unpark()

    def unpark(self) -> None:
        """Let the task go on; directly on its loop's own thread, else by way of the loop."""
        if _get_running_loop() is self._loop:
            future = self.future
            if not future.done():  # as in `_release`; see benchmarks/calls.py
                future.set_result(None)
            return
        try:
            self._loop.call_soon_threadsafe(self._release)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            if not self._lost:
                self._lost = True
                _dropped.add()  # the task died with its loop

    def _release(self) -> None:
        if not self.future.done():  # the task may have been cancelled
            self.future.set_result(None)
