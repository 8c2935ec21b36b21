"""Figures that need a process of their own: memory that is untouched, a first import."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Gauge", "in_a_process", "resident"]

ROOT = Path(__file__).parent.parent


def in_a_process(
    *arguments: str, timeout: float = 600.0, environment: Mapping[str, str] | None = None
) -> float:
    """The last word that ``python ARGUMENTS`` prints, as a number.

    *environment* comes on top of that of this process.

    Raises:
        RuntimeError: it failed; its last line says why.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {}), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or [f"ended with {ended.returncode}"]
        raise RuntimeError(last[0])
    return float(ended.stdout.split()[-1])


def resident() -> int:
    """Bytes of this process that are in memory.

    Raises:
        OSError: not on Linux.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Gauge:
    """How much more memory is in use than when this was made.

    Args:
        kind: ``allocated`` counts what Python has allocated since, ``resident`` all that the
            process has grown by, the stacks of its threads included.
    """

    def __init__(self, kind: str) -> None:
        self._resident = kind == "resident"
        gc.collect()
        if not self._resident:
            tracemalloc.start()
        self._before = self._now()

    def kilobytes(self) -> float:
        """The growth so far, once the garbage is cleared away."""
        gc.collect()
        return (self._now() - self._before) / 1024

    def _now(self) -> int:
        return resident() if self._resident else tracemalloc.get_traced_memory()[0]
