"""The standard streams of a command: the output alone on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, Self, TextIO

from orchestrator.texts import excerpt

__all__ = ["Stdout", "as_json", "described", "say"]

_STDOUT, _STDERR = 1, 2


def say(text: str) -> None:
    """Print a line on stderr; nothing happens where nobody can read it any more."""
    with suppress(OSError, ValueError):  # the reader has gone; user code has closed it
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def described(error: BaseException) -> str:
    """Type and message in one line or more, whatever its ``__str__`` does."""
    try:
        text = str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"its __str__ raised {type(problem).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Stdout:
    """Within a ``with`` block only `write` reaches stdout; all that is printed goes to stderr.

    That holds for `print`, for streams that user code has kept, and, because the descriptor is
    turned too, for C code and for the processes that are started within the block.
    """

    def __enter__(self) -> Self:
        _occupy_descriptors()
        self._stream: TextIO = sys.stdout
        _flush(self._stream)
        self._descriptor = os.dup(_STDOUT)  # children don't inherit this one
        os.dup2(_STDERR, _STDOUT)
        sys.stdout = sys.stderr
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _flush(self._stream)  # what user code has printed to a stream that it kept
        sys.stdout = self._stream
        os.dup2(self._descriptor, _STDOUT)
        os.close(self._descriptor)

    def write(self, text: str) -> None:
        """Write *text* and a newline to what stdout was.

        Raises:
            OSError: the reader has gone, or a disk is full.
        """
        if _is_the_real_one(self._stream):
            left = memoryview(f"{text}\n".encode())
            while left:
                left = left[os.write(self._descriptor, left) :]
        else:  # somebody in this process has captured it
            self._stream.write(f"{text}\n")
            self._stream.flush()


def as_json(output: Any, action: str) -> str:
    """*output* as one line of JSON, in ASCII.

    Raises:
        ValueError: it is no JSON; the text names its type, and what in it is the cause.
    """
    try:
        return json.dumps(output, allow_nan=False, default=_refuse)
    except Exception as error:
        own = type(output).__qualname__
        message = (
            f"the output of {action!r}, of type {own}, can't be written as JSON: {error}; return"
            " dicts with strings as keys, lists, strings, finite numbers, booleans and None"
        )
        raise ValueError(message) from error


def _refuse(value: object) -> NoReturn:
    message = f"{excerpt(value)} is of type {type(value).__qualname__}"
    raise TypeError(message)


def _is_the_real_one(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _STDOUT
    except (OSError, ValueError, AttributeError):  # a StringIO, a closed one, one made up
        return False


def _flush(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        stream.flush()


def _occupy_descriptors() -> None:
    """Open what the caller has closed, so that no file of ours becomes stdin, stdout or stderr."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Gets the lowest number that is free: this one. To stdout nothing can be written.
            os.open(os.devnull, os.O_RDONLY if descriptor == _STDOUT else os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(_STDOUT, "w", closefd=False))
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(_STDERR, "w", closefd=False))
