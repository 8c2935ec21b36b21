"""The part of the allocator that takes in what is to run: roots, groups, called children."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from actors.batch import Batch
from actors.canceller import Canceller
from actors.emission import Emission, snapshot
from actors.group import OpenedGroup, open_group
from actors.live import GroupEntry, OpenGroup, Phase
from actors.messages import (
    Admitted,
    CallOut,
    ChildEnded,
    ChildFinished,
    Refused,
    Seal,
    SubmitCall,
    SubmitGroup,
    SubmitMore,
    SubmitOne,
)
from actors.protocol_actor import tell
from actors.ready import goes_ahead
from actors.waits import GroupNode
from orchestrator.errors import DuplicateExecutionError, RuntimeClosedError
from orchestrator.expansion import is_template
from orchestrator.ids import chosen_among, was_issued
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

__all__ = ["Submitter"]


class Submitter(Canceller):
    """Checks that ids and claims are free, and queues or starts what comes."""

    def _on_submit_one(self, message: SubmitOne) -> None:
        child = message.child
        root = message.emission.parent_id is None
        refusal: Exception | None = None
        if root and self._draining:
            refusal = RuntimeClosedError(
                "the runtime is closed or closing: it takes no new executions; make another one"
            )
        elif self._is_running(child.id):
            refusal = DuplicateExecutionError(child.id, "has the id of one that is running")
        elif not child.claim():
            refusal = DuplicateExecutionError(child.id)
        if refusal is not None:
            message.reply.set_error(refusal)
            if message.settled is not None:
                message.settled.set(None)
            if message.emission.parent is not None:
                tell(message.emission.parent, ChildEnded(child.id, settled=True))
            return
        scope = message.scope is not None
        at_once = scope or (
            self._admission.front() is None and self._admission.may_start(message.action)
        )
        live = self._incarnate(
            message.emission, child, message.action, None, message.reply, message.scope,
            message.settled, admitted=at_once,
        )  # fmt: skip
        if not at_once:
            self._queue(live, new_root=root)
            return
        live.is_scope = scope
        if scope:
            live.needs_worker = live.needs_slot = False
        self._admission.take(live)
        self._admission.turns.served(live.emission.process.id)
        self._count(live, Phase.RUNNING)

    def _on_submit_call(self, message: SubmitCall) -> None:
        child, action, emission, wait = (
            message.child, message.action, message.emission, message.wait
        )  # fmt: skip
        if self._is_running(child.id):
            wait.set_error(DuplicateExecutionError(child.id, "has the id of one that is running"))
        elif not child.claim():
            wait.set_error(DuplicateExecutionError(child.id))
        else:
            caller = self._live.get(emission.parent_id or "")
            if caller is not None:
                self._begin_call_wait(caller, wait)
            now = self._environment.clock.now()
            priority = emission.priority if child.priority is None else child.priority
            front = self._admission.front()
            if (
                self._leaves_at_all is not False
                and action.is_plain
                and child.timeout is None
                and self._admission.may_start(action)
                and (
                    front is None
                    or goes_ahead(front, priority, emission.depth, emission.process.id)
                )
            ):
                batch = Batch(
                    emission, (child,), action, priority, now, None, wait, message.variables,
                    leaves=True,
                )  # fmt: skip
                self._emitted += 1
                self._counts[Phase.PENDING] += 1
                if self._environment.publisher.active:
                    self._publish_scheduled(emission, child, None, now)
                self._begin_run(batch, (0,))
                self._admission.turns.served(emission.process.id)
                return
            tell(emission.parent, CallOut(child.id))
            emission = attrs.evolve(emission, variables=message.variables)
            reply: Any = wait  # it takes the answer as a future would
            self._queue(self._incarnate(emission, child, action, None, reply), new_root=False)
            self._note_blocked(wait, child.id)

    def _on_submit_group(self, message: SubmitGroup) -> None:
        emission = message.emission
        chosen: list[str] = []
        refusal = self._claim(message.children, chosen)
        if refusal is not None:
            tell(emission.parent, Refused(message.reply, refusal))
            return
        group_id = emission.group_id or ""
        opened = open_group(message, self._environment)
        ref, emission = opened.ref, opened.emission
        self._directory[group_id] = GroupEntry(
            ref, opened.decided, opened.log, emission.parent_id or "", emission.parent
        )
        node = GroupNode(
            group_id,
            emission.parent_id,
            message.policy.mode,
            len(message.children),
            open_ended=message.lazy,
            can_expire=message.deadline is not None,
            decided=opened.decided,
        )
        self._nodes[group_id] = node
        group = self._open[group_id] = OpenGroup(ref, node, opened.reports)
        if chosen:
            self._note_chosen(group, chosen)
        tell(
            emission.parent,
            Admitted(group_id, ref, opened.log, message.policy.merge, message.reply),
        )
        self._queue_children(group, opened, message.children, message.actions)

    def _claim(self, children: Sequence[Execution], chosen: list[str]) -> Exception | None:
        """Take every child's claim, or none; ids that were made up are added to *chosen*."""
        if is_template(children):
            return None  # made for this emit, under ids of its own
        seen: set[str] = set()
        for place, child in enumerate(children):
            refusal: Exception | None = None
            if child.id in seen:
                refusal = DuplicateExecutionError(child.id, "shares its id with another child")
            elif self._is_running(child.id):
                refusal = DuplicateExecutionError(child.id, "has the id of one that is running")
            elif not child.claim():
                refusal = DuplicateExecutionError(child.id)
            if refusal is not None:
                for claimed in children[:place]:
                    claimed.unclaim()
                return refusal
            seen.add(child.id)
        chosen += chosen_among(seen)
        return None

    def _queue_children(
        self,
        group: OpenGroup,
        opened: OpenedGroup,
        children: Sequence[Execution],
        actions: Sequence[Action],
    ) -> None:
        emission = opened.emission
        now = emission.emitted_at or 0.0
        self._emitted += len(children)
        self._counts[Phase.PENDING] += len(children)
        if self._environment.publisher.active:  # before any can start
            for index, child in enumerate(children):
                self._publish_scheduled(emission, child, index, now)
        for action, priority, indexes in _kinds(emission, children, actions):
            batch = Batch(
                emission, children, action, priority, now, group, opened.reports,
                leaves=self._leaves_at_all,
            )  # fmt: skip
            if is_template(children):
                group.block = children.block
                self._blocks[children.block] = batch
            if len(children) == 1 and batch.leaves and self._admission.may_start(action):
                self._start_only(batch, _FIRST)  # there is nothing that it would stand behind
                return
            queued = self._queued(emission, priority, batch, indexes)
            batch.seq = queued.seq
            batch.longest = self._learned.get(action.name, 1)
            group.queued.append(queued)
            self._admission.push(action, queued)
            if not action.is_async:
                self._recall_for(batch)

    def _start_only(self, batch: Batch, indexes: tuple[int]) -> None:
        """Start a batch's only child at once."""
        self._seq += 1
        batch.seq = self._seq
        self._admission.turns.served(batch.emission.process.id)
        self._begin_run(batch, indexes)

    def _on_submit_more(self, message: SubmitMore) -> bool:
        """Whether nothing has changed for anybody else."""
        group = self._open[message.emission.group_id or ""]
        if self._is_running(message.child.id):
            error = DuplicateExecutionError(message.child.id, "has the id of one that is running")
            end = snapshot(
                message.emission, message.child, message.index, ExecutionState.FAILED, error=error
            )
            tell(group.ref, Seal(error))
            tell(group.ref, ChildFinished(message.index, end, settled=True))
            return False
        group.node.out += 1
        action = message.action
        if not was_issued(message.child.id):
            self._prune_chosen(group)
            self._note_chosen(group, (message.child.id,))
        if self._leaves_at_all is False or not action.is_plain or message.child.timeout is not None:
            live = self._incarnate(message.emission, message.child, action, message.index)
            self._queue(live, new_root=False)
            return False
        self._emitted += 1
        self._counts[Phase.PENDING] += 1
        if self._environment.publisher.active:
            self._publish_scheduled(message.emission, message.child, message.index, message.at)
        return self._queue_drawn(group, message)

    def _queue_drawn(self, group: OpenGroup, message: SubmitMore) -> bool:
        """Start a leaf of a lazy source, or queue it with those that came just before it."""
        emission, action, child = message.emission, message.action, message.child
        priority = emission.priority if child.priority is None else child.priority
        last = group.queued[-1] if group.queued else None
        if last is not None and not last.empty and last.seq == self._seq:  # nothing came since
            batch: Batch = last.payload
            alike = batch.action is action and batch.priority == priority
            if alike and len(batch.children) < _DRAWN_TOGETHER:
                batch.add(message.index, child, message.at)
                last.add(message.index)
                return True
        batch = Batch.of_drawn(emission, action, priority, message.at, group, group.reports)
        batch.add(message.index, child, message.at)
        batch.longest = self._learned.get(action.name, 1)
        if self._admission.may_start(action):
            self._start_only(batch, (message.index,))
            return False
        queued = self._queued(emission, priority, batch, [message.index])
        batch.seq = queued.seq
        group.queued = [one for one in group.queued if not one.empty]
        group.queued.append(queued)
        self._admission.push(action, queued)
        if not action.is_async:
            self._recall_for(batch)
        return False


_FIRST = (0,)
_DRAWN_TOGETHER = 256  # children of a lazy source that are let go of together


def _kinds(
    emission: Emission, children: Sequence[Execution], actions: Sequence[Action]
) -> Sequence[tuple[Action, int, Sequence[int]]]:
    """The children by action and priority, each kind with its indexes in the order of emission."""
    default = emission.priority
    if is_template(children):
        priority = children.template.priority
        own = default if priority is None else priority
        return ((actions[0], own, range(len(children))),) if children else ()
    if len(children) == 1 and children[0].priority is None:  # as an `emit_one`; no generator
        return ((actions[0], default, _FIRST),)
    if len(actions) == 1 and all(child.priority is None for child in children):
        return ((actions[0], default, range(len(children))),) if children else ()
    kinds: dict[tuple[str, int], tuple[Action, int, list[int]]] = {}
    for index, child in enumerate(children):
        action = actions[0] if len(actions) == 1 else actions[index]
        priority = default if child.priority is None else child.priority
        key = (action.name, priority)
        kind = kinds.get(key)
        if kind is None:
            kind = kinds[key] = (action, priority, [])
        kind[2].append(index)
    return tuple(kinds.values())
