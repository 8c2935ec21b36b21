"""What does a child of a fan-out cost, blocking and async, beside what a user would pick instead?

    python -m benchmarks.fan_out [--children N ...] [--kind blocking|async] [--full]

Timed is the emit or its like together with the wait for all outputs; they are checked. The child is
``x + 1``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, growth, take
from benchmarks.ours import OURS, fan_out, fan_out_async, runs
from benchmarks.peers import ASYNC, BLOCKING, Peer

QUESTION = "What does a child of a fan-out cost?"
KINDS = ("blocking", "async")
SIZES = [1_000, 10_000, 100_000, 1_000_000]  # the last is --full
MANY = 100_000  # from here on, fewer rounds
_FEW = 2  # rounds of a heavy peer
_LEAST_GROWTH = 100  # sizes that far apart tell how the cost grows


def cases(kind: str, sizes: list[int], rounds: int, heavy_at_most: int) -> list[Case]:
    """Each system at each size that it can do; heavy ones up to a size that is asked for."""
    if kind == "blocking":
        peers, ours = BLOCKING, Peer(name=OURS, open=runs(fan_out))
    else:
        peers, ours = ASYNC, Peer(name=OURS, open=runs(fan_out_async))
    return [
        Case(
            what=f"{kind} children",
            system=peer.name,
            size=size,
            unit="us/child",
            measure=_measure(peer, size),
            bars=_bars(kind, size) if peer is ours else (),
            needs=peer.needs,
            rounds=min(rounds, _FEW) if peer.heavy else _rounds(size, rounds),
            warm=True,
        )
        for size in sizes
        for peer in (ours, *peers)
        if size <= min(peer.at_most or size, heavy_at_most if peer.heavy else size)
    ]


def _rounds(size: int, rounds: int) -> int:
    if size < MANY:
        return rounds
    return min(rounds, 2 if size == MANY else 1)


def _bars(kind: str, size: int) -> tuple[Bar, ...]:
    if kind == "async":
        return (
            Bar(peer="asyncio.gather", limit=2.5),
            Bar(peer="AnyIO task group", limit=0.5),
        )
    limit = 1.0 if size >= 10_000 else None  # noqa: PLR2004 - where the bar begins
    return (Bar(peer="ThreadPoolExecutor(2).map", limit=limit),)


def _measure(peer: Peer, size: int) -> Callable[[], float]:
    def measure() -> float:
        with peer.open() as fan:
            seconds, outputs = fan(size)
        if outputs != list(range(1, size + 1)):
            raise AssertionError("the outputs are not those of the children, in their order")
        return seconds / size * 1e6

    return measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this one can be asked."""
    parser.add_argument(
        "--children", type=int, nargs="+", help="sizes; by default 1000 to 100000, --full 1000000"
    )
    parser.add_argument("--kind", choices=KINDS, action="append", help="by default both")


def measure(options: argparse.Namespace) -> list[Row]:
    """Both kinds at all sizes, and how the cost grows."""
    sizes = options.children or SIZES[: 4 if options.full else 2 if options.quick else 3]
    heavy_at_most = max(sizes) if options.children or options.full else min(sizes)
    rows: list[Row] = []
    for kind in options.kind or KINDS:
        found = take(cases(kind, sizes, options.rounds, heavy_at_most), options.rounds)
        rows += found
        if max(sizes) >= _LEAST_GROWTH * min(sizes):
            rows += growth(found, f"{kind} children", OURS, limit=1.5)
    return rows


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments)
