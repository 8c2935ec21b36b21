"""Pykka's futures, with callbacks, an ``await`` that leaves the loop free, and whole deadlines.

Nothing blocks but a ``get``; a future may be resolved from anywhere, a signal handler and
``__del__`` included.
"""

import functools
import queue
import sys
import threading
from asyncio.events import _get_running_loop
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeAlias, TypeVar, cast

import pykka

from actors.system import parking
from actors.system.settled import Outcome, Settled, next_token
from actors.system.waiting import LoopWaiter, Observable, get_all, is_done, when_done

T = TypeVar("T")
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Future(Settled, pykka.Future[T]):
    """A value, or an exception, that is there now or will be.

    Everything that Pykka documents of its futures holds. Beyond it: callbacks, an ``await`` that
    leaves the event loop free, and an exception that is raised with its original traceback to
    every reader, however often.

    A future with a get hook has no value until somebody gets it. So when it is awaited, or given
    a callback, a daemon thread gets it for them.
    """

    _get_hook: Callable[[float | None], T] | None = None
    _turn: "Future[None] | None" = None  # held by the thread that runs the hook
    _watcher: object = None  # what makes sure that callbacks run though nobody gets it

    def __init__(self) -> None:
        """Make a future that is still to be resolved."""
        self.__dict__  # noqa: B018 -- as in `Settled`; Pykka's would set what stands above

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the value and return it, or raise the exception.

        Any number of threads may wait. Inside a dispatcher's worker the wait doesn't use it up.

        Args:
            timeout: Seconds to wait; zero or less looks once, ``None`` and infinity wait without
                limit.

        Raises:
            pykka.Timeout: the time has passed. The future is as it was.
            ValueError: *timeout* is NaN.
        """
        outcome = self._outcome
        if outcome is None:
            outcome = self._wait(timeout)
        value, error, traceback = outcome
        if error is None:
            answer: T = value
            return answer
        try:
            raise error.with_traceback(traceback)
        finally:
            del self, error, outcome, traceback  # the traceback holds this frame

    def set(self, value: T | None = None) -> None:
        """Resolve it with a value. Callbacks run here and now, in the order of registration.

        Raises:
            queue.Full: it has been resolved already, or has a get hook.
        """
        if not self._resolve((value, None, None)):
            raise queue.Full

    def try_set(self, value: T | None = None) -> bool:
        """Resolve it with a value, unless it has been resolved; returns whether it did."""
        return self._resolve((value, None, None))

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Resolve it with an exception, by default the one that is being handled.

        Args:
            exc_info: What ``sys.exc_info()`` returns. The traceback in it is what readers see.

        Raises:
            queue.Full: it has been resolved already, or has a get hook.
            ValueError: there is no exception in it.
        """
        kind, error, traceback = exc_info or sys.exc_info()
        if error is None:
            if kind is None:
                msg = "set_exception() needs exc_info, or an exception that is being handled"
                raise ValueError(msg)
            error = kind()
        if not self._resolve((None, error, traceback)):
            raise queue.Full

    def set_error(self, error: BaseException) -> None:
        """Resolve it with an exception, which keeps the traceback that it has now.

        Raises:
            queue.Full: it has been resolved already, or has a get hook.
        """
        if not self._resolve((None, error, error.__traceback__)):
            raise queue.Full

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Let ``func(timeout)`` make the value, once, in whichever thread first gets it.

        What the hook raises is raised to that reader, and the next one calls the hook again.

        Raises:
            queue.Full: it has been resolved already.
        """
        if self._outcome is not None:
            raise queue.Full
        self._get_hook = func
        if self._callbacks:
            self._watch()

    def filter(self: "Future[Iterable[J]]", func: Callable[[J], bool]) -> "Future[Iterable[J]]":
        """Return a future of the list of those items for which *func* holds."""
        return _Derived((self,), lambda values: [item for item in values[0] if func(item)])

    def join(self: "Future[Any]", *futures: pykka.Future[Any]) -> "Future[Iterable[Any]]":
        """Return a future of the list of the values of this one and *futures*, in this order.

        A timeout of its ``get`` is one deadline for all of them.
        """
        return _Derived((self, *futures), list)

    def map(self, func: Callable[[T], M]) -> "Future[M]":
        """Return a future of ``func(value)``.

        The function runs once, in whichever thread first gets the result, and what it raises is
        raised to every reader.
        """
        return _Derived((self,), lambda values: func(values[0]))

    def reduce(self: "Future[Iterable[J]]", func: Callable[[R, J], R], *args: R) -> "Future[R]":
        """Return a future of ``functools.reduce(func, value, *args)``."""
        return _Derived((self,), lambda values: functools.reduce(func, values[0], *args))

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for it without blocking the running asyncio loop, whichever that is.

        Cancelling the awaiting task takes back its registration and changes nothing else. Without
        a running asyncio loop this is Pykka's own ``await``: one step to the scheduler, then
        ``get``.
        """
        loop = _get_running_loop()
        if loop is None:
            yield
            return self.get()
        while (pending := self._blocks_on()) is not None:
            waiter = LoopWaiter(loop)
            token = next_token()
            try:
                pending._register(token, waiter.wake)  # noqa: SLF001 -- a future like this one
                yield from waiter.future
            finally:
                pending._unregister(token)  # noqa: SLF001
        return self.get()

    __iter__ = __await__

    # What a future is made of ------------------------------------------------------------------

    def _resolve(self, outcome: Outcome) -> bool:
        """Settle it, unless that is a get hook's business; ``False`` if it was settled before."""
        return self._get_hook is None and self._settle(outcome)

    def _blocks_on(self) -> "Future[Any] | None":
        """Return what to wait for before ``get`` is sure not to, or ``None``."""
        return self if self._outcome is None else None

    def _watch(self) -> None:
        """See to it that the callbacks are run even if nobody gets it."""
        if self._get_hook is None:
            return  # whoever resolves it runs them
        watcher = threading.Thread(target=self._get_for_callbacks, name="future", daemon=True)
        if self.__dict__.setdefault("_watcher", watcher) is watcher:
            watcher.start()

    def _get_for_callbacks(self) -> None:
        try:
            self.get()
        except BaseException as error:  # noqa: BLE001 -- it is the answer
            self._settle((None, error, error.__traceback__))

    def _wait(self, timeout: float | None) -> Outcome:
        if self._get_hook is not None:
            return self._evaluate(timeout)
        parking.check_timeout(timeout)
        if timeout is None or timeout > 0:
            parker = parking.new_parker()
            token = next_token()
            try:
                self._register(token, lambda _future: parker.unpark())
                self._park(parker, timeout)
            finally:
                self._unregister(token)
        if self._outcome is None:
            msg = f"{timeout} seconds"
            raise pykka.Timeout(msg)
        return self._outcome

    def _park(self, parker: parking.Parker, timeout: float | None) -> None:
        parking.park(parker, timeout)

    def _evaluate(self, timeout: float | None) -> Outcome:
        """Make the value in this thread, unless another is about it: then wait for that one."""
        deadline = parking.Deadline(timeout)
        turn: Future[None] = Future()
        try:
            while (holder := self.__dict__.setdefault("_turn", turn)) is not turn:
                holder.get(timeout=deadline.remaining())
            if self._outcome is None:
                self._settle(self._make(deadline))
        finally:
            if self.__dict__.get("_turn") is turn:
                del self.__dict__["_turn"]
                turn.set()
        return cast("Outcome", self._outcome)

    def _make(self, deadline: parking.Deadline) -> Outcome:
        hook = cast("Callable[[float | None], T]", self._get_hook)
        return (hook(deadline.remaining()), None, None)


class _Derived(Future[T]):
    """A value computed from other futures' values, once, in whichever thread first gets it.

    It is done when its sources are, which are taken in order, up to the first that failed.
    """

    _sources_done = False

    def __init__(
        self, sources: tuple[pykka.Future[Any], ...], compute: Callable[[list[Any]], T]
    ) -> None:
        super().__init__()
        self._sources = sources
        self._compute = compute

    def done(self) -> bool:
        return (
            self._outcome is not None
            or self._sources_done
            or _first_pending(iter(self._sources)) is None
        )

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:  # noqa: ARG002
        raise queue.Full  # it has one, so to speak

    def _resolve(self, outcome: Outcome) -> bool:  # noqa: ARG002 -- only its sources decide
        return False

    def _blocks_on(self) -> Future[Any] | None:
        if self._outcome is not None:
            return None
        return self._turn if self.done() else self

    def _watch(self) -> None:
        follower = _Follower(self)
        if self.__dict__.setdefault("_watcher", follower) is follower:
            follower(None)

    def _stop_watching(self) -> None:
        """Leave nothing with the sources when nobody is left to be told."""
        if self._callbacks:
            return
        follower = self.__dict__.pop("_watcher", None)
        if follower is not None:
            follower.stop()
            if self._callbacks and not self.done():  # registered before it could see the end
                self._watch()

    def _sources_are_done(self) -> None:
        self._sources_done = True
        self._run_callbacks()

    def _wait(self, timeout: float | None) -> Outcome:
        return self._evaluate(timeout)

    def _make(self, deadline: parking.Deadline) -> Outcome:
        values = get_all(self._sources, timeout=deadline.remaining())
        try:
            return (self._compute(values), None, None)
        except Exception as error:  # noqa: BLE001 -- it is the answer
            return (None, error, error.__traceback__)


class _Follower:
    """Goes from source to source of a derived future as each is done, then tells it."""

    def __init__(self, derived: _Derived[Any]) -> None:
        self._derived = derived
        self._sources = iter(derived._sources)  # noqa: SLF001 -- a part of it
        self._source: pykka.Future[Any] | None = None
        self._stopped = False

    def __call__(self, done: pykka.Future[Any] | None) -> None:
        self._source = None
        if done is None or not _has_failed(done):
            self._source = source = _first_pending(self._sources)
            if source is not None:
                when_done(source, self)
                if self._stopped:  # before it could see this source
                    self.stop()
                return
        self._derived._sources_are_done()  # noqa: SLF001

    def stop(self) -> None:
        self._stopped = True
        if isinstance(self._source, Observable):
            self._source.remove_done_callback(self)


def _first_pending(sources: Iterator[pykka.Future[Any]]) -> pykka.Future[Any] | None:
    """Return the first source that is not done and stands before any that failed."""
    for source in sources:
        if not is_done(source):
            return source
        if _has_failed(source):
            return None
    return None


def _has_failed(source: pykka.Future[Any]) -> bool:
    outcome = getattr(source, "_outcome", None)
    return outcome is not None and outcome[1] is not None
