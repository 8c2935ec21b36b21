"""What a mutant does to the plain schedule, the property tests and the example tests."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from attrs import asdict, define

from tests.mutants.catalogue import Mutant
from tests.mutants.planting import copy_of_project, plant

__all__ = ["EXAMPLES", "PROPERTIES", "Verdict", "fingerprint", "judge_examples", "judge_properties"]

_FOLDER = "tests/simulation/invariants"
_FILES = ("decisions", "limits", "lines", "trees", "everything")  # the most telling first
PROPERTIES = tuple(f"{_FOLDER}/test_{name}.py" for name in _FILES)
EXAMPLES = ("tests/conformance", "tests/orchestrator")
LIMIT = 900.0  # seconds for one run of tests; what hangs was found
_KILLED = re.compile(r"^KILLED \S+?([^/:]+\.py::\w+)\S* (\d+) (.*)$", re.MULTILINE)
_FAILED = re.compile(r"^(?:ERROR|FAILED) \S+?([^/:]+\.py::\w+)", re.MULTILINE)


@define
class Verdict:
    """What is known of one mutant."""

    name: str
    mark: str  # of the mutant and of what it was judged by
    passes_plain: bool | None = None
    killer: str = ""  # the first property test that failed
    schedules: int = 0  # until it did
    how: str = ""  # with what
    passes_examples: bool | None = None

    @property
    def killed(self) -> bool:
        """Whether a property test has found it."""
        return bool(self.killer)

    def as_dict(self) -> dict[str, object]:
        """For the file of results."""
        return asdict(self)


def fingerprint(mutant: Mutant) -> str:
    """Changes with the mutant's edits."""
    return hashlib.sha256(repr(mutant.edits).encode()).hexdigest()[:12]


class _Planted:
    """A copy of the project with the fault in it, for a while."""

    def __init__(self, mutant: Mutant) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"mutant-{mutant.name}-"))
        self.root = self._folder / "project"
        copy_of_project(self.root)
        plant(mutant, self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *command: str) -> tuple[int | None, str]:
        """The exit code, ``None`` where it took too long, and what was printed."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                output, _ = process.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                return None, output
        return process.returncode, output

    def pytest(self, *arguments: str) -> tuple[int | None, str]:
        """Run tests until the first that fails."""
        return self.run("pytest", "-x", "-q", "--tb=no", "--show-capture=no", *arguments)


def judge_properties(mutant: Mutant, verdict: Verdict, tests: Sequence[str] = PROPERTIES) -> None:
    """Whether it passes the plain schedule, and which property test finds it."""
    with _Planted(mutant) as planted:
        plain, _ = planted.run("tests.mutants.plain")
        code, output = planted.pytest("-p", "tests.mutants.counting", *tests)
        found = _KILLED.search(output)
        if code == 0:
            verdict.killer, verdict.schedules, verdict.how = "", 0, ""
        elif found is not None:
            verdict.killer, verdict.how = found[1], found[3]
            verdict.schedules = int(found[2])
        else:
            failed = _FAILED.search(output)
            verdict.killer = failed[1] if failed is not None else f"exit code {code}"
            verdict.how = output.strip().splitlines()[-1][:160] if output.strip() else ""
        verdict.passes_plain = plain == 0  # last: it says that the verdict is there


def judge_examples(mutant: Mutant, verdict: Verdict) -> None:
    """Whether it passes the example tests: all that are no property tests, on real threads."""
    with _Planted(mutant) as planted:
        code, _ = planted.pytest("-m", "not hypothesis", "-k", "local or orchestrator", *EXAMPLES)
        verdict.passes_examples = code == 0
