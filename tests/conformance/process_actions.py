"""Functions that process actions run; a process finds them by the name of this module."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from orchestrator import Orchestrator


def square(number: int) -> int:
    return number * number


def pid() -> int:
    return os.getpid()


def fails(text: str) -> None:
    raise ValueError(text)


def exits() -> None:
    raise SystemExit(3)


def dies() -> None:
    os._exit(3)


def unpicklable() -> Any:
    return lambda: None


def has_orchestrator() -> bool:
    return Orchestrator.from_context() is not None


def endless(started: str) -> None:
    Path(started).write_text(str(os.getpid()))
    while True:
        time.sleep(60)
