"""What a mutant does to the plain schedule, the property tests and the example tests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from attrs import asdict, define

from tests.mutants.catalogue import Mutant
from tests.mutants.counting import FIRST
from tests.mutants.planting import copy_of_project, places_of, plant

__all__ = ["Verdict", "fingerprint", "judge_examples", "judge_properties"]

_FOLDER = "tests/simulation/invariants"
# The most telling first.
_FILES = (
    "decisions",
    "limits",
    "merges",
    "calls",
    "meetings",
    "kept_workers",
    "lines",
    "trees",
    "everything",
)
_PROPERTIES = tuple(f"{_FOLDER}/test_{name}.py" for name in _FILES)
_EXAMPLES = ("tests/conformance", "tests/orchestrator")
_LIMIT = 1200.0  # seconds for one run of tests; what hangs was found
_PLAIN_LIMIT = 120.0
# A parameter of an example test may hold a space; a property has none.
_KILLED = re.compile(r"^KILLED \S+?([^/:]+\.py::\w+)(?:\[.*\])? (\d+) (.*)$", re.MULTILINE)


@define
class Verdict:
    """What is known of one mutant."""

    name: str
    mark: str  # of the mutant and of the code in which it is planted
    passes_plain: bool | None = None
    killer: str = ""  # the first property test that failed
    schedules: int = 0  # until it did
    how: str = ""  # with what
    passes_examples: bool | None = None
    example: str = ""  # the first example test that failed
    last_killer: str = ""  # of an earlier version: most likely it finds it again
    last_example: str = ""

    @property
    def killed(self) -> bool:
        """Whether a property test has found it."""
        return bool(self.killer)

    def anew(self, mark: str) -> Verdict:
        """Nothing is known of a changed mutant, but who has found it before."""
        killer, example = self.killer or self.last_killer, self.example or self.last_example
        return Verdict(self.name, mark, last_killer=killer, last_example=example)

    def as_dict(self) -> dict[str, object]:
        """For the file of results."""
        return asdict(self)


def fingerprint(mutant: Mutant, sources: Mapping[Path, str]) -> str:
    """Changes with the mutant's edits, and with the modules that they change."""
    digest = hashlib.sha256(repr(mutant.edits).encode())
    for edit in mutant.edits:
        for path in places_of(edit, sources):
            digest.update(sources[path].encode())
    return digest.hexdigest()[:12]


class _Planted:
    """A copy of the project at *root* with the fault in it, for a while."""

    def __init__(self, mutant: Mutant, root: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"mutant-{mutant.name}-"))
        self.root = self._folder / "project"
        copy_of_project(self.root, root)
        plant(mutant, self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *command: str, first: str = "", limit: float = _LIMIT) -> tuple[int | None, str]:
        """The exit code, ``None`` where it took too long, and what was printed."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            FIRST: first,
        }
        with subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                _end_all_of(process)
                output, _ = process.communicate()
                return None, output
            else:
                _end_all_of(process)  # a test may have left processes of its own behind
        return process.returncode, output

    def pytest(self, *arguments: str, first: str) -> tuple[int | None, str]:
        """Run tests until the first that fails, *first* ahead of the others."""
        plugin = ("-p", "tests.mutants.counting")
        return self.run(
            "pytest", "-x", "-q", "--tb=no", "--show-capture=no", *plugin, *arguments, first=first
        )


def _end_all_of(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its session is its own


def judge_properties(mutant: Mutant, verdict: Verdict, root: Path) -> None:
    """Whether it passes the plain schedule, and which property test finds it."""
    with _Planted(mutant, root) as planted:
        plain, _ = planted.run("tests.mutants.plain", limit=_PLAIN_LIMIT)
        code, output = planted.pytest(*_PROPERTIES, first=verdict.killer or verdict.last_killer)
    found = _KILLED.search(output)
    verdict.killer, verdict.schedules, verdict.how = "", 0, ""
    if found is not None:
        verdict.killer, verdict.schedules, verdict.how = found[1], int(found[2]), found[3]
    elif code != 0:
        verdict.killer = f"exit code {code}"
        verdict.how = output.strip()[-800:]
    verdict.passes_plain = plain == 0  # last: it says that the verdict is there


def judge_examples(mutant: Mutant, verdict: Verdict, root: Path) -> None:
    """Whether it passes the example tests: all that are no property tests, on real threads."""
    with _Planted(mutant, root) as planted:
        code, output = planted.pytest(
            "-m", "not hypothesis", "-k", "local or orchestrator", *_EXAMPLES,
            first=verdict.example or verdict.last_example,
        )  # fmt: skip
    found = _KILLED.search(output)
    verdict.example = ""
    if code != 0:
        verdict.example = f"exit code {code}" if found is None else found[1]
    verdict.passes_examples = code == 0
