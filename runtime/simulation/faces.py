"""One body for both faces of the orchestrator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from orchestrator import (
    AsyncOrchestrator,
    Orchestrator,
)

__all__ = ["BlockingFace", "drive", "here", "here_async"]

T = TypeVar("T")


class BlockingFace:
    """An `Orchestrator` with awaitable methods, so that one body runs on both faces."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.plain = orchestrator

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self.plain, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call

    async def as_completed(self, *args: Any, **kwargs: Any) -> Any:
        """As the orchestrator's, as an async iterator."""
        for end in self.plain.as_completed(*args, **kwargs):
            yield end


def drive(body: Awaitable[T]) -> T:
    """Run a coroutine that never suspends: one over a `BlockingFace`."""
    steps = body.__await__()
    try:
        next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    message = "a body over a blocking face has suspended"
    raise RuntimeError(message)


def here() -> Orchestrator:
    """The running blocking action's."""
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None  # noqa: S101 - it is called by an action
    return orchestrator


def here_async() -> AsyncOrchestrator:
    """The running async action's."""
    orchestrator = AsyncOrchestrator.from_context()
    assert orchestrator is not None  # noqa: S101 - it is called by an action
    return orchestrator
