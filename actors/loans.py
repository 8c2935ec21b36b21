"""Calls without a word to the allocator: a caller lends its child the worker that it waits on.

While code waits for a child of the same kind that it has called, one of the two needs a worker. So
where nothing is queued that should start before the child, it starts at once in its caller's
place; the allocator hears of it only where the child becomes an actor, and adds up the rest when
somebody asks (see benchmarks/fan_out.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.ready import NOBODY, Front, goes_ahead

if TYPE_CHECKING:
    from actors.emission import Emission
    from actors.run import Run
    from orchestrator.values import Execution

__all__ = ["Ledger", "Loans"]


class Loans:
    """What callers and the allocator of one runtime know of each other."""

    __slots__ = ("front", "is_running", "only", "runs")

    def __init__(self) -> None:
        # The allocator's to write: what is queued, at the end of its last turn.
        self.front: Front | None = NOBODY
        self.only: Run | None = None  # where that waits in a run for its worker: the run
        self.is_running: Callable[[str], bool] = _nothing_runs
        # Children in their callers' places, by id; each put in and taken out by one atomic step.
        self.runs: dict[str, Run] = {}

    def lets_ahead(self, emission: Emission, caller: Execution, child: Execution) -> bool:
        """Whether a child that is called would start before all that is queued."""
        front = self.front
        if front is None:
            return True
        own = caller.priority if child.priority is None else child.priority
        priority = emission.priority if own is None else own
        return goes_ahead(front, priority, emission.depth + 1, emission.process.id)

    def close(self) -> None:
        """There is no allocator any more."""
        self.front = NOBODY
        self.is_running = _nothing_runs


def _nothing_runs(_execution_id: str) -> bool:
    return False


class Ledger:
    """What became of the children that one attempt's code called, one after another.

    *began* is the caller's to write, *promoted* and what it has seen the allocator's; the others
    are written by whoever has the child's start token, or ended its code.
    """

    __slots__ = ("began", "cancelled", "completed", "promoted", "seen")

    def __init__(self) -> None:
        self.began = self.completed = self.cancelled = self.promoted = 0
        self.seen = (0, 0, 0)

    @property
    def is_open(self) -> bool:
        """Whether a child runs in its caller's place."""
        over = self.completed + self.cancelled + self.promoted
        return self.began > over
