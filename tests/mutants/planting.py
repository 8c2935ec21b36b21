"""Copies the project and plants one fault in the copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.mutants.catalogue import Edit, Mutant

__all__ = ["PACKAGES", "ROOT", "PlantError", "copy_of_project", "places_of", "plant"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("actors", "orchestrator", "runtime")
_COPIED = (*PACKAGES, "tests", "pyproject.toml")


class PlantError(Exception):
    """An edit that does not apply exactly once."""


def places_of(edit: Edit, root: Path = ROOT) -> list[Path]:
    """The files of production code in which the text stands, one entry for each time."""
    found: list[Path] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found += [path] * path.read_text().count(edit.old)
    return found


def plant(mutant: Mutant, root: Path) -> None:
    """Apply the edits under *root*, each in its one place.

    Raises:
        PlantError: a text is not there, or more than once.
    """
    for edit in mutant.edits:
        places = places_of(edit, root)
        if len(places) != 1:
            first = edit.old.strip().splitlines()[0]
            message = f"{mutant.name}: {first!r} stands in {len(places)} places, not in one"
            raise PlantError(message)
        (path,) = places
        path.write_text(path.read_text().replace(edit.old, edit.new))


def copy_of_project(target: Path, root: Path = ROOT) -> None:
    """Copy what tests need; never the tree itself is changed."""
    target.mkdir(parents=True)
    for name in _COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
