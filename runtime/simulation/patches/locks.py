"""Locks that work on real threads and in simulations alike."""

from __future__ import annotations

import threading
from _thread import allocate_lock
from types import TracebackType
from typing import TYPE_CHECKING

from runtime.simulation.here import real_ident, worlds

if TYPE_CHECKING:
    from runtime.simulation.tasks import SimTask
    from runtime.simulation.world import World

__all__ = ["Lock"]


class Lock:
    """A mutual exclusion lock, as ``threading.Lock`` documents it.

    It holds a real lock. On a real thread it is that lock; in a simulation taking it is a switch
    point, and waiting for it is in virtual time.
    """

    __slots__ = ("__weakref__", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._waiting: list[tuple[World, SimTask]] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        """Take it; see ``threading.Lock.acquire``."""
        world = worlds.get(real_ident())
        if world is None:
            return self._lock.acquire(blocking, timeout)
        _check(blocking, timeout)
        world.pause()
        if self._lock.acquire(False):  # noqa: FBT003 - as C calls it
            return True
        if not blocking or timeout == 0:
            return False
        return self._wait(world, None if timeout < 0 else world.now + timeout)

    def _wait(self, world: World, deadline: float | None) -> bool:
        entry = (world, world.current)
        while True:
            left = None if deadline is None else deadline - world.now
            if left is not None and left <= 0:
                return False
            self._waiting.append(entry)
            try:
                world.wait(left, self._describe)
            finally:
                if entry in self._waiting:
                    self._waiting.remove(entry)
            if self._lock.acquire(False):  # noqa: FBT003
                return True

    def release(self) -> None:
        """Free it; any thread or task may."""
        self._lock.release()
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        world, task = self._waiting[0]
        if worlds.get(real_ident()) is world:
            del self._waiting[0]
            world.make_ready(task)
        elif world.entered:
            world.note_foreign(
                f"thread {threading.current_thread().name!r}, which is outside the simulation,"
                " released a lock that a task in it waits for"
            )

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._lock.locked()

    def _at_fork_reinit(self) -> None:
        self._lock = allocate_lock()
        self._waiting = []

    def _describe(self) -> str:
        return f"a lock ({self!r})"

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "locked" if self._lock.locked() else "unlocked"
        return f"<{state} simulated lock at {id(self):#x}>"


def _check(blocking: bool, timeout: float) -> None:  # noqa: FBT001
    """Refuse what a real lock refuses."""
    if not blocking:
        if timeout != -1:
            message = "can't specify a timeout for a non-blocking call"
            raise ValueError(message)
    elif timeout < 0 and timeout != -1:
        message = "timeout value must be a non-negative number"
        raise ValueError(message)
    elif timeout > threading.TIMEOUT_MAX:
        message = "timeout value is too large"
        raise OverflowError(message)
