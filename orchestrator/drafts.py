"""Frozen classes that are made often: built by a class that isn't frozen, then given theirs."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["draft_of"]


def draft_of(kind: type, *, bases: tuple[type, ...] = (object,)) -> Any:
    """A class of the same slots as *kind*, without a frozen class's call for each of them.

    To make one takes a quarter of the time (see benchmarks/fan_out.py). Whoever makes one, of all
    fields in their order, gives it its class at once. *bases* are those of *kind* that have slots.
    """
    return attrs.make_class(
        f"Draft{kind.__name__}",
        [attribute.name for attribute in attrs.fields(kind)],
        bases=bases,
        slots=True,
        eq=False,
        repr=False,
        weakref_slot=False,
    )
