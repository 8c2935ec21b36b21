"""`Admission` against a naive model: who starts, who returns, and that no room is left unused."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.admission import Admission, Returning, Slots
from actors.ready import Queued
from orchestrator.registry import Action, ActionRegistry
from orchestrator.values import Rate
from tests.actors.test_ready import Model as Order
from tests.actors.test_ready import Work

PER = 10.0


def plain(value: object = None) -> object:
    return value


async def awaiting(value: object = None) -> object:
    return value


registry = ActionRegistry()
registry.register("plain")(plain)
registry.register("async")(awaiting)
registry.register("one", max_concurrency=1)(plain)
registry.register("async two", max_concurrency=2)(awaiting)
registry.register("rated", rate_limit=Rate(2, PER))(plain)
registry.register("both", max_concurrency=1, rate_limit=Rate(1, PER))(awaiting)
ACTIONS = [registry.get(name) for name in registry]


@define(eq=False)
class Run:
    """An attempt that was started; what it holds, as the model counts it."""

    action: Action
    slots: Slots
    state: str = "running"  # "waiting", "back"
    worker: bool = False
    slot: bool = False
    unstamped: bool = False
    cancelling: bool = False
    impatient: bool = False
    returning: Returning | None = None

    @property
    def needs_worker(self) -> bool:
        return not self.action.is_async

    @property
    def needs_slot(self) -> bool:
        return self.action.max_concurrency is not None


@define
class World:
    """The real thing and the model, side by side."""

    workers: int
    now: float = 0.0
    seq: int = 0
    runs: list[Run] = field(factory=list)
    back: list[Run] = field(factory=list)  # waiters that wait for their slots, in their order
    order: Order = field(factory=Order)
    stamps: list[tuple[str, float]] = field(factory=list)
    admission: Admission = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.admission = Admission(self.workers)

    # The model's count of what is free

    def busy(self, *, without_cancelling: bool = False) -> int:
        return sum(run.worker and not (without_cancelling and run.cancelling) for run in self.runs)

    def slot_free(self, action: Action) -> bool:
        most = action.max_concurrency
        held = sum(run.slot for run in self.runs if run.action is action)
        return most is None or held < most

    def rate_free(self, action: Action) -> bool:
        rate = action.rate_limit
        if rate is None:
            return True
        reserved = sum(run.unstamped for run in self.runs if run.action is action)
        recent = sum(name == action.name and at + PER > self.now for name, at in self.stamps)
        return reserved + recent < rate.limit

    def may_start(self, action: Action) -> bool:
        worker_free = action.is_async or self.busy() < self.workers
        return worker_free and self.slot_free(action) and self.rate_free(action)

    def may_return(self, run: Run) -> bool:
        if run.needs_slot and not run.slot and not self.slot_free(run.action):
            return False
        patient = run.needs_worker and not run.impatient
        return not patient or self.busy(without_cancelling=True) < self.workers

    def hold(self, run: Run) -> None:
        run.worker, run.slot = run.needs_worker, run.needs_slot

    # What the allocator does after every message

    def settle(self) -> None:
        expected = []
        for run in tuple(self.back):
            if self.may_return(run):
                self.let_go(run)
                expected.append(run.returning)
        assert list(self.admission.returners()) == expected
        while True:
            item = self.admission.next(self.now)
            eligible = [work for work in self.order.works if self.may_start(work.item.payload)]
            candidates = Order(eligible, self.order.served).may_be_next()
            if item is None:
                assert not candidates  # no work waits with room free
                break
            assert item in candidates
            assert item.take() == self.order.start(item)
            run = self.make(item.payload)
            self.admission.take(run.slots)
        self.check()

    def make(self, action: Action) -> Run:
        slots = Slots(action, not action.is_async, action.max_concurrency is not None)
        run = Run(action, slots, unstamped=action.rate_limit is not None)
        self.hold(run)
        self.runs.append(run)
        return run

    def let_go(self, run: Run) -> None:
        self.back.remove(run)
        run.state = "running"
        self.hold(run)

    def check(self) -> None:
        assert self.admission.busy == self.busy()
        cancelling = self.busy() - self.busy(without_cancelling=True)
        assert self.admission.cancelling == cancelling
        assert self.admission.any_returning is bool(self.back)
        for run in self.runs:
            assert (run.slots.has_worker, run.slots.has_slot) == (run.worker, run.slot)
        held_up_by_rate = [
            work.item.payload for work in self.order.works if not self.rate_free(work.item.payload)
        ]
        if held_up_by_rate and self.admission.due() is None:
            assert any(run.unstamped for run in self.runs)  # its stamp will tell

    # What happens

    def push(self, number: int, priority: int, process: str, depth: int, size: int) -> None:
        action = ACTIONS[number]
        self.seq += 1
        new_root = depth == 0
        indexes = (0,) if new_root else tuple(range(size))
        item = Queued(priority, process, depth, self.seq, new_root, action, indexes)
        self.order.works += [Work(item, index) for index in indexes]
        self.admission.push(action, item)

    def submit(self, number: int) -> None:
        """One that may start at once, past the queue, if that leaves the order as it is."""
        action = ACTIONS[number]
        slots = Slots(action, not action.is_async, action.max_concurrency is not None)
        free = self.may_start(action) and not self.back and not self.order.works
        if self.admission.front() is None and self.admission.may_start(action):
            self.admission.take(slots)
            assert free
            run = self.make(action)
            run.slots = slots

    def end(self, run: Run) -> None:
        if run.state == "running":
            self.runs.remove(run)
            self.admission.free(run.slots)
            if run.unstamped:
                self.admission.give_back_rate(run.action)

    def stamp(self, run: Run) -> None:
        if run.unstamped:
            run.unstamped = False
            self.stamps.append((run.action.name, self.now))
            self.admission.stamp(run.action, self.now)

    def wait(self, run: Run, *, worker_only: bool) -> None:
        if run.state == "running":
            run.state = "waiting"
            run.worker, run.slot = False, run.slot and worker_only
            self.admission.free(run.slots, worker_only=worker_only)

    def come_back(self, run: Run) -> None:
        if run.state != "waiting":
            return
        run.returning, run.impatient = Returning(run.slots, run), False
        if run.cancelling:  # its code only unwinds
            run.state = "running"
            self.hold(run)
            self.admission.take(run.slots)
            return
        run.state = "back"
        may = self.may_return(run)
        self.back.append(run)
        if self.admission.comes_back(run.returning):
            assert may
            self.let_go(run)

    def hurry(self, run: Run, *, unwinding: bool) -> None:
        if run.returning is None:
            return
        run.impatient = True
        may = run.state == "back" and (unwinding or self.may_return(run))
        assert self.admission.hurry(run.returning, unwinding=unwinding) is may
        if may:
            self.let_go(run)

    def cancel(self, run: Run) -> None:
        if not run.cancelling:
            run.cancelling = True
            self.admission.mark_cancelling(run.slots)
            if run.state == "back":
                self.hurry(run, unwinding=True)


some_run = st.integers(0, 20)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"),
            st.tuples(
                st.integers(0, len(ACTIONS) - 1),
                st.integers(0, 1),
                st.sampled_from("abc"),
                st.integers(0, 2),
                st.integers(1, 3),
            ),
        ),
        st.tuples(st.just("submit"), st.integers(0, len(ACTIONS) - 1)),
        st.tuples(
            st.sampled_from(
                ["end", "stamp", "wait", "wait, slot kept", "back", "hurry", "unwind", "cancel"]
            ),
            some_run,
        ),
        st.tuples(st.just("pass"), st.integers(1, 12)),
    ),
    max_size=60,
)


@given(workers=st.integers(1, 3), steps=steps)
def test_slots_are_never_exceeded_never_left_unused_and_given_in_the_order_of_starts(  # noqa: C901, PLR0912 - an index
    workers: int, steps: list[tuple[str, Any]]
) -> None:
    world = World(workers)
    for what, which in steps:
        run = world.runs[which % len(world.runs)] if world.runs and isinstance(which, int) else None
        match what:
            case "push":
                world.push(*which)
            case "submit":
                world.submit(which)
            case "pass":
                world.now += which + 1e-3
            case _ if run is None:
                continue
            case "end":
                world.end(run)
            case "stamp":
                world.stamp(run)
            case "wait":
                world.wait(run, worker_only=False)
            case "wait, slot kept":
                world.wait(run, worker_only=True)
            case "back":
                world.come_back(run)
            case "hurry":
                world.hurry(run, unwinding=False)
            case "unwind":
                world.hurry(run, unwinding=True)
            case "cancel":
                world.cancel(run)
        world.settle()


def started(world: World, name: str) -> Run:
    """An attempt of the action that runs, whatever is free."""
    run = world.make(registry.get(name))
    world.admission.take(run.slots)
    return run


def test_a_waiter_that_returns_goes_ahead_of_every_start_of_whatever_priority() -> None:
    world = World(workers=1)
    first = started(world, "plain")
    world.wait(first, worker_only=False)
    second = started(world, "plain")
    world.push(0, 1, "a", 2, 3)
    world.come_back(first)
    world.end(second)
    assert world.admission.next(0.0) is None  # the worker is the waiter's
    assert list(world.admission.returners()) == [first.returning]
    assert world.admission.next(0.0) is None


def test_a_waiter_that_lacks_its_action_slot_keeps_no_worker_from_others() -> None:
    world = World(workers=2)
    first = started(world, "one")
    world.wait(first, worker_only=False)
    started(world, "one")
    world.come_back(first)
    world.push(0, 0, "a", 0, 1)
    assert list(world.admission.returners()) == []
    item = world.admission.next(0.0)
    assert item is not None
    assert item.payload.name == "plain"


def test_a_waiter_whose_slot_comes_free_gets_it_before_a_start_of_the_same_action() -> None:
    world = World(workers=4)
    first = started(world, "one")
    world.wait(first, worker_only=False)
    second = started(world, "one")
    world.push(2, 1, "a", 1, 1)
    world.come_back(first)
    world.end(second)
    assert world.admission.next(0.0) is None
    assert list(world.admission.returners()) == [first.returning]


def test_cancelled_code_that_never_ends_holds_its_worker_against_starts_only() -> None:
    world = World(workers=1)
    waiter = started(world, "plain")
    world.wait(waiter, worker_only=False)
    endless = started(world, "plain")
    world.push(0, 0, "a", 1, 1)
    world.come_back(waiter)
    assert waiter.state == "back"
    world.cancel(endless)
    assert world.admission.next(0.0) is None
    assert list(world.admission.returners()) == [waiter.returning]


def test_a_waiter_out_of_patience_waits_for_no_worker_but_for_its_slot() -> None:
    world = World(workers=1)
    first, other = started(world, "one"), started(world, "plain")
    world.wait(first, worker_only=False)
    second = started(world, "one")
    world.come_back(first)
    world.hurry(first, unwinding=False)
    assert first.state == "back"  # its slot is held
    world.wait(second, worker_only=False)
    assert list(world.admission.returners()) == [first.returning]
    assert other.worker
    assert not world.admission.hurry(first.returning or other.slots, unwinding=True)  # type: ignore[arg-type]


def test_an_unwinding_waiter_waits_for_nothing() -> None:
    world = World(workers=1)
    first = started(world, "one")
    world.wait(first, worker_only=False)
    started(world, "one")
    world.come_back(first)
    world.hurry(first, unwinding=True)
    assert first.state == "running"
    assert not world.admission.any_returning
