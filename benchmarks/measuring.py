"""How every benchmark measures: rounds interleaved, medians with their spread, ratios by the round.

A `Case` is one figure of one system. `take` measures each case once per round, one after the other,
so that what the machine does meanwhile falls on all of them alike; a ratio is taken within each
round, and what is quoted is the median of those. Lower is always better.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

__all__ = ["Bar", "Case", "Ratio", "Row", "growth", "missing", "pinned", "seconds_of", "take"]


@frozen(kw_only=True)
class Bar:
    """What a figure is held against: a peer's of the same round, or nothing but a limit."""

    peer: str = ""  # the system whose figure it is divided by; "" takes the figure as it is
    limit: float | None = None  # at most this much; ``None`` only quotes the ratio


@frozen(kw_only=True, eq=False)
class Case:
    """One figure of one system, and how to take it."""

    system: str
    measure: Callable[[], float]  # takes the figure once, in *unit*
    unit: str
    what: str = ""  # the part of the question; peers are looked for within it
    size: int | None = None  # children, calls, messages: what the question is asked about
    bars: tuple[Bar, ...] = ()
    needs: tuple[str, ...] = ()  # modules without which it can't be measured
    rounds: int | None = None  # at most so many: for what takes long to set up
    cores: int | None = None  # run on so many processors; ``None`` leaves them as they are
    warm: bool = False  # it warms up by itself


@frozen(kw_only=True)
class Ratio:
    """A figure beside its bar, by the round."""

    peer: str
    limit: float | None
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; ``None`` where it is only quoted."""
        return None if self.limit is None else self.median <= self.limit


@frozen(kw_only=True)
class Row:
    """What was measured for one case; without samples, *skipped* says why."""

    what: str
    system: str
    size: int | None
    unit: str
    cores: int | None = None
    samples: tuple[float, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    skipped: str = ""
    unmeasured_peers: tuple[str, ...] = field(default=(), converter=tuple)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def data(self) -> dict[str, Any]:
        """The row as JSON has it."""
        found: dict[str, Any] = {
            "what": self.what,
            "system": self.system,
            "size": self.size,
            "unit": self.unit,
            "cores": self.cores,
        }
        if self.skipped:
            return {**found, "not_measured": self.skipped}
        return {
            **found,
            "median": self.median,
            "low": min(self.samples),
            "high": max(self.samples),
            "samples": list(self.samples),
            "ratios": [
                {
                    "peer": ratio.peer,
                    "limit": ratio.limit,
                    "median": ratio.median,
                    "low": min(ratio.values),
                    "high": max(ratio.values),
                    "met": ratio.met,
                }
                for ratio in self.ratios
            ],
            "unmeasured_peers": list(self.unmeasured_peers),
        }


def take(cases: Sequence[Case], rounds: int) -> list[Row]:
    """Measure every case, round by round; a row for each, in their order.

    A case that can't be measured, or that fails, is a row that says so, and the others go on.
    Rounds are interleaved among the cases of one size; each case has warmed up before its first.
    """
    samples: dict[Case, list[float]] = {case: [] for case in cases}
    skipped = {case: reason for case in cases if (reason := missing(case.needs))}
    for size in dict.fromkeys(case.size for case in cases):
        together = [case for case in cases if case.size == size]
        for number in range(-1, rounds):  # -1 is the round that warms up
            for case in together:
                least = 0 if case.warm else -1
                most = rounds if case.rounds is None else min(rounds, case.rounds)
                if case in skipped or not least <= number < most:
                    continue
                try:
                    figure = _once(case)
                except Exception as error:  # noqa: BLE001 - it is told, and the others go on
                    skipped[case] = f"failed: {type(error).__name__}: {error}"[:200]
                    continue
                if number >= 0:
                    samples[case].append(figure)
    found = {
        case: Row(
            what=case.what,
            system=case.system,
            size=case.size,
            unit=case.unit,
            cores=case.cores,
            samples=() if case in skipped else tuple(samples[case]),
            skipped=skipped.get(case, ""),
        )
        for case in cases
    }
    return [_held_against(row, case.bars, found.values()) for case, row in found.items()]


def _once(case: Case) -> float:
    gc.collect()  # what the last one left behind is not this one's to clear away
    with pinned(case.cores):
        return float(case.measure())


def _held_against(row: Row, bars: Sequence[Bar], others: Any) -> Row:
    if row.skipped:
        return row
    ratios, unmeasured = [], []
    for bar in bars:
        if not bar.peer:
            ratios.append(Ratio(peer="", limit=bar.limit, values=row.samples))
            continue
        place = (row.what, row.size, row.cores, bar.peer)
        peer = next(
            other
            for other in others
            if (other.what, other.size, other.cores, other.system) == place
        )
        if peer.skipped:
            unmeasured.append(bar.peer)
            continue
        pairs = zip(row.samples, peer.samples, strict=False)  # one may have fewer rounds
        values = tuple(mine / its for mine, its in pairs)
        ratios.append(Ratio(peer=bar.peer, limit=bar.limit, values=values))
    return evolve(row, ratios=tuple(ratios), unmeasured_peers=unmeasured)


def growth(rows: Sequence[Row], what: str, system: str, limit: float | None = None) -> list[Row]:
    """A row for how a system's figure grows from the smallest size to the largest, as a factor."""
    found = [row for row in rows if (row.what, row.system) == (what, system) and row.samples]
    if len(found) < 2:  # noqa: PLR2004 - two ends of a line
        return []
    small, large = found[0], found[-1]
    pairs = zip(large.samples, small.samples, strict=False)
    values = tuple(late / early for late, early in pairs)
    return [
        Row(
            what=f"{what}, {large.size} beside {small.size}",
            system=system,
            size=large.size,
            unit="times",
            samples=values,
            ratios=(Ratio(peer="", limit=limit, values=values),) if limit is not None else (),
        )
    ]


def missing(modules: Sequence[str]) -> str:
    """Why what needs these modules can't be measured; empty where it can."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def seconds_of(function: Callable[[], object]) -> float:
    """How long one call of *function* takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


@contextlib.contextmanager
def pinned(cores: int | None) -> Iterator[None]:
    """Run the threads of this process, and those that they start, on so many processors.

    Raises:
        RuntimeError: this system can't, or hasn't so many.
    """
    if cores is None:
        yield
        return
    if sys.platform != "linux":
        raise RuntimeError("threads can be pinned to processors on Linux alone")
    before = os.sched_getaffinity(0)
    if len(before) < cores:
        raise RuntimeError(f"{len(before)} processors, and {cores} are asked for")
    _move_to(set(sorted(before)[:cores]))
    try:
        yield
    finally:
        _move_to(before)


def _move_to(processors: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), processors)
