"""The example of a race that a simulation finds."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_race_is_found_and_told_and_the_mended_cache_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.flaky_cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    story, _, end = done.stdout.partition("the mended cache: ")
    assert end == "passed under 500 schedules\n"
    assert re.search(r"found by schedule \d+, .* of 500 with seed=1$", story, re.MULTILINE)
    assert '@reproduce_schedule("s1-' in story
    assert re.search(r"^>> +\d\.\d{3} s  here ", story, re.MULTILINE)
    assert re.search(r"child agent:plan\[\d\] failed: TooManyCallsError: .*: call 3 of 2", story)
    assert done.stderr == ""
