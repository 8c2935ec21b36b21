"""The lines between the packages, and what no module of the library may do."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("orchestrator", "actors", "runtime")

# What each part may import besides itself and the standard library; the longest prefix counts.
MAY_IMPORT = {
    "actors.system": {"attr", "attrs", "pykka"},
    "orchestrator": {"attr", "attrs", "cattrs", "pykka"},
    "actors": {"attr", "attrs", "cattrs", "pykka", "orchestrator"},
    "runtime": {"attr", "attrs", "cattrs", "pykka", "orchestrator", "actors", "ray", "rich"}
    | {"greenlet", "hypothesis", "pytest"},  # runtime.simulation, the extra [testing]
}
THREADING_LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore"}
LINES_AT_MOST = 450  # most modules settle at 60 to 250; past 400, look for a second noun

# A path into someone's machine; what follows a name or a dot is a part of a relative path or URL.
ABSOLUTE_PATH = re.compile(
    r"(?<![A-Za-z0-9_.~$}>)*-])/(?:home|mnt|opt|root|srv|tmp|Users|var|work)/[A-Za-z0-9_]"
    r"|\b[A-Z]:\\{1,2}Users\b"
)

MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

of_each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES]
)


@functools.cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _part(module: str) -> str:
    """The part of the library that a module belongs to, such as ``actors.system``."""
    return max((part for part in MAY_IMPORT if _is_in(module, part)), key=len)


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _imports(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, those in functions and ``TYPE_CHECKING`` included.

    ``from a import b`` gives ``a.b``, which may be a module or a name in one.
    """
    package = _module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def _uses(tree: ast.Module, module: str, names: set[str]) -> list[str]:
    """Where *names* of *module* are used, as ``module.name`` or imported from it."""
    aliases = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == module
    }
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=origin, level=0) if origin == module:
                found += [f"line {node.lineno}: {a.name}" for a in node.names if a.name in names]
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in aliases:
                found += [f"line {node.lineno}: {name}.{attr}"] if attr in names else []
    return found


def _may_import(part: str, name: str) -> bool:
    top = name.split(".", maxsplit=1)[0]
    if top in PACKAGES:
        return _is_in(name, part) or any(_is_in(name, other) for other in MAY_IMPORT[part])
    return top in sys.stdlib_module_names or top in MAY_IMPORT[part]


@of_each_module
def test_imports_run_in_one_direction_between_the_packages(path: Path) -> None:
    part = _part(_module_name(path))
    wrong = [
        f"line {line}: {name}"
        for line, name in _imports(_parse(path), path)
        if not _may_import(part, name)
    ]
    assert not wrong, f"{part} may import {sorted(MAY_IMPORT[part])} and itself"


def test_the_actors_package_re_exports_nothing() -> None:
    tree = _parse(ROOT / "actors" / "__init__.py")
    assert list(_imports(tree, ROOT / "actors" / "__init__.py")) == []
    assert [node for node in tree.body if not isinstance(node, ast.Expr)] == []  # a docstring


@of_each_module
def test_no_module_of_the_library_sleeps(path: Path) -> None:
    if _is_in(_module_name(path), "runtime.simulation"):
        return  # what sleeps there does so in virtual time, and one module stands for the sleep
    assert _uses(_parse(path), "time", {"sleep"}) == []


@of_each_module
def test_locks_stay_inside_actors(path: Path) -> None:
    if not _is_in(_module_name(path), "actors"):
        assert _uses(_parse(path), "threading", THREADING_LOCKS) == []


@of_each_module
def test_a_module_holds_one_noun_and_stays_short(path: Path) -> None:
    if path.name == "messages.py":
        return  # the whole protocol in one place, mostly its documentation
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_AT_MOST, "one that keeps growing usually holds two nouns"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_ships_its_types(package: str) -> None:
    assert (ROOT / package / "__init__.py").is_file()
    assert (ROOT / package / "py.typed").is_file()


def test_no_file_names_a_place_on_one_machine() -> None:
    wrong = []
    for path in _own_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        wrong += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if ABSOLUTE_PATH.search(line)
        ]
    assert wrong == []


def _own_files() -> list[Path]:
    """The files that git tracks."""
    command = ["git", "ls-files", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]
