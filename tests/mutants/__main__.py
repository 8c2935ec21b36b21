"""Plants each fault of the catalogue, one at a time, and says which property test finds it.

``python -m tests.mutants`` goes on where it was left off; names restrict it to some.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.judging import Verdict, fingerprint, judge_examples, judge_properties
from tests.mutants.planting import ROOT, places_of

RESULTS = ROOT / ".cache" / "mutants.json"
PAGE = ROOT / "docs" / "mutants.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print, and write the page; 0 where every fault was found and enough are subtle."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all of them by default")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--no-examples", action="store_true", help="leave the example tests out")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    chosen = parser.parse_args(arguments)
    mutants = [each for each in MUTANTS if not chosen.names or each.name in chosen.names]
    if misplaced := [
        f"{each.name}: {edit.old.strip().splitlines()[0]!r} stands in {len(places)} places"
        for each in MUTANTS
        for edit in each.edits
        if len(places := places_of(edit)) != 1
    ]:
        sys.stderr.write("these do not apply any more:\n" + "\n".join(misplaced) + "\n")
        return 2
    verdicts = {} if chosen.fresh else _load()
    for mutant in MUTANTS:
        known = verdicts.get(mutant.name)
        if known is None or known.mark != fingerprint(mutant):
            verdicts[mutant.name] = Verdict(mutant.name, fingerprint(mutant))
    if not chosen.page:
        _judge(mutants, verdicts, chosen.jobs, judge_properties, lambda v: v.passes_plain is None)
        if not chosen.no_examples:
            _judge(
                mutants, verdicts, chosen.jobs, judge_examples, lambda v: v.passes_examples is None
            )
    _write_page(verdicts)
    judged = [verdicts[each.name] for each in mutants]
    alive = [each.name for each in judged if not each.killed]
    subtle = [each for each in judged if each.passes_plain and each.passes_examples]
    print(f"{len(judged) - len(alive)} of {len(judged)} found; {len(subtle)} of them pass the")
    print("example tests and the plain schedule")
    if alive:
        print("alive:", *alive)
    return 1 if alive else 0


def _judge(
    mutants: Sequence[Mutant],
    verdicts: dict[str, Verdict],
    jobs: int,
    judge: Callable[[Mutant, Verdict], None],
    is_open: Callable[[Verdict], bool],
) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(judge, mutant, verdicts[mutant.name]): mutant
            for mutant in mutants
            if is_open(verdicts[mutant.name])
        }
        for done in as_completed(running):
            mutant = running[done]
            done.result()
            _save(verdicts)
            print(_line(mutant, verdicts[mutant.name]), flush=True)


def _load() -> dict[str, Verdict]:
    if not RESULTS.exists():
        return {}
    return {each["name"]: Verdict(**each) for each in json.loads(RESULTS.read_text())}


def _save(verdicts: dict[str, Verdict]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    text = json.dumps([each.as_dict() for each in verdicts.values()], indent=1)
    partial = RESULTS.with_suffix(".part")
    partial.write_text(text)
    partial.replace(RESULTS)


def _yes(answer: bool | None) -> str:
    return "?" if answer is None else "yes" if answer else "no"


def _line(mutant: Mutant, verdict: Verdict) -> str:
    if verdict.passes_plain is None:
        found = "not judged"
    else:
        found = f"`{verdict.killer}`" if verdict.killer else "**none**"
    return (
        f"| {mutant.name} | {mutant.invariant} | {mutant.comment} |"
        f" {_yes(verdict.passes_examples)} | {_yes(verdict.passes_plain)} | {found} |"
        f" {verdict.schedules or ''} |"
    )


def _write_page(verdicts: dict[str, Verdict]) -> None:
    if not PAGE.exists():
        return
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    lines = [
        "| fault | invariant | what it does | passes examples | passes plain | found by | after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_line(each, verdicts[each.name]) for each in MUTANTS),
    ]
    Path(PAGE).write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)


if __name__ == "__main__":
    sys.exit(main())
