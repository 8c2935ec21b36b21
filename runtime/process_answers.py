"""What a process has answered, as the call in this process returns or raises it."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from typing import Any, assert_never

from runtime._process_worker import (
    Answer,
    Raised,
    RaisedLink,
    Returned,
    Unpicklable,
    Unreadable,
)
from runtime.process_errors import PickleProblem, RemoteError

__all__ = ["opened"]


def opened(data: bytes, function: str) -> Any:
    """What the call returns or raises."""
    stream = io.BytesIO(data)
    answer: Answer = pickle.load(stream)  # noqa: S301 - our own child wrote it
    match answer:
        case Returned():
            try:
                return pickle.load(stream)  # noqa: S301 - as above
            except Exception as error:
                message = (
                    f"{function} returned a {answer.type_name}, which was pickled but can't be"
                    f" unpickled: {type(error).__name__}: {error}; return plain data"
                )
                raise PickleProblem(message) from error
        case Unpicklable():
            message = (
                f"{function} returned a {answer.type_name}, which can't be pickled:"
                f" {answer.reason}; return plain data"
            )
            raise PickleProblem(message)
        case Unreadable():
            message = (
                f"{function} and its arguments can't be unpickled in a process:"
                f" {answer.reason}; they must be importable there, from a module or from a script"
                ' that does its work under `if __name__ == "__main__":`'
            )
            raise PickleProblem(message)
        case Raised():
            raise _rebuilt(answer)
        case _:
            assert_never(answer)


def _rebuilt(answer: Raised) -> Exception:
    errors = [_exception(link, answer.pid) for link in answer.links]
    for link, error, origin in zip(answer.links, errors, [*errors[1:], None], strict=True):
        if link.has_cause:
            error.__cause__ = origin
        else:
            error.__context__ = origin
        error.__suppress_context__ = link.suppress_context
    first = errors[0]
    if isinstance(first, Exception):
        return first
    top = answer.links[0]
    stand_in = RemoteError(
        top.type_name, top.message, "it is no Exception, and ends its call alone"
    )
    stand_in.__cause__ = first
    return stand_in


def _exception(link: RaisedLink, pid: int) -> BaseException:
    reason = f"it can't be pickled: {link.reason}"
    error = None
    if link.pickled:
        try:
            error = pickle.loads(link.pickled)  # noqa: S301 - our own child wrote it
        except Exception as problem:  # noqa: BLE001 - its class decides what happens here
            reason = f"it was pickled but can't be unpickled: {type(problem).__name__}: {problem}"
    if not isinstance(error, BaseException):
        error = RemoteError(link.type_name, link.message, reason)
    with suppress(TypeError):  # a class may have a __notes__ of another kind
        if not getattr(error, "__notes__", None):
            for note in link.notes:
                error.add_note(note)
        error.add_note(f"In process {pid}:\n{link.text.rstrip()}")
    return error
