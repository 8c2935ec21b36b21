"""Something that is decided once, and the callbacks that want to know.

It is decided by one atomic step, a ``dict.setdefault`` of the outcome into the object's own
``__dict__``. Whoever waits is a callback, and whoever takes a callback out of the dict of them
runs it. So there is no lock, and nothing here ever blocks.
"""

import logging
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeAlias

_logger = logging.getLogger("actors.system")

Outcome: TypeAlias = tuple[Any, BaseException | None, TracebackType | None]
Callback: TypeAlias = Callable[[Any], object]

_tokens = count()


def next_token() -> int:
    """Return a name for one registration; names grow in the order of registration."""
    return next(_tokens)


class Settled:
    """The part of a future that knows its outcome and whom to tell."""

    # Class attributes stand for "not yet", so that making one costs next to nothing.
    _outcome: Outcome | None = None
    _callbacks: dict[int, Callback] | None = None

    def __init__(self) -> None:
        # CPython makes an object's __dict__ when it is first asked for. In 3.11, a garbage
        # collection in the middle of that lets another thread in; if that one makes it too, the
        # process crashes. So it is asked for here, while nobody else has the object.
        self.__dict__  # noqa: B018

    def done(self) -> bool:
        """Whether ``get`` would not have to wait for anyone; never blocks."""
        return self._outcome is not None

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Call ``fn(self)`` once: now if it is done, else in the thread that resolves it.

        A callback should be short, as it holds up that thread and the callbacks after it. What it
        raises is logged and goes nowhere else.
        """
        self._register(next(_tokens), fn)

    def remove_done_callback(self, fn: Callable[[Self], object]) -> bool:
        """Take back one registration of *fn*; ``False`` if it has run or was never there."""
        callbacks = self._callbacks or {}
        for token in list(callbacks):
            if callbacks.get(token) == fn and callbacks.pop(token, None) is not None:
                self._stop_watching()
                return True
        return False

    def _settle(self, outcome: Outcome) -> bool:
        if self.__dict__.setdefault("_outcome", outcome) is not outcome:
            return False
        if self._callbacks:
            self._run_callbacks()
        return True

    def _run_callbacks(self) -> None:
        while callbacks := self._callbacks:
            for token in list(callbacks):
                fn = callbacks.pop(token, None)  # whoever takes it out runs it
                if fn is not None:
                    self._run_callback(fn)

    def _run_callback(self, fn: Callback) -> None:
        try:
            fn(self)
        except KeyboardInterrupt:  # the user's, that happened to hit this thread just here
            self._run_callbacks()
            raise
        except BaseException:  # the other callbacks, and whoever resolves it, must go on
            _logger.exception("A callback %r of a future failed", fn)

    def _register(self, token: int, fn: Callback) -> None:
        callbacks = self._callbacks
        if callbacks is None:
            made: dict[int, Callback] = self.__dict__.setdefault("_callbacks", {})
            callbacks = made
        callbacks[token] = fn
        if not self.done():
            self._watch()
        elif callbacks.pop(token, None) is not None:
            self._run_callback(fn)

    def _unregister(self, token: int) -> None:
        if self._callbacks and self._callbacks.pop(token, None) is not None:
            self._stop_watching()

    def _watch(self) -> None:
        """See to it that the callbacks are run even if nobody asks for the outcome."""

    def _stop_watching(self) -> None:
        """Take back what ``_watch`` has done, if there is nobody left to be told."""
