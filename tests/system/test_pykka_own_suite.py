"""Pykka's own test-suite, run on ``PooledActor``: the definition of "runs unchanged".

The suite is in Pykka's source distribution, which pip fetches once into the cache directory.
Left out is ``test_threading_actor.py``, which is about what ``ThreadingActor`` alone has: an own
thread, its name and its daemon flag.
"""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "pykka"
ENDING = 300.0  # seconds that pip, and the suite, get for it


def own_suite() -> Path:
    """Return the folder that holds Pykka's ``tests``, fetched if it isn't there yet."""
    version = importlib.metadata.version("pykka")
    folder = CACHE / f"pykka-{version}"
    if not (folder / "tests" / "conftest.py").is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]
        done = subprocess.run(
            [*fetch, ":all:", "--dest", str(CACHE), f"pykka=={version}"],
            capture_output=True,
            text=True,
            timeout=ENDING,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"pip can't fetch Pykka's source distribution: {done.stderr.strip()}")
        (archive,) = CACHE.glob(f"[Pp]ykka-{version}.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    return folder


def test_pykkas_own_test_suite_passes_on_pooled_actors() -> None:
    if importlib.util.find_spec("pytest_mock") is None:
        pytest.skip("Pykka's test-suite needs pytest-mock")
    folder = own_suite()
    path = [str(folder), str(ROOT / "tests" / "system"), str(ROOT), os.environ.get("PYTHONPATH")]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "pykka_runtime", "-p", "no:cacheprovider"]
    config = ["-c", str(folder / "pyproject.toml")]  # and not ours, which is above it
    done = subprocess.run(
        [*run, *config, "tests", "--ignore", "tests/test_threading_actor.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in path if part)},
        capture_output=True,
        text=True,
        timeout=ENDING,
        check=False,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    replaced = re.search(r"ran on PooledActor: (\d+)", report)
    assert replaced is not None, report
    assert int(replaced[1]) >= 100, report
