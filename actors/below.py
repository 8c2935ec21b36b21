"""What one attempt has below it: the groups that it emitted and the children that it called."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from actors.messages import GroupChanged
from orchestrator.values import GroupResult, MergeRule

__all__ = ["Below", "Group"]


@define(eq=False)
class Group:
    """One group as its parent knows it."""

    ref: Any
    merge: MergeRule
    result: GroupResult | None = None  # it has decided
    ended: bool = False
    settled: bool = False
    consumed: bool = False
    released: bool = False


@define(eq=False)
class Below:
    """Owned by one execution's actor, made anew for every attempt."""

    groups: dict[str, Group] = field(factory=dict)  # in the order of emission
    emitting: int = 0  # emits that the allocator has not answered
    _early: dict[str, GroupChanged] = field(factory=dict)  # came before `Admitted` did
    _calls: dict[str, bool] = field(factory=dict)  # called children not over: decided or not
    _not_ended: int = 0
    _not_settled: int = 0
    _undecided: int = 0

    def open(self, group_id: str, ref: Any, merge: MergeRule) -> None:
        """A group was admitted."""
        self.groups[group_id] = Group(ref, merge)
        self._undecided += 1
        self._not_ended += 1
        self._not_settled += 1
        if self._early and group_id in self._early:
            self.group_changed(self._early.pop(group_id))

    def group_changed(self, message: GroupChanged) -> None:
        """A group has taken a step."""
        group = self.groups.get(message.group_id)
        if group is None:  # an empty group, or a deadline of no time, is faster than its admission
            self._early[message.group_id] = message
            return
        if group.result is None:
            group.result = message.result
            self._undecided -= 1
        if message.ended and not group.ended:
            group.ended = True
            self._not_ended -= 1
        if message.settled and not group.settled:
            group.settled = True
            self._not_settled -= 1

    def called(self, child_id: str) -> None:
        """A child was called."""
        self._calls[child_id] = False

    def child_ended(self, child_id: str, *, settled: bool) -> None:
        """A called child has ended."""
        if settled:
            self._calls.pop(child_id, None)
        elif child_id in self._calls:
            self._calls[child_id] = True

    def consume(self, group_id: str) -> None:
        """The code was given the group's decision."""
        group = self.groups.get(group_id)
        if group is not None:
            group.consumed = True

    @property
    def any_open(self) -> bool:
        """Whether a group has not decided."""
        return self._undecided > 0 or self.emitting > 0

    @property
    def groups_ended(self) -> bool:
        """Whether no member of a group is out."""
        return self._not_ended == 0 and self.emitting == 0

    @property
    def all_ended(self) -> bool:
        """Whether nothing below can still be decided."""
        return self.groups_ended and all(self._calls.values())

    @property
    def all_settled(self) -> bool:
        """Whether everything below is over."""
        return self._not_settled == 0 and self.emitting == 0 and not self._calls

    def unconsumed(self) -> bool:
        """Whether a decided group has not been consumed."""
        return any(not group.consumed for group in self.groups.values() if group.result)

    def take_unconsumed(self) -> list[Group]:
        """The decided groups not yet consumed, in the order of emission; consumed from now on."""
        groups = [group for group in self.groups.values() if group.result and not group.consumed]
        for group in groups:
            group.consumed = True
        return groups

    def open_groups(self) -> tuple[str, ...]:
        """The ids of the groups that have not ended."""
        return tuple(group_id for group_id, group in self.groups.items() if not group.ended)

    def group_ids(self) -> tuple[str, ...]:
        """The ids of the groups that were not released."""
        return tuple(group_id for group_id, group in self.groups.items() if not group.released)

    def unended(self) -> list[Any]:
        """The refs of the groups that have not ended."""
        return [group.ref for group in self.groups.values() if not group.ended]

    def calls_out(self) -> list[str]:
        """The called children that are not decided."""
        return [child_id for child_id, decided in self._calls.items() if not decided]
