"""One process of `runtime.processes`: what it does, what travels, and its parent's hold on it.

The process imports this module before it can run anything, so this imports nothing but the
standard library. One request is one pickle, ``(function, args, kwargs)``; one answer is the pickle
of one of the messages below, with what the function returned behind it as a second pickle. All of
them travel as bytes, so that what can't be unpickled spoils its own call and not the pipe.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import NamedTuple, TypeAlias

__all__ = [
    "START_WITHIN",
    "Answer",
    "Child",
    "Raised",
    "RaisedLink",
    "Returned",
    "Stage",
    "Unpicklable",
    "Unreadable",
]

START_WITHIN = 120.0  # seconds for a new process to say that it is ready; imports may be slow
END_WITHIN = 2.0  # seconds for one that was asked to leave, before it is killed

READY = b"ready"  # child -> parent, once: it has started, the parent's main module is imported
END = b""  # parent -> child, instead of a request: leave in good order

_SPAWN = multiprocessing.get_context("spawn")
_LONGEST_CHAIN = 32  # of causes; a loop that chains one error to the next builds endless ones


class Returned(NamedTuple):
    """The function has returned; its result follows as a pickle of its own."""

    type_name: str  # of the result, for the message if it does not unpickle


class Unpicklable(NamedTuple):
    """The function has returned something that can't be pickled."""

    type_name: str
    reason: str


class Unreadable(NamedTuple):
    """The request could not be unpickled here; the function was not called."""

    reason: str


class RaisedLink(NamedTuple):
    """One exception of a chain."""

    pickled: bytes  # empty where it could not be
    reason: str  # why it could not
    type_name: str
    message: str
    notes: list[str]  # apart from the pickle, because a __reduce__ or __setstate__ may drop them
    text: str  # its traceback, without those of its causes
    has_cause: bool  # the next link is its __cause__; else it is its __context__
    suppress_context: bool


class Raised(NamedTuple):
    """The function has raised: its exception, what that was raised from, and so on."""

    links: list[RaisedLink]  # never empty
    pid: int


Answer: TypeAlias = Returned | Unpicklable | Unreadable | Raised


def _serve(connection: Connection) -> None:
    """Answer requests one by one until the parent sends `END`, closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "win32":
        # Blocked until here, by the parent, so that no Ctrl-C came before it was ignored.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        # What a function leaves running must not hold the pipe: its end tells the parent that
        # this process has died.
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - positional only
        os.register_at_fork(after_in_child=connection.close)
    threading.Thread(target=_end_with_the_parent, name="parent-watch", daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has gone
        connection.send_bytes(READY)
        while request := connection.recv_bytes():
            # No name keeps the request, the result or the answer while this process is idle.
            connection.send_bytes(answer_request(request))
            del request


def _end_with_the_parent() -> None:
    """End this process when its parent has ended, however, even in the middle of a call."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def answer_request(request: bytes) -> memoryview:
    """Run the call that *request* holds; what it came to, for `opened`."""
    try:
        function, args, kwargs = pickle.loads(request)  # noqa: S301 - our own parent wrote it
    except BaseException as error:  # noqa: BLE001 - it imports modules, which may do anything
        return _frame(Unreadable(_described(error)))
    try:
        result = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - a SystemExit is the call's end, not ours
        return _frame(Raised(_chain(error), os.getpid()))
    finally:
        _flush()
    try:
        return _frame(Returned(_type_name(result)), result)
    except BaseException as error:  # noqa: BLE001 - a __reduce__ may raise anything
        return _frame(Unpicklable(_type_name(result), _described(error)))


def _frame(answer: Answer, *result: object) -> memoryview:
    stream = io.BytesIO()
    for item in (answer, *result):
        pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(item)
    return stream.getbuffer()


def _chain(error: BaseException) -> list[RaisedLink]:
    links: list[RaisedLink] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen and len(links) < _LONGEST_CHAIN:
        seen.add(id(at))
        links.append(_link(at, skip_frame=at is error))
        implicit = at.__cause__ is None and not at.__suppress_context__
        at = at.__context__ if implicit else at.__cause__
    return links


def _link(error: BaseException, *, skip_frame: bool) -> RaisedLink:
    trace = error.__traceback__
    if skip_frame and trace is not None:
        trace = trace.tb_next  # the call in _answer
    try:
        text = "".join(traceback.format_exception(type(error), error, trace, chain=False))
    except Exception as problem:  # noqa: BLE001 - formatting calls what its class defines
        text = f"{_type_name(error)}: (its traceback could not be formatted: {problem!r})\n"
    pickled, reason = b"", ""
    try:
        pickled = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
    except BaseException as problem:  # noqa: BLE001 - a __reduce__ may raise anything
        reason = _described(problem)
    notes = getattr(error, "__notes__", ())
    return RaisedLink(
        pickled=pickled,
        reason=reason,
        type_name=_type_name(error),
        message=_message(error),
        notes=[note for note in notes if isinstance(note, str)]
        if isinstance(notes, (list, tuple))
        else [],
        text=text,
        has_cause=error.__cause__ is not None,
        suppress_context=error.__suppress_context__,
    )


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"(its __str__ raised {type(problem).__name__})"


def _type_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def _flush() -> None:
    """Bring out what was printed: this process may be killed before its buffers are full."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


class Stage(Enum):
    """How far a process has come; what its death means depends on it."""

    STARTING = "starting"
    READY = "ready"  # it has nothing to do, or not all of its request
    ASKED = "asked"  # it has had the request: the function may have run


class Child:
    """One process and the parent's end of its pipe; all but ``kill`` is for its one owner."""

    def __init__(self) -> None:
        self._connection, self._theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_serve, args=(self._theirs,), name="orchestrator-call", daemon=True
        )
        self._parent = os.getpid()
        self._ready_by = time.monotonic() + START_WITHIN
        self._leave_by = 0.0  # it is on its way out, and is not killed before
        self.pid = 0
        self.stage = Stage.STARTING
        self.late = False  # it was still starting when it should have been ready
        self.exit_code: int | None = None

    def start(self) -> None:
        with _interrupts_held_back():
            self._process.start()
            self._theirs.close()
            self.pid = self._process.pid or 0
            # Whatever starts a process in this program would reap ours too if it had ended; then
            # its exit code could be lost, and kill could hit a stranger to whom its pid has gone.
            getattr(multiprocessing.process, "_children", set()).discard(self._process)

    def ask(self, request: bytes) -> bytes | None:
        """Send a request and wait for the answer; ``None`` where the process is not there."""
        try:
            if self.stage is Stage.STARTING:
                self.late = not self._connection.poll(max(0.0, self._ready_by - time.monotonic()))
                if self.late:
                    return None
                self._connection.recv_bytes(len(READY))
            self.stage = Stage.READY
            self._connection.send_bytes(request)
            self.stage = Stage.ASKED
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._leave_by = time.monotonic() + END_WITHIN
            return None
        self.stage = Stage.READY
        return answer

    def kill(self) -> None:
        if os.getpid() == self._parent:  # no business of a forked child
            self._process.kill()

    def dismiss(self) -> None:
        """Tell it to end in good order; it is idle."""
        self._leave_by = time.monotonic() + END_WITHIN
        with suppress(OSError):
            self._connection.send_bytes(END)
        self._connection.close()

    def has_ended(self, patience: float = 0.0) -> bool:
        """Whether it has ended, or ends within *patience* seconds."""
        if sys.platform == "linux":
            # The sentinel is a pipe: what the function left running may hold it open, and the
            # function itself may have closed it.
            with suppress(OSError):
                pidfd = os.pidfd_open(self.pid)  # ours to join, so nobody else has this pid
                try:
                    return bool(wait([pidfd], patience))
                finally:
                    os.close(pidfd)
        return bool(wait([self._process.sentinel], patience))

    def end(self) -> None:
        """Wait until it has ended; it is killed, but gets a moment if it is on its way out."""
        self._connection.close()
        self._theirs.close()
        if not self.pid:
            return  # it never started
        if not self.has_ended(max(0.0, self._leave_by - time.monotonic())):
            self._process.kill()
        self._process.join()
        self.exit_code = self._process.exitcode
        with suppress(ValueError):  # reaped by someone else, who waits for any child there is
            self._process.close()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A child inherits this thread's mask: no Ctrl-C can hit it before it has set to ignore it."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # its start unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
