"""How a thread waits: the one place where the system puts a thread to sleep.

Every wait of this package ends in ``Parker.park``. A thread can be given hooks of its own, which
is how a simulated runtime turns waits into scheduling decisions, and how a dispatcher learns that
one of its workers is about to wait. Hooks belong to the thread that sets them and to no other.
"""

import math
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeAlias


class Parker:
    """Lets one thread sleep until another wakes it; a wake-up is never lost.

    Holds at most one permit. ``unpark`` stores it, ``park`` takes it. Only one thread parks at a
    time; any number may unpark.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()  # held: no permit

    def park(self, timeout: float | None = None) -> bool:
        """Wait for a permit and take it; returns at once if there is one.

        Args:
            timeout: Seconds. ``None``, infinity and anything above ``threading.TIMEOUT_MAX`` wait
                without limit; zero or less looks once.

        Returns:
            Whether a permit was taken; ``False`` means that the time has passed.

        Raises:
            ValueError: *timeout* is NaN.
            KeyboardInterrupt: and whatever else a signal handler raises. The permit, if one came
                meanwhile, is kept.
        """
        if timeout is None or timeout > threading.TIMEOUT_MAX:
            return self._lock.acquire()
        if timeout <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=timeout)

    def unpark(self) -> None:
        """Give the permit; does nothing if there is one already.

        Never blocks. Safe from any thread, from a signal handler and from ``__del__``.
        """
        try:
            self._lock.release()
        except RuntimeError:
            return  # the lock was free: its permit has not been taken yet


ParkerFactory: TypeAlias = Callable[[], Parker]
Blocker: TypeAlias = Callable[[], AbstractContextManager[object]]
Now: TypeAlias = Callable[[], float]


class ThreadHooks(NamedTuple):
    """What a thread uses in place of the defaults; ``None`` stands for the default."""

    parker_factory: ParkerFactory | None = None
    blocker: Blocker | None = None
    now: Now | None = None


class _Hooks(threading.local):
    hooks = ThreadHooks()


_local = _Hooks()


def set_thread_hooks(
    parker_factory: ParkerFactory | None = None,
    blocker: Blocker | None = None,
    now: Now | None = None,
) -> ThreadHooks:
    """Replace all hooks of the calling thread.

    Args:
        parker_factory: Makes the parker of each wait of this thread.
        blocker: Makes the context manager in which this thread waits; it is entered only when
            there really is something to wait for.
        now: The monotonic time, in seconds, by which this thread counts its deadlines.

    Returns:
        The hooks that were set before; ``set_thread_hooks(*previous)`` restores them.
    """
    previous = _local.hooks
    _local.hooks = ThreadHooks(parker_factory, blocker, now)
    return previous


def new_parker() -> Parker:
    """Make the parker for one wait of the calling thread."""
    return (_local.hooks.parker_factory or Parker)()


def current_blocker() -> Blocker | None:
    """Return what the calling thread's waits are wrapped in, if anything."""
    return _local.hooks.blocker


def now() -> float:
    """Return the calling thread's monotonic time in seconds."""
    return (_local.hooks.now or time.monotonic)()


def blocked() -> AbstractContextManager[object]:
    """Return the context for a wait of the calling thread, or for several in a row."""
    blocker = _local.hooks.blocker
    return nullcontext() if blocker is None else blocker()


def check_timeout(timeout: float | None) -> None:
    """Raise ``ValueError`` for a timeout that is NaN."""
    if timeout is not None and math.isnan(timeout):
        msg = f"timeout must be a number of seconds or None, not {timeout!r}"
        raise ValueError(msg)


def park(parker: Parker, timeout: float | None = None) -> bool:
    """Park the calling thread on *parker*, within its blocker if it has one."""
    blocker = _local.hooks.blocker
    if blocker is None:
        return parker.park(timeout)
    with blocker():
        return parker.park(timeout)


class Deadline:
    """A timeout that has been turned into a point in time, for waits of several steps."""

    __slots__ = ("_at",)

    def __init__(self, timeout: float | None) -> None:
        """Start counting now; *timeout* is in seconds, ``None`` is no deadline.

        Raises:
            ValueError: *timeout* is NaN.
        """
        check_timeout(timeout)
        self._at = None if timeout is None else now() + timeout

    def remaining(self) -> float | None:
        """Return the seconds left, zero when it has passed, ``None`` without a deadline."""
        return None if self._at is None else max(0.0, self._at - now())
