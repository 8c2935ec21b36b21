"""Waits that could never end: the graph of who waits for whom, as rules over what is live.

An execution that waits, without a timeout and without a deadline above it, is *blocked* on its
target. A target is stuck when everything that could bring it about is blocked on stuck targets.
Only certain deadlocks are reported: code that runs, is queued, or can time out may always do
something; and so may a group that has not yet heard of all ends that are known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from orchestrator.values import AwaitMode, GroupResult

if TYPE_CHECKING:
    from actors.system import Future

__all__ = ["GroupNode", "Node", "Target", "WaitGraph"]


@frozen
class Target:
    """What a wait needs: groups to decide, or executions to end; all of them.

    *next_end* needs no more of a group than that one of its members ends.
    """

    groups: tuple[str, ...] = ()
    executions: tuple[str, ...] = ()
    next_end: bool = False


class Node(Protocol):
    """A live execution, as the graph sees it."""

    @property
    def parent_id(self) -> str | None: ...
    @property
    def group_id(self) -> str | None: ...


@define(eq=False)
class GroupNode:
    """A group that has not ended, as the graph sees it. Kept up to date by the allocator."""

    group_id: str
    parent_id: str | None
    mode: AwaitMode
    out: int  # members that have not ended
    open_ended: bool = False  # a lazy source may add members
    can_expire: bool = False  # it has a deadline
    decided: Future[GroupResult] | None = None  # resolved with what it decides
    blocked: set[str] = field(factory=set)  # members that are blocked
    ended: int = 0  # members that have ended
    heard: int = 0  # of these, those that the group is known to have heard of
    asked: int = 0  # and those that it was asked about
    doubted: bool = False  # a wait was entered since it was behind, and may be on a cycle

    def end(self, members: int = 1) -> None:
        """Some members have ended."""
        self.out -= members
        self.ended += members

    @property
    def is_behind(self) -> bool:
        """Whether it may decide by what has ended, as it may not have heard of all of it."""
        return self.ended > self.heard

    @property
    def has_decided(self) -> bool:
        """Whether those who wait for its decision have it, or are about to."""
        return self.decided is not None and self.decided.done()


class WaitGraph:
    """Who is blocked on what."""

    def __init__(self, live: Mapping[str, Node], groups: Mapping[str, GroupNode]) -> None:
        self._live = live
        self._groups = groups
        self._targets: dict[str, Target] = {}  # of every blocked execution
        self.sideways: set[str] = set()  # of these, who waits for what is not below itself
        self._entered: dict[str, GroupNode] = {}  # the group that a blocked member is counted in

    def forbidden(
        self, waiter: str, target: Target, *, can_expire: bool = False
    ) -> tuple[str, ...] | None:
        """The cycle of a wait for what holds the waiter itself.

        For a group that is so whatever could time out; for an execution, a wait that *can_expire*
        is allowed: its timeout ends it.
        """
        if self.is_below(waiter, target):
            return None
        path = [waiter]
        name: str | None = waiter
        while name is not None:
            if name in target.executions and not can_expire:
                return (waiter, *reversed(path)) if name != waiter else (waiter, waiter)
            node = self._live.get(name)
            if node is None:
                return None
            if node.group_id is not None and node.group_id in target.groups:
                return (waiter, f"group {node.group_id}", *reversed(path))
            name = node.parent_id
            if name is not None:
                path.append(name)
        return None

    def is_below(self, waiter: str, target: Target) -> bool:
        """Whether all that *target* names was emitted or called by *waiter* itself."""
        for group_id in target.groups:
            group = self._groups.get(group_id)
            if group is None or group.parent_id != waiter:
                return False
        for name in target.executions:
            node = self._live.get(name)
            if node is None or node.parent_id != waiter:
                return False
        return True

    def block(self, waiter: str, target: Target) -> tuple[str, ...] | None:
        """*waiter* is blocked on *target* from now on; if that closes a cycle, the cycle.

        A wait that closes one is not entered.
        """
        node = self._live.get(waiter)
        self._enter(waiter, node, target)
        if next(iter(self._blockers(target)), None) is None:
            return None  # as mostly: nothing that it waits for is blocked itself
        cycle = self.cycle_of(waiter)
        if cycle is not None:
            self.unblock(waiter)
        return cycle

    def behind(self, waiter: str) -> list[GroupNode]:
        """The groups that are behind, without which *waiter* might be on a cycle."""
        if next(iter(self._blockers(self._targets[waiter])), None) is None:
            return []  # as mostly: nothing that it waits for is blocked itself
        found: dict[str, GroupNode] = {}
        for name in self._reachable(waiter):
            for group_id in self._targets[name].groups:
                group = self._groups.get(group_id)
                if group is not None and group.blocked and group.is_behind:
                    found[group_id] = group
        return list(found.values())

    def unblock(self, waiter: str) -> None:
        """*waiter* waits no more."""
        if self._targets.pop(waiter, None) is None:
            return
        self.sideways.discard(waiter)
        group = self._entered.pop(waiter, None)  # the execution may be gone already
        if group is not None:
            group.blocked.discard(waiter)

    @property
    def any_blocked(self) -> bool:
        """Whether anybody is blocked."""
        return bool(self._targets)

    def is_blocked(self, name: str) -> bool:
        """Whether the execution is blocked."""
        return name in self._targets

    def may_be_stuck(self, group: GroupNode) -> bool:
        """Whether the last end of a member, or what the group has now heard of, can matter."""
        return bool(group.blocked) and (group.doubted or len(group.blocked) >= group.out)

    def member_ended(self, group_id: str) -> tuple[str, tuple[str, ...]] | None:
        """A member of the group has ended: a waiter that nothing can reach now, and its cycle."""
        group = self._groups.get(group_id)
        if group is None or not self.may_be_stuck(group):
            return None
        for waiter, target in self._targets.items():
            if group_id in target.groups:
                cycle = self.cycle_of(waiter)
                if cycle is not None:
                    return waiter, cycle
        return None

    def cycle_of(self, waiter: str) -> tuple[str, ...] | None:
        """The cycle that *waiter* is on and that nothing can end; ``None`` where there is none."""
        reached = self._reachable(waiter)
        if len(reached) == 1 and not self._names_self(waiter):
            return None
        stuck = set(reached)
        moved = True
        while moved:
            moved = False
            for name in tuple(stuck):
                if self._can_come(self._targets[name], stuck):
                    stuck.discard(name)
                    moved = True
        return self._path(waiter, stuck) if waiter in stuck else None

    def _names_self(self, waiter: str) -> bool:
        return waiter in self._blockers(self._targets[waiter])

    def _enter(self, waiter: str, node: Node | None, target: Target) -> None:
        self._targets[waiter] = target
        if not self.is_below(waiter, target):
            self.sideways.add(waiter)
        if node is not None and node.group_id is not None:
            group = self._groups.get(node.group_id)
            if group is not None:
                group.blocked.add(waiter)
                self._entered[waiter] = group

    def _blockers(self, target: Target) -> Iterable[str]:
        """The blocked executions that *target* may hang on."""
        for name in target.executions:
            if name in self._targets:
                yield name
        for group_id in target.groups:
            group = self._groups.get(group_id)
            if group is not None:
                yield from group.blocked

    def _reachable(self, waiter: str) -> list[str]:
        seen = {waiter: None}
        pending = [waiter]
        while pending:
            for name in self._blockers(self._targets[pending.pop()]):
                if name not in seen:
                    seen[name] = None
                    pending.append(name)
        return list(seen)

    def _can_come(self, target: Target, stuck: set[str]) -> bool:
        return not any(name in stuck for name in target.executions) and all(
            self._can_decide(group_id, stuck, target.next_end) for group_id in target.groups
        )

    def _can_decide(self, group_id: str, stuck: set[str], next_end: bool) -> bool:  # noqa: FBT001
        group = self._groups.get(group_id)
        if group is None or group.can_expire or group.is_behind or group.has_decided:
            return True
        held_up = sum(1 for name in group.blocked if name in stuck)
        if held_up == 0:
            return True  # and a group that nobody is out of has decided
        if group.mode is AwaitMode.ALL and not next_end:
            return False
        return group.open_ended or held_up < group.out

    def _path(self, waiter: str, stuck: set[str]) -> tuple[str, ...] | None:
        """The shortest way from *waiter* back to itself; ``None`` if it only waits for a cycle."""
        came_from: dict[str, str] = {}
        pending = deque([waiter])
        while pending:
            name = pending.popleft()
            for following in self._blockers(self._targets[name]):
                if following == waiter:
                    path = [waiter]
                    while name != waiter:
                        path.append(name)
                        name = came_from[name]
                    return (waiter, *reversed(path))
                if following in stuck and following not in came_from:
                    came_from[following] = name
                    pending.append(following)
        return None
