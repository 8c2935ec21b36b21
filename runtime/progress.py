"""How far a run has come: its totals, and the bar that shows them on a terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from attrs import frozen

from actors.stats import Stats
from orchestrator.values import ExecutionState

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Totals", "drawn_progress", "restore_terminal"]

_REFRESHES = 8  # of the bar, per second
_TEXT_WIDTH = 54  # of what stands beside the bar, about
_WIDEST_BAR = 40


@frozen
class Totals:
    """What a root and everything below it came to so far, the root itself not counted."""

    children: int  # emitted
    ended: int
    running: int  # begun and not ended
    failures: int
    cancelled: int
    seconds: float

    @classmethod
    def of(cls, stats: Stats, root: ExecutionState, seconds: float) -> Totals:
        """Take a root in state *root* out of the counters of its runtime."""
        under_way = stats.running + stats.waiting + stats.cancelling
        children = max(0, stats.emitted - 1)
        return cls(
            children=children,
            ended=min(children, max(0, stats.settled - root.ended)),
            running=min(children, max(0, under_way - (not root.ended))),
            failures=max(0, stats.failed - (root is ExecutionState.FAILED)),
            cancelled=max(0, stats.cancelled - (root is ExecutionState.CANCELLED)),
            seconds=seconds,
        )

    def __str__(self) -> str:
        rate = (self.ended - self.cancelled) / self.seconds if self.seconds else 0.0
        digits = 0 if rate >= 100 else 1  # noqa: PLR2004 - three digits tell enough
        return (
            f"{self.children} {'child' if self.children == 1 else 'children'},"
            f" {self.failures} {'failure' if self.failures == 1 else 'failures'},"
            + (f" {self.cancelled} cancelled," if self.cancelled else "")
            + f" {self.seconds:.2f} seconds, {rate:.{digits}f} children per second"
        )


def drawn_progress(title: str, totals: Callable[[], Totals]) -> AbstractContextManager[object]:
    """A context in which the totals are drawn on stderr, again and again.

    It draws on a terminal that can move its cursor, with rich installed; elsewhere it does nothing.
    What is printed to ``sys.stdout`` and ``sys.stderr`` meanwhile stands above the bar.
    """
    if not (_is_terminal() and importlib.util.find_spec("rich")):
        return nullcontext()
    from rich.console import Console  # noqa: PLC0415 - an optional requirement, slow to import
    from rich.live import Live  # noqa: PLC0415

    console = Console(stderr=True)
    if console.is_dumb_terminal or not console.is_terminal:
        return nullcontext()
    return Live(
        console=console,
        get_renderable=lambda: _line(title, totals(), console.width),
        refresh_per_second=_REFRESHES,
        transient=True,
    )


def restore_terminal() -> None:
    """Show the cursor again, with nothing but a system call: for a process that ends at once."""
    if _is_terminal():
        os.write(2, b"\x1b[?25h\r\n")


def _line(title: str, totals: Totals, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    minutes, seconds = divmod(int(totals.seconds), 60)
    cells: list[Any] = [Text(title, "bold")]
    bar = min(_WIDEST_BAR, width - len(title) - _TEXT_WIDTH)
    if bar > 0:
        cells.append(ProgressBar(totals.children or None, totals.ended, width=bar))
    cells += [
        Text(f"{totals.ended}/{totals.children} children", "green"),
        Text(f"{totals.running} running", "cyan"),
        Text(f"{totals.failures} failed", "red" if totals.failures else "dim"),
        Text(f"{minutes}:{seconds:02}", "yellow"),
    ]
    line = Table.grid(*([""] * len(cells)), padding=(0, 1))
    for column in line.columns:
        column.no_wrap = True
    line.add_row(*cells)
    return line


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it was closed
        return False
