"""What every benchmark's command line shares."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measuring import Row
from benchmarks.reporting import HEADER, lines, machine, report

__all__ = ["main"]


def main(
    question: str,
    measure: Callable[[argparse.Namespace], Sequence[Row]],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _parser: None,
    *,
    rounds: int = 5,
    arguments: Sequence[str] | None = None,
) -> None:
    """Measure, print the table, and write it to ``--json FILE`` as well."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"by default {rounds}")
    parser.add_argument("--full", action="store_true", help="the large sizes too: minutes")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.quick:
        options.rounds = 1
    answer = report(question, [row.data() for row in measure(options)])
    if options.json is not None:
        options.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    about = machine()
    print(f"Python {about['python']}, {about['processors']} processors, {options.rounds} rounds")
    print("\n".join([HEADER, *lines(answer)]))
