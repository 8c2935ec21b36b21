"""The example of a plan that is acted on while it is streamed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_plan_gets_what_came_and_is_told_what_failed_and_what_came_too_late() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.react_step"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    story, _, answers = done.stdout.partition("what the plan gets back:")
    assert "call tool:locate -> Rostock is on the Baltic Sea\nplan:" in story  # in mid-stream
    assert "the deadline has passed; too late: tool:hotels" in story
    first, *others = answers.strip().splitlines()
    assert first == "- Rostock is on the Baltic Sea"
    assert sorted(others) == [
        "  - 12 degrees and windy in Rostock",
        "  - tool:hotels did not answer in time",
        "  - tool:trains failed: the timetable of Rostock is down",
    ]
    assert done.stderr == ""
