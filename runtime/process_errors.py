"""What is raised about a call in a process, besides what its function raised."""

from __future__ import annotations

import signal
import sys

from attrs import define

__all__ = [
    "PickleProblem",
    "ProcessDiedError",
    "ProcessHostClosedError",
    "ProcessHostError",
    "ProcessKilledError",
    "ProcessStartError",
    "RemoteError",
    "ending",
]


class ProcessHostError(RuntimeError):
    """The base of what is raised about a call, besides what its function raised."""


class PickleProblem(ProcessHostError):  # noqa: N818 - what it is called by those who catch it
    """A function, an argument or a result can't travel between processes."""


class RemoteError(ProcessHostError):
    """Stands for what a function has raised where that can't be raised here itself.

    Either it does not pickle or unpickle, or it is no `Exception` (a ``SystemExit``, say); then
    it is the ``__cause__``. The remote traceback is a note.
    """

    def __init__(self, type_name: str, message: str, reason: str) -> None:
        super().__init__(type_name, message, reason)
        self.type_name = type_name
        self.message = message
        self.reason = reason  # why it could not come back itself

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message} ({self.reason})"


@define(eq=False, slots=False)
class ProcessKilledError(ProcessHostError):
    """`ProcessCall.kill`, or the end of its host, has ended the call."""

    function: str
    reason: str

    def __str__(self) -> str:
        return f"the call of {self.function} was ended: {self.reason}"


@define(eq=False, slots=False)
class ProcessDiedError(ProcessHostError):
    """The process that ran a call has ended before the call had."""

    function: str
    exit_code: int | None  # minus the signal's number where one killed it; None: not known

    def __str__(self) -> str:
        hint = (
            "; nobody here killed it: the system may have run out of memory"
            if sys.platform != "win32" and self.exit_code == -signal.SIGKILL
            else "; a crash in native code and os._exit end a process like this"
        )
        return f"the process that ran {self.function} {ending(self.exit_code)}{hint}"


@define(eq=False, slots=False)
class ProcessStartError(ProcessHostError):
    """A new process could not be started, or ended or hung before it was ready."""

    function: str
    reason: str

    def __str__(self) -> str:
        return (
            f"no process could be started to run {self.function}: {self.reason}; what it printed"
            ' is on stderr. A script that starts processes needs `if __name__ == "__main__":`'
            " around what it does, because each of them imports it"
        )


class ProcessHostClosedError(ProcessHostError):
    """The host has been closed, or belongs to the process that this one was forked from."""


def ending(exit_code: int | None) -> str:
    """How a process has ended, as the end of a sentence about it."""
    if exit_code is None:
        return "has ended, with an exit code that someone else has taken"
    if exit_code >= 0:
        return f"has ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was ended by {name}"
