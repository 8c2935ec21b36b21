"""Where in the user's code a task stands."""

from __future__ import annotations

import os
from pathlib import Path
from types import FrameType

__all__ = ["is_own", "is_users", "where"]

_ROOT = Path(__file__).resolve().parent.parent.parent
_OWN = tuple(f"{_ROOT / package}{os.sep}" for package in ("actors", "orchestrator", "runtime"))
_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"  # the standard one's, and what is installed


def is_own(filename: str) -> bool:
    """Whether a file is of this project's library."""
    return filename.startswith(_OWN)


def is_users(filename: str) -> bool:
    """Whether a file is neither of this library, nor of the standard one, nor installed."""
    return not (filename.startswith((*_OWN, _LIBRARY, "<frozen")) or "site-packages" in filename)


def where(frame: FrameType | None) -> str:
    """The innermost line outside this library and the standard one, as " at file:line in f"."""
    while frame is not None:
        code = frame.f_code
        name = code.co_filename
        if is_users(name):
            return f", at {Path(name).name}:{frame.f_lineno} in {code.co_name}"
        frame = frame.f_back
    return ""
