"""Values that make no sense are refused where they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Rate,
    Retry,
)

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"max_attempts": 0}, ValueError),
        ({"max_attempts": 1.5}, TypeError),
        ({"delay": -1}, ValueError),
        ({"delay": float("nan")}, ValueError),
        ({"jitter": 2}, ValueError),
        ({"jitter": -0.5}, ValueError),
        ({"multiplier": -1}, ValueError),
        ({"max_delay": float("nan")}, ValueError),
        ({"retry_on": Exception}, TypeError),
        ({"retry_on": ("Exception",)}, TypeError),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(wrong))):
        Retry(**wrong)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"limit": 0}, ValueError),
        ({"limit": "3"}, TypeError),
        ({"limit": 1, "per": 0}, ValueError),
        ({"limit": 1, "per": float("nan")}, ValueError),
        ({"limit": 1, "per": float("inf")}, ValueError),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Rate"):
        Rate(**wrong)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_workers_that_make_no_sense_are_refused(runtime_factory: Run, workers: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="workers"):
        runtime_factory(ActionRegistry(), workers=workers)
