"""One run of an action from the command line: its waits, its signals and its end.

The main thread waits for one thing, an inbox. The root's end, the end of the runtime and signals
are put into it; a signal's handler does no more than that, because it may have interrupted
anything. Only the second signal acts in its handler: it ends the process, whatever goes on.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeAlias, assert_never

from attrs import frozen

from orchestrator.errors import (
    CloseTimeoutError,
    ExecutionTimeoutError,
    RuntimeClosedError,
)
from orchestrator.values import ExecutionState
from runtime.cli_inbox import Inbox
from runtime.cli_streams import say
from runtime.handle import Handle
from runtime.local import LocalRuntime
from runtime.progress import Totals, restore_terminal

__all__ = [
    "Ended",
    "Interrupted",
    "News",
    "Run",
    "end_at_once",
    "end_by_signal",
    "failure",
    "signals_to",
]

SIGNALLED = 128  # plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM

SAY_AFTER = 1.0  # seconds to wait in silence for what can't be stopped
GRACE = 5.0  # seconds that it gets after --timeout, where nobody is there for a second Ctrl-C
_NAMED = 5  # places in one message


@frozen
class Ended:
    """The root has ended. Its watcher -> the inbox, once."""

    output: Any = None
    error: BaseException | None = None


@frozen
class Closed:
    """Nothing of the runtime is left. A closer -> the inbox, once or, interrupted, twice."""


@frozen
class Interrupted:
    """The first signal has come. Its handler -> the inbox, once."""

    number: int

    @property
    def exit_code(self) -> int:
        """What a shell would report had the signal killed the process."""
        return SIGNALLED + self.number

    def __str__(self) -> str:
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name


News: TypeAlias = Ended | Closed | Interrupted


class Run:
    """An action that was started, until nothing of it is left."""

    def __init__(
        self, runtime: LocalRuntime, handle: Handle, inbox: Inbox[News], name: str
    ) -> None:
        self._runtime = runtime
        self._handle = handle
        self._inbox = inbox
        self._name = name
        self._started = time.monotonic()
        self._over: float | None = None
        self._said = ""
        self._last = Totals(0, 0, 0, 0, 0, 0.0)
        self.ended: Ended | None = None
        self.interrupted: Interrupted | None = None
        self.abandoned = False  # what could not be stopped still runs
        _in_thread(self._watch)

    def totals(self) -> Totals:
        """The totals now; safe from any thread."""
        until = time.monotonic() if self._over is None else self._over
        root = self._handle.snapshot().state if self._handle.done() else ExecutionState.RUNNING
        with suppress(RuntimeClosedError):  # between its last actor's end and its last counters
            self._last = Totals.of(self._runtime.stats(), root, until - self._started)
        return self._last

    @property
    def timed_out(self) -> bool:
        """Whether the root missed its own deadline, not that of an attempt or of a child."""
        error = None if self.ended is None else self.ended.error
        return (
            isinstance(error, ExecutionTimeoutError)
            and error.execution_id == self._handle.id
            and error.what == "its deadline"
        )

    @property
    def ending(self) -> str:
        """How the action ended, in a word or two."""
        if self.interrupted is not None:
            return "interrupted"
        if self.timed_out:
            return "timed out"
        return "done" if self.ended is not None and self.ended.error is None else "failed"

    def wait(self) -> None:
        """Wait until the action has ended and nothing runs any more."""
        self._take(self._inbox.get())
        if self.interrupted is None:
            _in_thread(self._close)
        give_up = time.monotonic() + GRACE if self.timed_out else None
        while True:
            left = SAY_AFTER if give_up is None else min(SAY_AFTER, give_up - time.monotonic())
            try:
                news = self._inbox.get(timeout=max(0.0, left))
            except queue.Empty:
                self._say_what_runs()
                if give_up is not None and time.monotonic() >= give_up:
                    self.abandoned = True
                    break
            else:
                self._take(news)
                if isinstance(news, Closed):
                    break
        self._over = self._over or time.monotonic()

    def _take(self, news: News) -> None:
        match news:
            case Ended():
                self.ended = news
                if self.interrupted is None:
                    self._over = time.monotonic()
            case Interrupted():
                self.interrupted = news
                self._over = None
                say(f"{news}: cancelling {self._name}; once more ends it at once")
                self._handle.cancel(f"interrupted by {news}")
                _in_thread(lambda: self._close(cancel=True))  # with what it has spawned
            case Closed():
                pass
            case _:
                assert_never(news)

    def _watch(self) -> None:
        try:
            ended = Ended(output=self._handle.result())
        except BaseException as error:  # noqa: BLE001 - it is the run's end
            ended = Ended(error=error)
        self._inbox.put(ended)

    def _close(self, *, cancel: bool = False) -> None:
        try:
            self._runtime.close(cancel=cancel)
        finally:  # whatever that raises, the main thread must not wait for ever
            self._inbox.put(Closed())

    def _say_what_runs(self) -> None:
        """Name what the end waits for, unless that was said already."""
        try:
            stats = self._runtime.stats()
        except RuntimeClosedError:
            return  # about to be over
        if not (stats.pending or stats.running or stats.waiting or stats.cancelling):
            text = "waiting for the last events to be written and for threads to end"
        else:
            try:
                self._runtime.close(timeout=0)
            except CloseTimeoutError as error:
                text = f"waiting for {_places(error.still_running)}"
            else:
                return
            if self.interrupted is not None or self.timed_out:
                text += ", which can't be stopped"
        if text != self._said:
            self._said = text
            say(text)


def end_at_once(runtime: LocalRuntime, code: int) -> NoReturn:
    """End this process without waiting for anything, and the processes that *runtime* started.

    Those end by themselves when this one is gone, but not while a C function keeps one busy.
    """
    for pid in runtime._closing.processes.pids:  # noqa: SLF001 - the command is a part of it
        with suppress(OSError):
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    os._exit(code)


def end_by_signal(runtime: LocalRuntime, number: int) -> NoReturn:
    """The same from a signal's handler, the terminal restored."""
    restore_terminal()
    with suppress(OSError):
        os.write(2, b"ended at once, whatever was still running\n")
    end_at_once(runtime, SIGNALLED + number)


@contextmanager
def signals_to(inbox: Inbox[News], leave: Callable[[int], object]) -> Iterator[None]:
    """Put the first SIGINT or SIGTERM into *inbox*, and call *leave* at the second one.

    Takes them over where they were ignored too: a script that signals a command which it has
    started in the background means it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not this thread's
        return
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            inbox.put(Interrupted(number))
        else:
            leave(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with inbox.woken_by_signals():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def failure(error: BaseException) -> str:
    """The traceback of what an action raised, from the action's own frame on, notes and all."""
    step = error.__traceback__
    while step is not None and _is_ours(step.tb_frame):
        step = step.tb_next
    shown = step or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, shown)).rstrip()


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("runtime", "orchestrator")


def _places(still_running: tuple[str, ...]) -> str:
    """Who still runs, and where, out of what `CloseTimeoutError` says."""
    counts = Counter(map(_place, still_running))
    named = [
        text if count == 1 else f"{text} ({count} times)"
        for text, count in counts.most_common(_NAMED)
    ]
    if len(counts) > _NAMED:
        named.append(f"{len(counts) - _NAMED} more")
    return ", ".join(named) or "executions that are about to end"


def _place(entry: str) -> str:
    name = entry.partition(" (execution ")[0].partition("\n")[0].rstrip(":")
    frames = [line.strip() for line in entry.splitlines() if line.startswith("  File ")]
    return f"{name} at {frames[-1]}" if frames else name


def _in_thread(function: Callable[[], object]) -> None:
    name = f"orchestrate {getattr(function, '__name__', '')}"
    threading.Thread(target=function, name=name, daemon=True).start()
