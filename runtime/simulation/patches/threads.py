"""``threading.Thread`` in a simulation: each thread that is started in one is a task of it."""

from __future__ import annotations

import functools
import threading
from _thread import start_new_thread as _real_start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.simulation.here import current_world
from runtime.simulation.tasks import TaskKilled

if TYPE_CHECKING:
    from runtime.simulation.tasks import SimTask
    from runtime.simulation.world import World

__all__ = [
    "forget_thread",
    "is_alive",
    "join",
    "start",
    "start_new_thread",
    "with_threads_in_order",
]

_Thread = threading.Thread
_real_start = _Thread.start
_real_join = _Thread.join
_real_is_alive = _Thread.is_alive
_active: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]  # noqa: SLF001


def start(self: Any) -> None:
    """As ``Thread.start``."""
    world = current_world()
    if world is None:
        _real_start(self)
        return
    if not getattr(self, "_initialized", False):
        message = "thread.__init__() not called"
        raise RuntimeError(message)
    if self._started.is_set():
        message = "threads can only be started once"
        raise RuntimeError(message)
    _start_task(world, self)
    world.pause()


def _start_task(world: World, thread: Any) -> None:
    task = world.spawn("thread", lambda: _run(thread, task))
    thread._sim_task = task  # noqa: SLF001 - it is ours now
    thread._ident = task.ident  # noqa: SLF001
    thread._started._flag = True  # noqa: SLF001 - nobody can wait for it yet
    _active[task.ident] = thread


def _run(thread: Any, task: SimTask) -> None:
    try:
        thread.run()
    except TaskKilled:
        raise
    except BaseException:  # noqa: BLE001 - as a real thread does
        if not task.killed:  # else it failed because it was ended in the midst of something
            thread._invoke_excepthook(thread)  # noqa: SLF001
    finally:
        thread._is_stopped = True  # noqa: SLF001 - what its repr shows before 3.13
        _active.pop(task.ident, None)


def forget_thread(task: SimTask) -> None:
    """A task is over: so is whatever ``current_thread()`` has made for it."""
    thread = _active.pop(task.ident, None)
    if thread is not None:
        thread._is_stopped = True  # type: ignore[attr-defined]  # noqa: SLF001


def is_alive(self: Any) -> bool:
    """As ``Thread.is_alive``."""
    task: SimTask | None = getattr(self, "_sim_task", None)
    return _real_is_alive(self) if task is None else not task.over


def join(self: Any, timeout: float | None = None) -> None:
    """As ``Thread.join``, in virtual time."""
    task: SimTask | None = getattr(self, "_sim_task", None)
    if task is None:
        _real_join(self, timeout)
        return
    world = current_world()
    if world is None or task.over:
        return  # it ended with its simulation
    me = world.current
    if task is me:
        message = "cannot join current thread"
        raise RuntimeError(message)
    deadline = None if timeout is None else world.now + max(0.0, timeout)
    world.pause()
    while not task.over:
        left = None if deadline is None else deadline - world.now
        if left is not None and left <= 0:
            return
        task.joiners.append(me)
        try:
            world.wait(left, lambda: f"the end of thread {self.name!r}")
        finally:
            if me in task.joiners:
                task.joiners.remove(me)


def start_new_thread(function: Any, args: tuple[Any, ...], kwargs: Any = None) -> int:
    """As ``_thread.start_new_thread``."""
    world = current_world()
    if world is None:
        return _real_start_new_thread(function, args, kwargs or {})
    task = world.spawn("thread", lambda: function(*args, **(kwargs or {})))
    return task.ident


class _InOrder(dict[Any, None]):
    """A set that is gone through in the order in which it was filled, and not in that of ids."""

    def add(self, item: object) -> None:
        self[item] = None


def with_threads_in_order(real: Callable[..., None]) -> Callable[..., None]:
    """``ThreadPoolExecutor.__init__``, so that a shutdown joins the threads in the same order."""

    @functools.wraps(real)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        if current_world() is not None:
            self._threads = _InOrder()

    return init
