"""Calls and waits without a word to the allocator, as long as nobody else needs the worker.

While code waits for a child of the same kind that it has called, one of the two needs a worker. So
where nothing is queued that should start before the child, it starts at once in its caller's
place; the allocator hears of it only where the child becomes an actor, and adds up the rest when
somebody asks (see benchmarks/fan_out.py).

Code that waits for its own group, or for an async child that it has called, *keeps* its worker
while nothing is queued. The allocator takes it when something is, and knows of the wait from then
on. It has to know of it too when somebody begins to wait *sideways*, for what is not below itself:
every cycle of waits has such a one. Whoever keeps a worker looks for both when it has put itself
where the allocator looks, which does that when it has written both: one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.ready import NOBODY, Front, goes_ahead

if TYPE_CHECKING:
    from actors.emission import Emission
    from actors.run import Run
    from actors.wait import CallWait, GroupWait
    from orchestrator.values import Execution

__all__ = ["Ledger", "Loans"]


class Loans:
    """What callers and the allocator of one runtime know of each other."""

    __slots__ = ("front", "is_running", "kept", "only", "runs", "sideways")

    def __init__(self) -> None:
        # The allocator's to write: what is queued, at the end of its last turn.
        self.front: Front | None = NOBODY
        self.only: Run | None = None  # where that waits in a run for its worker: the run
        self.sideways = False  # whether somebody may wait for what is not below itself
        self.is_running: Callable[[str], bool] = _nothing_runs
        # Children in their callers' places, by id; each put in and taken out by one atomic step.
        self.runs: dict[str, Run] = {}
        # Code that waits and has its worker still; likewise.
        self.kept: dict[CallWait | GroupWait, None] = {}

    def lets_ahead(self, emission: Emission, caller: Execution, child: Execution) -> bool:
        """Whether a child that is called would start before all that is queued."""
        front = self.front
        if front is None:
            return True
        own = caller.priority if child.priority is None else child.priority
        priority = emission.priority if own is None else own
        return goes_ahead(front, priority, emission.depth + 1, emission.process.id)

    def keep(self, wait: CallWait) -> bool:
        """Whether a waiter may keep a worker that it does not use, until somebody needs it."""
        self.kept[wait] = None
        # The allocator looks here after it has written what is queued: one of the two sees the
        # other, and where the allocator has taken the worker already, that is as good.
        return self.front is None or not self.take_kept(wait)

    def keep_for_group(self, wait: GroupWait) -> bool:
        """The same for who waits for its own group."""
        self.kept[wait] = None
        return not (self.front is not None or self.sideways) or not self.take_kept(wait)

    def take_kept(self, wait: CallWait | GroupWait) -> bool:
        """Take a worker that is kept, for the waiter or for others; only one ever gets ``True``."""
        return self.kept.pop(wait, wait) is None

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
