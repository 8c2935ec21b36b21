"""Checks of what groups decide, and when."""

from __future__ import annotations

import operator
from typing import Any, ClassVar

from attrs import define, field

from orchestrator.errors import GroupCancelledError, GroupTimeoutError
from orchestrator.values import ExecutionState, GroupResult
from runtime import observing
from runtime.checking.group_model import CANCELLED, FAILED, OK, TIMED_OUT, GroupModel
from runtime.checking.handlers import Handlers
from runtime.checking.violations import Invariant, Report
from runtime.observing import Fact

__all__ = ["GroupChecks", "WatchedGroup"]


@define(eq=False)
class WatchedGroup:
    """A group, as its messages show it."""

    id: str
    parent: str
    model: GroupModel
    deadline: float | None
    reply: Any  # of the emit
    children: list[str] = field(factory=list)  # ids by index
    refused: bool = False
    result: GroupResult | None = None
    outputs: tuple[Any, ...] = ()  # at the decision
    blamed: bool = False  # that it is late was reported
    owes_rest: bool = False  # it has to see that what is still out of it is cancelled
    rest_cancelled: bool = False  # the allocator was told
    owed: str = ""  # why it has to hear of a cancel, and has not

    @property
    def over(self) -> bool:
        """Whether it has decided and none of its children is out."""
        return self.refused or (self.result is not None and self.model.out == 0)


class GroupChecks:
    """Keeps a model beside each group and compares the two after every turn."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.groups: dict[str, WatchedGroup] = {}
        self.by_parent: dict[str, list[WatchedGroup]] = {}

    # What happens to a group

    def _emitted(self, fact: Fact) -> None:
        group_id, parent, _base, children, _actions, policy, deadline = fact[4:11]
        lazy, reply = fact[12:14]
        model = GroupModel(policy, len(children), not lazy)
        group = WatchedGroup(group_id, parent, model, deadline, reply)
        group.children = observing.ids_of(children)
        self.groups[group_id] = group
        self.by_parent.setdefault(parent, []).append(group)
        model.open()

    def _refused(self, fact: Fact) -> None:
        for group in self.by_parent.get(fact[4], ()):
            if group.reply is fact[5]:
                group.refused = True

    def _admitted(self, fact: Fact) -> None:
        group = self.groups.get(fact[4])
        if group is not None and group.refused:
            self._report(
                Invariant.REFUSED_EMIT,
                fact[1],
                f"group {group.id} was opened all the same",
                group.id,
            )

    def _open(self, fact: Fact) -> WatchedGroup | None:
        """The group of a message to it, once it is seen that what was due has happened."""
        group = self.groups.get(fact[4])
        if group is None:
            return None  # watching began later
        if group.refused:
            self._report(
                Invariant.REFUSED_EMIT,
                fact[1],
                f"group {group.id} was refused, and yet it was told '{fact[0]}'",
                group.id,
            )
        self._look_if_late(group, fact[1])
        return group

    def _look_if_late(self, group: WatchedGroup, at: float | None) -> None:
        due = group.model.due
        if due is not None and group.result is None and not group.refused and not group.blamed:
            group.blamed = True
            self._report(
                Invariant.MODE_RULES,
                at,
                f"group {group.id} ({group.model.policy.mode.value}) should have decided as"
                f" {due.kind} after {group.model.ended} of {group.model.emitted} ends, and has not",
                group.id,
            )

    def _drawn(self, fact: Fact) -> None:
        group = self.groups.get(fact[4])
        if group is not None:
            group.children.append(fact[6].id)

    def _added(self, fact: Fact) -> None:
        group = self._open(fact)
        if group is None:
            return
        group.model.add()
        most = group.model.policy.max_in_flight
        if most is not None and group.model.due is None and group.model.out > most:
            self._report(
                Invariant.LIMITS,
                fact[1],
                f"group {group.id} has {group.model.out} children in flight, and may have {most}",
                group.id,
            )

    def _sealed(self, fact: Fact) -> None:
        group = self._open(fact)
        if group is not None:
            group.model.seal(fact[5])

    def _reported(self, fact: Fact) -> None:
        group = self._open(fact)
        if group is not None:
            child = fact[6]
            success = child.state is ExecutionState.COMPLETED
            group.model.end(fact[5], success=success, output=child.output)

    def _dropped(self, fact: Fact) -> None:
        group = self._open(fact)
        if group is not None:
            for index in fact[5]:
                group.model.end(index, success=False, output=None)

    def _deadline(self, fact: Fact) -> None:
        group = self._open(fact)
        if group is None:
            return
        if group.deadline is None or fact[1] < group.deadline:
            self._report(
                Invariant.PATIENCE,
                fact[1],
                f"the deadline of group {group.id} passed early: it is {group.deadline}",
                group.id,
            )
        group.model.expire()

    def _cancelled(self, fact: Fact) -> None:
        group = self._open(fact)
        if group is not None:
            group.owed = ""
            group.model.cancel()

    def _rest_cancelled(self, fact: Fact) -> None:
        group = self.groups.get(fact[4])
        if group is not None:
            group.owes_rest, group.rest_cancelled = False, True

    # What it decides

    def _decided(self, fact: Fact) -> None:
        group = self.groups.get(fact[4])
        if group is None:
            return
        at, result, outputs = fact[1], fact[5], fact[6]
        if group.result is not None:
            self._report(
                Invariant.DECIDED_ONCE,
                at,
                f"group {group.id} decided again: {group.result!r}, then {result!r}",
                group.id,
            )
            return
        group.result, group.outputs = result, outputs
        abandoned = isinstance(result.error, GroupTimeoutError | GroupCancelledError)
        all_of_it = group.model.policy.cancel_rest or abandoned
        group.owes_rest = bool(group.model.out) and all_of_it and not group.rest_cancelled
        due = group.model.due
        if due is None:
            self._report(
                Invariant.MODE_RULES,
                at,
                f"group {group.id} ({group.model.policy.mode.value}) decided as {_kind(result)}"
                f" after {group.model.ended} of {group.model.emitted} ends, before it could",
                group.id,
            )
            group.model.cancel()  # what follows is late
        elif due.kind != _kind(result):
            self._report(
                Invariant.DEADLINE_RACE if TIMED_OUT in (due.kind, _kind(result))
                else Invariant.MODE_RULES,
                at,
                f"group {group.id} ({group.model.policy.mode.value}) decided as {_kind(result)}"
                f" where it had to decide as {due.kind}",
                group.id,
            )  # fmt: skip
        elif not _same(due.outputs, outputs):
            self._report(
                Invariant.EMISSION_ORDER if due.kind == OK else Invariant.DEADLINE_RACE,
                at,
                f"group {group.id} gave {len(outputs)} outputs that are not, in the order of"
                f" emission, the {len(due.outputs)} that had arrived",
                group.id,
            )
        elif isinstance(result.error, GroupTimeoutError):
            self._check_missing(group, result.error, at)

    def _check_missing(self, group: WatchedGroup, error: GroupTimeoutError, at: float) -> None:
        model = group.model
        missing = tuple(index for index in range(model.emitted) if not model.has_ended(index))
        if missing != error.missing:
            self._report(
                Invariant.DEADLINE_RACE,
                at,
                f"group {group.id} timed out and names {error.missing} as missing, which were"
                f" {missing}",
                group.id,
            )

    def _waited(self, fact: Fact) -> None:
        subject, outcome, value = fact[6:9]
        if outcome != observing.ANSWERED or not isinstance(value, GroupResult):
            return
        group = self.groups.get(subject.id)
        if group is not None and value is not group.result:
            self._report(
                Invariant.DECIDED_ONCE,
                fact[1],
                f"{fact[5]} was given {value!r} for group {group.id}, which had decided"
                f" {group.result!r}",
                group.id,
                fact[5],
            )

    # At the end

    def verify(self, *, drained: bool) -> None:
        """Look at every group once more."""
        for group in self.groups.values():
            self._look_if_late(group, None)
            result = group.result
            if result is not None and not _same(tuple(result.outputs), group.outputs):
                self._report(
                    Invariant.DECIDED_ONCE,
                    None,
                    f"the outputs of group {group.id} have changed since it decided",
                    group.id,
                )
            if drained and (group.owes_rest or group.owed):
                why = group.owed or "it decided without some of its children"
                self._report(
                    Invariant.CANCEL_REACHES,
                    None,
                    f"{why}, and what was out of group {group.id} was never cancelled",
                    group.id,
                )
            if drained and not group.refused and (group.model.out or result is None):
                out = [
                    name
                    for index, name in enumerate(group.children)
                    if not group.model.has_ended(index)
                ]
                self._report(
                    Invariant.CONSERVATION,
                    None,
                    f"group {group.id} has {group.model.emitted} children, of which"
                    f" {group.model.ended} have ended, and has"
                    f" {'not ' if result is None else ''}decided; out are: {', '.join(out[:5])}",
                    group.id,
                    *out,
                )

    handlers: ClassVar[Handlers] = {
        observing.EMITTED: _emitted,
        observing.REFUSED: _refused,
        observing.ADMITTED: _admitted,
        observing.DRAWN: _drawn,
        observing.ADDED: _added,
        observing.SEALED: _sealed,
        observing.REPORTED: _reported,
        observing.DROPPED: _dropped,
        observing.GROUP_DEADLINE: _deadline,
        observing.GROUP_CANCELLED: _cancelled,
        observing.REST_CANCELLED: _rest_cancelled,
        observing.DECIDED: _decided,
        observing.WAITED: _waited,
    }


def _kind(result: GroupResult) -> str:
    match result.error:
        case None:
            return OK
        case GroupTimeoutError():
            return TIMED_OUT
        case GroupCancelledError():
            return CANCELLED
        case _:
            return FAILED


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))
