"""Counts who is in some code at once."""

from __future__ import annotations

__all__ = ["Meter"]


class Meter:
    """Who is inside, and since when; one task at a time runs, so nothing needs a lock."""

    def __init__(self) -> None:
        self.inside = self.highest = self.total = 0

    def __enter__(self) -> None:
        self.inside += 1
        self.total += 1
        self.highest = max(self.highest, self.inside)

    def __exit__(self, *_: object) -> None:
        self.inside -= 1
