"""Generated fan-outs: trees of groups and calls, how their leaves end, and when groups decide.

A plan says what one execution does. It is data: an interpreter (`tests.conformance.planned`) makes
it happen on a runtime, and `decision` says what a group must come to, written down here a second
time, without a look at how the library does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen
from hypothesis import strategies as st

from orchestrator import AwaitMode

__all__ = [
    "Decision",
    "FanOut",
    "Leaf",
    "Outcome",
    "Policy",
    "Wait",
    "decision",
    "fan_outs",
    "leaves",
    "outcomes",
    "policies",
    "size",
    "without_failures",
]

MOST_CHILDREN = 4
MOST_MILLISECONDS = 3


class Outcome(StrEnum):
    """How a leaf ends."""

    VALUE = "value"
    NONE = "none"
    FAILURE = "failure"
    BASE_EXCEPTION = "base exception"
    STUCK = "stuck"  # sleeps until somebody cancels it

    @property
    def succeeds(self) -> bool:
        return self in (Outcome.VALUE, Outcome.NONE)


@frozen
class Leaf:
    """An execution without children: it waits a moment and ends."""

    outcome: Outcome = Outcome.VALUE
    milliseconds: int = 0
    is_async: bool = False
    attempts: int = 1  # the last one ends as *outcome* says, those before it fail


@frozen
class Policy:
    """A group's policy, without what only a runtime can check."""

    mode: AwaitMode = AwaitMode.ALL
    quorum: int | None = None
    cancel_rest: bool = True
    milliseconds: int | None = None  # to the group's own deadline
    max_in_flight: int | None = None
    keep: bool = True

    def options(self) -> dict[str, Any]:
        """The keyword arguments of an emit."""
        return {
            "mode": self.mode,
            "quorum": self.quorum,
            "cancel_rest": self.cancel_rest,
            "timeout": None if self.milliseconds is None else self.milliseconds / 1000,
            "max_in_flight": self.max_in_flight,
            "keep": self.keep,
        }


class Wait(StrEnum):
    """How an execution waits for the group that it emitted."""

    AWAIT = "await_group"
    RESUME = "await_resume"
    ENDS = "as_completed"
    RETURN = "it returns"
    CALLS = "calls"  # no group: each child is called, one after the other


@frozen
class FanOut:
    """An execution that emits children and waits for them."""

    children: tuple[Leaf | FanOut, ...] = ()
    policy: Policy = field(factory=Policy)
    wait: Wait = Wait.AWAIT
    is_async: bool = False
    tolerant: bool = True  # it survives what its group raises


def outcomes(*, stuck: bool = False) -> st.SearchStrategy[Outcome]:
    """How a leaf may end; with *stuck*, also not by itself."""
    return st.sampled_from([each for each in Outcome if stuck or each is not Outcome.STUCK])


def leaves(*, stuck: bool = False, attempts: int = 1) -> st.SearchStrategy[Leaf]:
    """Leaves of a few milliseconds."""
    return st.builds(
        Leaf,
        outcome=outcomes(stuck=stuck),
        milliseconds=st.integers(0, MOST_MILLISECONDS),
        is_async=st.booleans(),
        attempts=st.integers(1, attempts),
    )


@st.composite
def policies(
    draw: st.DrawFn,
    children: int,
    *,
    modes: Sequence[AwaitMode] = tuple(AwaitMode),
    deadlines: bool = False,
    lazy: bool = False,
) -> Policy:
    """Policies that make sense for a group of so many *children*."""
    mode = draw(st.sampled_from(modes))
    return Policy(
        mode=mode,
        quorum=draw(st.integers(0, children)) if mode is AwaitMode.QUORUM else None,
        cancel_rest=draw(st.booleans()),
        milliseconds=draw(st.none() | st.integers(0, 5)) if deadlines else None,
        max_in_flight=draw(st.none() | st.integers(1, 3)) if lazy else None,
        keep=draw(st.booleans()) if lazy else True,
    )


def fan_outs(
    *,
    modes: Sequence[AwaitMode] = tuple(AwaitMode),
    stuck: bool = False,
    deadlines: bool = False,
    lazy: bool = False,
    attempts: int = 1,
    levels: int = 2,
) -> st.SearchStrategy[FanOut]:
    """Trees of groups and calls, at most *levels* deep.

    With *stuck* some leaves end only when they are cancelled, so a policy alone may never decide:
    such trees need a deadline or a cancel from outside.
    """

    @st.composite
    def one(draw: st.DrawFn, level: int) -> FanOut:
        leaf = leaves(stuck=stuck, attempts=attempts)
        below = leaf if level == 1 else leaf | one(level - 1)
        children = tuple(draw(st.lists(below, max_size=MOST_CHILDREN)))
        policy = draw(policies(len(children), modes=modes, deadlines=deadlines, lazy=lazy))
        return FanOut(
            children,
            policy,
            wait=draw(st.sampled_from(Wait)),
            is_async=draw(st.booleans()),
            tolerant=draw(st.booleans()),
        )

    return one(levels)


def size(plan: Leaf | FanOut) -> int:
    """How many executions the plan is, itself included."""
    return 1 if isinstance(plan, Leaf) else 1 + sum(size(each) for each in plan.children)


def without_failures(plan: Leaf | FanOut) -> Leaf | FanOut:
    """The same shape, where every leaf gives a value and every group waits for all of it."""
    if isinstance(plan, Leaf):
        return evolve(plan, outcome=Outcome.VALUE)
    return evolve(plan, children=tuple(without_failures(each) for each in plan.children))


@frozen
class Decision:
    """What a group has come to: outputs, or that it has failed."""

    succeeded: bool
    indexes: tuple[int, ...] = ()  # whose outputs it gives, by emission


def decision(  # noqa: PLR0911 - one way out for each way to decide
    policy: Policy, children: int, ends: Sequence[tuple[int, bool]]
) -> Decision | None:
    """What a group of so many *children* has come to after these *ends*; ``None`` for nothing yet.

    *ends* are the index of each child that has ended, in the order of ending, and whether it
    succeeded. The model of every test about modes.
    """
    good = [index for index, succeeded in ends if succeeded]
    bad = [index for index, succeeded in ends if not succeeded]
    everyone = Decision(True, tuple(range(children)))
    match policy.mode:
        case _ if children == 0:
            return everyone
        case AwaitMode.ALL if len(ends) == children:
            return Decision(False) if bad else everyone
        case AwaitMode.ANY_ERROR if bad or len(ends) == children:
            return Decision(False) if bad else everyone
        case AwaitMode.FIRST if ends:
            index, succeeded = ends[0]
            return Decision(True, (index,)) if succeeded else Decision(False)
        case AwaitMode.ANY if good:
            return Decision(True, (good[0],))
        case AwaitMode.ANY if len(bad) == children:
            return Decision(False)
        case AwaitMode.QUORUM:
            needed = policy.quorum or 0
            if len(good) >= needed:
                return Decision(True, tuple(sorted(good[:needed])))
            if children - len(bad) < needed:
                return Decision(False)
    return None
