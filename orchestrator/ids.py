"""Where ids come from: unique across processes, cheap, and the simulation's to replace."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable

__all__ = ["SIMULATED", "chosen_among", "new_id", "replace_id_source", "was_issued"]

SIMULATED = "sim"  # the prefix of what a replacement answers

_prefix = os.urandom(4).hex()
_numbers = itertools.count(1)  # next() is atomic: no two threads get the same
_replacement: Callable[[], str] | None = None


def new_id() -> str:
    """An id that no other call, thread or process gets; about a fifth of a microsecond."""
    if _replacement is not None:
        return _replacement()
    return f"{_prefix}-{next(_numbers):x}"


def replace_id_source(source: Callable[[], str] | None) -> Callable[[], str] | None:
    """Make *source* answer `new_id` until it is replaced by ``None``; returns the one before.

    Not for applications: a simulation makes its ids the same in every run. They begin with
    `SIMULATED` and a hyphen.
    """
    global _replacement
    previous, _replacement = _replacement, source
    return previous


def was_issued(name: object) -> bool:
    """Whether *name* looks like an id that this process gave to something, or part of one."""
    return isinstance(name, str) and name.startswith((f"{_prefix}-", f"{SIMULATED}-"))


def chosen_among(names: Iterable[str]) -> list[str]:
    """Those of *names* that somebody made up; all others come from `new_id`."""
    issued = (f"{_prefix}-", f"{SIMULATED}-")
    return [name for name in names if not name.startswith(issued)]


def _after_fork() -> None:
    global _prefix  # noqa: PLW0603 - see replace_id_source
    _prefix = os.urandom(4).hex()


os.register_at_fork(after_in_child=_after_fork)
