"""Checks of plain arguments, each raising `ValueError` or `TypeError` with the value in it."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.texts import excerpt

__all__ = ["at_least", "checked_timeout"]


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
    if math.isnan(timeout) or timeout < 0:
        message = f"{name} must be 0 or more seconds, or None for no limit; got {timeout!r}"
        raise ValueError(message)
    return None if timeout == math.inf else float(timeout)


def at_least(least: int, value: Any, name: str) -> None:
    """Refuse anything but an integer of *least* or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"{name} must be an integer, not {excerpt(value)}"
        raise TypeError(message)
    if value < least:
        message = f"{name} must be {least} or more; got {value}"
        raise ValueError(message)
