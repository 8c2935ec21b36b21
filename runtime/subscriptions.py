"""Telling listeners what happens: one thread for each, one bounded queue, nothing that waits.

A publisher only appends to a deque of limited length, which drops its oldest event by itself when
it is full, and wakes the listener's thread where that sleeps. Every event is numbered in the same
step in which it is queued, so the thread sees each gap in the numbers and tells how many events are
missing: what was delivered and what was lost add up to what was published.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from actors.system.parking import Parker, new_parker, park
from orchestrator.checks import at_least, checked_timeout
from orchestrator.drafts import draft_of
from orchestrator.texts import excerpt, function_name

if TYPE_CHECKING:
    from orchestrator import Execution, ExecutionState

__all__ = [
    "Announcements",
    "EventsLost",
    "ExecutionEvent",
    "Listener",
    "Subscription",
    "Subscriptions",
]

_logger = logging.getLogger("runtime")


@frozen(eq=False, weakref_slot=False)
class ExecutionEvent:
    """An execution has changed its state. Runtime -> every listener, once per change."""

    execution: Execution  # its snapshot, in the new state
    previous: ExecutionState
    at: float  # when, in monotonic seconds of the runtime's clock


_DraftEvent = draft_of(ExecutionEvent)  # there are three of a child (see benchmarks/watched.py)


@frozen
class EventsLost:
    """A listener was too slow. Subscription -> its listener, before the event after the gap."""

    count: int  # of events that were dropped since the last one it got


Listener: TypeAlias = Callable[[ExecutionEvent | EventsLost], object]
Later: TypeAlias = Callable[[Callable[[], object]], object]


class Subscription:
    """One listener, its queue and its thread.

    Events reach the listener one by one, in the order in which they were published; one that it
    raises on is logged, and the next one comes. ``lost`` and ``failures`` count what was dropped,
    once the listener is told of it, and how often it raised.
    """

    def __init__(
        self,
        listener: Listener,
        buffer: int = 10_000,
        *,
        on_stop: Callable[[Subscription], object] | None = None,
        on_end: Callable[[Subscription], object] | None = None,
        later: Later | None = None,
    ) -> None:
        """Start nothing yet: the first event starts the thread.

        Args:
            listener: Called with each event, on a daemon thread of its own.
            buffer: How many events may wait for it; one more, and the oldest is lost.
            on_stop: Called with this when it takes no more events.
            on_end: Called with this when its thread has delivered all, maybe more than once.
            later: Calls what it is given in a while: where no thread is to be had, it tries again.

        Raises:
            TypeError: *listener* is not callable, or *buffer* is no integer.
            ValueError: *buffer* is below 1.
        """
        if not callable(listener):
            message = f"a listener must be callable with one event; got {excerpt(listener)}"
            raise TypeError(message)
        at_least(1, buffer, "buffer")
        self.listener = listener
        self.lost = 0  # the counts are the thread's to write
        self.failures = 0
        self._name = _name(listener)
        self.thread = threading.Thread(
            target=self._run, name=f"runtime-listener {self._name}", daemon=True
        )
        self._on_stop = on_stop
        self._on_end = on_end
        self._later = later
        # The newest `buffer` events, each with its number.
        self._events: deque[tuple[ExecutionEvent, int]] = deque(maxlen=min(buffer, sys.maxsize))
        self._numbers = itertools.count()
        self._next = 0  # the number that comes next if nothing was lost
        self._unstarted = deque([None])  # taken by whoever starts the thread
        self._asleep = True  # it parks, or is about to look for events once more and then park
        self._parker = new_parker()
        self._stopped = False  # takes no more events
        self._ended = False  # has delivered those it took
        self._waiters: dict[Parker, None] = {}

    def publish(self, event: ExecutionEvent) -> None:
        """Queue an event; after the end it is dropped.

        Never blocks, runs no user code and takes no lock: any thread may call it, an event loop's
        too, and ``__del__``.
        """
        if self._stopped:
            return
        # One step: no other thread can come between the number and the queue. The number comes
        # last, because zip asks for it only when it has the event, so none is wasted.
        self._events.extend(zip((event,), self._numbers))  # noqa: B905 - one of them is endless
        if self._asleep:
            try:
                self._asleep = False  # one wake-up is enough, however long its thread takes to come
            finally:
                self._wake()

    def close(self, timeout: float | None = None) -> None:
        """End it: what was published before is still delivered, then the thread ends.

        Waits for that; called by the listener itself, it returns at once, and the thread ends
        when the listener has returned and got the rest. May be called again, also to go on
        waiting.

        Args:
            timeout: Seconds to wait, ``None`` for as long as it takes. When it has passed, this
                returns all the same.

        Raises:
            ValueError: *timeout* is negative or NaN; nothing was ended.
        """
        timeout = checked_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        self.stop()
        self.join(deadline)

    def stop(self) -> None:
        """Take no more events. Never blocks."""
        self._stopped = True
        if self._on_stop is not None:
            self._on_stop(self)
        if self._unstarted and not self._events:
            with suppress(IndexError):
                self._unstarted.pop()  # nobody starts it now
                self._end()
        self._wake()

    def join(self, deadline: float | None) -> bool:
        """Whether the thread has ended, or ended before *deadline* (``time.monotonic()``).

        On the thread itself, which can't wait for its own end, true.
        """
        if threading.get_ident() == self.thread.ident:
            return True
        parker = new_parker()
        self._waiters[parker] = None
        try:
            while not self._ended:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                park(parker, left)
        finally:
            del self._waiters[parker]
        if self.thread.ident is not None:
            self.thread.join()  # it has nothing left to do
        return True

    def _wake(self) -> None:
        if self._unstarted:
            with suppress(IndexError):
                self._unstarted.pop()
                self._start()
        self._parker.unpark()

    def _start(self) -> None:
        # Thread.start takes a lock of threading's own, and the __del__ that may have brought us
        # here can have interrupted a thread that holds it. A raw thread holds nothing.
        try:
            start_new_thread(self._start_here, ())
        except RuntimeError:
            self._not_started()

    def _start_here(self) -> None:
        try:
            self.thread.start()
        except RuntimeError:
            self._not_started()

    def _not_started(self) -> None:
        """No thread is to be had now: it is tried again soon, or the end gives up."""
        self._unstarted.append(None)
        if self._stopped:
            self.lost += len(self._events)
            self._end()
        elif self._later is not None:
            self._later(self._wake)

    def _run(self) -> None:
        events, listener = self._events, self.listener
        while True:
            self._asleep = False
            while events:  # only this thread makes it empty
                event, number = events.popleft()
                if number != self._next:
                    self.lost += number - self._next
                    self._tell(EventsLost(number - self._next))
                self._next = number + 1
                try:  # as `_tell`, without the call (see benchmarks/watched.py)
                    listener(event)
                except BaseException as error:  # noqa: BLE001
                    self._failed(event, error)
                del event  # or it would live until the next one comes
            # What was published before this is set is seen below; what is published later sees it.
            self._asleep = True
            stopped = self._stopped  # read before the last look: what came before it is queued
            if events:
                continue
            if stopped:
                break
            self._parker.park()
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._on_end is not None:
            self._on_end(self)
        for parker in list(self._waiters):
            parker.unpark()

    def _tell(self, news: ExecutionEvent | EventsLost) -> None:
        try:
            self.listener(news)
        except BaseException as error:  # noqa: BLE001
            self._failed(news, error)

    def _failed(self, news: ExecutionEvent | EventsLost, error: BaseException) -> None:
        """It has raised; a SystemExit must not end its thread either."""
        self.failures += 1
        with suppress(BaseException):  # what logging is set up to do may raise as well
            what = "listener %s raised on %s; it is kept"
            _logger.error(what, self._name, _about(news), exc_info=error)


class Subscriptions:
    """A runtime's subscriptions. Any thread may call anything at any time."""

    def __init__(self, later: Later | None = None) -> None:
        self._later = later
        self.open: dict[Subscription, None] = {}  # these take events
        self._alive: dict[Subscription, None] = {}  # these have not delivered all they took
        self._closed = False

    @property
    def active(self) -> bool:
        """Whether anyone would get an event."""
        return bool(self.open)

    def subscribe(self, listener: Listener, buffer: int = 10_000) -> Subscription:
        """Add a listener; it gets what is published from now on.

        Raises:
            TypeError: *listener* is not callable, or *buffer* is no integer.
            ValueError: *buffer* is below 1.
            RuntimeError: after `close`.
        """
        subscription = Subscription(
            listener,
            buffer,
            on_stop=lambda stopped: self.open.pop(stopped, None),
            on_end=lambda ended: self._alive.pop(ended, None),
            later=self._later,
        )
        self._alive[subscription] = None
        self.open[subscription] = None
        if self._closed:  # close looks for subscriptions after it has set this
            subscription.stop()
            raise RuntimeError("the runtime is closed; nothing will happen in it any more")
        return subscription

    def close(self, deadline: float | None = None) -> list[Listener]:
        """End all subscriptions and return the listeners that still run at the deadline.

        What was published before is still delivered. May be called again, to go on waiting.
        Called by a listener, it does not wait for that one.

        Args:
            deadline: In ``time.monotonic()``; ``None`` waits as long as it takes.
        """
        self._closed = True
        ending = list(self._alive)
        for subscription in ending:
            subscription.stop()
        return [each.listener for each in ending if not each.join(deadline)]


def _name(listener: object) -> str:
    try:
        return function_name(listener)
    except Exception:  # noqa: BLE001 - its attributes may be anything
        return type(listener).__qualname__


def _about(news: ExecutionEvent | EventsLost) -> str:
    if isinstance(news, EventsLost):
        return f"{news}"
    try:
        return f"execution {excerpt(news.execution.id)}"
    except Exception:  # noqa: BLE001 - the log line must come out
        return "an event"


class Announcements:
    """Tells the subscriptions of changes: what the actors publish to."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._open = subscriptions.open
        self.active: Sized = subscriptions.open

    def changed(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        """Queue one event for every listener; see `Subscription.publish`."""
        event = _DraftEvent(execution, previous, at)
        event.__class__ = ExecutionEvent
        for subscription in list(self._open):
            subscription.publish(event)
