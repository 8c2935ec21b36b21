"""What one child takes has not grown: counted, not timed, so that it holds on any machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks.counts import BASELINE, TOLERANCE, grown
from benchmarks.separate import ROOT

COUNTS = json.loads(BASELINE.read_text(encoding="utf-8"))
LIMIT = 120.0  # seconds that counting may take


@pytest.fixture(scope="module")
def now() -> dict[str, float]:
    """The counts, in a process that nothing else has touched."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.counts", "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, float] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("name", COUNTS)
def test_what_one_child_takes_has_not_grown(now: dict[str, float], name: str) -> None:
    count, baseline = now[name], COUNTS[name]
    assert count <= baseline * (1 + TOLERANCE), (
        f"{name}: {count} for each child, and the baseline is {baseline}. See which functions"
        " with `python -m benchmarks.counts --profile KIND`; if it is worth that,"
        " `make record-counts`"
    )


def test_everything_that_is_counted_has_a_baseline(now: dict[str, float]) -> None:
    assert set(now) == set(COUNTS)
    # A called child in its caller's place costs no message.
    assert all(count > 0 or name.endswith(" call: messages") for name, count in now.items())


def test_a_count_may_grow_by_the_tolerance_and_fall_without_limit() -> None:
    baseline = {"a": 100.0, "b": 100.0, "c": 100.0}
    assert grown({"a": 105.0, "b": 3.0, "c": 105.6}, baseline, 0.05) == {"c": (105.6, 100.0)}


def test_a_count_without_a_baseline_has_to_be_recorded() -> None:
    assert grown({"new": 1.0}, {}) == {"new": (1.0, 0.0)}
