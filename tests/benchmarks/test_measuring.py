"""How benchmarks measure: rounds, medians, ratios, and what becomes of what can't be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measuring import Bar, Case, Ratio, Row, growth, missing, seconds_of, take

ABSENT = "a_module_that_nobody_has"


def figures(values: Iterable[float]) -> Callable[[], float]:
    """Something to measure whose figures are known."""
    coming = iter(values)
    return lambda: next(coming)


def test_rounds_are_interleaved_and_the_first_one_warms_up() -> None:
    order: list[str] = []

    def measure(name: str) -> Callable[[], float]:
        return lambda: float(len(order.append(name) or order))

    one, other = take([Case(system=s, measure=measure(s), unit="us") for s in "ab"], rounds=2)
    assert order == ["a", "b"] * 3
    assert one.samples == (3.0, 5.0)
    assert other.samples == (4.0, 6.0)


def test_what_warms_up_by_itself_is_measured_from_the_first_round_on() -> None:
    (row,) = take([Case(system="a", measure=figures([1, 2]), unit="us", warm=True)], rounds=2)
    assert row.samples == (1.0, 2.0)


def test_cases_of_one_size_are_measured_together() -> None:
    order: list[tuple[str, int]] = []
    cases = [
        Case(
            system=system,
            size=size,
            unit="us",
            warm=True,
            measure=lambda key=(system, size): float(len(order.append(key) or order)),
        )
        for system in "ab"
        for size in (1, 10)
    ]
    rows = take(cases, rounds=2)
    assert order == [("a", 1), ("b", 1)] * 2 + [("a", 10), ("b", 10)] * 2
    assert [(row.system, row.size) for row in rows] == [(case.system, case.size) for case in cases]


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    cases = [
        Case(
            system="ours",
            unit="us",
            warm=True,
            measure=figures([2, 30, 40]),
            bars=(Bar(peer="peer", limit=2.5), Bar(limit=10.0)),
        ),
        Case(system="peer", unit="us", warm=True, measure=figures([1, 10, 20])),
    ]
    ours, peer = take(cases, rounds=3)
    beside, alone = ours.ratios
    assert beside.values == (2.0, 3.0, 2.0)
    assert (beside.median, beside.met) == (2.0, True)
    assert (alone.values, alone.met) == ((2.0, 30.0, 40.0), False)
    assert peer.ratios == ()


def test_the_peer_of_a_row_is_the_one_of_its_own_part_size_and_processors() -> None:
    cases = [
        Case(
            what=what,
            system=system,
            size=size,
            unit="us",
            warm=True,
            measure=figures([figure]),
            bars=(Bar(peer="peer"),) if system == "ours" else (),
        )
        for what, size, ours, peer in (("x", 1, 6.0, 2.0), ("x", 2, 20.0, 2.0), ("y", 1, 8.0, 2.0))
        for system, figure in (("ours", ours), ("peer", peer))
    ]
    ratios = [row.ratios[0].median for row in take(cases, 1) if row.system == "ours"]
    assert ratios == [3.0, 10.0, 4.0]


def test_a_ratio_that_is_only_quoted_is_neither_met_nor_missed() -> None:
    assert Ratio(peer="peer", limit=None, values=(5.0,)).met is None


def test_a_case_with_fewer_rounds_is_paired_with_the_rounds_that_it_has() -> None:
    ours = Case(
        system="ours", unit="us", warm=True, measure=figures([2, 4, 6]), bars=(Bar(peer="slow"),)
    )
    slow = Case(system="slow", unit="us", warm=True, measure=figures([1, 2]), rounds=2)
    first, second = take([ours, slow], rounds=3)
    assert first.samples == (2.0, 4.0, 6.0)
    assert second.samples == (1.0, 2.0)
    assert first.ratios[0].values == (2.0, 2.0)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9))
def test_a_row_has_the_spread_of_its_samples(values: list[float]) -> None:
    data = Row(what="", system="a", size=None, unit="us", samples=tuple(values)).data()
    assert data["samples"] == values
    assert data["low"] <= data["median"] <= data["high"]
    assert {data["low"], data["high"]} <= set(values)


# What can't be measured


def test_a_peer_that_is_not_installed_is_a_row_that_names_it() -> None:
    cases = [
        Case(system="ours", unit="us", measure=lambda: 1.0, bars=(Bar(peer="peer", limit=2.0),)),
        Case(system="peer", unit="us", measure=lambda: 1.0, needs=("sys", ABSENT)),
    ]
    ours, peer = take(cases, rounds=1)
    assert peer.skipped == f"not installed: {ABSENT}"
    assert peer.samples == ()
    assert peer.data()["not_measured"] == f"not installed: {ABSENT}"
    assert ours.samples == (1.0,)
    assert ours.ratios == ()
    assert ours.data()["unmeasured_peers"] == ["peer"]


def test_what_is_installed_is_not_missing() -> None:
    assert missing(()) == missing(("sys", "pykka")) == ""


def test_a_case_that_fails_is_a_row_that_says_so_and_the_others_go_on() -> None:
    def fails() -> float:
        raise ValueError("no room")

    bad, good = take(
        [
            Case(system="bad", unit="us", measure=fails),
            Case(system="good", unit="us", measure=lambda: 1.0),
        ],
        rounds=2,
    )
    assert bad.skipped == "failed: ValueError: no room"
    assert bad.samples == ()
    assert good.samples == (1.0, 1.0)


def test_a_case_that_fails_in_a_later_round_keeps_no_figures() -> None:
    cases = [Case(system="a", unit="us", warm=True, measure=figures([1.0]))]
    (row,) = take(cases, rounds=2)
    assert row.samples == ()
    assert row.skipped.startswith("failed: StopIteration")


def test_more_processors_than_there_are_can_not_be_measured() -> None:
    (row,) = take([Case(system="a", unit="us", measure=lambda: 1.0, cores=100_000)], rounds=1)
    assert row.skipped.startswith("failed: RuntimeError")


# Growth


def test_growth_is_the_largest_size_beside_the_smallest_by_the_round() -> None:
    cases = [
        Case(what="w", system="a", size=size, unit="us", warm=True, measure=figures(values))
        for size, values in ((1, [1.0, 2.0]), (10, [9.0, 9.0]), (100, [3.0, 5.0]))
    ]
    (row,) = growth(take(cases, rounds=2), "w", "a", limit=2.8)
    assert row.samples == (3.0, 2.5)
    assert row.unit == "times"
    assert row.ratios[0].met is True


def test_one_size_does_not_grow() -> None:
    cases = [Case(what="w", system="a", size=1, unit="us", measure=lambda: 1.0)]
    assert growth(take(cases, rounds=1), "w", "a") == []


def test_seconds_are_those_of_the_call() -> None:
    called = []
    assert seconds_of(lambda: called.append(1)) >= 0
    assert called == [1]


@pytest.mark.parametrize("rounds", [1, 4])
def test_every_case_is_measured_once_per_round_and_once_before(rounds: int) -> None:
    calls = []
    take([Case(system="a", unit="us", measure=lambda: float(calls.append(1) or 1))], rounds)
    assert len(calls) == rounds + 1
