"""What the allocator knows of each execution that has an actor, and of each group."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from attrs import define, field

from actors.admission import Slots
from actors.emission import Emission
from actors.ends import EndsLog
from actors.ready import Queued
from actors.system import Future
from actors.waits import GroupNode
from orchestrator.values import GroupResult

if TYPE_CHECKING:
    from actors.batch import Reports
    from actors.loans import Ledger
    from actors.run import Run

__all__ = ["GroupEntry", "Live", "OpenGroup", "Phase"]


class Phase(enum.IntEnum):
    """How an execution is counted while it is not over; an index into the counters."""

    PENDING = 0  # queued, or between two attempts
    RUNNING = 1
    WAITING = 2  # in one of our waits, or its code has returned and groups are out
    CANCELLING = 3  # decided, while its code or something below it runs on


@define(eq=False)
class Live(Slots):
    """An execution that has an actor, and the slots that it holds. Owned by the allocator."""

    ref: Any = None
    emission: Emission = None  # type: ignore[assignment]  # always given
    execution_id: str = ""
    index: int | None = None
    parent_id: str | None = None
    group_id: str | None = None
    can_expire: bool = False  # a timeout of its own, or a deadline above it, would end its waits
    priority: int = 0
    is_scope: bool = False
    phase: Phase = Phase.PENDING
    queued: Queued | None = None
    rate_reserved: bool = False
    waits: int = 0
    ledger: Ledger | None = None  # of children in its place
    main_wait: Any = None  # the wait of its own thread or task, to be refused


@define(eq=False)
class OpenGroup:
    """A group that has not ended: what the allocator holds of it beside the graph's node."""

    ref: Any
    node: GroupNode
    reports: Reports
    queued: list[Queued] = field(factory=list)  # of batches
    live: dict[str, Live] = field(factory=dict)
    block: str = ""  # what the ids of a template's children begin with
    runs: dict[Run, None] = field(factory=dict)  # of batches too
    alone: dict[int, Run] = field(factory=dict)  # other runs, each of one child, which has slept
    chosen: list[str] = field(factory=list)  # ids of children that the application made up
    prune_at: int = 512  # of a lazy source: so many of them are looked through


@define(eq=False)
class GroupEntry:
    """A group that can be awaited: what the directory shows to everyone."""

    ref: Any
    decided: Future[GroupResult]
    log: EndsLog
    parent_id: str
    parent: Any
