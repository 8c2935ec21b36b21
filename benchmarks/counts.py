"""What does one child take, counted and not timed: calls of functions, messages, memory held?

    python -m benchmarks.counts                          # compares with the baseline
    python -m benchmarks.counts --record                 # makes these the baseline
    python -m benchmarks.counts --profile "async child"  # every function called for one

Counts are the same on every machine, busy or idle, and so far on every Python from 3.11 on: only
functions of this library count, comprehensions (which newer Pythons inline) do not. Each is the
difference between a large fan-out and a small one, so that what is done once does not count, and
where threads meet the least of a few takes, since that can only add. The test
`tests/benchmarks/test_counts.py` fails where one has grown by more than `TOLERANCE` over the
baseline, which is `counts.json` beside this file. A count that has fallen fails nothing; record
it, so that it can't grow back.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.ours import actions, here, here_async
from benchmarks.separate import ROOT
from orchestrator import Execution, Task
from runtime import LocalRuntime

__all__ = ["BASELINE", "TOLERANCE", "counts", "grown", "main"]

BASELINE = Path(__file__).with_name("counts.json")
TOLERANCE = 0.05  # a count may be so much above its baseline: what a change may add unnoticed
SLACK = 0.5  # of one, for each child
_TAKES = 3
_SMALL, _LARGE = 50, 350  # children
_IN_FLIGHT = 20  # children of a lazy fan-out
_FEW = 5  # children of a small fan-out
_HELD = 2_000  # children that are held in memory
_OURS = tuple(f"{ROOT / package}" for package in ("orchestrator", "actors", "runtime"))
_GENERATED = "<attrs generated"  # what attrs makes for our classes

Calls = Counter[CodeType]


@functools.cache
def _counts(code: CodeType) -> bool:
    return code.co_filename.startswith((*_OURS, _GENERATED)) and not code.co_name.startswith("<")


class Profile:
    """Counts the calls of this library's functions on every thread that it is set on."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._all: list[Calls] = []  # a counter for each thread: adding to one is not atomic

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and _counts(frame.f_code):
            self._counter()[frame.f_code] += 1

    def _counter(self) -> Calls:
        try:
            found: Calls = self._here.calls
        except AttributeError:
            found = self._here.calls = Counter()
            self._all.append(found)
        return found

    def total(self) -> Calls:
        """What all threads have called so far."""
        return sum(self._all, Counter())


# What is counted: each is run as an action with a number of children


async def fan_out_async(children: int) -> None:
    orchestrator = here_async()
    group = await orchestrator.emit_for_each(range(children), "x", Task("bench:inc_async"))
    assert len(await orchestrator.await_group(group)) == children


async def calls_async(children: int) -> None:
    orchestrator = here_async()
    for index in range(children):
        await orchestrator.call(Execution.ad_hoc("bench:inc_async", index))


@actions.register("counts:sleeper_async")
async def sleeper_async(_index: int) -> None:
    await here_async().sleep(0.001)


@actions.register("counts:parent_async")
async def parent_async(index: int) -> int:
    return int(await here_async().call(Execution.ad_hoc("bench:inc_async", index)))


async def sleepers_async(children: int) -> None:
    orchestrator = here_async()
    group = await orchestrator.emit_for_each(range(children), "x", Task("counts:sleeper_async"))
    await orchestrator.await_group(group)


async def parents_async(children: int) -> None:
    orchestrator = here_async()
    group = await orchestrator.emit_for_each(range(children), "x", Task("counts:parent_async"))
    assert len(await orchestrator.await_group(group)) == children


@actions.register("counts:parent")
def parent(index: int) -> int:
    return int(here().call(Execution.ad_hoc("bench:inc", index)))


def parents(children: int) -> None:
    orchestrator = here()
    group = orchestrator.emit_for_each(range(children), "x", Task("counts:parent"))
    assert len(orchestrator.await_group(group)) == children


def fan_out(children: int) -> None:
    orchestrator = here()
    group = orchestrator.emit_for_each(range(children), "x", Task("bench:inc"))
    assert len(orchestrator.await_group(group)) == children


def lazy_fan_out(children: int) -> None:
    orchestrator = here()
    group = orchestrator.emit_for_each(
        range(children), "x", Task("bench:inc"), max_in_flight=_IN_FLIGHT, keep=False
    )
    assert orchestrator.await_group(group) == []


def calls(children: int) -> None:
    orchestrator = here()
    for index in range(children):
        orchestrator.call(Execution.ad_hoc("bench:inc", index))


def small_fan_outs(groups: int) -> None:
    orchestrator = here()
    for _ in range(groups):
        group = orchestrator.emit_for_each(range(_FEW), "x", Task("bench:inc"))
        assert len(orchestrator.await_group(group)) == _FEW


async def small_fan_outs_async(groups: int) -> None:
    orchestrator = here_async()
    for _ in range(groups):
        group = await orchestrator.emit_for_each(range(_FEW), "x", Task("bench:inc_async"))
        assert len(await orchestrator.await_group(group)) == _FEW


def on_one_thread(action: Callable[[int], Any], children: int, *, watched: bool) -> Calls:
    """The calls of async code: all of it, the actors' turns too, runs on the loop's thread."""
    profile = Profile()

    async def run() -> None:
        async with LocalRuntime(actions, workers=1) as runtime:
            if watched:
                runtime.subscribe(lambda _event: None, buffer=10 * children)
            await runtime.run_async(action, _SMALL)
            sys.setprofile(profile)
            try:
                await runtime.run_async(action, children)
            finally:
                sys.setprofile(None)

    asyncio.run(run())
    return profile.total()


def on_worker_threads(action: Callable[[int], Any], children: int) -> Calls:
    """The calls of blocking code, on every thread of a runtime with one worker."""
    profile = Profile()
    before = threading.getprofile()
    threading.setprofile(profile)
    try:
        with LocalRuntime(actions, workers=1) as runtime:
            runtime.run(action, _SMALL)
            warm = profile.total()
            runtime.run(action, children)
    finally:
        threading.setprofile(before)
    return profile.total() - warm


def per_child(take: Callable[[int], Calls]) -> dict[CodeType, float]:
    """The calls for one child more."""
    large, small = take(_LARGE), take(_SMALL)
    return {code: (large[code] - small[code]) / (_LARGE - _SMALL) for code in large}


KINDS: dict[str, Callable[[int], Calls]] = {
    "async child": lambda n: on_one_thread(fan_out_async, n, watched=False),
    "async child, watched": lambda n: on_one_thread(fan_out_async, n, watched=True),
    "async sleeper": lambda n: on_one_thread(sleepers_async, n, watched=False),
    "async parent of one call": lambda n: on_one_thread(parents_async, n, watched=False),
    "async call": lambda n: on_one_thread(calls_async, n, watched=False),
    "blocking child": lambda n: on_worker_threads(fan_out, n),
    "blocking parent of one call": lambda n: on_worker_threads(parents, n),
    "blocking call": lambda n: on_worker_threads(calls, n),
    "lazy child": lambda n: on_worker_threads(lazy_fan_out, n),
    "small fan-out": lambda n: on_worker_threads(small_fan_outs, n),
    "small async fan-out": lambda n: on_one_thread(small_fan_outs_async, n, watched=False),
}


# What is held


def pending() -> tuple[float, float]:
    """Bytes and blocks of memory for each child of a template that is queued."""
    with LocalRuntime(actions, workers=1) as runtime, runtime.execution() as orchestrator:
        gate, busy = threading.Event(), threading.Event()

        def hold() -> None:
            busy.set()
            gate.wait()

        holding = runtime.spawn(hold)
        busy.wait()
        items = list(range(_HELD))

        def emit() -> str:
            group = orchestrator.emit_for_each(items, "x", Task("bench:inc"))
            runtime.stats()  # answered behind the emit
            return group

        group, held = _held(emit)
        orchestrator.cancel_group(group)
        gate.set()
        holding.result()
    return held


def waiting() -> tuple[float, float]:
    """Bytes and blocks of memory for each async child that is in a wait."""

    async def run() -> tuple[float, float]:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        items, left = list(range(_HELD)), [_HELD]
        all_here = asyncio.Event()

        async def child() -> None:
            left[0] -= 1
            if not left[0]:
                all_here.set()
            await never

        registry = type(actions)()
        registry.register("counts:child")(child)
        async with (
            LocalRuntime(registry, workers=1) as runtime,
            runtime.execution() as orchestrator,
        ):
            gauge = _Gauge()
            group = await orchestrator.emit_for_each(items, "x", Task("counts:child", {}))
            await all_here.wait()
            held = gauge.held()
            await orchestrator.cancel_group(group)
        return held

    return asyncio.run(run())


class _Gauge:
    """The memory that Python has allocated since, for each of the children held."""

    def __init__(self) -> None:
        gc.collect()
        self._blocks = sys.getallocatedblocks()
        tracemalloc.start()
        self._bytes = tracemalloc.get_traced_memory()[0]

    def held(self) -> tuple[float, float]:
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - self._bytes
        tracemalloc.stop()
        return grown / _HELD, (sys.getallocatedblocks() - self._blocks) / _HELD


def _held(make: Callable[[], str]) -> tuple[str, tuple[float, float]]:
    gauge = _Gauge()
    made = make()
    return made, gauge.held()


def counts() -> dict[str, float]:
    """Every count, by its name."""
    found: dict[str, float] = {}
    for kind, take in KINDS.items():
        gc.collect()
        gc.disable()  # finalizers are functions too
        try:
            takes = [per_child(take) for _ in range(1 if "async" in kind else _TAKES)]
        finally:
            gc.enable()
        found[f"{kind}: calls"] = min(sum(each.values()) for each in takes)
        found[f"{kind}: messages"] = min(_messages(each) for each in takes)
    for kind, memory in (("pending child", pending), ("waiting async child", waiting)):
        memory()  # what is made once is made now
        found[f"{kind}: bytes"], found[f"{kind}: blocks"] = memory()
    return {name: round(count, 2) for name, count in found.items()}


def _messages(each: Mapping[CodeType, float]) -> float:
    return sum(times for code, times in each.items() if code.co_name == "on_receive")


def grown(
    now: Mapping[str, float], baseline: Mapping[str, float], tolerance: float = TOLERANCE
) -> dict[str, tuple[float, float]]:
    """The counts that are above their baseline by more than the tolerance, each with that.

    One without a baseline counts as grown: it has still to be recorded. Some counts are next to
    nothing, so half a call or message for each child more is none.
    """
    return {
        name: (count, baseline.get(name, 0.0))
        for name, count in now.items()
        if count > baseline.get(name, 0.0) * (1 + tolerance) + SLACK
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {BASELINE.name}")
    parser.add_argument("--json", action="store_true", help="print the counts alone, as JSON")
    parser.add_argument("--profile", choices=KINDS, help="show every function called for one")
    options = parser.parse_args(arguments)
    if options.profile:
        gc.disable()
        calls_of = per_child(KINDS[options.profile])
        for code, times in sorted(calls_of.items(), key=lambda pair: -pair[1]):
            place = Path(code.co_filename)
            if times:
                where = place.relative_to(ROOT) if place.is_absolute() else "generated by attrs"
                print(f"{times:8.2f}  {code.co_qualname:50}{where}")
        return
    now = counts()
    if options.json:
        print(json.dumps(now))
        return
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    too_many = grown(now, baseline)
    for name, count in now.items():
        flag = "  GROWN" if name in too_many else ""
        print(f"{name:35}{count:10.2f}   baseline {baseline.get(name, 0.0):10.2f}{flag}")
    if options.record:
        for again in (counts(), counts()):  # of what varies, the most
            now = {name: max(count, again[name]) for name, count in now.items()}
        BASELINE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    elif too_many:
        sys.exit(1)


if __name__ == "__main__":
    main()
