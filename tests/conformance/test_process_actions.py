"""DESIGN.md section 3, *Processes*."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    ExecutionCancelledError,
    ExecutionContext,
    ExecutionTimeoutError,
    GroupFailedError,
    InvalidInputError,
    OrchestratorError,
)
from tests.conformance import process_actions
from tests.conformance.support import LIMIT, child, children, quiet

Run = Callable[..., Any]


@pytest.fixture
def processes(actions: ActionRegistry, make_runtime: Run) -> Any:
    """A runtime with the process actions registered as ``p:name``."""
    for name in ("square", "pid", "fails", "exits", "dies", "unpicklable", "endless"):
        actions.register(f"p:{name}", runs_in="process")(getattr(process_actions, name))
    actions.register("p:has_orchestrator", runs_in="process")(process_actions.has_orchestrator)
    return make_runtime(workers=2)


def test_a_process_action_runs_in_another_process_and_gives_its_output(processes: Any) -> None:
    with processes.execution() as orchestrator:
        group = orchestrator.emit_children(children("p:square", [1, 2, 3]))
        assert orchestrator.await_group(group, LIMIT) == [1, 4, 9]
        assert orchestrator.call(child("p:pid")) != os.getpid()


def test_its_exceptions_are_those_of_any_action(processes: Any) -> None:
    with pytest.raises(ValueError, match="from far"):
        processes.run("p:fails", "from far")
    with pytest.raises(OrchestratorError, match="SystemExit") as caught:
        processes.run("p:exits")
    assert isinstance(caught.value.__cause__, SystemExit)
    assert "in exits" in str(caught.value.__cause__.__notes__)  # where it was raised
    with processes.execution() as orchestrator:
        group = orchestrator.emit_children([child("p:fails", "one"), child("p:square", 2)])
        with pytest.raises(GroupFailedError) as failed:
            orchestrator.await_group(group, LIMIT)
        assert failed.value.outputs == [None, 4]


def test_a_process_that_dies_fails_its_execution_and_no_other(processes: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - its class is not promised
        processes.run("p:dies")
    assert processes.run("p:square", 3) == 9


def test_there_is_no_context_and_no_emit_inside(processes: Any, actions: ActionRegistry) -> None:
    assert processes.run("p:has_orchestrator") is False

    def wants_context(context: ExecutionContext) -> None:
        pass

    async def is_async() -> None:
        pass

    for function in (wants_context, is_async):
        with pytest.raises((TypeError, ValueError), match="process"):
            actions.register(runs_in="process")(function)


def test_a_function_or_input_that_cannot_be_pickled_is_refused(
    processes: Any, actions: ActionRegistry
) -> None:
    actions.register("p:local", runs_in="process")(lambda: None)
    lock = threading.Lock()
    with pytest.raises(InvalidInputError, match="p:local"):
        processes.run("p:local")
    with pytest.raises(InvalidInputError, match="p:square"):
        processes.run("p:square", {"number": lock})


def test_an_output_that_cannot_be_pickled_fails_the_execution(processes: Any) -> None:
    with pytest.raises(InvalidInputError, match="p:unpicklable"):
        processes.run("p:unpicklable")
    assert processes.run("p:square", 2) == 4


def wait_for_file(path: Path) -> int:
    """The process id that the action writes: there is no other way out of it than the disk."""
    tick = threading.Event()
    for _ in range(int(LIMIT * 100)):
        if path.exists() and (text := path.read_text()):
            return int(text)
        tick.wait(0.01)
    raise AssertionError("the process did not start")


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_cancel_or_a_timeout_kills_the_process(processes: Any, tmp_path: Path, how: str) -> None:
    started = tmp_path / "started"
    handle = processes.spawn(
        child(
            "p:endless", {"started": str(started)}, timeout=LIMIT / 20 if how == "timeout" else None
        )
    )
    if how == "cancel":
        pid = wait_for_file(started)
        handle.cancel()
        with pytest.raises(ExecutionCancelledError):
            handle.result(LIMIT)
    else:
        with pytest.raises(ExecutionTimeoutError):
            handle.result(LIMIT)
        pid = int(started.read_text()) if started.exists() else 0
    processes.close(LIMIT)  # waits for the process too
    assert quiet(processes.stats())
    if pid:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
