"""How control passes from one task to another: greenlets, or real threads that pass a baton.

Greenlets are the faster by far and stay on one thread. Batons are real threads of which one runs at
a time; the same schedules run on both, so each checks the other.
"""

from __future__ import annotations

import sys
from _thread import _local, allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from runtime.simulation.here import worlds
from runtime.simulation.patches.processes import real_current_frames
from runtime.simulation.tasks import SimTask

__all__ = ["BACKENDS", "BatonBackend", "GreenletBackend", "SwitchBackend", "make_backend"]

SPARE = 64  # greenlets that a thread keeps for its next simulation


class SwitchBackend(Protocol):
    """Makes tasks. Only the task that has control calls it, and each task's ``handle.switch()``.

    That passes control to the task; it returns when control comes back to the caller.
    """

    def adopt(self, main: SimTask) -> None:
        """Make the calling code the first task."""
        ...

    def make(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> None:
        """Prepare *task*; *body* runs in it and returns the task that control passes to."""
        ...

    def frame(self, task: SimTask) -> FrameType | None:
        """Where a task that has no control stands."""
        ...

    def release(self) -> None:
        """The simulation is over; only the first task is left."""
        ...


class GreenletBackend:
    """Tasks are greenlets of the calling thread: its *carriers*, each of which serves many."""

    _crew: _Crew

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
        self._greenlets = greenlet

    def adopt(self, main: SimTask) -> None:
        main.handle = self._greenlets.getcurrent()
        self._crew = _crew_of_this_thread(self._greenlets)

    def make(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> None:
        task.handle = self._crew.carrier_for(task, body)

    def frame(self, task: SimTask) -> FrameType | None:
        frame: FrameType | None = task.handle.gr_frame
        return frame

    def release(self) -> None:
        """Each carrier is spare since its task is over, and stays so if its crew does."""
        if self._crew.is_traced:
            self._crew.disband()


class _Crew:
    """The carriers of one thread, shared by all simulations on it: making one is dear.

    It costs thirty times what a switch costs, most of it for memory (``benchmarks/simulation.py``).
    A greenlet begins with the recursion depth of the one that first switches to it. So a *starter*
    with a shallow stack does that for all of them as soon as they are made, or a chain of tasks
    that start each other would run out of it.
    """

    def __init__(self, greenlets: Any, *, is_traced: bool) -> None:
        self.is_traced = is_traced
        self._make = greenlets.greenlet
        self._main = greenlets.getcurrent()
        self._spare: list[_Carrier] = []
        self._hired: tuple[Any, Any] | None = None  # who begins, and to whom it then passes control
        self._getcurrent = greenlets.getcurrent
        self._starter = self._make(self._start_them, self._main)
        self._starter.switch()

    def carrier_for(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> Any:
        """A greenlet that runs *body* and then passes control to whom that names."""
        if self._spare:
            carrier = self._spare.pop()
            carrier.handle.gr_context = None  # each task begins with an empty one
        else:
            carrier = _Carrier(self)
            # all below main: parents make no cycle
            carrier.handle = self._make(carrier.run, self._main)
            self._hired = carrier.handle, self._getcurrent()
            self._starter.switch()
        carrier.job = (task, body)
        return carrier.handle

    def take_back(self, carrier: _Carrier) -> bool:
        """Keep it for the next task; not if there are many."""
        keep = len(self._spare) < SPARE
        if keep:
            self._spare.append(carrier)
        return keep

    def disband(self) -> None:
        """End them all: what a suspended greenlet refers to is never collected."""
        self._starter.switch()
        while self._spare:
            self._spare.pop().handle.switch()

    def _start_them(self) -> None:
        self._main.switch()
        while (hired := self._hired) is not None:
            self._hired = None
            handle, maker = hired
            del hired  # or both would live until the next one
            handle.switch(maker)


class _Carrier:
    """A greenlet that runs one task after the other. While it is spare it knows none of them."""

    __slots__ = ("_crew", "handle", "job")

    def __init__(self, crew: _Crew) -> None:
        self._crew = crew
        self.handle: Any = None
        self.job: tuple[SimTask, Callable[[SimTask], SimTask]] | None = None

    def run(self, maker: Any) -> None:
        """The life of its greenlet."""
        maker.switch()  # until there is a job
        del maker
        while (following := self._work()) is not None:
            if not self._crew.take_back(self):
                self.handle.parent = following  # to whom a greenlet that ends passes control
                return
            following.switch()

    def _work(self) -> Any:
        """Run its task; who goes on then, or ``None`` where it has none."""
        if self.job is None:
            return None
        (task, body), self.job = self.job, None
        return body(task).handle


_here = _local()  # what each thread has of its own


def _crew_of_this_thread(greenlets: Any) -> _Crew:
    """That of its earlier simulations; one for this simulation alone where code is traced.

    A greenlet that began without a tracer or profiler is not seen by one in every Python.
    """
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return _Crew(greenlets, is_traced=True)
    crew: _Crew | None = getattr(_here, "crew", None)
    if crew is None:
        crew = _here.crew = _Crew(greenlets, is_traced=False)
    return crew


class _Baton:
    """One real thread, which runs while it holds the baton."""

    __slots__ = ("_backend", "ident", "lock")

    def __init__(self, backend: BatonBackend, ident: int = 0) -> None:
        self._backend = backend
        self.ident = ident
        self.lock = allocate_lock()
        self.lock.acquire()

    def switch(self) -> None:
        """As `SwitchBackend` says."""
        leaving, self._backend.running = self._backend.running, self
        self.lock.release()
        leaving.lock.acquire()


class BatonBackend:
    """Tasks are real threads; exactly one of them is not waiting for the baton."""

    running: _Baton

    def adopt(self, main: SimTask) -> None:
        main.handle = self.running = _Baton(self, get_ident())

    def make(self, task: SimTask, body: Callable[[SimTask], SimTask]) -> None:
        baton = task.handle = _Baton(self)
        world = worlds[get_ident()]

        def run() -> None:
            baton.lock.acquire()
            baton.ident = get_ident()
            worlds[baton.ident] = world
            try:
                following = body(task)
            finally:
                del worlds[baton.ident]
            self.running = following.handle
            self.running.lock.release()

        start_new_thread(run, ())

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
