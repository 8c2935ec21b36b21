"""Monotonic time and one-shot timers."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from attrs import define, field

from actors.system.parking import Parker

_logger = logging.getLogger("actors.system")

_SLACK = 64  # cancelled timers that are never worth a compaction


@define(eq=False)
class Timer:
    """A callback that is due once. Made by ``Clock.call_at`` and ``Clock.call_later``."""

    when: float  # seconds, on the clock that made it
    _clock: "Clock" = field(repr=False)

    def cancel(self) -> None:
        """Make sure that it never fires, unless it has begun to; idempotent.

        Never blocks. Safe from any thread, from a signal handler and from ``__del__``.
        """
        self._clock._cancel(self)  # noqa: SLF001 -- the two are one mechanism

    @property
    def pending(self) -> bool:
        """Whether it will still fire."""
        return self._clock._is_live(self)  # noqa: SLF001


class Clock:
    """The monotonic clock, and timers that fire on one daemon thread of its own.

    The thread starts with the first timer. It alone touches the heap; everybody else appends to a
    deque and takes timers out of a dict, each in one atomic step. There is no lock to wait for,
    so every method but ``close`` may be called from a signal handler or ``__del__``. (The first
    timer starts the thread, and ``Thread.start`` makes no such promise.)

    A timer fires when it is taken out of the dict of live ones; so it does at most once, and a
    cancel wins or loses against it as a whole.
    """

    def __init__(self, *, name: str = "clock") -> None:
        """Make a clock; *name* is what its thread is called."""
        self._name = name
        self._live: dict[Timer, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._incoming: deque[tuple[float, int, Timer]] = deque()
        self._heap: list[tuple[float, int, Timer]] = []  # the timer thread's own
        self._order = count()
        self._wakes_at = float("-inf")  # until when the thread sleeps; -inf: it is at work
        self._parker = Parker()
        self._starting = threading.Lock()  # taken for good by whoever starts the thread
        self._thread: threading.Thread | None = None
        self._closed = False

    now = staticmethod(time.monotonic)  # the monotonic time in seconds; read on every hot path

    @property
    def pending(self) -> int:
        """How many timers have neither fired nor been cancelled."""
        return len(self._live)

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Timer:
        """Call ``function(*args)`` in *seconds*; see ``call_at``."""
        return self.call_at(self.now() + seconds, function, *args)

    def call_at(self, when: float, function: Callable[..., object], *args: Any) -> Timer:
        """Call ``function(*args)`` once on the timer thread, at *when* or soon after.

        Timers fire in the order of their times, equal times in the order in which they were set.
        The function holds up all later timers, so it must be short and must not block. What it
        raises is logged, and the clock goes on.

        Args:
            when: Seconds, as ``now`` counts them. The past is due at once, infinity never.
            function: What to call.
            args: What to call it with.

        Returns:
            The timer. After ``close`` it is one that is cancelled already.

        Raises:
            ValueError: *when* is NaN.
            RuntimeError: the timer thread can't be started; there is no timer then.
        """
        if math.isnan(when):  # a heap can't order it
            msg = f"a timer needs a time in seconds, not {when!r}"
            raise ValueError(msg)
        timer = Timer(when, self)
        if self._closed:
            return timer
        self._live[timer] = (function, args)
        self._incoming.append((when, next(self._order), timer))
        if self._thread is None and not self._start():
            self._live.pop(timer, None)
            msg = "no thread can be started for timers"
            raise RuntimeError(msg)
        if when < self._wakes_at:
            self._parker.unpark()
        if self._closed:  # the close may have dropped the others before it could see this one
            self._live.pop(timer, None)
        return timer

    def start(self) -> None:
        """Start the thread now and not with the first timer, so that no timer can fail.

        Raises:
            RuntimeError: the timer thread can't be started.
        """
        if self._thread is None and not self._start():
            msg = "no thread can be started for timers"
            raise RuntimeError(msg)

    def close(self) -> None:
        """Drop the pending timers and end the thread; idempotent.

        Returns when the thread has ended, except on the timer thread itself, which ends when the
        callback has returned.
        """
        self._closed = True
        self._live.clear()
        self._parker.unpark()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> bool:
        if not self._starting.acquire(blocking=False):
            return True  # somebody else is at it; the thread will find the timer
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            self._starting.release()
            return False
        return True

    def _is_live(self, timer: Timer) -> bool:
        return timer in self._live

    def _cancel(self, timer: Timer) -> None:
        if self._live.pop(timer, None) is not None and self._is_cluttered():
            self._parker.unpark()

    def _is_cluttered(self) -> bool:
        return len(self._heap) + len(self._incoming) > 2 * len(self._live) + _SLACK

    def _run(self) -> None:
        while not self._closed:
            self._take_in()
            self._fire_due()
            self._wakes_at = self._heap[0][0] if self._heap else float("inf")
            # From here on a new timer that is earlier wakes us; one that came before is seen now.
            if not self._incoming and not self._closed:
                self._parker.park(self._wakes_at - self.now())
            self._wakes_at = float("-inf")

    def _take_in(self) -> None:
        """Move what was set into the heap, and clear the heap out when it is mostly cancelled."""
        while self._incoming:
            entry = self._incoming.popleft()
            if entry[2] in self._live:
                heappush(self._heap, entry)
        if self._is_cluttered():
            self._heap = [entry for entry in self._heap if entry[2] in self._live]
            heapify(self._heap)

    def _fire_due(self) -> None:
        while self._heap and self._heap[0][0] <= self.now() and not self._closed:
            timer = heappop(self._heap)[2]
            call = self._live.pop(timer, None)
            if call is not None:
                self._fire(*call)
            self._take_in()

    def _fire(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except BaseException:  # it must not take the other timers with it
            _logger.exception("A timer's callback %r failed", function)
