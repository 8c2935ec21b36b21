"""The schedules of the property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from runtime.simulation import Schedule, schedules

__all__ = ["orders"]


def orders() -> st.SearchStrategy[Any]:
    """What Hypothesis can make small, or what any order is as likely in, by a seed."""
    return schedules() | st.integers(0, 2**32).map(Schedule.seeded)
