"""Worker threads that run jobs, and keep running them while some of the jobs wait."""

import logging
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import count

from actors.system.clock import Clock, Timer
from actors.system.idle import IdleLine
from actors.system.parking import Deadline, set_thread_hooks
from actors.system.permits import Permits
from actors.system.worker import Job, Worker

_logger = logging.getLogger("actors.system")

_FIRST_RETRY = 0.01  # seconds after which a thread that could not be started is tried again
_LAST_RETRY = 1.0  # to which that doubles
_NOTHING: AbstractContextManager[None] = nullcontext()


class _HopelessError(RuntimeError):
    """No thread can be started, and there is none that could try again."""


class _Here(threading.local):
    worker: Worker | None = None


_here = _Here()


class Dispatcher:
    """Runs jobs on daemon threads, which are started when they are needed.

    A worker runs with a permit, of which there are as many as jobs may run at a time. Who has a
    permit and finds no job gives it back, and *then* looks at the queue once more; who adds a job
    looks for a permit after that. So one of the two sees the other, and no job is left lying
    without any lock being held. All shared state changes by single atomic steps of deques and
    lists, and ``execute`` never blocks: it may be called from a signal handler or ``__del__``.
    (Where it has to start a thread, ``Thread.start`` makes no such promise.)

    At most one worker at a time is *on its way*: woken or started, and not yet at the queue. Who
    adds a job meanwhile need not wake another. When it has taken a job and others are left, it
    first wakes the next worker, as its own job may take for ever. So thousands of short jobs are
    run by few threads, and yet no job waits for another one that blocks.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        name: str = "dispatcher",
        keep_idle: int = 8,
        linger: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        """Make a dispatcher; it starts no thread yet.

        Args:
            workers: How many jobs may run at a time, those inside ``blocking`` not counted.
                ``None`` runs every job at once, on an idle thread or a new one.
            name: The threads are called ``{name}-{n}``.
            keep_idle: How many threads may wait for work as long as there is none.
            linger: Seconds that further ones wait before they end, one after another: a start is
                dear, and so are thousands of ends at once.
            clock: For ending threads that have waited long enough, and for trying again when
                none can be started. Without one, the dispatcher has one of its own.

        Raises:
            ValueError: *workers* is less than one, or *keep_idle* or *linger* is negative.
        """
        if workers is not None and workers < 1:
            msg = f"workers must be at least 1, or None for no limit, not {workers!r}"
            raise ValueError(msg)
        if keep_idle < 0:
            msg = f"keep_idle must not be negative, but is {keep_idle!r}"
            raise ValueError(msg)
        if not linger >= 0:
            msg = f"linger must be a number of seconds, not {linger!r}"
            raise ValueError(msg)
        self.name = name
        self.workers = workers
        self._queue: deque[Job] = deque()
        self._permits = None if workers is None else Permits(workers)
        self._calm: list[None] = [None]  # empty while a worker is on its way
        self._numbers = count(1)
        self._threads: dict[threading.Thread, None] = {}
        self._ended: deque[threading.Thread] = deque()  # they have left, but may still be alive
        self._leaving = threading.RLock()
        self._closed = False
        self._clock = clock or Clock(name=f"{name}-clock")  # without a thread until it is used
        self._owns_clock = clock is None
        self._idle = IdleLine(keep_idle, linger, self._clock)
        self._retry_timer: Timer | None = None
        self._retry_delay = _FIRST_RETRY
        self._starved = False  # a thread was wanted that could not be started

    def execute(self, job: Job) -> None:
        """Run *job* soon on a worker thread; queued jobs start in the order of arrival.

        Never blocks. What the job raises is logged.

        Raises:
            RuntimeError: the dispatcher has been shut down; or it has no thread, and neither a
                first one nor the clock's can be started, so that nothing would ever run the job.
        """
        if self._closed:
            msg = f"the dispatcher {self.name!r} has been shut down and takes no more jobs"
            raise RuntimeError(msg)
        worker = _here.worker
        if worker is not None and worker.keeps and worker.dispatcher is self:
            worker.keeps = False
            worker.kept = job
            return
        self._queue.append(job)
        try:
            self._bring_worker()
        except _HopelessError:
            with suppress(ValueError):  # another thread runs it, after all
                self._queue.remove(job)
                raise

    def requeue(self, job: Job) -> None:
        """``execute``, as the last step of a job: this worker looks at the queue next."""
        worker = _here.worker
        if worker is not None and worker.dispatcher is self and not worker.keeps:
            self._queue.append(job)
        else:
            self.execute(job)

    def blocking(self) -> AbstractContextManager[object]:
        """Return a context manager for a part of a job that waits.

        While a job is in it, it does not count against ``workers``, so that a spare thread takes
        over the queue. Leaving it goes on at once, even if that makes one job too many for a
        moment; new ones are then held back until there is room. It nests, and does nothing on
        other threads than this dispatcher's.
        """
        worker = _here.worker
        if worker is None or worker.dispatcher is not self:
            return _NOTHING
        return worker.blocking

    def keeping(self) -> AbstractContextManager[object]:
        """Return a context manager for the closing part of a job.

        The first job that is executed from within it, on the same thread, is run next by this
        worker, ahead of the queue and without waking another thread. Further ones go the normal
        way. It does nothing on other threads than this dispatcher's. Don't wait in it.
        """
        worker = _here.worker
        if worker is None or worker.dispatcher is not self:
            return _NOTHING
        return worker.keeping

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closed

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that are alive."""
        with self._leaving:
            threads = [*self._threads, *self._ended]
        return [thread for thread in threads if thread.is_alive()]

    def shutdown(self, timeout: float | None = None) -> bool:
        """Take no more jobs, run those that are queued, and wait for the threads to end.

        May be called again, from several threads at once, and from a job: that one's own thread
        ends when the job has.

        Args:
            timeout: Seconds to wait for all threads together; ``None`` waits without limit.

        Returns:
            Whether all threads but the caller's have ended in time.

        Raises:
            ValueError: *timeout* is NaN.
        """
        deadline = Deadline(timeout)
        self._closed = True
        self._idle.close()
        with self.blocking():
            ended = self._join(deadline)
        if ended and self._owns_clock:
            self._clock.close()
        return ended

    def _join(self, deadline: Deadline) -> bool:
        me = threading.current_thread()
        while True:
            others = [thread for thread in self.threads if thread is not me]
            for thread in others:
                thread.join(deadline.remaining())
                if thread.is_alive():
                    return False
            if others:
                continue  # a job may have been followed by a thread that was not there before
            here = _here.worker
            if not self._queue or (here is not None and here.dispatcher is self):
                return True
            self._help()

    def _help(self) -> None:
        """Run one job here, as no thread could be started for it."""
        try:
            job = self._queue.popleft()
        except IndexError:
            return
        self._run(job)

    def _bring_worker(self) -> bool:
        """Set one more worker to work, if there is a job and room for it.

        Every job that is added, and every permit that comes free, calls for one worker. Returns
        whether one is on its way now.
        """
        while self._queue:
            try:
                try:
                    self._calm.pop()
                except IndexError:
                    return True
                if self._permits is None or self._permits.take():
                    return self._send_worker()
            except BaseException:  # a Ctrl-C; once too often does no harm
                self._calm.append(None)
                raise
            self._calm.append(None)
            if self._permits is None or not self._permits.left:
                return False
            # It came free in between, when its worker may have seen an empty queue; and who added
            # the job after that has left it to us.
        return False

    def _send_worker(self) -> bool:
        try:
            worker = self._idle.pop()
        except IndexError:
            return self._start_worker()
        worker.has_permit = True
        worker.parker.unpark()
        return True

    def _start_worker(self) -> bool:
        worker = Worker(self, self._suspend, self._resume)
        name = f"{self.name}-{next(self._numbers)}"
        thread = threading.Thread(target=self._serve, args=(worker,), name=name, daemon=True)
        self._threads[thread] = None
        try:
            thread.start()
        except BaseException as error:
            if not worker.claim.acquire(blocking=False):
                raise  # interrupted after the start: the thread is at work, permit and all
            del self._threads[thread]
            self._ended.append(thread)  # an interrupt may have come after its start: it ends now
            self._calm.append(None)
            self._give_permit()
            self._starved = True
            hope = self._retry_later()
            if not isinstance(error, RuntimeError):
                raise
            if not hope and not self._threads:
                msg = f"{self.name} has no thread, and none can be started: {error}"
                raise _HopelessError(msg) from error
            return False
        self._retry_delay = _FIRST_RETRY
        return True

    def _retry_later(self) -> bool:
        """Come back to the queue in a while, if that can be; whoever ends a job does so too."""
        if self._retry_timer is not None and self._retry_timer.pending:
            return True
        delay, self._retry_delay = self._retry_delay, min(2 * self._retry_delay, _LAST_RETRY)
        try:
            self._retry_timer = self._clock.call_later(delay, self._retry)
        except RuntimeError:
            _logger.warning(
                "%s can start neither a worker nor a timer; %d jobs wait for the next one that"
                " comes or ends",
                self.name,
                len(self._queue),
            )
            return False
        return True

    def _retry(self) -> None:
        """Bring workers for the jobs that are waiting: one, that brings the next."""
        self._starved = False
        self._bring_worker()

    def _take_permit(self) -> bool:
        return self._permits is None or self._permits.take()

    def _give_permit(self) -> None:
        if self._permits is not None:
            self._permits.give()

    def _serve(self, worker: Worker) -> None:
        """Be a worker thread: work, stand in line, and work again, until there are enough."""
        if not worker.claim.acquire(blocking=False):
            return
        _here.worker = worker
        set_thread_hooks(blocker=self.blocking)
        self._calm.append(None)
        while True:
            if worker.has_permit:
                self._work(worker)
            if self._queue and self._take_permit():  # it came while we still had the permit
                worker.has_permit = True
                continue
            if not self._idle.stand(worker):
                break
            worker.arriving = True  # it was sent for
            self._calm.append(None)
        _here.worker = None
        self._leave(threading.current_thread())

    def _work(self, worker: Worker) -> None:
        """Run jobs until there are none, or one worker too many; then give the permit back."""
        queue, permits = self._queue, self._permits
        while permits is None or not permits.overdrawn:
            job = worker.kept
            if job is not None:
                worker.kept = None
            elif queue:
                try:
                    job = queue.popleft()
                except IndexError:
                    break
                if worker.arriving:
                    worker.arriving = False
                    if queue:
                        self._bring_worker()
            else:
                break
            self._run(job)
            del job  # or it would live until the next one comes
            if self._starved:
                self._retry()
        if worker.kept is not None:
            self._put_back(worker)
        worker.has_permit = False
        if permits is not None:
            permits.give()

    def _put_back(self, worker: Worker) -> bool:
        """Let others have the job that was kept for this worker."""
        job, worker.kept = worker.kept, None
        if job is None:
            return False
        self._queue.appendleft(job)
        return True

    def _suspend(self) -> None:
        """Stop counting the calling worker, which is about to wait."""
        worker = _here.worker
        put_back = worker is not None and self._put_back(worker)
        self._give_permit()
        if put_back or self._permits is not None:
            self._bring_worker()

    def _resume(self) -> None:
        """Count the calling worker again, which goes on at once."""
        if self._permits is not None:
            self._permits.overdraw()
            self._bring_worker()  # overdrawing may have hidden a permit from someone for a moment

    def _run(self, job: Job) -> None:
        try:
            job()
        except BaseException:  # whatever it is, it was the job's and not the worker's
            _logger.exception("A job %r of %s failed", job, self.name)

    def _leave(self, thread: threading.Thread) -> None:
        with self._leaving:
            del self._threads[thread]
            self._ended.append(thread)
            while not self._ended[0].is_alive():
                self._ended.popleft()
