"""What a dispatcher knows of each of its threads."""

import threading
from collections.abc import Callable
from typing import TypeAlias

from actors.system.parking import Parker

Job: TypeAlias = Callable[[], object]


class Worker:
    """One thread of a dispatcher, as the others see it."""

    __slots__ = (
        "arriving",
        "blocking",
        "claim",
        "dispatcher",
        "has_permit",
        "idle_since",
        "keeping",
        "keeps",
        "kept",
        "parker",
    )

    def __init__(
        self, dispatcher: object, suspend: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self.dispatcher = dispatcher
        self.parker = Parker()
        self.claim = threading.Lock()  # taken by the thread, or by who gave up starting it
        self.arriving = True  # it was sent for, and has not taken a job yet
        self.has_permit = True  # set, before it is woken, by who took the permit for it
        self.idle_since = 0.0  # monotonic seconds
        self.keeps = False  # whether the next job executed from here is to be kept
        self.kept: Job | None = None
        self.blocking = _Blocking(suspend, resume)
        self.keeping = _Keeping(self)


class _Blocking:
    """``Dispatcher.blocking`` of one worker; only the outermost of several counts."""

    __slots__ = ("_depth", "_resume", "_suspend")

    def __init__(self, suspend: Callable[[], None], resume: Callable[[], None]) -> None:
        self._suspend = suspend
        self._resume = resume
        self._depth = 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._suspend()

    def __exit__(self, *_exc_info: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._resume()


class _Keeping:
    """``Dispatcher.keeping`` of one worker."""

    __slots__ = ("_worker",)

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __enter__(self) -> None:
        self._worker.keeps = self._worker.kept is None

    def __exit__(self, *_exc_info: object) -> None:
        self._worker.keeps = False
