"""The part of the allocator that cancels: what is queued at once, what is live by its actor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.batch import Batch
from actors.emission import cancelled_snapshot
from actors.live import OpenGroup, Phase
from actors.messages import (
    Cancel,
    CancelExecution,
    CancelMembers,
    ChildFinished,
    ChildrenCancelled,
)
from actors.protocol_actor import tell
from actors.run import Run
from actors.wait_keeper import WaitKeeper
from orchestrator.values import ExecutionState

__all__ = ["Canceller"]


class Canceller(WaitKeeper):
    """Knows which children of a group are queued, handed out, or have an actor."""

    def _on_cancel_members(self, message: CancelMembers) -> None:
        group = self._open.get(message.group_id)
        if group is None:
            return
        now = self._environment.clock.now()
        for queued in group.queued:
            batch = queued.payload
            self._cancel_rest(group, batch, queued.drop_all(), message.reason, now)
            self._queued_since.pop(queued, None)
        group.queued.clear()
        for run in (*group.runs, *group.alone.values()):
            indexes = run.withdraw()
            indexes += [index for index in run.indexes if run.take(index)]  # about to start
            self._cancel_rest(group, run.batch, indexes, message.reason, now)
            for index in run.indexes:
                ref = run.find(index)  # of a leaf, or of an actor that is not in `live` yet
                if ref is not None:
                    tell(ref, Cancel(message.reason))
        for live in tuple(group.live.values()):
            tell(live.ref, Cancel(message.reason))

    def _cancel_rest(
        self, group: OpenGroup, batch: Batch, indexes: Sequence[int], reason: str, now: float
    ) -> None:
        """Cancel children that have not started."""
        if indexes:
            self._counts[Phase.PENDING] -= len(indexes)
            self._ended[ExecutionState.CANCELLED] += len(indexes)
            group.node.end(len(indexes))
            self._publish_cancelled(batch, indexes, reason, now)
            tell(group.ref, ChildrenCancelled(indexes, reason, now))

    def _publish_cancelled(
        self, batch: Batch, indexes: Sequence[int], reason: str, now: float
    ) -> None:
        publisher = self._environment.publisher
        if publisher.active:
            for index in indexes:
                child = batch.children[index]
                publisher.changed(
                    cancelled_snapshot(batch.emission, child, batch.place_of(index), reason, now),
                    ExecutionState.SCHEDULED,
                    now,
                )

    def _on_cancel_execution(self, message: CancelExecution) -> None:
        live = self._live.get(message.execution_id)
        if live is not None:
            tell(live.ref, Cancel(message.reason))
        found = live is not None or self._cancel_member(message.execution_id, message.reason)
        if message.reply is not None:
            message.reply.set(found)

    def _cancel_member(self, execution_id: str, reason: str) -> bool:
        """Cancel a child that has no actor: one that is queued, or a leaf."""
        run = self._called(execution_id)
        if run is not None:  # it has no queue either
            return self._cancel_called(run, reason)
        for group in self._groups_of(execution_id):
            for queued in group.queued:
                batch: Batch = queued.payload
                place = None if queued.empty else batch.index_of(execution_id)
                if place is not None and queued.has(place):
                    queued.drop(place)
                    self._cancel_one(group, batch, place, reason)
                    return True
        for run, index in self._runs_with(execution_id):
            owner = run.batch.group
            if owner is not None and run.take(index):
                self._cancel_one(owner, run.batch, index, reason)
                return True
            ref = run.find(index)
            if ref is not None:
                tell(ref, Cancel(reason))
                return True
        return False

    def _groups_of(self, execution_id: str) -> Sequence[OpenGroup]:
        """The groups that may have a child of that id."""
        block = self._blocks.get(execution_id.rpartition(".")[0])
        if block is None:
            return tuple(self._open.values())
        return () if block.group is None else (block.group,)

    def _leaf_ref(self, execution_id: str) -> Any:
        """The actor of a leaf whose code runs, which is made; ``None``: there is no such leaf."""
        for run, index in self._runs_with(execution_id):
            ref = None if run.batch.group is None else run.find(index)
            if ref is not None:
                return ref
        return None

    def _runs_with(self, execution_id: str) -> Sequence[tuple[Run, int]]:
        """The runs that may hold the child, with its index."""
        named = self._named.get(execution_id)
        if named is not None:
            return (named,)
        batch = self._blocks.get(execution_id.rpartition(".")[0])
        index = None if batch is None else batch.index_of(execution_id)
        if batch is None or index is None or batch.group is None:
            return ()
        runs = list(batch.group.runs)  # first: from here it goes, when it sleeps, to be alone
        alone = batch.group.alone.get(index)
        if alone is not None:
            return ((alone, index),)
        return [(run, index) for run in runs]

    def _is_running(self, execution_id: str) -> bool:
        """Whether an execution of that id has started; asked by callers on their threads too.

        Or is queued, where the id was made up: no other can be met a second time but in a copy.
        Looked for where it is first, then where it goes, so that it is not missed on its way.
        """
        return (
            (execution_id in self._chosen and self._is_queued(execution_id))
            or (bool(self._named or self._blocks) and self._leaf_runs(execution_id))
            or execution_id in self._environment.loans.runs
            or execution_id in self._live
        )

    def _leaf_runs(self, execution_id: str) -> bool:
        """Whether a leaf of that id runs, or is about to."""
        named = self._named.get(execution_id)
        if named is not None and named[1] not in named[0].owners:
            return True
        return any(run.runs_code(index) for run, index in self._runs_with(execution_id))

    def _is_queued(self, execution_id: str) -> bool:
        """Whether a child of that id, which was made up, waits to be handed out."""
        group = self._chosen.get(execution_id)
        for queued in () if group is None else list(group.queued):
            batch: Batch | None = queued.payload  # none where it was dropped just now
            place = None if batch is None or queued.empty else batch.index_of(execution_id)
            if place is not None and queued.has(place):
                return True
        return False

    def _note_chosen(self, group: OpenGroup, names: Sequence[str]) -> None:
        """Children of these ids, made up, are about to be queued."""
        group.chosen += names
        self._chosen.update(dict.fromkeys(names, group))

    def _prune_chosen(self, group: OpenGroup) -> None:
        """Forget children of an endless source that have started long ago."""
        if len(group.chosen) >= group.prune_at:
            chosen, group.chosen = group.chosen, []
            gone: list[str] = []
            for name in chosen:
                (group.chosen if self._is_queued(name) else gone).append(name)
            self._release_chosen(group, gone)
            group.prune_at = max(group.prune_at, 2 * len(group.chosen))

    def _release_chosen(self, group: OpenGroup, names: Sequence[str]) -> None:
        """Forget these ids, but those that another group has by now."""
        for name in names:
            if self._chosen.get(name) is group:
                del self._chosen[name]

    def _called(self, execution_id: str) -> Run | None:
        """The run of a called child that is a leaf."""
        found = self._environment.loans.runs.get(execution_id)
        if found is None and execution_id in self._named:
            found = self._named[execution_id][0]
        return found if found is not None and found.batch.group is None else None

    def _cancel_called(self, run: Run, reason: str) -> bool:
        if run.take(0):
            self._cancel_call(run, reason)
            return True
        ref = run.find(0)
        if ref is not None:
            tell(ref, Cancel(reason))
        return ref is not None

    def _cancel_call(self, run: Run, reason: str) -> None:
        """Cancel a called child before it starts."""
        now = self._environment.clock.now()
        batch = run.batch
        if run.ledger is not None:
            run.ledger.cancelled += 1
        else:
            self._counts[Phase.PENDING] -= 1
            self._ended[ExecutionState.CANCELLED] += 1
        self._publish_cancelled(batch, (0,), reason, now)
        if batch.call is not None:
            batch.call.set(cancelled_snapshot(batch.emission, batch.children[0], None, reason, now))

    def _cancel_one(self, group: OpenGroup, batch: Batch, index: int, reason: str) -> None:
        now = self._environment.clock.now()
        self._counts[Phase.PENDING] -= 1
        self._ended[ExecutionState.CANCELLED] += 1
        self._publish_cancelled(batch, (index,), reason, now)
        end = cancelled_snapshot(batch.emission, batch.children[index], index, reason, now)
        tell(group.ref, ChildFinished(index, end, settled=True))
        self._member_ended(group)
