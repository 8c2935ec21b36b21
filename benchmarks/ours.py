"""The runtime under test: the actions that several benchmarks run, and their fan-outs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers import Fan, inc, inc_async
from orchestrator import ActionRegistry, AsyncOrchestrator, Execution, Orchestrator, Task
from runtime import LocalRuntime

__all__ = [
    "OURS",
    "WARM_UP",
    "actions",
    "fan_out",
    "fan_out_async",
    "here",
    "here_async",
    "opened",
    "runs",
]

OURS = "actor-orchestrator"
WARM_UP = 200  # children that run before anything is timed

actions = ActionRegistry()
actions.register("bench:inc")(inc)
actions.register("bench:inc_async")(inc_async)


def here() -> Orchestrator:
    """The running action's orchestrator."""
    found = Orchestrator.from_context()
    assert found is not None
    return found


def here_async() -> AsyncOrchestrator:
    """The same, in an async action."""
    found = AsyncOrchestrator.from_context()
    assert found is not None
    return found


def fan_out(children: int) -> tuple[float, list[Any]]:
    """Emit and await; the seconds that it took, and the outputs."""
    orchestrator = here()
    began = time.perf_counter()
    group = orchestrator.emit_for_each(range(children), "x", Task("bench:inc"))
    outputs = orchestrator.await_group(group)
    return time.perf_counter() - began, outputs


actions.register("bench:fan_out")(fan_out)


async def fan_out_async(children: int) -> tuple[float, list[Any]]:
    """The same on the event loop."""
    orchestrator = here_async()
    began = time.perf_counter()
    group = await orchestrator.emit_for_each(range(children), "x", Task("bench:inc_async"))
    outputs = await orchestrator.await_group(group)
    return time.perf_counter() - began, outputs


@contextmanager
def opened(workers: int = 2) -> Iterator[LocalRuntime]:
    """A runtime that has run a few children of both kinds."""
    with LocalRuntime(actions, workers=workers) as runtime:
        runtime.run(fan_out, WARM_UP)
        runtime.run(fan_out_async, WARM_UP)
        yield runtime


def runs(function: Callable[..., Any]) -> Callable[[], Any]:
    """A context manager that gives a `Fan`: *function* as an action of a runtime of its own."""

    @contextmanager
    def opening() -> Iterator[Fan]:
        with LocalRuntime(actions, workers=2) as runtime:

            def fan(children: int) -> tuple[float, list[int]]:
                taken: tuple[float, list[int]] = runtime.run(function, children)
                return taken

            fan(WARM_UP)
            yield fan

    return opening


def ad_hoc(action: str, number: int) -> list[Execution]:
    """Executions of one's own, whose ids are known."""
    return [Execution.ad_hoc(action, index) for index in range(number)]
