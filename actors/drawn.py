"""The children of a lazy group, as its source yields them."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.values import Execution

__all__ = ["Drawn"]


class Drawn:
    """The children that a lazy source has yielded, by index, each with when that was.

    Written by their group's turns alone.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Execution, float]] = {}

    def add(self, index: int, child: Execution, at: float) -> None:
        """One more."""
        self._known[index] = (child, at)

    def __getitem__(self, index: int) -> Execution:
        return self._known[index][0]

    def at(self, index: int) -> float:
        """When the child was drawn."""
        return self._known[index][1]

    def forget(self, indexes: Iterable[int]) -> None:
        """Nobody asks for these any more."""
        for index in indexes:
            self._known.pop(index, None)
