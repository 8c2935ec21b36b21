"""How the parts of the check say which facts they look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from runtime.observing import Fact

__all__ = ["Handlers", "by_kind"]

# By kind of fact; the first argument is the part itself. They are functions, not bound methods: one
# table serves every check, and a simulation makes thousands of checks in a second.
Handlers: TypeAlias = Mapping[str, Callable[[Any, Fact], None]]


def by_kind(
    parts: Sequence[Handlers],
) -> dict[str, tuple[tuple[int, Callable[[Any, Fact], None]], ...]]:
    """For each kind of fact, which of *parts* handle it, in their order, and with what."""
    kinds = dict.fromkeys(kind for part in parts for kind in part)
    return {
        kind: tuple((index, part[kind]) for index, part in enumerate(parts) if kind in part)
        for kind in kinds
    }
