"""Jobs that run on whichever thread executes them."""

import logging
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext

from actors.system.dispatcher import Dispatcher
from actors.system.interrupts import may_be_interrupted
from actors.system.worker import Job

_logger = logging.getLogger("actors.system")

_NOTHING: AbstractContextManager[None] = nullcontext()


class _Here(threading.local):
    """One thread's jobs."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.running = False


class CallingThreadDispatcher:
    """Runs each job on the thread that executes it, for actors that never block.

    Such actors must hold no user code either: it would hold up whoever sends them a message. A
    job that is executed by another one, on the same thread, runs after it and never inside it; so
    a chain of messages may be of any length.

    A ``KeyboardInterrupt`` in the middle of a job would leave an actor half changed. So where it
    can come (see ``may_be_interrupted``), the job goes to *fallback*.
    """

    def __init__(self, fallback: Dispatcher) -> None:
        """Make a dispatcher; *fallback* remains its owner's to shut down."""
        self._fallback = fallback
        self._here = _Here()
        self._closed = False

    def execute(self, job: Job) -> None:
        """Run *job* now, or after the one that runs on this thread.

        What the job raises, of whatever kind, is logged and does not reach the caller.

        Raises:
            RuntimeError: it has been shut down.
        """
        here = self._here
        if here.running:
            here.jobs.append(job)
            return
        if self._closed:
            msg = "this dispatcher has been shut down and takes no more jobs"
            raise RuntimeError(msg)
        if may_be_interrupted():
            self._fallback.execute(job)
            return
        jobs = here.jobs
        jobs.append(job)
        here.running = True
        try:
            while jobs:
                try:
                    jobs.popleft()()
                except BaseException:  # the caller only sent a message
                    _logger.exception("A job of %r failed", self)
        finally:
            here.running = False
            while jobs:  # interrupted, after all: by a signal handler that is not Python's own
                self._fallback.execute(jobs.popleft())

    def blocking(self) -> AbstractContextManager[object]:
        """Return a context manager that does nothing: its jobs never block."""
        return _NOTHING

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closed

    @property
    def threads(self) -> list[threading.Thread]:
        """Its own threads, of which it has none."""
        return []

    def shutdown(self, timeout: float | None = None) -> bool:  # noqa: ARG002 -- nothing to wait for
        """Take no more jobs; those that run elsewhere run to their end. Always ``True``."""
        self._closed = True
        return True
