"""Notices that a task has blocked the real thread, and says on what.

Nothing in a simulation should wait for real. Where code under test does (a real lock that is held
over a switch, a real sleep, a socket), the simulation can't go on or is silently wrong; so a thread
of its own watches, while a simulation runs, whether the simulated one sleeps.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref

from runtime.simulation.errors import UncontrolledError
from runtime.simulation.patches.install import REAL
from runtime.simulation.stacks import where

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["Guard", "guard"]

PATIENCE = 2.0  # real seconds without a step and without work, after which a task is told
IDLE_TICKS = 5  # after which its thread ends
AGAIN = 10  # ticks after which a sleeper that was told, and sleeps on, is interrupted once more
SHARE = 0.02  # of a processor: who takes less is asleep, however busy the machine is

_monotonic = REAL["time", "monotonic"]
_current_frames = REAL["sys", "_current_frames"]


class Guard:
    """One thread that watches whatever simulation runs, and ends when none has for a while."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._alive = False
        self._world: World | None = None
        self._tick = _thread.allocate_lock()
        self._tick.acquire()  # for good: it is the thread's alarm clock

    def watch(self, world: World) -> None:
        """Watch *world* from now on; where no thread can be had, nobody does."""
        self._world = world
        if not self._alive:
            self._alive = True
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:
                self._alive = False

    def forget(self) -> None:
        """The simulation is over. Never waits."""
        self._world = None

    def _run(self) -> None:
        world: World | None
        last: object = None
        work = since = 0.0
        idle = ticks = 0
        while idle < IDLE_TICKS:
            world = None  # it is to be freed on its own thread, and not here
            self._tick.acquire(timeout=self._patience)
            world = self._world
            if world is None:
                idle += 1
                continue
            idle = 0
            ident = _ident(world)
            sign = (ref(world), ident, world.steps, len(world.path), world.current.step)
            spent, now = _processor_time(ident), _monotonic()
            asleep = spent is not None and sign == last and spent - work < SHARE * (now - since)
            ticks = ticks + 1 if asleep else 0
            if asleep and world.blocked_for_real is None:
                _tell(world, ident, self._patience)
                ticks = 0
            elif ticks >= AGAIN:  # a signal that comes just before a wait does not end it
                _interrupt(ident)
                ticks = 0
            last, work, since = sign, spent or 0.0, now
        self._alive = False


def _ident(world: World) -> int:
    """The real thread that the current task runs on."""
    ident: int = getattr(world.current.handle, "ident", 0) or world.main.ident
    return ident


def _tell(world: World, ident: int, patience: float) -> None:
    """Make the sleeper raise, or at least say what it does."""
    frame = _current_frames().get(ident)
    error = world.blocked_for_real = UncontrolledError(
        f"task {world.current.name} has blocked the real thread for {patience:g} s"
        f"{where(frame)}{_locks(world, frame)}: what waits in a simulation must be made after"
        " runtime.simulation was imported, and real sockets, files and processes can't be waited"
        " for in one"
    )
    world.fail(error)
    if not _interrupt(ident):
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - nothing can raise it there


def _interrupt(ident: int) -> bool:
    """Let the world's handler raise in the sleeper, if that can be."""
    if ident != threading.main_thread().ident or not hasattr(signal, "pthread_kill"):
        return False
    if not callable(signal.getsignal(signal.SIGINT)):
        return False  # nobody would raise
    signal.pthread_kill(ident, signal.SIGINT)
    return True


def _processor_time(ident: int) -> float | None:
    """Seconds that a thread has worked; ``None`` where the system does not tell."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (AttributeError, OSError, ValueError):
        return None


def _locks(world: World, frame: FrameType | None) -> str:
    """The real lock that the sleeper seems to wait for, and who else knows it."""
    lock = next((each for each in _locks_in(frame) if each[1].locked()), None)
    if lock is None:
        return ""
    holders = [
        task.name
        for task in (world.main, *world.tasks)
        if task is not world.current
        and any(each is lock[1] for _, each in _locks_in(world.frames().get(task.ident)))
    ]
    also = f", which {' and '.join(holders)} uses too" if holders else ""
    return f", it seems on the real lock {lock[0]}{also}"


def _locks_in(frame: FrameType | None) -> list[tuple[str, Any]]:
    found = []
    while frame is not None:
        code = frame.f_code
        names = {**frame.f_globals, **frame.f_locals}
        for name in (*code.co_varnames, *code.co_freevars, *code.co_names):
            value = names.get(name)
            if isinstance(value, _thread.LockType):
                found.append((name, value))
        frame = frame.f_back
    return found


guard = Guard()
