"""What an attempt has below it, counted against the sets that it stands for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.below import Below
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
from actors.system import Future
from orchestrator.context import ExecutionContext
from orchestrator.errors import UnknownGroupError
from orchestrator.values import Execution, GroupPolicy, GroupResult, Merge, Process
from tests.actors.fakes import Target, World, action, emission, open_log


@define
class Model:
    groups: list[str] = field(factory=list)  # in the order of emission
    emitting: int = 0
    decided: set[str] = field(factory=set)
    ended: set[str] = field(factory=set)
    settled: set[str] = field(factory=set)
    consumed: set[str] = field(factory=set)
    calls: dict[str, str] = field(factory=dict)  # "out", "decided"


STEPS = ("emit", "admit", "refuse", "step", "step", "step", "consume", "take", "call", "call ends")


def below_in(world: World, *, deadline: float | None = None) -> Below:
    context = ExecutionContext(None, Process("p"), deadline=deadline)
    attempt: Any = SimpleNamespace(context=context, ref="parent's ref")
    parent = emission(world, depth=3, priority=7, entries={"tenant": "a"})
    return Below(world.environment, attempt, parent, Execution("t:t", id="e"))


def emit(below: Below, group_id: str, **policy: Any) -> Future[str]:
    reply: Future[str] = Future()
    below.emit(Emit(1, [], [], GroupPolicy(**policy), "variables", False, reply), group_id)
    return reply


def admit(below: Below, group_id: str) -> Target:
    group = Target(group_id)
    below.admitted(Admitted(group_id, group, open_log(), Merge.APPEND, Future()))
    return group


@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=50))
def test_what_is_below_is_open_ended_settled_and_consumed_as_its_groups_and_calls_are(  # noqa: C901 - an index
    steps: list[tuple[str, int]],
) -> None:
    world = World()
    below, model = below_in(world), Model()
    refs: dict[str, Target] = {}
    for what, number in steps:
        match what:
            case "emit":
                emit(below, "unused")
                model.emitting += 1
            case "admit" if model.emitting:
                model.emitting -= 1
                name = f"g{len(model.groups)}"
                refs[name] = admit(below, name)
                model.groups.append(name)
            case "refuse" if model.emitting:
                reply: Future[str] = Future()
                below.refused(Refused(reply, ValueError("no")))
                with pytest.raises(ValueError, match="no"):
                    reply.get(timeout=0)
                model.emitting -= 1
            case "step" if model.groups:
                advance(below, model, model.groups[number % len(model.groups)])
            case "consume":
                name = f"g{number}"
                below.consume(name)  # an unknown one changes nothing
                if name in model.groups:
                    model.consumed.add(name)
            case "take":
                expected = [
                    name
                    for name in model.groups
                    if name in model.decided and name not in model.consumed
                ]
                assert [group.ref for group in below.take_unconsumed()] == [
                    refs[name] for name in expected
                ]
                model.consumed.update(expected)
            case "call":
                call(below, f"c{number}")
                model.calls[f"c{number}"] = "out"
            case "call ends":
                end_call(below, model, f"c{number}")
            case _:
                pass
        check(below, model)
    world.allocator.take()
    below.end("enough")
    below.forget_groups()
    for name, ref in refs.items():
        told = [(message.reason, message.rest_too) for message in ref.told_of(CancelGroup)]
        assert told == ([] if name in model.ended else [("enough", True)])
    *cancels, last = [*world.allocator.told, None] if not model.groups else world.allocator.told
    out = [name for name, state in model.calls.items() if state == "out"]
    assert [one.execution_id for one in cancels if isinstance(one, CancelExecution)] == out
    assert last is None or isinstance(last, ForgetGroups)
    assert last is None or last.group_ids == tuple(model.groups)


def call(below: Below, name: str) -> None:
    below.call(Call(1, Execution("t:t", id=name), action(), "variables", Future()))


def advance(below: Below, model: Model, name: str) -> None:
    """The group's next step; a step that is told again changes nothing."""
    if name in model.ended:
        model.settled.add(name)
    elif name in model.decided:
        model.ended.add(name)
    else:
        model.decided.add(name)
    message = GroupChanged(name, GroupResult([], []), name in model.ended, name in model.settled)
    below.group_changed(message)
    below.group_changed(message)


def end_call(below: Below, model: Model, name: str) -> None:
    settled = model.calls.get(name) == "decided"
    below.child_ended(name, settled=settled)
    if settled:
        del model.calls[name]
    elif name in model.calls:
        model.calls[name] = "decided"


def check(below: Below, model: Model) -> None:
    unended = [name for name in model.groups if name not in model.ended]
    out = [name for name, state in model.calls.items() if state == "out"]
    groups_ended = not unended and not model.emitting
    assert below.any_open is (set(model.groups) != model.decided or model.emitting > 0)
    assert below.groups_ended is groups_ended
    assert below.all_ended is (groups_ended and not out)
    assert below.all_settled is (
        set(model.groups) == model.settled and not model.emitting and not model.calls
    )
    assert below.unconsumed() is bool(model.decided - model.consumed)
    assert below.open_groups() == tuple(unended)


def test_a_group_may_decide_before_its_admission_is_known() -> None:
    below = below_in(World())
    emit(below, "g")
    below.group_changed(GroupChanged("g", GroupResult([1], []), ended=True, settled=True))
    assert below.any_open
    admit(below, "g")
    assert below.all_settled
    assert [group.result.outputs for group in below.take_unconsumed() if group.result] == [[1]]


@pytest.mark.parametrize("above", [None, 105.0, 200.0])
@pytest.mark.parametrize("timeout", [None, 0.0, 10.0])
def test_a_childs_deadline_is_never_later_than_its_groups_or_its_parents(
    above: float | None, timeout: float | None
) -> None:
    world = World()
    below = below_in(world, deadline=above)
    emit(below, "g", timeout=timeout)
    call(below, "c")
    group, one = world.allocator.told
    assert isinstance(group, SubmitGroup)
    assert isinstance(one, SubmitOne)
    own = None if timeout is None else 100.0 + timeout
    assert group.deadline == own
    limits = [limit for limit in (above, own) if limit is not None]
    assert group.emission.deadline == min(limits, default=None)
    assert one.emission.deadline == above
    for emitted in (group.emission, one.emission):
        assert emitted.own_timeout is None  # only the execution that was given one fails by it
        assert (emitted.depth, emitted.priority, emitted.entries) == (4, 7, {"tenant": "a"})
        assert (emitted.parent_id, emitted.parent) == ("e", "parent's ref")
    assert (group.emission.group_id, one.emission.group_id) == ("g", None)


def test_a_group_is_released_once_it_has_decided_and_then_forgotten() -> None:
    world = World()
    below = below_in(world)
    emit(below, "g")
    admit(below, "g")
    for expected in (ValueError, None, UnknownGroupError):
        reply: Future[None] = Future()
        below.release(Release("g", reply))
        if expected is None:
            (asked,) = world.allocator.told_of(ForgetGroups)
            assert asked.reply is reply  # for the allocator to answer
        else:
            with pytest.raises(expected, match="'g'"):
                reply.get(timeout=0)
        below.group_changed(GroupChanged("g", GroupResult([], []), ended=False, settled=False))
    assert not below.unconsumed()  # forgetting it counts as having been given it
    assert [one.group_ids for one in world.allocator.told_of(ForgetGroups)] == [("g",)]
    below.forget_groups()
    assert len(world.allocator.told_of(ForgetGroups)) == 1
    assert below.open_groups() == ("g",)


def test_whoever_looks_from_another_thread_as_a_group_is_admitted_sees_that_one_is_out() -> None:
    below = below_in(World())
    emit(below, "g1")

    class Groups(dict[str, Any]):
        """Looked through just before the next group is admitted."""

        def values(self) -> Any:
            found = list(super().values())
            if "g1" not in self:
                admit(below, "g1")
            return found

    below.groups = Groups()
    assert not below.groups_have_ended
