"""Every fault of `tests.mutants` can still be planted; `make mutants` sees whether it is found."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.planting import places_of, sources_of


@pytest.fixture(scope="module")
def sources() -> dict[Path, str]:
    return sources_of()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_can_be_planted_in_exactly_one_place(
    mutant: Mutant, sources: dict[Path, str]
) -> None:
    changed: dict[Path, str] = {}
    for edit in mutant.edits:
        (path,) = places_of(edit, sources)
        changed[path] = changed.get(path, sources[path]).replace(edit.old, edit.new)
    for text in changed.values():
        ast.parse(text)


def test_there_are_enough_of_them_and_their_names_differ() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
