"""How a story calls executions, groups and tasks: the same in every run, and as their authors do.

An execution is called by its task id, as in events; a root without one by its action. A group is
called after its parent, with ``#2`` and so on where the parent has emitted several. What would
share a name with something else is told apart by a number.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any

from attrs import define, field

from orchestrator.texts import excerpt
from orchestrator.values import Execution, GroupPolicy
from runtime import observing
from runtime.observing import Fact
from runtime.simulation.facts import Spot

__all__ = ["Known", "KnownGroup", "Names", "seconds", "spot_text"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_NAME = re.compile(r"'?([\w.:-]+(?:#\d+)?)'?")  # what may be an id, in a text
_LONGEST = 110  # characters of an error's text


@define(eq=False)
class Known:
    """An execution of which the facts have told."""

    id: str
    label: str
    noun: str  # root, scope, child or call
    action: str
    parent: str | None = None  # id
    group: str | None = None  # id
    attempts: int = 0
    pausing: bool = False  # between two attempts
    ended: str = ""  # completed, failed or cancelled; once it is decided
    error: Exception | None = None  # of its last attempt
    value: Any = None  # what its code has returned

    def __str__(self) -> str:
        return f"{self.noun} {self.label}"


@define(eq=False)
class KnownGroup:
    """A group of which the facts have told."""

    id: str
    label: str
    parent: str
    base: str  # what the task ids of its children begin with
    policy: GroupPolicy
    members: dict[int, str] = field(factory=dict)  # ids by index
    deadline: float | None = None
    decided: bool = False
    later: bool = False  # its parent had emitted another before

    def __str__(self) -> str:
        return f"group {self.label}"


class Names:
    """Knows everything that a world's facts name; made from all of them."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.executions: dict[str, Known] = {}
        self.groups: dict[str, KnownGroup] = {}
        self._running: dict[str, list[str]] = {}  # by task, the executions whose code it runs
        self._reporting: dict[str, str] = {}  # by task, the execution whose end it is about to tell
        self._starts: dict[str, deque[str]] = {}  # by task, the executions that it is yet to run
        self._labels: dict[str, int] = {}
        self._objects: dict[int, int] = {}
        emitted: dict[str, int] = {}
        for fact in facts:
            if fact[0] == observing.EMITTED:
                emitted[fact[5]] = emitted.get(fact[5], 0) + 1
        seen: dict[str, int] = {}
        for fact in facts:
            match fact[0]:
                case observing.SUBMITTED:
                    self._submitted(*fact[4:])
                case observing.EMITTED:
                    number = seen[fact[5]] = seen.get(fact[5], 0) + 1
                    self._emitted(number, emitted[fact[5]], *fact[4:])
                case observing.STARTED:
                    self._starts.setdefault(fact[6], deque()).append(fact[4])
                case observing.DRAWN:
                    group = self.groups.get(fact[4])
                    if group is not None:
                        self._member(group, fact[5], fact[6])

    def _submitted(
        self, given: Execution, parent: str | None, _deadline: Any, _own: Any, scope: object
    ) -> None:
        noun = "scope" if scope else "root" if parent is None else "call"
        label = self._unique(given.task_id or given.action, noun)
        self.executions.setdefault(
            given.id, Known(given.id, label, noun, given.action, parent=parent)
        )

    def _emitted(
        self, number: int, groups: int, group_id: str, parent: str, base: str,
        children: Iterable[Execution], _actions: Any, policy: GroupPolicy, deadline: float | None,
        *_rest: Any,
    ) -> None:  # fmt: skip
        above = self.execution(parent)
        label = above.label if groups == 1 else f"{above.label}#{number}"
        group = self.groups[group_id] = KnownGroup(
            group_id, label, parent, base, policy, deadline=deadline, later=number > 1
        )
        for index, child in enumerate(children):
            self._member(group, index, child)

    def _member(self, group: KnownGroup, index: int, child: Execution) -> None:
        parent = self.execution(group.parent)
        # A parent without a task id lends its own id to its children's, and these to theirs.
        own = child.task_id.removeprefix(group.base) if child.task_id else f"[{index}]"
        wanted = child.task_id
        if not wanted or (wanted.startswith(group.base) and own.startswith(("[", "."))):
            wanted = (group.label if group.later else parent.label) + own
        label = self._unique(wanted, "child")
        self.executions[child.id] = Known(
            child.id, label, "child", child.action, group.parent, group.id
        )
        group.members[index] = child.id

    def _unique(self, label: str, noun: str) -> str:
        key = f"{noun} {label}"
        number = self._labels[key] = self._labels.get(key, 0) + 1
        return label if number == 1 else f"{label} ({number})"

    def execution(self, execution_id: str) -> Known:
        """What is known of an execution; of one that no fact has introduced, its id."""
        known = self.executions.get(execution_id)
        if known is None:
            known = Known(execution_id, execution_id, "execution", "")
            self.executions[execution_id] = known
        return known

    def member(self, group_id: str, index: int) -> Known:
        """A child by its place."""
        group = self.groups.get(group_id)
        child = None if group is None else group.members.get(index)
        return self.execution(child if child is not None else f"{group_id}[{index}]")

    # Tasks

    def runs(self, task: str, execution_id: str) -> None:
        """From now on the task runs that execution's code."""
        self._running.setdefault(task, []).append(execution_id)
        if self._starts.get(task):
            self._starts[task].popleft()

    def returns(self, task: str, execution_id: str) -> None:
        """And now it does not."""
        running = self._running.get(task, [])
        if execution_id in running:
            running.remove(execution_id)
        self._reporting[task] = execution_id

    def has_reported(self, execution_id: str) -> None:
        """The end of its code has been told."""
        for task, reporting in self._reporting.items():
            if reporting == execution_id:
                del self._reporting[task]
                return

    def is_reporting(self, execution_id: str) -> bool:
        """Whether its code is over and its actor has not heard of it."""
        return execution_id in self._reporting.values()

    def task(self, name: str) -> str:
        """A task, and whose code it runs."""
        running = self._running.get(name, ())
        if len(running) == 1:
            return f"{name} ({self.execution(running[0])})"
        if running:
            return f"{name} (the event loop of {len(running)} executions)"
        if name in self._reporting:
            return f"{name} (at the end of {self.execution(self._reporting[name])})"
        if name.startswith("clock-"):
            return f"{name} (the timers)"
        if self._starts.get(name):
            return f"{name} (about to start {self.execution(self._starts[name][0])})"
        return name

    def who(self, name: str) -> str:
        """An execution by its id, or a task by its name."""
        known = self.executions.get(name)
        return name if known is None else str(known)

    # Things of the user's

    def value(self, value: object) -> str:
        """A short text of a value, without addresses."""
        return _ADDRESS.sub("", excerpt(value))

    def error(self, error: BaseException) -> str:
        """The kind of an error and its first line, ids in it replaced by names."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
            text = "(its text can't be had)"
        text = _ADDRESS.sub("", text.partition("\n")[0])
        text = _NAME.sub(self._named, text)
        if len(text) > _LONGEST:
            text = text[: _LONGEST - 3] + "..."
        kind = type(error).__name__
        return f"{kind}: {text}" if text else kind

    def _named(self, match: re.Match[str]) -> str:
        name = match[1]
        known = self.executions.get(name) or self.groups.get(name)
        return match[0] if known is None else known.label

    def waited_for(self, waiting_for: Any) -> str:
        """What a task is blocked on; objects are numbered in the order in which they appear."""
        owner = getattr(waiting_for, "__self__", None)
        text = waiting_for if isinstance(waiting_for, str) else str(waiting_for())
        if owner is None:
            return _ADDRESS.sub("", text)
        number = self._objects.setdefault(id(owner), len(self._objects) + 1)
        return f"{text.partition(' (')[0]} (number {number})"


def spot_text(spot: Spot | None) -> str:
    """A line of user code, as " at file:line in function"."""
    if spot is None:
        return ""
    name = spot[0].replace("\\", "/").rpartition("/")[2]
    return f" at {name}:{spot[1]} in {spot[2]}"


def seconds(amount: float) -> str:
    """A duration."""
    return f"{amount:.6g} s"
