"""Do processes that share a runtime get equal parts of it?

    python -m benchmarks.fairness [--children N]

Two alike, started together: when the first one has ended, how much of the other was done; 100 % is
fair, and a queue in order of arrival gives little. And one that emits a few
children when another has emitted many: how many times as long as alone they take; two would be
fair.
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.command import main
from benchmarks.measuring import Bar, Case, Row, take
from benchmarks.ours import OURS, actions, here, opened
from benchmarks.peers import inc
from orchestrator import Task

QUESTION = "Do processes that share a runtime get equal parts of it?"
_SMALL = 100  # children of the small one
POOL = "ThreadPoolExecutor(2)"


class Board:
    """Who has done how much; the children of one process may run on two threads."""

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = {"a": [], "b": []}
        self.gate = threading.Event()  # of the pool
        self.both = threading.Barrier(2)  # processes that have emitted

    def left_behind(self, children: int) -> float:
        """Percent that the one behind had not done, when the other's last child began."""
        stamps = self.done
        first = min(stamps, key=lambda name: stamps[name][children - 1])
        other = next(name for name in stamps if name != first)
        end = stamps[first][children - 1]
        return 100 - sum(stamp <= end for stamp in stamps[other]) / children * 100


_board = Board()


@actions.register("bench:note")
def note(x: int, who: str) -> int:
    _board.done[who].append(time.perf_counter_ns())
    return x


def _emitted(children: int, who: str) -> int:
    orchestrator = here()
    task = Task("bench:note", {"x": "${x}", "who": who})
    group = orchestrator.emit_for_each(range(children), "x", task)
    _board.both.wait()  # on its worker: what belongs to a running process goes before a new one
    return len(orchestrator.await_group(group))


def alike(children: int) -> float:
    global _board  # noqa: PLW0603 - the actions of one measurement write to it
    _board = Board()
    with opened() as runtime:
        given = [{"children": children, "who": who} for who in ("a", "b")]
        handles = [runtime.spawn(_emitted, each) for each in given]
        for handle in handles:
            handle.result()
    return _board.left_behind(children)


def alike_in_pool(children: int) -> float:
    global _board  # noqa: PLW0603
    _board = Board()
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(_board.gate.wait) for _ in range(2)]
        ends = [pool.map(note, range(children), [who] * children) for who in ("a", "b")]
        _board.gate.set()
        assert all(each.result() for each in held)
        assert all(len(list(each)) == children for each in ends)
    return _board.left_behind(children)


def _some() -> float:
    began = time.perf_counter()
    orchestrator = here()
    group = orchestrator.emit_for_each(range(_SMALL), "x", Task("bench:inc"))
    assert len(orchestrator.await_group(group)) == _SMALL
    return time.perf_counter() - began


def small_beside_large(children: int) -> float:
    with opened() as runtime:

        def small() -> float:
            alone = min(_some() for _ in range(5))
            emitted = threading.Event()

            def large() -> None:
                orchestrator = here()
                group = orchestrator.emit_for_each(range(children), "x", Task("bench:inc"))
                emitted.set()
                orchestrator.await_group(group)

            beside = runtime.spawn(large)
            with here().blocking():
                emitted.wait()
            taken = _some()
            assert not beside.done(), "the large one was too small"
            beside.cancel()
            return taken / alone

        return float(runtime.run(small))


def small_beside_large_in_pool(children: int) -> float:
    emitted = threading.Event()  # until then nothing of the large one runs

    def small() -> float:
        began = time.perf_counter()
        ends = pool.map(inc, range(_SMALL))
        emitted.set()
        assert len(list(ends)) == _SMALL
        return time.perf_counter() - began

    with ThreadPoolExecutor(2) as pool:
        alone = min(small() for _ in range(5))
        emitted.clear()
        held = [pool.submit(emitted.wait) for _ in range(2)]
        large = pool.map(inc, range(children))
        beside = small()
        assert all(each.result() for each in held)
        assert len(list(large)) == children
    return beside / alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--children", type=int, default=50_000, help="of each process")


def measure(options: argparse.Namespace) -> list[Row]:
    children = options.children
    parts = (
        ("two alike: what one lacks when the other ends", "%", OURS, alike),
        ("two alike: what one lacks when the other ends", "%", POOL, alike_in_pool),
        (f"{_SMALL} children beside many: times as long as alone", "x", OURS, small_beside_large),
        (
            f"{_SMALL} children beside many: times as long as alone",
            "x",
            POOL,
            small_beside_large_in_pool,
        ),
    )
    return take(
        [
            Case(
                what=what,
                system=system,
                size=children,
                unit=unit,
                warm=True,
                measure=lambda function=function: function(children),
                bars=((Bar(limit=10.0),) if unit == "%" else (Bar(peer=POOL),))
                if system == OURS
                else (),
            )
            for what, unit, system, function in parts
        ],
        options.rounds,
    )


if __name__ == "__main__":
    main(QUESTION, measure, add_arguments, rounds=3)
