"""Checks of plain arguments, each raising `ValueError` or `TypeError` with the value in it."""

from __future__ import annotations

import sys
from typing import Any

from orchestrator.texts import excerpt

__all__ = ["at_least", "checked_timeout", "instance"]

_LONGEST = sys.float_info.max  # seconds; more is no timeout


def checked_timeout(timeout: Any, name: str = "timeout") -> float | None:
    """*timeout* in seconds as a float; ``None`` and infinity mean no timeout.

    Raises:
        ValueError: it is negative or NaN.
        TypeError: it is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        message = f"{name} must be seconds (a number) or None, not {excerpt(timeout)}"
        raise TypeError(message)
    if timeout != timeout or timeout < 0:  # noqa: PLR0124 - NaN; isnan fails for a huge integer
        message = f"{name} must be 0 or more seconds, or None for no limit; got {excerpt(timeout)}"
        raise ValueError(message)
    return float(timeout) if timeout <= _LONGEST else None


def at_least(least: int, value: Any, name: str) -> None:
    """Refuse anything but an integer of *least* or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"{name} must be an integer, not {excerpt(value)}"
        raise TypeError(message)
    if value < least:
        message = f"{name} must be {least} or more; got {excerpt(value)}"
        raise ValueError(message)


def instance(kind: type, value: Any, name: str, what: str) -> None:
    """Refuse anything but an instance of *kind*, which *what* describes."""
    if not isinstance(value, kind):
        message = f"{name} must be {what}, not {excerpt(value)}"
        raise TypeError(message)
