"""The event loop of a runtime: the application's own, or one on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from actors.attempt import Attempt
from actors.leaf import LeafAttempt
from actors.run import Run
from actors.system import Clock
from orchestrator.errors import RuntimeClosedError

__all__ = ["Loops"]

_logger = logging.getLogger("runtime")

RunOne: TypeAlias = Callable[[Attempt], Coroutine[Any, Any, None]]
NeverRun: TypeAlias = Callable[[Attempt, BaseException], None]
RunLeaf: TypeAlias = Callable[[LeafAttempt], Coroutine[Any, Any, None]]
NeverRunLeaves: TypeAlias = Callable[[Run, BaseException], None]


_RETRY = 0.05  # seconds after which a thread that could not be started is tried again


class Loops:
    """Starts the code of attempts on the runtime's loop, from any thread."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._run: RunOne
        self._never_run: NeverRun
        self._run_leaf: RunLeaf
        self._never_run_leaves: NeverRunLeaves
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_plain = False  # it makes tasks in asyncio's own way
        self._thread: threading.Thread | None = None
        self._unstarted = deque([None])  # taken for good by whoever starts the thread
        self._starts: deque[Attempt | Run | Callable[[], object]] = deque()
        self._wakes: deque[None] = deque()  # holds one item while a wake-up is on its way
        self._tasks: dict[asyncio.Task[None], Attempt] = {}

    def serve(
        self,
        run: RunOne,
        never_run: NeverRun,
        run_leaf: RunLeaf,
        never_run_leaves: NeverRunLeaves,
    ) -> None:
        """Start attempts with *run*; *never_run* is told of those whose loop ended first.

        The same for leaves, by their run and index.
        """
        self._run = run
        self._never_run = never_run
        self._run_leaf = run_leaf
        self._never_run_leaves = never_run_leaves

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use the application's loop; before anything was started."""
        self._is_plain = type(loop).create_task is asyncio.BaseEventLoop.create_task
        self._loop = loop

    def start(self, start: Attempt | Run) -> None:
        """Run the attempt's code, or that of each child of a run, as a task.

        Each runs in a copy of its variables.
        """
        loop = self._loop
        if loop is None:
            self._starts.append(start)
            self._start_own()
        elif asyncio._get_running_loop() is loop:  # noqa: SLF001 - the cheap public-by-use accessor
            if start.__class__ is Run:
                self._create_leaves(loop, start)
            else:
                self._create(loop, start)
        else:
            self._starts.append(start)
            self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> bool:
        """See that the loop takes in what was started; ``False`` if it has closed."""
        if self._wakes and not loop.is_closed():  # which may never have got to the one before
            return True
        self._wakes.append(None)
        try:
            loop.call_soon_threadsafe(self._drain, loop)
        except RuntimeError:
            self._refuse_all()
            return False
        return True

    def call(self, loop: asyncio.AbstractEventLoop, function: Callable[..., Any]) -> bool:
        """Call *function* on *loop* soon; ``False``, and nothing happens, if that has closed."""
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:
            _logger.debug("the event loop of %r has closed", function)
            return False
        return True

    @property
    def lost(self) -> asyncio.AbstractEventLoop | None:
        """The application's loop, if it has closed, so that nothing on it can go on."""
        loop = self._loop
        return loop if self._thread is None and loop is not None and loop.is_closed() else None

    def call_behind(self, function: Callable[[], object]) -> bool:
        """Call *function* on the loop behind what was started so far; ``False`` without a loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return False
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - as in `start`
            loop.call_soon(function)
            return True
        self._starts.append(function)
        return self._wake(loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wakes.clear()  # before the starts are taken: what comes later wakes again
        while self._starts:
            start = self._starts.popleft()
            if isinstance(start, Attempt | Run):
                self._create(loop, start)
            else:
                loop.call_soon(start)

    def _create(self, loop: asyncio.AbstractEventLoop, attempt: Attempt | Run) -> None:
        if isinstance(attempt, Run):
            self._create_leaves(loop, attempt)
            return
        task = loop.create_task(self._run(attempt), context=attempt.variables.copy())
        self._tasks[task] = attempt
        task.add_done_callback(self._note_end)

    def _create_leaves(self, loop: asyncio.AbstractEventLoop, run: Run) -> None:
        copy, run_leaf = run.batch.variables.copy, self._run_leaf
        # A loop of asyncio's own would make its tasks in the same way, at more cost.
        own = self._is_plain and loop.get_task_factory() is None
        run.pending.clear()  # nobody is to be handed them: each has its task
        for index in run.indexes:
            attempt = LeafAttempt(run, index)
            code = run_leaf(attempt)
            code.send(None)  # up to where its first step begins
            attempt.task = (
                asyncio.Task(code, loop=loop, context=copy())
                if own
                else loop.create_task(code, context=copy())
            )

    def _note_end(self, task: asyncio.Task[None]) -> None:
        attempt = self._tasks.pop(task)
        if task.cancelled():
            error = asyncio.CancelledError("the task was cancelled before it began")
            self._never_run(attempt, error)
        elif task.exception() is not None:
            _logger.error("a task of the runtime failed", exc_info=task.exception())

    def _refuse_all(self) -> None:
        self._wakes.clear()
        while self._starts:
            error = RuntimeClosedError(
                "the event loop that this runtime was opened on has closed; open the runtime on"
                " the loop that uses it, or without one"
            )
            try:
                start = self._starts.popleft()
            except IndexError:
                return  # another thread has refused it
            if isinstance(start, Attempt):
                self._never_run(start, error)
            elif isinstance(start, Run):
                self._never_run_leaves(start, error)
            else:
                start()

    # The loop of one's own

    def _start_own(self) -> None:
        """Start the loop's thread, which takes in what was started; where none is to be had, soon.

        Whoever finds another at it has left its start in the queue, and that one looks there when
        the loop is there for all to see.
        """
        with contextlib.suppress(IndexError):
            self._unstarted.pop()
            self._loop = self._make_own()
            if self._loop is None:
                self._unstarted.append(None)
                self._clock.call_later(_RETRY, self._start_own)
        if self._loop is not None and self._starts:
            self._wake(self._loop)

    def _make_own(self) -> asyncio.AbstractEventLoop | None:
        """A loop that runs on a thread of its own; ``None`` where there can't be one now."""
        try:
            loop = asyncio.new_event_loop()
        except OSError:  # too many open files
            return None
        thread = threading.Thread(
            target=self._run_own, args=(loop,), name=f"{self._name}-loop", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # too many threads
            loop.close()
            return None
        self._thread = thread
        self._is_plain = type(loop).create_task is asyncio.BaseEventLoop.create_task
        return loop

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
