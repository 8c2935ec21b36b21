"""What a mutant is: one edit, or a few, of production code."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Edit", "Mutant", "mutant"]


@frozen
class Edit:
    """A text that occurs once, and its replacement."""

    old: str
    new: str


@frozen
class Mutant:
    """One seeded fault."""

    name: str
    invariant: str  # of DESIGN.md section 5
    comment: str  # what kind of fault it is
    edits: tuple[Edit, ...]


def mutant(name: str, invariant: str, comment: str, *edits: tuple[str, str]) -> Mutant:
    """A mutant, each edit as the text that stands there and what takes its place."""
    return Mutant(name, invariant, comment, tuple(Edit(old, new) for old, new in edits))
