"""Children of one emit and one kind, while they are values and leaves; where leaves report."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from actors.emission import Emission
from actors.messages import Reported
from actors.protocol_actor import send
from actors.wait import CallWait
from orchestrator.expansion import TemplateChildren, is_template
from orchestrator.registry import Action
from orchestrator.values import Execution

if TYPE_CHECKING:
    from actors.fan_in import Completed
    from actors.live import OpenGroup

__all__ = ["Batch", "Reports"]


class Reports:
    """The ends of leaves that their group has not taken in. Workers append, its turns take.

    An end that can change nothing which anybody sees waits for the group's next turn; the end of
    each run makes one. Where one may matter at once, *each* is told.
    """

    __slots__ = ("each", "ends", "group")

    def __init__(self, *, each: bool) -> None:
        self.group: Any = None  # its ref, set by the group when it is made
        self.each = each  # written by the group's turns, which look for ends after that
        self.ends: deque[Completed] = deque()

    def add(self, end: Completed) -> None:
        """A leaf has ended."""
        self.ends.append(end)
        if self.each:
            self.tell()

    def tell(self) -> None:
        """See that the group takes in what is there."""
        if self.ends:
            send(self.group, _REPORTED)


class Batch:
    """Children of one emit and one kind: what they share. Written by the allocator alone.

    A called child is a batch of its own, in no group: it reports to the wait of its caller.
    """

    __slots__ = (
        "action",
        "children",
        "emission",
        "group",
        "ids",
        "inputs",
        "leaves",
        "longest",
        "priority",
        "reports",
        "scheduled_at",
        "seq",
        "times",
        "variables",
    )

    def __init__(
        self,
        emission: Emission,
        children: Sequence[Execution] | Mapping[int, Execution],
        action: Action,
        priority: int,
        scheduled_at: float,
        group: OpenGroup | None,
        reports: Reports | CallWait,
        variables: contextvars.Context | None = None,
        *,
        leaves: bool | None = None,
    ) -> None:
        self.emission = emission
        self.variables = emission.variables if variables is None else variables
        self.children: Any = children  # by index: in the emission, where there is a group
        self.action = action
        self.priority = priority
        self.scheduled_at = scheduled_at
        self.group = group
        self.reports = reports
        self.inputs = children.inputs if children.__class__ is TemplateChildren else None
        self.ids: dict[str, int] | None = None  # made when somebody cancels by id
        self.seq = 0  # its place in the order of arrival
        self.times: dict[int, float] | None = None  # when each was queued, where that differs
        self.longest = 1  # how many children a run may have: more as runs end undisturbed
        if leaves is None:
            leaves = action.is_plain and not _any_timeout(children)
        self.leaves = leaves  # nothing in it asks for an actor from the start

    @classmethod
    def of_drawn(
        cls,
        emission: Emission,
        action: Action,
        priority: int,
        scheduled_at: float,
        group: OpenGroup,
        reports: Reports,
    ) -> Self:
        """One for children of a lazy source, which are added one by one."""
        batch = cls(emission, {}, action, priority, scheduled_at, group, reports, leaves=True)
        batch.times = {}
        return batch

    def add(self, index: int, child: Execution, at: float) -> None:
        """One more child was drawn."""
        self.children[index] = child
        assert self.times is not None  # noqa: S101 - it is of a lazy source
        self.times[index] = at

    def scheduled_at_of(self, index: int) -> float:
        """When a child was queued."""
        return self.scheduled_at if self.times is None else self.times[index]

    @property
    def call(self) -> CallWait | None:
        """The caller's wait, of a called child."""
        reports = self.reports
        return reports if isinstance(reports, CallWait) else None

    def place_of(self, index: int) -> int | None:
        """A child's place in the emission."""
        return index if self.group is not None else None

    def input_of(self, index: int) -> Any:
        """What a child is given."""
        return self.children[index].input if self.inputs is None else self.inputs[index]

    def id_of(self, index: int) -> str:
        """A child's id."""
        children = self.children
        known: str = children[index].id if self.inputs is None else children.id_of(index)
        return known

    def index_of(self, execution_id: str) -> int | None:
        """Which of the children has this id."""
        children = self.children
        if is_template(children):
            return children.index_of(execution_id)
        if self.times is not None:  # there are few, and more to come
            some = list(children)  # a caller may look, on its own thread
            return next((at for at in some if children[at].id == execution_id), None)
        if self.ids is None:
            self.ids = {child.id: index for index, child in enumerate(children)}
        return self.ids.get(execution_id)


def _any_timeout(children: Any) -> bool:
    # By class: an isinstance of an abstract class is dear, and there is a batch for every call.
    if children.__class__ is TemplateChildren:
        return children.template.timeout is not None
    if len(children) == 1:
        return children[0].timeout is not None
    return any(child.timeout is not None for child in children)


_REPORTED = Reported()
