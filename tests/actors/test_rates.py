"""`RateWindow`: no window of stamps ever holds too many, and no permit is left unused."""

from __future__ import annotations

import itertools

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.rates import RateWindow
from orchestrator.values import Rate

PER = 10
SLACK = 1e-3  # how much later than to the letter a permit may come


@define
class Model:
    """The starts of one action; a permit is held from its reservation to a window after its use."""

    limit: int
    now: float = 0.0
    waiting: list[float] = field(factory=list)  # reserved, with a time for the stamp
    on_the_way: list[float] = field(factory=list)  # stamped, not told yet
    stamps: list[float] = field(factory=list)

    def held(self, now: float) -> int:
        recent = [at for at in (*self.stamps, *self.on_the_way) if at + PER > now]
        return len(self.waiting) + len(recent)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 2 * PER)),
        st.tuples(st.just("reserve"), st.just(0)),
        st.tuples(st.just("stamp"), st.integers(0, 9)),
        st.tuples(st.just("tell"), st.integers(0, 9)),
        st.tuples(st.just("give back"), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(limit=st.integers(1, 4), steps=steps)
def test_no_window_holds_more_starts_than_the_limit_however_late_each_start_comes(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    window, model = RateWindow(Rate(limit, PER)), Model(limit)
    for what, number in steps:
        match what:
            case "pass":
                model.now += number
            case "reserve":
                if window.reserve(model.now):
                    model.waiting.append(model.now)
            case "stamp" if model.waiting:  # the worker looks at the clock, in any order
                model.waiting.pop(number % len(model.waiting))
                model.on_the_way.append(model.now)
            case "tell" if model.on_the_way:  # the allocator hears of it, in any order
                at = model.on_the_way.pop(number % len(model.on_the_way))
                window.stamp(at)
                model.stamps.append(at)
            case "give back" if model.waiting:
                model.waiting.pop(number % len(model.waiting))
                window.give_back()
            case _:
                pass
    stamps = sorted([*model.stamps, *model.on_the_way])
    for first, last in zip(stamps, stamps[limit:], strict=False):
        assert last - first >= PER  # else limit + 1 starts in a window that holds both ends


@given(limit=st.integers(1, 4), steps=steps)
def test_a_permit_is_there_whenever_fewer_than_the_limit_are_held_and_the_time_of_the_next_is_known(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    window, model = RateWindow(Rate(limit, PER)), Model(limit)
    for what, number in steps:
        match what:
            case "pass":
                model.now += number + (SLACK if number else 0.0)
            case "reserve":
                expected = model.held(model.now) < limit
                assert window.free(model.now) is expected
                assert window.reserve(model.now) is expected
                if expected:
                    model.waiting.append(model.now)
            case "stamp" | "tell" if model.waiting:
                at = max(model.now, model.waiting.pop(number % len(model.waiting)))
                window.stamp(at)
                model.stamps.append(at)
            case "give back" if model.waiting:
                model.waiting.pop(number % len(model.waiting))
                window.give_back()
            case _:
                pass
        check_due(window, model)


def check_due(window: RateWindow, model: Model) -> None:
    """That *due* is when a permit comes by itself, and ``None`` where none does."""
    if window.free(model.now):
        return
    due = window.due()
    recent = sorted(at for at in model.stamps if at + PER > model.now)
    if not recent:
        assert due is None  # every permit hangs on a start that has not come
    else:
        assert due is not None
        assert recent[0] + PER <= due <= recent[0] + PER + SLACK
        assert model.held(due) < model.limit


@given(order=st.permutations(range(3)))
def test_stamps_that_arrive_swapped_count_by_their_time(order: list[int]) -> None:
    window = RateWindow(Rate(3, PER))
    assert [window.reserve(0.0) for _ in range(4)] == [True, True, True, False]
    assert window.due() is None
    for at in order:
        window.stamp(float(at))
    due = [window.due()]
    for _ in range(2):
        now = due[-1]
        assert now is not None
        assert window.reserve(now)
        assert not window.free(now)
        due.append(window.due())
    assert due == pytest.approx([PER, PER + 1, PER + 2], abs=SLACK)


def test_starts_that_never_come_free_their_permits_at_once() -> None:
    window = RateWindow(Rate(1, PER))
    for _ in range(3):
        assert window.reserve(0.0)
        assert not window.reserve(0.0)
        window.give_back()
    assert window.free(0.0)
    assert window.due() is None


def test_a_steady_stream_uses_every_permit() -> None:
    window = RateWindow(Rate(2, PER))
    started: list[float] = []
    now = 0.0
    while len(started) < 20:
        if window.reserve(now):
            window.stamp(now)
            started.append(now)
        else:
            due = window.due()
            assert due is not None
            assert due > now
            now = due
    gaps = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert gaps == pytest.approx([0.0, PER] * 9 + [0.0], abs=SLACK)
