"""The event loop of a runtime: the application's own, or one on a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from attrs import frozen

from actors.system import Future
from orchestrator.errors import RuntimeClosedError

__all__ = ["Loops"]

_logger = logging.getLogger("runtime")

Start: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@frozen(eq=False)
class _Start:
    make: Start
    variables: contextvars.Context
    never_run: Callable[[BaseException], None]


class Loops:
    """Starts coroutines on the runtime's loop, from any thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own: Future[asyncio.AbstractEventLoop] | None = None
        self._thread: threading.Thread | None = None
        self._starts: deque[_Start] = deque()
        self._wakes: deque[None] = deque()  # holds one item while a wake-up is on its way
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use the application's loop; before anything was started."""
        self._loop = loop

    def start(
        self,
        make: Start,
        variables: contextvars.Context,
        never_run: Callable[[BaseException], None],
    ) -> None:
        """Run ``make()`` as a task in *variables*; *never_run* is told if its loop ends first."""
        loop = self._loop or self._start_own()
        start = _Start(make, variables, never_run)
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - the cheap public-by-use accessor
            self._create(loop, start)
            return
        self._starts.append(start)
        if not self._wakes:
            self._wakes.append(None)
            try:
                loop.call_soon_threadsafe(self._drain, loop)
            except RuntimeError:
                self._refuse_all()

    def call(self, loop: asyncio.AbstractEventLoop, function: Callable[..., Any]) -> None:
        """Call *function* on *loop* soon; nothing happens on one that has closed."""
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:
            _logger.debug("the event loop of %r has closed", function)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wakes.clear()  # before the starts are taken: what comes later wakes again
        while self._starts:
            self._create(loop, self._starts.popleft())

    def _create(self, loop: asyncio.AbstractEventLoop, start: _Start) -> None:
        task = loop.create_task(start.make(), context=start.variables)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: _note_end(done, start))

    def _refuse_all(self) -> None:
        self._wakes.clear()
        while self._starts:
            error = RuntimeClosedError(
                "the event loop that this runtime was opened on has closed; open the runtime on"
                " the loop that uses it, or without one"
            )
            self._starts.popleft().never_run(error)

    # The loop of one's own

    def _start_own(self) -> asyncio.AbstractEventLoop:
        mine: Future[asyncio.AbstractEventLoop] = Future()
        own: Future[asyncio.AbstractEventLoop] = self.__dict__.setdefault("_own_loop", mine)
        if own is mine:
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run_own, args=(loop,), name=f"{self._name}-loop", daemon=True
            )
            self._thread.start()
            mine.set(loop)
        self._loop = own.get()
        return self._loop

    def _run_own(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    @property
    def thread(self) -> threading.Thread | None:
        """The thread of the runtime's own loop, if it ever needed one."""
        return self._thread

    def close(self, timeout: float | None) -> bool:
        """End the loop of one's own and join its thread; whether that was in time."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return True
        self.call(loop, loop.stop)
        if thread is not threading.current_thread():
            thread.join(timeout)
        return not thread.is_alive()


def _note_end(task: asyncio.Task[None], start: _Start) -> None:
    if task.cancelled():
        start.never_run(asyncio.CancelledError("the task was cancelled before it began"))
    elif task.exception() is not None:
        _logger.error("a task of the runtime failed", exc_info=task.exception())
