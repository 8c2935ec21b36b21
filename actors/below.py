"""What one attempt has below it: the groups that it emitted and the children that it called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, field

from actors.emission import Emission, build_emission
from actors.ends import EndsLog
from actors.environment import Environment
from actors.messages import (
    Admitted,
    Call,
    CancelExecution,
    CancelGroup,
    Emit,
    ForgetGroups,
    GroupChanged,
    Refused,
    Release,
    SubmitGroup,
    SubmitOne,
)
from actors.protocol_actor import tell
from orchestrator.errors import UnknownGroupError
from orchestrator.values import Execution, GroupResult, MergeRule

if TYPE_CHECKING:
    from actors.attempt import Attempt

__all__ = ["Below", "Group", "emission_below"]


def emission_below(
    attempt: Attempt,
    parent: Emission,
    given: Execution,
    variables: Any,
    group_id: str | None = None,
    deadline: float | None = None,
    ref: Any = None,
) -> Emission:
    """What *attempt* gives to the children that it emits or calls; they tell *ref*."""
    context = attempt.context
    above = context.deadline
    if above is not None:
        deadline = above if deadline is None else min(deadline, above)
    return build_emission(
        context.process,
        parent.depth + 1,
        parent.priority if given.priority is None else given.priority,
        variables,
        parent.entries,
        given.task_id or given.id,
        given.id,
        attempt.ref if ref is None else ref,
        group_id,
        None,
        deadline,
        None,
        None,
        None,
    )


@define(eq=False)
class Group:
    """One group as its parent knows it."""

    ref: Any
    log: EndsLog
    merge: MergeRule
    result: GroupResult | None = None  # it has decided
    ended: bool = False
    settled: bool = False
    consumed: bool = False
    released: bool = False


@define(eq=False)
class Below:
    """Owned by one execution's actor, made anew for every attempt that emits or calls."""

    _environment: Environment
    _attempt: Attempt
    _parent: Emission
    _given: Execution
    groups: dict[str, Group] = field(factory=dict)  # in the order of emission
    emitting: int = 0  # emits that the allocator has not answered
    _early: dict[str, GroupChanged] = field(factory=dict)  # came before `Admitted` did
    _calls: dict[str, bool] = field(factory=dict)  # called children not over: decided or not
    _not_ended: int = 0
    _not_settled: int = 0
    _undecided: int = 0

    # What the code asks for

    def emit(self, message: Emit, group_id: str) -> None:
        """Ask the allocator to open a group; it answers by `Admitted` or `Refused`."""
        policy = message.policy
        deadline = None
        if policy.timeout is not None:
            deadline = self._environment.clock.now() + policy.timeout
        emission = emission_below(
            self._attempt, self._parent, self._given, message.variables, group_id, deadline
        )
        if policy.until is not None:
            emission = attrs.evolve(emission, until=policy.until)
        self.emitting += 1
        tell(
            self._environment.allocator,
            SubmitGroup(
                emission,
                policy,
                message.children,
                message.actions,
                deadline,
                message.lazy,
                message.reply,
            ),
        )

    def call(self, message: Call) -> None:
        """Ask the allocator to run one child outside any group."""
        self.call_out(message.child.id)
        emission = emission_below(self._attempt, self._parent, self._given, message.variables)
        tell(
            self._environment.allocator,
            SubmitOne(emission, message.child, message.action, message.reply),
        )

    def call_out(self, child_id: str) -> None:
        """A child was called, and is to be waited for."""
        self._calls[child_id] = False

    def release(self, message: Release) -> None:
        """Forget a decided group now."""
        group = self.groups.get(message.group_id)
        if group is None or group.released:
            message.reply.set_error(UnknownGroupError(message.group_id))
        elif group.result is None:
            text = (
                f"group {message.group_id!r} is still open; await it or cancel it, then release it"
            )
            message.reply.set_error(ValueError(text))
        else:
            group.released = group.consumed = True
            if group.settled:
                del self.groups[message.group_id]
            tell(self._environment.allocator, ForgetGroups((message.group_id,), message.reply))

    # What ends it

    def end(self, reason: str) -> None:
        """Cancel everything below that has not ended."""
        for group in self.groups.values():
            if not group.ended:
                tell(group.ref, CancelGroup(reason, rest_too=True))
        self.cancel_calls(reason)

    def cancel_calls(self, reason: str) -> None:
        """Cancel the called children that are not decided."""
        for child_id, decided in self._calls.items():
            if not decided:
                tell(self._environment.allocator, CancelExecution(child_id, reason))

    def forget_groups(self) -> None:
        """Nobody can await the groups any more."""
        group_ids = tuple(name for name, group in self.groups.items() if not group.released)
        if group_ids:
            tell(self._environment.allocator, ForgetGroups(group_ids))

    # What it hears

    def refused(self, message: Refused) -> None:
        """A group was not opened."""
        self.emitting -= 1
        message.reply.set_error(message.error)

    def admitted(self, message: Admitted) -> None:
        """A group was opened."""
        group_id = message.group_id
        self.groups[group_id] = Group(message.group, message.log, message.merge)
        self.emitting -= 1
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
            if group.released:
                del self.groups[message.group_id]

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
    def groups_have_ended(self) -> bool:
        """The same as the groups know it, for any thread: a turn or two ahead.

        Who has waited for a group may ask before the parent's actor has heard of its end.
        """
        if self.emitting:  # looked at first: an emit is counted until its group is here
            return False
        return all(group.ended or group.log.closed for group in list(self.groups.values()))

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
