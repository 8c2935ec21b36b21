"""A Ctrl-C at every single step of the main thread, one after the other."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from orchestrator import Execution, Task, current_context
from orchestrator.errors import MissingExecutionError
from runtime import LocalRuntime
from tests.conformance.support import child, children, quiet, standard_actions

ROOT = Path(__file__).parents[2]
LIBRARY = tuple(f"{ROOT / package}/" for package in ("actors", "orchestrator", "runtime"))


Place = tuple[str, str, int]


@contextmanager
def interrupted_at_a_new_place(seen: set[Place]) -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at the first line of the library that is not in *seen*, once."""
    before = len(seen)

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        file = frame.f_code.co_filename
        if len(seen) > before or not of_the_library(file) or in_finalizer(frame):
            return None
        place = (file, event, frame.f_lineno)
        # In an `except` block, CPython would leave what it handles to be handled for ever.
        handling = sys.exc_info()[0] is not None
        if event in ("call", "line") and place not in seen and not handling:
            seen.add(place)
            raise KeyboardInterrupt
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)


def of_the_library(file: str) -> bool:
    """The stand-ins of simulations are not: who calls them may be a callback of the collector."""
    return file.startswith(LIBRARY) and not file.startswith(f"{ROOT / 'runtime/simulation'}/")


def in_finalizer(frame: FrameType | None) -> bool:
    """Whether it runs in a ``__del__``: Python prints what is raised there, and goes on."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def emits(runtime: LocalRuntime) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", [1, 2]))
        assert orchestrator.await_group(group) == [1, 2]


def draws(runtime: LocalRuntime) -> None:
    with runtime.execution("draws") as orchestrator:
        group = orchestrator.emit_for_each(range(3), "n", Task("t:echo"), max_in_flight=1)
        assert len(list(orchestrator.as_completed(group))) == 3
        orchestrator.release_group(group)


def calls(runtime: LocalRuntime) -> None:
    with runtime.execution() as orchestrator:
        assert orchestrator.call(child("t:echo_async", 1)) == 1
        assert orchestrator.await_resume() is None
        orchestrator.sleep(1e-4)
        with orchestrator.blocking():
            pass


def runs(runtime: LocalRuntime) -> None:
    assert runtime.run("t:echo", 1) == 1
    handle = runtime.spawn(Execution.ad_hoc("t:echo", 2))
    assert handle.result() == 2
    assert handle.snapshot().output == 2
    runtime.stats()


def test_a_ctrl_c_at_any_step_ends_the_block_and_leaves_nothing() -> None:
    actions = standard_actions()
    seen: set[Place] = set()
    works = deque([emits, draws, calls, runs])
    while works:
        runtime = LocalRuntime(actions, workers=2)
        try:
            with runtime, interrupted_at_a_new_place(seen):
                works[0](runtime)
        except KeyboardInterrupt:
            assert quiet(runtime.stats()), seen
            with pytest.raises(MissingExecutionError):
                current_context()
        else:
            works.popleft()  # it has no more places
    assert len(seen) > 200
    assert sys.exc_info() == (None, None, None)
