"""What an attempt's code came to, as its actor is told."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from actors.attempt import Attempt
from actors.failures import translated
from actors.messages import AttemptEnded
from orchestrator.errors import RejectedError
from orchestrator.texts import excerpt
from runtime.interrupts import pass_on

__all__ = ["failed", "rejected", "undeclared"]

# Where code is called from: their frames are not the action's.
_OURS = frozenset(str(Path(__file__).with_name(name)) for name in ("leaves.py", "places.py"))


def failed(attempt: Attempt, raised: BaseException) -> AttemptEnded:
    """The code has raised."""
    traceback = _own_frames(raised.__traceback__)
    if isinstance(raised, Exception):
        return AttemptEnded(attempt.number, None, raised, raised, traceback)
    pass_on(raised)
    error = translated(raised, f"action {attempt.action.name!r}")
    return AttemptEnded(attempt.number, None, error, raised, traceback)


def _own_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the action's own frame on, where it has one."""
    step = traceback
    while step is not None and step.tb_frame.f_code.co_filename in _OURS:
        step = step.tb_next
    return step if step is not None else traceback


def rejected(attempt: Attempt, value: Any) -> AttemptEnded:
    """`until` has not accepted what the code returned."""
    error = RejectedError(
        f"until= did not accept the output {excerpt(value)} of {attempt.action.name!r}", value
    )
    return AttemptEnded(attempt.number, None, error, error)


def undeclared(attempt: Attempt) -> TypeError:
    """What an ordinary function that returns a coroutine fails with."""
    return TypeError(
        f"action {attempt.action.name!r} is an ordinary function that returned a coroutine;"
        " declare it `async def`, so that it runs on the event loop"
    )
