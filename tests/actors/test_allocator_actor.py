"""`AllocatorActor` as an object: handed messages one by one, beside a model of what it owes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.allocator import AllocatorActor
from actors.execution import ExecutionActor
from actors.leaf import OVER
from actors.messages import (
    Admitted,
    Cancel,
    CancelExecution,
    CancelMembers,
    ChildEnded,
    ChildrenCancelled,
    CodeOver,
    Decided,
    Drain,
    ForgetGroups,
    ReadStats,
    Refused,
    Requeue,
    RunOver,
    Settled,
    SnapshotOther,
    Start,
    SubmitGroup,
    SubmitMore,
    SubmitOne,
    WaitBegan,
    WaitEnded,
    WaitHurried,
)
from actors.stats import Stats
from actors.system import Future
from actors.system.parking import Parker
from actors.wait import Wait
from orchestrator.errors import (
    DuplicateExecutionError,
    RuntimeClosedError,
    UnknownExecutionError,
)
from orchestrator.registry import Action, ActionRegistry
from orchestrator.values import Execution, ExecutionState, GroupPolicy
from tests.actors.fakes import Inbox, Target, World, emission

STATES = [ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.CANCELLED]


def plain(value: object = None) -> object:
    return value


async def awaiting(value: object = None) -> object:
    return value


registry = ActionRegistry()
registry.register("plain")(plain)
registry.register("async")(awaiting)
registry.register("one", max_concurrency=1)(plain)
registry.register("async one", max_concurrency=1)(awaiting)
ACTIONS = [registry.get(name) for name in registry]


class AllocatorByHand(AllocatorActor):
    """An `AllocatorActor` without a thread."""

    @staticmethod
    def _create_actor_inbox() -> Any:
        return Inbox()


class FakeSystem:
    """Makes targets in place of actors, and keeps what they were to be."""

    dead_letters = 0

    def __init__(self) -> None:
        self.executions: dict[str, Target] = {}
        self.admitted: set[str] = set()
        self.groups: list[Target] = []

    def launch(self, actor: Any) -> None:
        """What a group is told from now on is told to its target."""
        target = Target(type(actor).__name__)
        actor.actor_ref.actor_inbox = target.actor_inbox
        self.groups.append(target)

    def spawn(self, kind: type, *args: Any, admitted: bool = False, **_more: Any) -> Target:
        target = Target(kind.__name__)
        assert issubclass(kind, ExecutionActor)
        (child,) = (one for one in args if isinstance(one, Execution))
        assert child.id not in self.executions, "incarnated twice"
        self.executions[child.id] = target
        if admitted:
            self.admitted.add(child.id)
        return target


@define(eq=False)
class Code:
    """Stands for an attempt in a wait."""

    execution_id: str


@define(eq=False)
class Run:
    """One execution, as the model sees it."""

    name: str
    action: Action
    phase: str = "pending"
    queued: bool = True  # else, while pending, it is between two attempts
    holds: bool = False  # its slots
    code: bool = False  # its code runs
    wait: Wait | None = None
    back: bool = False  # the wait has ended, and its slots have not come back
    patient: bool = True


@define
class Beside:
    """The real thing and the model."""

    workers: int
    world: World = field(factory=World)
    system: FakeSystem = field(factory=FakeSystem)
    runs: dict[str, Run] = field(factory=dict)
    ended: Counter[str] = field(factory=Counter)
    drains: list[Future[None]] = field(factory=list)
    backs: list[Run] = field(factory=list)  # in the order of their coming back
    starts: Counter[str] = field(factory=Counter)
    directory: dict[str, Any] = field(factory=dict)
    actor: Any = None

    def __attrs_post_init__(self) -> None:
        self.world.environment.system = self.system  # type: ignore[assignment]
        self.actor = AllocatorByHand(self.world.environment, self.workers, self.directory)

    def hand(self, message: Any) -> None:
        self.actor.on_receive(message)
        self.catch_up()

    def stats(self) -> Stats:
        reply: Future[Stats] = Future()
        self.hand(ReadStats(reply))
        return reply.get(timeout=0)

    # The model's rules

    def busy(self) -> int:
        return sum(run.holds and not run.action.is_async for run in self.runs.values())

    def has_room(self, run: Run) -> bool:
        held = sum(other.holds for other in self.runs.values() if other.action is run.action)
        most = run.action.max_concurrency
        worker = run.action.is_async or self.busy() < self.workers
        return worker and (most is None or held < most)

    def catch_up(self) -> None:
        """Take note of who was started and who came back; each must have had room for it."""
        for run in self.runs.values():
            if run.back and run.wait is not None and run.wait.granted:
                run.back, run.holds, run.wait = False, True, None
        for name, target in self.system.executions.items():
            run = self.runs[name]
            started = sum(isinstance(message, Start) for message in target.take())
            if name in self.system.admitted:
                self.system.admitted.discard(name)
                started += 1
            assert started <= 1
            if started:
                assert run.phase == "pending", "started twice"
                assert run.queued
                assert self.has_room(run)
                run.phase, run.queued, run.holds, run.code = "running", False, True, True
                self.starts[name] += 1

    def check(self) -> None:
        stats = self.stats()
        phases = Counter(run.phase for run in self.runs.values())
        for phase in ("pending", "running", "waiting", "cancelling"):
            assert getattr(stats, phase) == phases[phase], phase
        for state in STATES:
            assert getattr(stats, state.value) == self.ended[state.value]
        assert stats.emitted == sum(phases.values()) + sum(self.ended.values())
        self.backs = [run for run in self.backs if run.back]
        if self.backs:
            assert not self.has_room(self.backs[0]), "a waiter waits with room free"
        returning = [run for run in self.backs if run.patient]
        for run in self.runs.values():
            if run.phase == "pending" and run.queued and not returning:
                assert not self.has_room(run), f"{run.name} waits with room free"
        quiet = not self.runs
        assert all(drain.done() is quiet for drain in self.drains)
        assert (stats.queue_age > 0) <= any(run.queued for run in self.runs.values())

    # What happens

    def submit(self, number: int, priority: int = 0) -> None:
        name = f"e{sum(self.starts.values())}.{len(self.runs)}.{sum(self.ended.values())}"
        child = Execution(ACTIONS[number].name, id=name, priority=priority)
        reply: Future[Execution] = Future()
        if self.drains:
            self.actor.on_receive(SubmitOne(self.above(), child, ACTIONS[number], reply))
            with pytest.raises(RuntimeClosedError):
                reply.get(timeout=0)
            return
        self.runs[name] = Run(name, ACTIONS[number])
        self.hand(SubmitOne(self.above(), child, ACTIONS[number], reply))
        assert not reply.done()
        again: Future[Execution] = Future()
        self.hand(SubmitOne(self.above(), child, ACTIONS[number], again))
        with pytest.raises(DuplicateExecutionError):
            again.get(timeout=0)

    def above(self) -> Any:
        return emission(self.world)

    def settle(self, run: Run, state: ExecutionState) -> None:
        self.runs.pop(run.name)
        self.system.executions.pop(run.name).take()
        self.ended[state.value] += 1
        self.hand(Settled(run.name, state))

    @staticmethod
    def applies(kind: str, run: Run) -> bool:
        """Whether the others may do that to *run* now, by the protocol."""
        runs_freely = run.code and run.wait is None
        match kind:
            case "settle":
                return run.wait is None
            case "pause" | "below" | "decide" | "wait":
                return runs_freely and run.phase == "running"
            case "requeue":
                return run.phase == "pending" and not run.queued
            case "back":
                return run.wait is not None and not run.back
            case "hurry" | "unwind":
                return run.back and run.patient
            case _:
                return True

    def step(self, kind: str, run: Run, number: int) -> None:
        match kind:
            case "settle":  # in the queue it can only have been cancelled
                self.settle(run, STATES[number % 3] if run.code else ExecutionState.CANCELLED)
            case "pause" | "below":
                run.code = run.holds = False
                run.phase = "pending" if kind == "pause" else "waiting"
                self.hand(CodeOver(run.name, (), pausing=kind == "pause"))
            case "requeue":
                run.queued = True
                self.hand(Requeue(run.name))
            case "decide":
                run.phase = "cancelling"
                self.hand(Decided(run.name))
            case "wait":
                code: Any = Code(run.name)
                run.wait = Wait(code, Parker(), main=True)
                run.phase, run.holds, run.patient = "waiting", False, True
                self.hand(WaitBegan(run.wait, None, can_expire=True))
            case "back":
                assert run.wait is not None
                run.phase, run.back = "running", True
                self.backs.append(run)
                self.hand(WaitEnded(run.wait))
            case "hurry" | "unwind":
                assert run.wait is not None
                run.patient, wait = False, run.wait
                self.hand(WaitHurried(wait, unwinding=kind == "unwind"))
                assert wait.granted or (kind == "hurry" and run.action.max_concurrency)
            case _:
                self.cancel(run.name)

    def cancel(self, name: str) -> None:
        found: Future[bool] = Future()
        target = self.system.executions[name]
        self.actor.on_receive(CancelExecution(name, "why", found))
        assert found.get(timeout=0)
        assert [one.reason for one in target.told_of(Cancel)] == ["why"]
        self.catch_up()


KINDS = [*["wait", "back"] * 3, "settle", "pause", "below", "requeue", "decide", "hurry", "cancel"]


@given(
    workers=st.integers(1, 3),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("submit"), st.integers(0, 3), st.integers(0, 2)),
            st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 5)),
            st.tuples(st.just("pass"), st.integers(1, 3), st.just(0)),
        ),
        min_size=10,
        max_size=60,
    ),
    drains=st.integers(10, 60),
)
def test_every_message_leaves_counts_slots_and_starts_as_the_model_has_them(
    workers: int, steps: list[tuple[str, int, int]], drains: int
) -> None:
    beside = Beside(workers)
    for place, (kind, number, more) in enumerate(steps):
        if place == drains:
            drain: Future[None] = Future()
            beside.drains.append(drain)
            beside.hand(Drain(drain, cancel=False, reason="closing"))
        match kind:
            case "submit":
                beside.submit(number, more)
            case "pass":
                beside.world.advance(number)
            case _:
                fit = [run for run in beside.runs.values() if beside.applies(kind, run)]
                if fit:
                    beside.step(kind, fit[number % len(fit)], more)
        beside.check()
    while beside.runs:  # whatever state they are in, all of them can end
        for run in list(beside.runs.values()):
            for kind in ("requeue", "back", "unwind", "settle"):
                if beside.applies(kind, run):
                    beside.step(kind, run, 1)
                    beside.check()
    assert sum(beside.ended.values()) == sum(beside.ended[state.value] for state in STATES)


def test_a_waiter_that_comes_back_gets_the_next_free_worker_ahead_of_what_is_queued() -> None:
    beside = busy()
    beside.submit(0)
    waiter, queued = beside.runs.values()
    beside.step("wait", waiter, 0)
    assert queued.phase == "running"
    beside.submit(0)
    last = list(beside.runs.values())[-1]
    beside.step("back", waiter, 0)
    assert waiter.back
    beside.settle(queued, ExecutionState.COMPLETED)
    assert not waiter.back
    assert last.phase == "pending"
    beside.settle(waiter, ExecutionState.COMPLETED)
    assert last.phase == "running"


# Groups


def group_of(
    beside: Beside,
    children: list[Execution],
    parent: Target,
    *,
    action: int = 0,
    name: str = "g",
) -> Future[str]:
    reply: Future[str] = Future()
    above = emission(beside.world, parent=parent, parent_id="e", group_id=name, depth=1)
    beside.hand(
        SubmitGroup(
            above,
            GroupPolicy(),
            children,
            (ACTIONS[action],),
            deadline=None,
            lazy=False,
            reply=reply,
        )
    )
    return reply


def busy(workers: int = 1) -> Beside:
    """An allocator all of whose workers are taken."""
    beside = Beside(workers)
    for _ in range(workers):
        beside.submit(0)
    assert beside.stats().running == workers
    return beside


def test_a_group_is_admitted_as_a_whole_and_its_children_are_queued() -> None:
    beside, parent = busy(), Target("parent")
    reply = group_of(beside, [Execution("plain", id=f"c{place}") for place in range(3)], parent)
    assert [type(message) for message in parent.told] == [Admitted]
    assert not reply.done()  # its parent answers
    assert "g" in beside.directory
    stats = beside.stats()
    assert (stats.pending, stats.emitted) == (3, 4)


@pytest.mark.parametrize("wrong", ["shared id", "live id", "emitted before"])
def test_a_group_with_one_bad_child_is_refused_and_leaves_the_others_unclaimed(wrong: str) -> None:
    beside, parent = busy(), Target("parent")
    good, bad = Execution("plain", id="good"), Execution("plain", id="bad")
    if wrong == "shared id":
        bad = Execution("plain", id="good")
    elif wrong == "live id":
        bad = Execution("plain", id=next(iter(beside.runs)))
    else:
        assert bad.claim()
    group_of(beside, [good, bad], parent)
    (refused,) = parent.told
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, DuplicateExecutionError)
    assert "g" not in beside.directory
    stats = beside.stats()
    assert (stats.pending, stats.emitted) == (0, 1)
    group_of(beside, [good], parent)  # it can still be emitted
    assert isinstance(parent.told[1], Admitted)


def test_children_that_are_queued_are_cancelled_at_once_and_told_to_their_group() -> None:
    beside, parent = busy(), Target("parent")
    group_of(beside, [Execution("plain", id=f"c{place}") for place in range(4)], parent)
    found: Future[bool] = Future()
    beside.hand(CancelExecution("c1", "that one", found))
    assert found.get(timeout=0)
    beside.hand(CancelMembers("g", "all of them"))
    (group,) = beside.system.groups
    (rest,) = group.told_of(ChildrenCancelled)
    assert list(rest.indexes) == [0, 2, 3]
    stats = beside.stats()
    assert (stats.pending, stats.cancelled) == (0, 4)
    (run,) = beside.runs.values()
    beside.settle(run, ExecutionState.COMPLETED)  # the worker is free, and nothing is left to start
    assert beside.stats().running == 0


def run_all(run: Any) -> list[str]:
    """Start all children of a run, as its worker does; who they are, in order."""
    started = []
    while run.pending:
        index = run.pending.popleft()
        run.owners[index] = OVER
        started.append(run.batch.id_of(index))
        run.completed += 1
    return started


def work_off(beside: Beside, run: Any) -> list[str]:
    """The same, to the end of the run."""
    started = run_all(run)
    beside.hand(RunOver(run))
    return started


@given(workers=st.integers(1, 4), size=st.integers(1, 12))
def test_once_an_action_is_known_to_be_short_each_idle_worker_is_handed_as_many_children(
    workers: int, size: int
) -> None:
    beside, runs = Beside(workers), []
    for number in range(4):
        many = [Execution("plain") for _ in range(64)]
        group_of(beside, many, Target("parent"), name=f"known {number}")
        while len(runs) < len(beside.world.place.runs):
            run = beside.world.place.runs[len(runs)]
            runs.append(run)
            work_off(beside, run)
    assert beside.stats().pending == 0

    group_of(beside, [Execution("plain") for _ in range(size)], Target("parent"), name="small")
    handed_out = [len(run.pending) for run in beside.world.place.runs[len(runs) :]]
    assert sum(handed_out) == size  # none is left in the queue, for a turn of its own
    assert len(handed_out) == min(workers, size)  # nor is a worker left idle
    assert max(handed_out) <= -(-size // workers)


def test_while_the_runtime_closes_the_end_of_every_run_is_looked_at_once() -> None:
    beside = Beside(1)
    beside.world.environment.allocator = beside.actor.actor_ref
    group_of(beside, [Execution("plain") for _ in range(3)], Target("parent"))
    first, *_ = beside.world.place.runs
    work_off(beside, first)
    last = beside.world.place.runs[1]
    assert beside.world.environment.loans.only is last  # for which alone something waits
    run_all(last)
    beside.hand(Drain(Future(), cancel=False, reason=""))
    last.tell_over()
    assert beside.actor.actor_inbox.aside == 0


@given(between=st.lists(st.booleans(), min_size=1, max_size=8), longest=st.integers(1, 4))
def test_drawn_children_start_in_the_order_in_which_they_and_others_came(
    between: list[bool], longest: int
) -> None:
    beside, parent = busy(), Target("parent")
    beside.world.environment.longest_run = longest
    reply: Future[str] = Future()
    above = emission(beside.world, parent=parent, parent_id="e", group_id="lazy", depth=1)
    policy = GroupPolicy(max_in_flight=20)
    beside.hand(SubmitGroup(above, policy, (), (), deadline=None, lazy=True, reply=reply))
    came = []
    for index, other in enumerate(between):
        beside.world.clock.advance(1.0)
        name = f"drawn {index}"
        drawn = Execution("plain", id=name)
        at = beside.world.clock.now()
        beside.hand(SubmitMore(above, index, drawn, ACTIONS[0], at))
        came.append(name)
        if other:
            name = f"other {index}"
            group_of(beside, [Execution("plain", id=name)], parent, name=name)
            came.append(name)
    assert beside.stats().pending == len(came)
    assert beside.stats().queue_age == len(between) - 1

    beside.settle(next(iter(beside.runs.values())), ExecutionState.COMPLETED)
    runs, started = beside.world.place.runs, []
    for run in runs:  # it grows
        beside.world.clock.advance(1.0)
        started += work_off(beside, run)
    assert started == came
    assert beside.stats().pending == 0
    assert beside.stats().queue_age == 0


def test_a_forgotten_group_is_unknown_when_that_is_answered() -> None:
    beside, parent = busy(), Target("parent")
    group_of(beside, [Execution("plain", id="c")], parent)
    reply: Future[None] = Future()
    beside.hand(ForgetGroups(("g", "unknown"), reply))
    assert reply.done()
    assert beside.directory == {}


def test_a_called_child_that_is_refused_is_told_to_its_parent_as_ended() -> None:
    beside, parent = busy(), Target("parent")
    name = next(iter(beside.runs))
    reply: Future[Execution] = Future()
    above = emission(beside.world, parent=parent, parent_id="e", depth=1)
    beside.hand(SubmitOne(above, Execution("plain", id=name), ACTIONS[0], reply))
    with pytest.raises(DuplicateExecutionError):
        reply.get(timeout=0)
    assert [(one.child_id, one.settled) for one in parent.told_of(ChildEnded)] == [(name, True)]


def test_what_is_asked_of_an_unknown_execution_is_answered() -> None:
    beside = Beside(1)
    snapshot: Future[Execution] = Future()
    beside.hand(SnapshotOther("nobody", snapshot))
    with pytest.raises(UnknownExecutionError, match="nobody"):
        snapshot.get(timeout=0)
    found: Future[bool] = Future()
    beside.hand(CancelExecution("nobody", "", found))
    assert not found.get(timeout=0)
    for message in (Settled("nobody", STATES[0]), Requeue("nobody"), Decided("nobody")):
        beside.hand(message)  # of one that has ended: nothing changes
    assert beside.stats().emitted == 0


def test_a_drain_that_cancels_tells_every_root_and_is_answered_when_the_last_has_settled() -> None:
    beside = busy(2)
    beside.submit(0)
    drained: Future[None] = Future()
    beside.drains.append(drained)
    beside.actor.on_receive(Drain(drained, cancel=True, reason="closing"))
    told = [target.told_of(Cancel) for target in beside.system.executions.values()]
    assert [[one.reason for one in some] for some in told] == [["closing"]] * 3
    beside.catch_up()
    while beside.runs:
        assert not drained.done()
        for run in list(beside.runs.values()):
            if run.code:
                beside.settle(run, ExecutionState.CANCELLED)
    assert drained.done()


@pytest.mark.pykka_errors_expected
def test_a_fault_in_a_turn_answers_the_reply_that_rides_in_the_message() -> None:
    beside, parent = busy(), Target("parent")
    reply: Future[str] = Future()
    above = emission(beside.world, parent=parent, parent_id="e", group_id="g")
    not_one: Any = [None]
    message = SubmitGroup(
        above, GroupPolicy(), not_one, (ACTIONS[0],), deadline=None, lazy=False, reply=reply
    )
    beside.actor._actor_receive(message, None)
    with pytest.raises(AttributeError):  # the fault itself: what was wrong is ours
        reply.get(timeout=0)
    assert beside.stats().running == 1  # and the actor goes on
