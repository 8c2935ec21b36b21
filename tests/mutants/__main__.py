"""Plants each fault of the catalogue, one at a time, and says which property test finds it.

``python -m tests.mutants`` goes on where it was left off; names restrict it to some.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from attrs import evolve

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.judging import Verdict, fingerprint, judge_examples, judge_properties
from tests.mutants.planting import ROOT, copy_of_project, places_of, sources_of

RESULTS = ROOT / ".cache" / "mutants"  # a file for each
PAGE = ROOT / "docs" / "mutants.md"
STAGES = {
    judge_properties: ("passes_plain", "killer", "schedules", "how"),
    judge_examples: ("passes_examples", "example"),
}
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print, and write the page; 0 where every fault was found and enough are subtle."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all of them by default")
    parser.add_argument("--fresh", action="store_true", help="judge these again")
    parser.add_argument("--no-examples", action="store_true", help="leave the example tests out")
    parser.add_argument("--examples", action="store_true", help="run nothing but these")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - {each.name for each in MUTANTS}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    mutants = [each for each in MUTANTS if not chosen.names or each.name in chosen.names]
    sources = sources_of()
    if misplaced := [
        f"{each.name}: {edit.old.strip().splitlines()[0]!r} stands in {len(places)} places"
        for each in MUTANTS
        for edit in each.edits
        if len(places := places_of(edit, sources)) != 1
    ]:
        sys.stderr.write("these do not apply any more:\n" + "\n".join(misplaced) + "\n")
        return 2
    verdicts = {each.name: _load(each, fingerprint(each, sources)) for each in MUTANTS}
    if chosen.fresh:
        for mutant in mutants:
            verdicts[mutant.name] = verdicts[mutant.name].anew(verdicts[mutant.name].mark)
    if not chosen.page:
        os.nice(2)  # whoever runs this does something else meanwhile
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            root = Path(folder) / "project"
            copy_of_project(root)  # the tree may change while this runs
            _judge(
                (
                    each
                    for each in mutants
                    if not chosen.examples and verdicts[each.name].passes_plain is None
                ),
                verdicts, root, chosen.jobs, judge_properties,
            )  # fmt: skip
            _judge(
                (
                    each
                    for each in mutants
                    if not chosen.no_examples and verdicts[each.name].passes_examples is None
                ),
                verdicts, root, chosen.jobs, judge_examples,
            )  # fmt: skip
    _write_page(verdicts)
    judged = [verdicts[each.name] for each in mutants]
    alive = [each.name for each in judged if not each.killed]
    print(f"{len(judged) - len(alive)} of {len(judged)} found; {_subtle(judged)} pass the")
    print("example tests and the plain schedule")
    if alive:
        print("alive:", *alive)
    return 1 if alive else 0


def _subtle(verdicts: Iterable[Verdict]) -> int:
    """How many only an order of events can show."""
    return sum(bool(each.passes_plain and each.passes_examples) for each in verdicts)


def _judge(
    mutants: Iterable[Mutant],
    verdicts: dict[str, Verdict],
    root: Path,
    jobs: int,
    judge: Callable[[Mutant, Verdict, Path], None],
) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(judge, mutant, verdicts[mutant.name], root): mutant for mutant in mutants
        }
        for done in as_completed(running):
            mutant = running[done]
            done.result()
            verdicts[mutant.name] = _save(verdicts[mutant.name], STAGES[judge])
            print(_line(mutant, verdicts[mutant.name]), verdicts[mutant.name].how, flush=True)


def _load(mutant: Mutant, mark: str) -> Verdict:
    """What is known of it, if it and its module are as they were."""
    path = RESULTS / f"{mutant.name}.json"
    known = Verdict(**json.loads(path.read_text())) if path.exists() else Verdict(mutant.name, "")
    return known if known.mark == mark else known.anew(mark)


def _save(verdict: Verdict, found: Sequence[str]) -> Verdict:
    """Write what was *found*; whoever judges it otherwise meanwhile has written the rest."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{verdict.name}.json"
    if path.exists():
        known = Verdict(**json.loads(path.read_text()))
        if known.mark == verdict.mark:
            verdict = evolve(known, **{name: getattr(verdict, name) for name in found})
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(verdict.as_dict(), indent=1) + "\n")
    partial.replace(path)
    return verdict


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
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    found = sum(each.killed for each in verdicts.values())
    subtle = _subtle(verdicts.values())
    count = f"{found} of {len(MUTANTS)} are found"
    lines = [
        f"{count}; {subtle} pass the example tests and the plain schedule.",
        "",
        "| fault | invariant | what it does | passes examples | passes plain | found by | after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_line(each, verdicts[each.name]) for each in MUTANTS),
    ]
    PAGE.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail)


if __name__ == "__main__":
    sys.exit(main())
