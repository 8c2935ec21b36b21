"""DESIGN.md section 3, *Emit*: groups that keep counts only."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from orchestrator import (
    GroupFailedError,
    Task,
)
from tests.conformance.support import (
    LIMIT,
    child,
    children,
)

Run = Callable[..., Any]
colour: ContextVar[str] = ContextVar("colour", default="none")


def test_keep_false_keeps_counts_only(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", range(5)), keep=False)
        assert await orchestrator.await_group(group, LIMIT) == []
        lazily = await orchestrator.emit_for_each(
            range(50), "n", Task("t:echo"), max_in_flight=5, keep=False
        )
        assert await orchestrator.await_group(lazily, LIMIT) == []
        assert await orchestrator.await_resume() is None

    run_body(body)


def test_keep_false_still_tells_of_failures(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:echo", 1), child("t:fail", "two")]
        group = await orchestrator.emit_children(given, keep=False)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group, LIMIT)
        assert [str(error) for error in caught.value.exceptions] == ["two"]

    run_body(body)


def test_keep_false_shows_outputs_to_until(run_body: Run) -> None:
    seen: list[int] = []

    async def body(orchestrator: Any) -> None:
        seen.clear()
        group = await orchestrator.emit_for_each(
            range(10),
            "n",
            Task("t:echo"),
            max_in_flight=1,
            keep=False,
            mode="any",
            until=lambda n: seen.append(n) or n == 4,
        )
        await orchestrator.await_group(group, LIMIT)
        assert seen[:5] == [0, 1, 2, 3, 4]

    run_body(body)
