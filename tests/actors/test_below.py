"""What an attempt has below it, counted against the sets that it stands for."""

from __future__ import annotations

from actors.below import Below
from actors.messages import GroupChanged
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.values import GroupResult, Merge


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


@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=50))
def test_what_is_below_is_open_ended_settled_and_consumed_as_its_groups_and_calls_are(
    steps: list[tuple[str, int]],
) -> None:
    below, model = Below(), Model()
    for what, number in steps:
        match what:
            case "emit":
                below.emitting += 1
                model.emitting += 1
            case "admit" if model.emitting:
                below.emitting -= 1
                model.emitting -= 1
                name = f"g{len(model.groups)}"
                below.open(name, f"ref of {name}", Merge.APPEND)
                model.groups.append(name)
            case "refuse" if model.emitting:
                below.emitting -= 1
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
                    f"ref of {name}" for name in expected
                ]
                model.consumed.update(expected)
            case "call":
                below.called(f"c{number}")
                model.calls[f"c{number}"] = "out"
            case "call ends":
                end_call(below, model, f"c{number}")
            case _:
                pass
        check(below, model)


def advance(below: Below, model: Model, name: str) -> None:
    """The group's next step; a step that is told again changes nothing."""
    if name in model.ended:
        model.settled.add(name)
    elif name in model.decided:
        model.ended.add(name)
    else:
        model.decided.add(name)
    message = GroupChanged(
        name, GroupResult([], []), name in model.ended, name in model.settled
    )
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
    assert below.group_ids() == tuple(model.groups)
    assert below.unended() == [f"ref of {name}" for name in unended]
    assert below.calls_out() == out


def test_a_released_group_is_still_below_but_its_id_is_forgotten() -> None:
    below = Below()
    below.open("g", "ref", Merge.APPEND)
    below.groups["g"].released = True
    assert below.group_ids() == ()
    assert below.open_groups() == ("g",)
