"""`Run`, `LeafAttempt` and `Reports` as objects: who gets a child's token, and what it ends as."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.admission import Slots
from actors.attempt import Interruption
from actors.batch import Batch, Reports
from actors.fan_in import FanIn
from actors.leaf import LEAF, OVER, LeafAttempt
from actors.live import OpenGroup
from actors.messages import Promoted, Reported, RunOver
from actors.run import Run
from actors.system.parking import Parker, set_thread_hooks
from actors.wait import Wait
from actors.waits import GroupNode
from orchestrator.context import current
from orchestrator.values import AwaitMode, Execution, ExecutionState, GroupPolicy
from runtime.leaves import Leaves
from tests.actors.fakes import Target, World, action, emission
from tests.actors.fan_in_model import describe
from tests.collecting import others_come_in


def batch_of(
    world: World,
    size: int,
    reports: Reports | None = None,
    function: Callable[..., Any] | None = None,
    **options: Any,
) -> Batch:
    children = [Execution("t:t", number, id=f"c{number}") for number in range(size)]
    group: Any = SimpleNamespace(node=SimpleNamespace(blocked=()))
    return Batch(
        emission(
            world, group_id="g", group=Target("group"), parent_id="p", parent=Target("parent")
        ),
        children,
        action(function, **options),
        0,
        50.0,
        group,
        reports or Reports(each=False),
    )


def run_of(world: World, size: int, function: Callable[..., Any] | None = None) -> Run:
    batch = batch_of(world, size, function=function)
    return Run(
        world.environment,
        batch,
        range(size),
        Slots(batch.action, needs_worker=True, needs_slot=False),
    )


@given(
    size=st.integers(0, 8),
    steps=st.lists(
        st.tuples(st.sampled_from(["start", "take", "withdraw", "share"]), st.integers(0, 9))
    ),
)
def test_every_child_of_a_run_is_started_or_taken_away_and_only_once(
    size: int, steps: list[tuple[str, int]]
) -> None:
    run = run_of(World(), size)
    gone: list[int] = []
    begun = 0
    for what, number in steps:
        match what:
            case "start" if run.pending:  # as the worker does
                index = run.pending.popleft()
                attempt = LeafAttempt(run, index)
                if run.owners.setdefault(index, attempt) is attempt:
                    gone.append(index)
                    begun += 1
            case "take":
                if run.take(number):
                    gone.append(number)
                assert number in gone or number >= size
            case "withdraw":
                gone += run.withdraw()
            case "share":
                some = run.withdraw(number)
                assert some == sorted(some)
                assert len(some) <= number
                gone += some
            case _:
                pass
    gone += run.withdraw()
    assert sorted(gone) == list(range(size))
    assert run.started == begun


def test_a_leaf_is_made_an_actor_once_and_what_waits_behind_it_is_left_to_the_allocator() -> None:
    world, launched = launching()
    run = run_of(world, 3)
    attempt = started(run)

    ref = attempt.ref
    attempt.become_actor()

    assert attempt.ref is ref
    assert run.find(0) is ref
    assert [actor.actor_ref for actor in launched] == [ref]
    (promoted,) = world.allocator.told_of(Promoted)
    assert (promoted.index, promoted.ref) == (0, ref)
    assert list(run.pending) == [1, 2]
    view = launched[0].view()
    assert (view.id, view.state, view.attempts) == ("c0", ExecutionState.RUNNING, 1)
    assert attempt.snapshot().id == "c0"
    assert run.fates.setdefault(0, LEAF) is ref  # what the worker asks when the code has ended


def test_an_actor_that_others_make_of_a_leaf_begins_when_the_start_has_been_told() -> None:
    world, launched = launching()
    run = run_of(world, 1)
    attempt = LeafAttempt(run, run.pending.popleft())
    run.owners[0] = attempt  # its worker has the token, and has told nothing yet

    ref = run.find(0)
    ref.actor_inbox.put("meanwhile")

    assert run.started == 1
    assert len(world.allocator.told_of(Promoted)) == 1
    assert not launched
    attempt.started_at = 60.0
    attempt.told_running = True
    attempt.begun = True
    attempt.launch()
    attempt.launch()
    assert [actor.actor_ref for actor in launched] == [ref]
    view = launched[0].view()
    assert (view.state, view.started_at) == (ExecutionState.RUNNING, 60.0)


def test_nor_does_it_begin_before_the_allocator_has_been_told_of_it() -> None:
    world, launched = launching()
    run = run_of(world, 1)
    attempt = LeafAttempt(run, run.pending.popleft())
    run.owners[0] = attempt

    class Inbox:
        def put_whole(self, message: Any) -> None:
            assert isinstance(message, Promoted)
            attempt.begun = True  # its worker comes between any two steps
            if attempt.unborn is not None:
                attempt.launch()
            assert not launched

    world.allocator.actor_inbox = Inbox()  # type: ignore[assignment]
    ref = run.find(0)

    assert [actor.actor_ref for actor in launched] == [ref]


def test_a_leaf_whose_code_has_ended_becomes_no_actor() -> None:
    world, launched = launching()
    run = run_of(world, 1)
    attempt = started(run)
    assert run.fates.setdefault(0, LEAF) is LEAF
    attempt.done = (0, "out", 60.0, 61.0)
    attempt.interruption = Interruption.OVER

    attempt.ref.actor_inbox.put("too late")

    assert not launched
    assert not world.allocator.told
    run.owners[0] = OVER
    assert run.find(0) is None
    assert (attempt.snapshot().state, attempt.snapshot().output) == (
        ExecutionState.COMPLETED,
        "out",
    )


def test_an_actor_is_found_by_its_run_until_the_allocator_knows_it() -> None:
    world = World()
    world.environment.system = System([])  # type: ignore[assignment]
    run = run_of(world, 1)
    attempt = started(run)
    ref = attempt.ref
    attempt.code_over = True  # it has failed, and may be tried again

    assert run.find(0) is ref
    assert not run.attempts()
    assert not run.runs_code(0)
    run.adopted = {0}
    assert run.find(0) is None


def test_an_end_is_told_at_once_only_where_that_may_matter() -> None:
    reports = Reports(each=False)
    reports.group = group = Target("group")
    reports.add((0, "a", 1.0, 2.0))
    assert not group.told
    reports.tell()
    assert group.told == group.told_of(Reported)
    reports.each = True
    reports.add((1, "b", 1.0, 2.0))
    assert len(group.told) == 2
    reports.ends.clear()
    reports.tell()
    assert len(group.told) == 2


@pytest.mark.parametrize(
    ("matters", "aside"),
    [
        ("", 1),
        ("behind it", 1),
        ("queued", 0),
        ("taken", 0),
        ("blocked", 0),
        ("called", 0),
        ("parent has ended", 0),
    ],
)
def test_the_end_of_a_run_takes_a_turn_only_where_that_may_matter(matters: str, aside: int) -> None:
    world = World()
    run = run_of(world, 2)
    node = GroupNode("g", "p", AwaitMode.ALL, 2)
    group = OpenGroup(Target("group"), node, Reports(each=False))
    run.batch.group = None if matters == "called" else group
    run.completed = 1 if matters == "taken" else 2
    run.batch.emission.parent.alive = matters != "parent has ended"
    if matters == "blocked":
        node.blocked.add("c7")

    class WatchedLoans:
        only = run if matters == "behind it" else None

        @property
        def front(self) -> Any:
            assert world.allocator.told_of(RunOver), "looked before it was put"
            return (0, 1, "p") if matters in {"queued", "behind it"} else None

    world.environment.loans = WatchedLoans()  # type: ignore[assignment]
    run.tell_over()
    assert [message.run for message in world.allocator.told_of(RunOver)] == [run]
    assert world.allocator.actor_inbox.aside == aside


@pytest.mark.parametrize(
    "options", [{"timeout": 1.0}, {"max_concurrency": 1}, {"runs_in": "process"}]
)
def test_a_child_that_asks_for_more_than_a_worker_is_an_actor_from_the_start(
    options: dict[str, Any],
) -> None:
    assert not batch_of(World(), 1, **options).leaves
    assert batch_of(World(), 1).leaves


@given(
    mode=st.sampled_from(["all", "anyError"]),
    keep=st.booleans(),
    order=st.permutations(range(6)),
    cut=st.lists(st.integers(0, 6), max_size=3),
)
def test_successes_recorded_many_at_a_time_decide_as_one_by_one(
    mode: str, keep: bool, order: list[int], cut: list[int]
) -> None:
    policy = GroupPolicy(mode=mode, keep=keep)  # type: ignore[arg-type]
    single, many = (FanIn("g", policy, len(order), describe) for _ in range(2))
    ends = [(index, f"out {index}", 1.0, 2.0) for index in order]
    bounds = [0, *sorted(cut), len(ends)]
    for begin, end in itertools.pairwise(bounds):
        results = [single.record(done[0], done) for done in ends[begin:end]]
        together = many.record_all(ends[begin:end]) if begin < end else None
        assert (together is None) is all(result is None for result in results)
        assert (single.out, single.decided) == (many.out, many.decided)
    assert single.result is not None
    assert many.result is not None
    assert many.result.outputs == single.result.outputs


class System:
    """Launches nothing, and remembers what it should have."""

    def __init__(self, launched: list[Any]) -> None:
        self.launch = launched.append


def launching() -> tuple[World, list[Any]]:
    """A world, and the actors that should have been launched in it."""
    world, launched = World(), list[Any]()
    world.environment.system = System(launched)  # type: ignore[assignment]
    return world, launched


def started(run: Run) -> LeafAttempt:
    attempt = LeafAttempt(run, run.pending.popleft())
    assert run.owners.setdefault(attempt.index, attempt) is attempt
    attempt.started_at = 60.0
    attempt.begun = True
    return attempt


def test_a_wait_of_what_a_leaf_left_running_hears_of_its_end() -> None:
    """The leaf has made no context, and another thread waits with a copy of its variables."""
    world = World()
    parker = Parker()

    def leaves_a_wait_behind(_given: int) -> None:
        attempt: Any = current.get()
        attempt.watch(Wait(attempt, parker, main=False))

    run = run_of(world, 1, leaves_a_wait_behind)
    run.batch.reports.group = Target("group")
    dispatcher: Any = SimpleNamespace(keeping=contextlib.nullcontext)
    leaves = Leaves(world.environment.clock, dispatcher, contextlib.nullcontext)
    hooks = set_thread_hooks()
    try:
        leaves.work_off(run)
    finally:
        set_thread_hooks(*hooks)
    assert run.fates == {0: LEAF}
    assert parker.park(0)


LOOKS: dict[str, Callable[[Run], object]] = {
    "attempts": Run.attempts,
    "all that runs": lambda run: leaves_with(run).running,
}


def leaves_with(run: Run) -> Leaves:
    nobody: Any = None
    leaves = Leaves(run.environment.clock, nobody, contextlib.nullcontext)
    leaves.add(run)
    return leaves


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_whoever_looks_while_others_start_is_not_disturbed(look: Callable[[Run], object]) -> None:
    run = run_of(World(), MANY)
    for index in range(FEW):
        run.owners[index] = LeafAttempt(run, index)

    def start_one() -> None:
        run.owners.setdefault(len(run.owners), OVER)

    with others_come_in(start_one) as tries:
        for _ in tries:
            look(run)


FEW, MANY = 40, 4000
