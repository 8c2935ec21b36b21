"""The part of the allocator that cancels: what is queued at once, what is live by its actor."""

from __future__ import annotations

from collections.abc import Sequence

from actors.emission import cancelled_snapshot
from actors.live import Batch, Phase
from actors.messages import (
    Cancel,
    CancelExecution,
    CancelMembers,
    ChildFinished,
    ChildrenCancelled,
)
from actors.protocol_actor import tell
from actors.wait_keeper import WaitKeeper
from orchestrator.values import ExecutionState

__all__ = ["Canceller"]


class Canceller(WaitKeeper):
    """Knows which children of a group are queued and which have an actor."""

    def _on_cancel_members(self, message: CancelMembers) -> None:
        group = self._open.get(message.group_id)
        if group is None:
            return
        now = self._environment.clock.now()
        for queued in group.queued:
            batch = queued.payload
            indexes = queued.drop_all()
            self._queued_since.pop(queued, None)
            if not indexes:
                continue
            self._counts[Phase.PENDING] -= len(indexes)
            self._ended[ExecutionState.CANCELLED] += len(indexes)
            group.node.out -= len(indexes)
            self._publish_cancelled(batch, indexes, message.reason, now)
            tell(group.ref, ChildrenCancelled(indexes, message.reason, now))
        group.queued.clear()
        for live in tuple(group.live.values()):
            tell(live.ref, Cancel(message.reason))

    def _publish_cancelled(
        self, batch: Batch, indexes: Sequence[int], reason: str, now: float
    ) -> None:
        publisher = self._environment.publisher
        if publisher.active:
            for index in indexes:
                child = batch.children[index]
                publisher.changed(
                    cancelled_snapshot(batch.emission, child, index, reason, now),
                    ExecutionState.SCHEDULED,
                    now,
                )

    def _on_cancel_execution(self, message: CancelExecution) -> None:
        live = self._live.get(message.execution_id)
        if live is not None:
            tell(live.ref, Cancel(message.reason))
        found = live is not None or self._cancel_queued(message.execution_id, message.reason)
        if message.reply is not None:
            message.reply.set(found)

    def _cancel_queued(self, execution_id: str, reason: str) -> bool:
        """Cancel a child that has no actor yet."""
        for group in self._open.values():
            for queued in group.queued:
                batch: Batch = queued.payload
                if batch.ids is None:
                    batch.ids = {batch.children[index].id: index for index in queued.indexes}
                index = batch.ids.get(execution_id)
                if index is not None and index in queued.left:
                    queued.drop(index)
                    now = self._environment.clock.now()
                    self._counts[Phase.PENDING] -= 1
                    self._ended[ExecutionState.CANCELLED] += 1
                    self._publish_cancelled(batch, (index,), reason, now)
                    end = cancelled_snapshot(
                        batch.emission, batch.children[index], index, reason, now
                    )
                    tell(group.ref, ChildFinished(index, end, settled=True))
                    self._member_ended(group)
                    return True
        return False
