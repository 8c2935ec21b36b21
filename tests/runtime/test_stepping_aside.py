"""The loop of a long fan-out lets other threads have the interpreter."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from actors.system.parking import Parker
from orchestrator import ActionRegistry, AsyncOrchestrator, Task
from runtime import LocalRuntime

actions = ActionRegistry()


@actions.register("t:echo")
async def echo(value: int) -> int:
    return value


@pytest.fixture
def asides(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The threads that have stepped aside; they do so whenever they may."""
    found: list[int] = []

    class Noted(Parker):
        def park(self, timeout: float | None = None) -> None:
            found.append(threading.get_ident())
            super().park(timeout)

    monkeypatch.setattr("runtime.leaves.Parker", Noted)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield found
    sys.setswitchinterval(before)


def fan_out(children: int) -> tuple[list[int], int]:
    async def emits() -> tuple[Any, int]:
        orchestrator = AsyncOrchestrator.from_context()
        assert orchestrator is not None
        group = await orchestrator.emit_for_each(range(children), "x", Task("t:echo"))
        return await orchestrator.await_group(group), threading.get_ident()

    with LocalRuntime(actions) as runtime:
        found: tuple[list[int], int] = runtime.run(emits)
        return found


def test_the_loop_of_a_long_fan_out_steps_aside_between_its_runs(asides: list[int]) -> None:
    outputs, loop_thread = fan_out(1_000)
    assert outputs == list(range(1_000))
    assert len(asides) >= 3
    assert set(asides) == {loop_thread}


def test_the_loop_of_a_small_one_does_not(asides: list[int]) -> None:
    fan_out(100)
    assert asides == []


def test_nor_one_that_has_just_done_so(asides: list[int]) -> None:
    sys.setswitchinterval(3600.0)
    fan_out(1_000)
    assert asides == []
