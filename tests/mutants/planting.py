"""Copies the project and plants one fault in the copy."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.mutants.catalogue import Edit, Mutant

__all__ = ["PACKAGES", "ROOT", "PlantError", "copy_of_project", "places_of", "plant", "sources_of"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("actors", "orchestrator", "runtime")
_COPIED = (*PACKAGES, "tests", "pyproject.toml")


class PlantError(Exception):
    """An edit that does not apply exactly once."""


def sources_of(root: Path = ROOT) -> dict[Path, str]:
    """The production code under *root*."""
    paths = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {path: path.read_text() for path in sorted(paths)}


def places_of(edit: Edit, sources: Mapping[Path, str]) -> list[Path]:
    """The files in which the text stands, one entry for each time."""
    return [path for path, text in sources.items() for _ in range(text.count(edit.old))]


def plant(mutant: Mutant, root: Path) -> None:
    """Apply the edits under *root*, each in its one place.

    Raises:
        PlantError: a text is not there, or more than once.
    """
    sources = sources_of(root)
    changed: set[Path] = set()
    for edit in mutant.edits:
        places = places_of(edit, sources)
        if len(places) != 1:
            first = edit.old.strip().splitlines()[0]
            message = f"{mutant.name}: {first!r} stands in {len(places)} places, not in one"
            raise PlantError(message)
        (path,) = places
        sources[path] = sources[path].replace(edit.old, edit.new)
        changed.add(path)
    for path in changed:
        path.write_text(sources[path])


def copy_of_project(target: Path, root: Path = ROOT) -> None:
    """Copy what tests need; never the tree itself is changed."""
    target.mkdir(parents=True)
    for name in _COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
