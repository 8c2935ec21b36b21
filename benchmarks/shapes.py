"""Does the cost of a child depend on the shape that it is part of?

    python -m benchmarks.shapes [--full]

Many groups open at once, a tree, and calls nested one in the other. All of them should be linear in
the number of children: the cost of one is compared between a small shape and a large one.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, growth, seconds_of, take
from benchmarks.ours import OURS, actions, here, here_async, opened
from orchestrator import Execution, Task

QUESTION = "Does the cost of a child depend on the shape that it is part of?"
_LINEAR = 1.5  # a large shape's cost per child may be so many times a small one's
_WIDTH = 10  # of a tree
_GROUP = 100  # children


def groups(number: int) -> None:
    """So many groups, all open before the first is awaited."""
    orchestrator = here()
    task = Task("bench:inc")
    emitted = [orchestrator.emit_for_each(range(_GROUP), "x", task) for _ in range(number)]
    for group in emitted:
        assert len(orchestrator.await_group(group)) == _GROUP


@actions.register("bench:tree")
def tree(levels: int) -> int:
    """The executions in it, itself included."""
    if not levels:
        return 1
    orchestrator = here()
    below = [Execution.ad_hoc("bench:tree", levels - 1) for _ in range(_WIDTH)]
    return 1 + sum(orchestrator.await_group(orchestrator.emit_children(below)))


@actions.register("bench:down")
def down(left: int) -> int:
    """How deep it goes from here."""
    return 1 + here().call(Execution.ad_hoc("bench:down", left - 1)) if left else 0


@actions.register("bench:down_async")
async def down_async(left: int) -> int:
    """The same on the event loop."""
    if not left:
        return 0
    return 1 + await here_async().call(Execution.ad_hoc("bench:down_async", left - 1))


async def tree_of_tasks(levels: int) -> int:
    if not levels:
        return 1
    return 1 + sum(await asyncio.gather(*[tree_of_tasks(levels - 1) for _ in range(_WIDTH)]))


async def tasks_down(left: int) -> int:
    return 1 + await asyncio.create_task(tasks_down(left - 1)) if left else 0


def ours(run: Callable[[int], object], size: int) -> Callable[[], float]:
    def measure() -> float:
        with opened() as runtime:
            return seconds_of(lambda: runtime.run(run, size))

    return measure


def in_loop(run: Callable[[int], object], size: int) -> Callable[[], float]:
    return lambda: seconds_of(lambda: asyncio.run(run(size)))  # type: ignore[arg-type]


def measure(options: argparse.Namespace) -> list[Row]:
    many = 1_000 if options.full else 200
    levels = 4 if options.full else 3
    in_tree = {level: sum(_WIDTH**place for place in range(level + 1)) for level in (2, levels)}
    shapes = [
        (f"groups of {_GROUP} open at once", OURS, number * _GROUP, ours(groups, number))
        for number in (many // 10, many)
    ]
    for level, children in in_tree.items():
        shapes += [
            (f"a tree of {_WIDTH} at each node", OURS, children, ours(tree, level)),
            (f"a tree of {_WIDTH} at each node", "tasks", children, in_loop(tree_of_tasks, level)),
        ]
    for depth in (100, 1_000):
        shapes += [
            ("nested calls, blocking", OURS, depth, ours(down, depth)),
            ("nested calls, async", OURS, depth, ours(down_async, depth)),
            ("nested calls, async", "tasks", depth, in_loop(tasks_down, depth)),
        ]
    with_peer = {what for what, system, _, _ in shapes if system != OURS}
    rows = take(
        [
            Case(
                what=what,
                system=system,
                size=size,
                unit="us/child",
                measure=lambda run=run, size=size: run() / size * 1e6,
                bars=(Bar(peer="tasks"),) if system == OURS and what in with_peer else (),
            )
            for what, system, size, run in sorted(shapes, key=lambda shape: shape[2])
        ],
        options.rounds,
    )
    found: list[Row] = []
    for what in dict.fromkeys(what for what, *_ in shapes):
        found += [row for row in rows if row.what == what]
        found += growth(rows, what, OURS, limit=_LINEAR)
    return found


if __name__ == "__main__":
    main(QUESTION, measure, rounds=3)
