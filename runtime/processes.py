"""Processes for CPU-bound actions: each runs one call at a time and is kept for the next one.

A process is started when a call finds none idle, so there are at most as many as there are calls at
once; how many those may be is the caller's to decide. Processes are *spawned*: each is a fresh
interpreter that imports the function's module. ``fork`` would copy this process's memory without
the threads that hold its locks, and a child that then needs one of them hangs for ever; a runtime
is made of threads.

At every moment a process belongs to one party: it is idle, or the thread whose call it runs has it,
or it lies in the `ProcessCall` of that call, out of which both ``kill`` and the end of the call try
to take it. Each step is one ``append`` or ``pop`` of a deque, so one of them gets it, and ``kill``
can't hit a process that runs another call already.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from actors.system.parking import Parker, new_parker, park
from orchestrator.checks import at_least
from orchestrator.texts import excerpt, function_name
from runtime._process_worker import START_WITHIN, Child, Stage
from runtime.process_answers import opened
from runtime.process_errors import (
    PickleProblem,
    ProcessDiedError,
    ProcessHostClosedError,
    ProcessHostError,
    ProcessKilledError,
    ProcessStartError,
    RemoteError,
    ending,
)

__all__ = [
    "PickleProblem",
    "ProcessCall",
    "ProcessDiedError",
    "ProcessHost",
    "ProcessHostClosedError",
    "ProcessHostError",
    "ProcessKilledError",
    "ProcessStartError",
    "RemoteError",
    "check_picklable",
]


class ProcessCall:
    """The caller's handle on one call: what kills it."""

    def __init__(self) -> None:
        self._unused = deque([None])  # taken by the one call that it serves
        self._lent: deque[Child] = deque()  # the process, while the call runs; kill may take it
        self._killed = ""  # why; written by kill before it looks for a process
        self._delivered = False  # kill has taken the process and is done with it
        self._parker = new_parker()

    def kill(self) -> None:
        """Kill the process that runs this call; ``call`` then raises `ProcessKilledError`.

        Before the call, it makes it raise that at once; after it, it does nothing. Never blocks,
        and may be called from any thread, any number of times.
        """
        self.end("it was killed")

    def end(self, reason: str) -> None:
        """Kill it, and say why (the host's side)."""
        self._killed = self._killed or reason
        try:
            child = self._lent.pop()
        except IndexError:
            return  # not begun, ended, or killed already
        try:
            child.kill()
        finally:
            self._delivered = True
            self._parker.unpark()

    def begin(self) -> None:
        """Claim this handle for a call (the host's side)."""
        try:
            self._unused.pop()
        except IndexError:
            message = "this ProcessCall has served a call already; make one for each call"
            raise ValueError(message) from None

    def lend(self, child: Child) -> bool:
        """Hand the process over for a call (the host's side); false where it was killed before.

        ``kill`` writes that it was here before it looks for a process, and this looks for what it
        wrote after handing the process over: one of the two sees the other.
        """
        self._lent.append(child)
        return not self._killed

    def take_back(self) -> bool:
        """Whether the process is the call's again (the host's side); else it has been killed."""
        try:
            self._lent.pop()
        except IndexError:
            while not self._delivered:  # kill is between taking the process and killing it
                self._parker.park()
            return False
        return True

    def check(self, function: str) -> None:
        """Raise `ProcessKilledError` where it was killed (the host's side)."""
        if self._killed:
            raise ProcessKilledError(function, self._killed)


class ProcessHost:
    """Runs calls in processes of their own, one at a time in each.

    Any number of threads may call at once; each gets a process to itself. A host must be closed.
    """

    def __init__(self, keep_idle: int | None = None) -> None:
        """Start nothing yet.

        Args:
            keep_idle: How many processes are kept between calls, 0 for none; the number of CPUs
                by default. The more recently used ones are kept.
        """
        if keep_idle is not None:
            at_least(0, keep_idle, "keep_idle")
        self._keep_idle = (os.cpu_count() or 1) if keep_idle is None else keep_idle
        self._owner = os.getpid()
        self._closed = False
        self._calls: dict[ProcessCall, None] = {}  # those under way
        self._children: dict[Child, None] = {}  # those not joined yet
        self._idle: deque[Child] = deque()  # the most recently used last
        self._leaving: deque[Child] = deque()  # asked to end, not joined yet
        self._closers: dict[Parker, None] = {}  # woken when a call or a process has ended

    @property
    def pids(self) -> list[int]:
        """The processes that have not been joined yet, the longest running first."""
        return [child.pid for child in list(self._children)]

    def call(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        control: ProcessCall,
    ) -> Any:
        """Run ``function(*args, **kwargs)`` in a process and return what it returns.

        Blocks the calling thread. What is sent is pickled here, before a process is taken; what
        comes back is unpickled here, after the process is free again. What the function prints
        goes where this process prints.

        Args:
            function: Found by its module and name, as pickle does it.
            args: By position.
            kwargs: By name.
            control: What kills the call, made for this one.

        Raises:
            Exception: what the function raised: type, arguments, notes and causes, with the
                remote traceback as a note.
            RemoteError: it raised something that can't come back itself.
            PickleProblem: the function, an argument or the result can't be pickled or unpickled.
            ProcessKilledError: ``control.kill()``, or `close`; the process has ended.
            ProcessDiedError: the process ended in the middle of the call; only this one fails.
            ProcessStartError: no new process could be started.
            ProcessHostClosedError: after `close`, and in a forked child.
            ValueError: *control* has served another call.
        """
        if os.getpid() != self._owner:
            raise ProcessHostClosedError("this is a forked child: its parent has the processes")
        name = function_name(function)
        request = _pickled(function, tuple(args), dict(kwargs), name)
        control.begin()
        self._calls[control] = None
        try:
            if self._closed:  # close looks for calls after it has set this
                raise ProcessHostClosedError("the host is closed; no process runs calls any more")
            answer = self._answer(request, name, control)
        finally:
            del self._calls[control]
            self._wake_closers()
        return opened(answer, name)

    def close(self) -> None:
        """End every process and wait until all have ended; nothing is left behind.

        Calls under way are killed and raise `ProcessKilledError`; idle processes end in good
        order, with their ``atexit`` functions, or are killed if that takes longer than 2 s. May be
        called again and from several threads: every call returns when all has ended. In a forked
        child it does nothing.
        """
        if os.getpid() != self._owner:
            return
        self._closed = True
        parker = new_parker()
        self._closers[parker] = None
        for control in list(self._calls):
            control.end("its host was closed")
        self._end_idle()
        while self._calls or self._children:
            park(parker)
        del self._closers[parker]

    def _answer(self, request: bytes, name: str, control: ProcessCall) -> bytes:
        while True:
            control.check(name)
            child, was_idle = self._take(name)
            answer = self._ask(child, request, name, control)
            if answer is not None:
                return answer
            if child.stage is Stage.STARTING:
                late = f"was not ready within {START_WITHIN:g} s, and " if child.late else ""
                raise ProcessStartError(name, f"it {late}{ending(child.exit_code)}")
            if child.stage is Stage.ASKED or not was_idle:
                raise ProcessDiedError(name, child.exit_code)
            # It had died while it was idle and never had the whole request: to the next one.

    def _take(self, name: str) -> tuple[Child, bool]:
        try:
            return self._idle.pop(), True
        except IndexError:
            child = self._make_child()
        try:
            child.start()
        except BaseException as error:
            child.end()
            if isinstance(error, Exception):
                raise ProcessStartError(name, f"{type(error).__name__}: {error}") from error
            raise
        self._children[child] = None
        return child, False

    def _make_child(self) -> Child:
        return Child()

    def _ask(self, child: Child, request: bytes, name: str, control: ProcessCall) -> bytes | None:
        """The answer; ``None`` where the process is gone, and then it has been joined."""
        answer = None
        unharmed = False
        alive = control.lend(child)
        try:
            if alive:
                answer = child.ask(request)
            unharmed = not alive or answer is not None
        finally:  # a Ctrl-C in this thread leaves a process in an unknown state
            mine = control.take_back()
            if mine and unharmed:
                self._keep(child)
            else:
                self._end(child)
        if not (mine and alive):
            control.check(name)
        return answer

    def _keep(self, child: Child) -> None:
        self._idle.append(child)
        while len(self._idle) > self._keep_idle:
            with suppress(IndexError):  # another thread has taken it meanwhile
                oldest = self._idle.popleft()
                oldest.dismiss()
                self._leaving.append(oldest)
        for _ in range(len(self._leaving)):
            with suppress(IndexError):
                leaver = self._leaving.popleft()
                if leaver.has_ended():
                    self._end(leaver)
                else:
                    self._leaving.append(leaver)
        if self._closed:  # close looks at both after it has set this
            self._end_idle()

    def _end_idle(self) -> None:
        ending = []
        with suppress(IndexError):
            while True:
                ending.append(self._idle.pop())
                ending[-1].dismiss()
        with suppress(IndexError):
            while True:
                ending.append(self._leaving.pop())
        for child in ending:
            self._end(child)

    def _end(self, child: Child) -> None:
        child.end()
        self._children.pop(child, None)
        self._wake_closers()

    def _wake_closers(self) -> None:
        for parker in list(self._closers):
            parker.unpark()


def check_picklable(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    action: str,
) -> None:
    """Refuse what could not be sent to a process; it pickles all of it, one by one.

    Raises:
        PickleProblem: names the action, and the function or the argument that does not pickle,
            its type, the reason, and what to do.
    """
    parts = {"function": function}
    parts |= {f"argument {place}": value for place, value in enumerate(args, start=1)}
    parts |= {f"argument {name!r}": value for name, value in kwargs.items()}
    for what, value in parts.items():
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            if what == "function":
                named = function_name(value)
                advice = (
                    "move it to a module's top level, where it is found under its own name (a"
                    " lambda, a nested function and one behind a decorator's wrapper are not)"
                )
            else:
                named = f"{excerpt(value)} of type {type(value).__qualname__}"
                advice = (
                    "pass plain data; open files, connections and locks inside the function, and"
                    " move a class of your own to a module's top level"
                )
            message = (
                f"action {action!r} runs in a process of its own, and its {what} ({named}) can't be"
                f" pickled: {type(error).__name__}: {error}; {advice}"
            )
            raise PickleProblem(message) from error


def _pickled(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> bytes:
    try:
        return pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        check_picklable(function, args, kwargs, action=name)
        message = f"the call of {name} can't be pickled: {type(error).__name__}: {error}"
        raise PickleProblem(message) from error
