"""How control passes from one task to another: greenlets, or real threads that pass a baton.

Greenlets are the faster by far and stay on one thread. Batons are real threads of which one runs at
a time; the same schedules run on both, so each checks the other.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from runtime.simulation.here import worlds
from runtime.simulation.patches.processes import real_current_frames
from runtime.simulation.tasks import SimTask

__all__ = ["BACKENDS", "BatonBackend", "GreenletBackend", "SwitchBackend", "make_backend"]


class SwitchBackend(Protocol):
    """Makes tasks and passes control. Only the task that has control calls it."""

    def adopt(self, main: SimTask) -> None:
        """Make the calling code the first task."""
        ...

    def make(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> None:
        """Prepare *task*; *body* runs in it and returns the task that control passes to."""
        ...

    def switch(self, leaving: SimTask, to: SimTask) -> None:
        """Pass control to *to*; returns when control comes back to *leaving*."""
        ...

    def frame(self, task: SimTask) -> FrameType | None:
        """Where a task that has no control stands."""
        ...

    def release(self) -> None:
        """The simulation is over; only the first task is left."""
        ...


class GreenletBackend:
    """Tasks are greenlets of the calling thread.

    A greenlet begins with the recursion depth of the one that first switches to it. So a *starter*
    with a shallow stack does that for all of them, or a chain of tasks that start each other would
    run out of it.
    """

    def __init__(self) -> None:
        try:
            import greenlet  # noqa: PLC0415 - an extra, needed here alone
        except ImportError as error:
            message = (
                "simulations switch between tasks with greenlet, which is not installed: pip"
                " install 'actor-orchestrator[testing]', or use backend=\"threads\", which is"
                " slower and needs nothing"
            )
            raise ImportError(message) from error
        self._greenlet = greenlet.greenlet
        self._current = greenlet.getcurrent
        self._main: Any = None
        self._starter: Any = None
        self._starting: Any = None

    def adopt(self, main: SimTask) -> None:
        main.handle = self._main = self._current()
        self._starter = self._greenlet(self._start_them, self._main)
        self._starter.switch()

    def _start_them(self) -> None:
        self._main.switch()
        while (starting := self._starting) is not None:
            self._starting = None
            starting.switch()

    def make(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> None:
        def run() -> None:
            following = body(task)
            # A greenlet that ends passes control to its parent.
            task.handle.parent = self._way_to(following)

        task.handle = self._greenlet(run, self._main)  # all below main: parents make no cycle

    def switch(self, leaving: SimTask, to: SimTask) -> None:  # noqa: ARG002 - the protocol's
        handle = to.handle
        if not handle:  # it has not begun
            handle = self._way_to(to)
        handle.switch()

    def _way_to(self, task: SimTask) -> Any:
        handle = task.handle
        if handle:  # it has begun
            return handle
        self._starting = handle
        return self._starter

    def frame(self, task: SimTask) -> FrameType | None:
        frame: FrameType | None = task.handle.gr_frame
        return frame

    def release(self) -> None:
        self._starting = None
        self._starter.switch()  # which ends it


class _Baton:
    """One real thread, which runs while it holds the baton."""

    __slots__ = ("ident", "lock")

    def __init__(self, ident: int = 0) -> None:
        self.ident = ident
        self.lock = allocate_lock()
        self.lock.acquire()


class BatonBackend:
    """Tasks are real threads; exactly one of them is not waiting for the baton."""

    def __init__(self) -> None:
        self._left: dict[int, Any] = {}

    def adopt(self, main: SimTask) -> None:
        main.handle = _Baton(get_ident())

    def make(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> None:
        baton = task.handle = _Baton()
        world = worlds[get_ident()]

        def run() -> None:
            baton.lock.acquire()
            baton.ident = get_ident()
            worlds[baton.ident] = world
            try:
                following = body(task)
            finally:
                del worlds[baton.ident]
            following.handle.lock.release()

        start_new_thread(run, ())

    def switch(self, leaving: SimTask, to: SimTask) -> None:
        to.handle.lock.release()
        leaving.handle.lock.acquire()

    def frame(self, task: SimTask) -> FrameType | None:
        return real_current_frames().get(task.handle.ident)

    def release(self) -> None:
        """Nothing is held: each thread ends when its task does."""


BACKENDS: dict[str, Callable[[], SwitchBackend]] = {
    "greenlet": GreenletBackend,
    "threads": BatonBackend,
}


def make_backend(name: str) -> SwitchBackend:
    """The back end of that name.

    Raises:
        ValueError: there is none.
        ImportError: it needs a package that is not installed.
    """
    try:
        factory = BACKENDS[name]
    except (KeyError, TypeError):
        known = ", ".join(repr(each) for each in BACKENDS)
        message = f"backend={name!r}: a simulation switches with one of {known}"
        raise ValueError(message) from None
    return factory()
