"""`WaitGraph` against brute force: every set of blocked executions is tried for a deadlock."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from actors.system import Future
from actors.waits import GroupNode, Target, WaitGraph
from orchestrator.values import AwaitMode, GroupResult


@frozen
class Node:
    parent_id: str | None
    group_id: str | None


@define
class World:
    """Executions and groups, and what of them is blocked on what."""

    live: dict[str, Node] = field(factory=dict)
    groups: dict[str, GroupNode] = field(factory=dict)
    members: dict[str, set[str]] = field(factory=dict)  # by group, those that have not ended
    targets: dict[str, Target] = field(factory=dict)
    asked: set[str] = field(factory=set)  # groups that have to answer
    graph: WaitGraph = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.graph = WaitGraph(self.live, self.groups)

    def add(self, name: str, parent: str | None = None, group: str | None = None) -> None:
        self.live[name] = Node(parent, group)
        if group is not None:
            self.members[group].add(name)
            self.groups[group].out += 1

    def open(
        self,
        group_id: str,
        parent: str,
        mode: AwaitMode = AwaitMode.ALL,
        *,
        open_ended: bool = False,
        can_expire: bool = False,
    ) -> None:
        self.groups[group_id] = GroupNode(group_id, parent, mode, 0, open_ended, can_expire)
        self.members[group_id] = set()

    def block(self, waiter: str, target: Target) -> tuple[str, ...] | None:
        cycle = self.graph.block(waiter, target)
        if cycle is None:
            self.targets[waiter] = target
            for group in self.graph.behind(waiter):
                group.doubted = True
                self.asked.add(group.group_id)
        return cycle

    def unblock(self, waiter: str) -> None:
        self.graph.unblock(waiter)
        self.targets.pop(waiter, None)

    def end(self, name: str, *, late: bool = False) -> list[tuple[str, tuple[str, ...]]]:
        """*name* has ended; the waiters that are refused for it, and why.

        *late*: its group has not heard of it yet.
        """
        node = self.live.pop(name)
        self.unblock(name)
        if node.group_id is None:
            return []
        self.members[node.group_id].discard(name)
        group = self.groups[node.group_id]
        group.end()
        if not late:
            return self.hear(node.group_id)
        if self.graph.may_be_stuck(group):
            self.asked.add(node.group_id)
        return []

    def hear(self, group_id: str) -> list[tuple[str, tuple[str, ...]]]:
        """The group has heard of all ends so far; the waiters that are refused then, and why."""
        group = self.groups[group_id]
        group.heard = group.ended
        self.asked.discard(group_id)
        refused = []
        while (found := self.graph.member_ended(group_id)) is not None:
            refused.append(found)
            self.unblock(found[0])
        group.doubted = False
        return refused

    # The oracle

    def comes(self, target: Target, frozen_ones: set[str]) -> bool:
        """Whether *target* may come about while *frozen_ones* never move and all others may."""
        return not (set(target.executions) & frozen_ones) and all(
            self.decides(group_id, frozen_ones) for group_id in target.groups
        )

    def decides(self, group_id: str, frozen_ones: set[str]) -> bool:
        group = self.groups[group_id]
        held_up = self.members[group_id] & frozen_ones
        if group.can_expire or group.is_behind:
            return True
        if group.mode is AwaitMode.ALL:
            return not held_up
        return group.open_ended or held_up != self.members[group_id] or not held_up

    def deadlocked(self, targets: dict[str, Target]) -> set[str]:
        """Those of the blocked who can never go on: the union of all sets that hold themselves."""
        found: set[str] = set()
        for size in range(1, len(targets) + 1):
            for some in itertools.combinations(targets, size):
                stuck = set(some)
                if not any(self.comes(targets[name], stuck) for name in stuck):
                    found |= stuck
        return found

    def follows(self, waiter: str, targets: dict[str, Target]) -> set[str]:
        """The blocked ones that *waiter* waits for."""
        target = targets[waiter]
        members: Iterable[str] = itertools.chain.from_iterable(
            self.members[group_id] for group_id in target.groups
        )
        return {name for name in (*target.executions, *members) if name in targets}

    def on_a_cycle(self, waiter: str, targets: dict[str, Target]) -> bool:
        """Whether a way through the deadlocked ones leads from *waiter* back to it."""
        stuck = self.deadlocked(targets)
        seen: set[str] = set()
        pending = [waiter] if waiter in stuck else []
        while pending:
            for name in self.follows(pending.pop(), targets) & stuck - seen:
                seen.add(name)
                pending.append(name)
        return waiter in seen

    def check_path(self, waiter: str, cycle: tuple[str, ...], targets: dict[str, Target]) -> None:
        assert cycle[0] == cycle[-1] == waiter
        assert len(set(cycle[1:])) == len(cycle) - 1  # no detours
        assert set(cycle) <= self.deadlocked(targets)
        for name, following in itertools.pairwise(cycle):
            assert following in self.follows(name, targets)


MODES = st.sampled_from(list(AwaitMode))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    names = [f"e{number}" for number in range(draw(st.integers(2, 7)))]
    for number in range(draw(st.integers(1, 3))):
        rarely = st.sampled_from([False, False, False, True])
        world.open(
            f"g{number}",
            names[0],
            draw(MODES),
            open_ended=draw(rarely),
            can_expire=draw(rarely),
        )
    for name in names:
        world.add(name, None, draw(st.sampled_from([None, *world.groups])))
    return world


@given(world=worlds(), data=st.data())
def test_a_wait_is_refused_exactly_when_it_closes_a_cycle_that_nothing_can_end(
    world: World, data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 14), label="steps")):
        names = sorted(world.live)
        if not names:
            return
        name = data.draw(st.sampled_from(names), label="who")
        match data.draw(st.sampled_from(["block", "block", "block", "unblock", "end"])):
            case "block" if name not in world.targets:
                target = data.draw(targets(world))
                hypothetical = {**world.targets, name: target}
                expected = world.on_a_cycle(name, hypothetical)
                cycle = world.block(name, target)
                assert (cycle is not None) is expected
                if cycle is not None:
                    world.check_path(name, cycle, hypothetical)
                assert world.graph.is_blocked(name) is (cycle is None)
            case "unblock":
                world.unblock(name)
            case "end" if name not in world.targets or data.draw(st.booleans()):
                before = {who: what for who, what in world.targets.items() if who != name}
                for waiter, cycle in world.end(name, late=data.draw(st.booleans(), label="late")):
                    world.check_path(waiter, cycle, before)
                    del before[waiter]
            case _:
                pass
        assert not world.deadlocked(world.targets)  # nobody hangs
    hear_of_all(world)


def hear_of_all(world: World) -> None:
    """All groups that were asked answer; then nobody hangs, even if the others knew all as well."""
    while world.asked:
        before = dict(world.targets)
        for waiter, cycle in world.hear(min(world.asked)):
            world.check_path(waiter, cycle, before)
            del before[waiter]
    for group in world.groups.values():
        group.heard = group.ended
    assert not world.deadlocked(world.targets)


@st.composite
def targets(draw: st.DrawFn, world: World) -> Target:
    groups = draw(st.sets(st.sampled_from(sorted(world.groups)), max_size=2))
    executions = draw(st.sets(st.sampled_from(sorted(world.live)), max_size=1))
    return Target(tuple(sorted(groups)), tuple(sorted(executions)))


def test_two_executions_that_wait_for_each_other_are_told_the_cycle_by_name() -> None:
    world = World()
    world.add("a")
    world.add("b")
    assert world.block("a", Target(executions=("b",))) is None
    assert world.block("b", Target(executions=("a",))) == ("b", "a", "b")


def test_an_execution_that_waits_for_itself_is_a_cycle_of_one() -> None:
    world = World()
    world.add("a")
    assert world.block("a", Target(executions=("a",))) == ("a", "a")


@pytest.mark.parametrize("mode", [mode for mode in AwaitMode if mode is not AwaitMode.ALL])
def test_a_group_that_one_free_member_may_decide_is_no_deadlock_until_that_member_has_ended(
    mode: AwaitMode,
) -> None:
    world = World()
    world.add("root")
    world.open("g", "root", mode)
    world.add("blocked", "root", "g")
    world.add("free", "root", "g")
    world.add("waiter")
    assert world.block("blocked", Target(executions=("waiter",))) is None
    assert world.block("waiter", Target(("g",))) is None
    assert world.end("free") == [("waiter", ("waiter", "blocked", "waiter"))]


def test_a_group_that_may_be_about_to_decide_is_on_no_cycle_until_it_has_heard_of_all() -> None:
    world = World()
    world.add("root")
    world.open("g", "root", AwaitMode.ANY)
    world.add("blocked", "root", "g")
    world.add("free", "root", "g")
    world.add("waiter")
    assert world.end("free", late=True) == []
    assert world.block("blocked", Target(executions=("waiter",))) is None
    assert world.block("waiter", Target(("g",))) is None
    assert world.asked == {"g"}
    assert world.hear("g") == [("waiter", ("waiter", "blocked", "waiter"))]


def test_a_group_that_has_decided_is_on_no_cycle() -> None:
    world = World()
    world.add("root")
    world.open("g", "root", AwaitMode.ANY)
    world.groups["g"].decided = decided = Future()
    world.add("blocked", "root", "g")
    world.add("waiter")
    assert world.block("blocked", Target(executions=("waiter",))) is None
    decided.set(GroupResult([0], [], None))
    assert world.block("waiter", Target(("g",))) is None


def test_who_only_waits_for_a_cycle_is_not_the_one_that_is_refused() -> None:
    world = World()
    for name in ("bystander", "w", "root"):
        world.add(name)
    world.open("g", "root", AwaitMode.ANY)
    world.add("m", "root", "g")
    world.add("x", "root", "g")
    assert world.block("bystander", Target(("g",))) is None
    assert world.block("w", Target(("g",))) is None
    assert world.block("m", Target(executions=("w",))) is None
    assert world.end("x") == [("w", ("w", "m", "w"))]


def test_what_ends_while_it_is_blocked_leaves_nothing_in_the_graph() -> None:
    world = World()
    world.add("root")
    world.open("g", "root")
    world.add("parent", "root", "g")
    world.add("slow", "root", "g")
    world.open("h", "parent")
    world.add("leaf", "parent", "h")
    assert world.block("parent", Target(("h",))) is None
    world.end("parent")
    assert world.groups["g"].blocked == set()
    assert world.block("root", Target(("g",))) is None


# Waits that are forbidden, whatever could time out


def family(draw: st.DrawFn) -> World:
    """A tree: every execution but the first is in a group of an earlier one, or was called."""
    world = World()
    world.add("e0")
    for number in range(1, draw(st.integers(2, 9))):
        parent = f"e{draw(st.integers(0, number - 1))}"
        group_id = None
        if draw(st.booleans()):
            group_id = f"g{parent}"
            if group_id not in world.groups:
                world.open(group_id, parent, draw(MODES), can_expire=draw(st.booleans()))
        world.add(f"e{number}", parent, group_id)
    return world


@given(world=st.composite(family)(), data=st.data())
def test_a_wait_on_a_group_is_forbidden_exactly_to_its_members_and_to_all_below_them(
    world: World, data: st.DataObject
) -> None:
    waiter = data.draw(st.sampled_from(sorted(world.live)))
    for group_id in world.groups:
        above: list[str] = []
        name: str | None = waiter
        while name is not None:
            above.append(name)
            name = world.live[name].parent_id
        holds = any(world.live[name].group_id == group_id for name in above)

        cycle = world.graph.forbidden(waiter, Target((group_id,)))

        assert (cycle is not None) is holds
        if cycle is not None:
            assert cycle[0] == cycle[-1] == waiter
            assert f"group {group_id}" in cycle
            for name in cycle[2:]:
                assert name in above


def test_a_parent_may_wait_for_its_own_groups_and_for_a_child_that_it_called() -> None:
    world = World()
    world.add("root")
    world.open("g", "root")
    world.add("member", "root", "g")
    world.add("called", "root")
    assert world.graph.forbidden("root", Target(("g",))) is None
    assert world.graph.forbidden("root", Target(executions=("called",))) is None
    assert world.graph.forbidden("called", Target(("g",))) is None
