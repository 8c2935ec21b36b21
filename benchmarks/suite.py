"""All the questions, one after the other, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plotting import plot
from benchmarks.reporting import HEADER, headlines, lines, machine, markdown, versions
from benchmarks.separate import ROOT

__all__ = ["QUESTIONS", "RESULTS", "ask", "main", "refresh"]

RESULTS = Path(__file__).with_name("results")
QUESTIONS = (
    "fan_out",
    "calls",
    "latency",
    "memory",
    "sleepers",
    "actor_messages",
    "shapes",
    "endless",
    "idle",
    "startup",
    "tail",
    "fairness",
    "gc_pauses",
    "watched",
)
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
_SAME = ("python", "implementation", "free_threaded", "system", "processor", "processors")
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_LIMIT, _FULL_LIMIT = 1800.0, 14400.0  # seconds for one question


def ask(name: str, arguments: Sequence[str] = (), limit: float = _LIMIT) -> dict[str, Any]:
    """One question's answer; one that fails or takes too long is an answer that says so."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.json")
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(path), *arguments]
        try:
            ended = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return _unanswered(name, f"not done after {limit:g} s")
        if ended.returncode or not path.exists():
            last = ended.stderr.strip().splitlines()[-1:] or [f"ended with {ended.returncode}"]
            return _unanswered(name, last[0])
        return {"benchmark": name, **json.loads(path.read_text(encoding="utf-8"))}


def _unanswered(name: str, why: str) -> dict[str, Any]:
    return {"benchmark": name, "question": name, "rows": [], "not_measured": why}


def main(names: Iterable[str], arguments: Sequence[str], results: Path = RESULTS) -> bool:
    """Ask them all; print one table, and write it, the JSON and the plot. Whether all answered.

    What was not asked keeps its last answer, if that is from the same Python on the same machine.
    """
    results.mkdir(exist_ok=True)
    limit = _FULL_LIMIT if "--full" in arguments else _LIMIT
    about, found = machine(), versions()
    taken = {
        "at": about["taken_at"],
        "revision": about["revision"],
        "load": about["load"],
        "arguments": list(arguments),
    }
    absent = [name for name, version in found.items() if version is None]
    print(f"{_about(about)}; not installed: {', '.join(absent) or 'nothing'}\n{HEADER}")
    answers = _kept(about, results)
    asked = list(names)
    for name in asked:
        print(f"... {name}", file=sys.stderr, flush=True)
        answers[name] = answer = {**ask(name, arguments, limit), "taken": taken}
        print("\n".join(lines(answer)), flush=True)
        if "not_measured" in answer:
            print(f"     not measured: {answer['not_measured']}", flush=True)
    questions = [answers[name] for name in QUESTIONS if name in answers]
    suite = {"machine": about, "versions": found, "questions": questions}
    (results / "latest.json").write_text(json.dumps(suite, indent=1) + "\n", encoding="utf-8")
    (results / "latest.md").write_text(markdown(suite), encoding="utf-8")
    if "fan_out" in asked and answers["fan_out"]["rows"]:
        try:
            plot(answers["fan_out"], _about(about), results / "fan_out.svg")
        except ImportError:
            print("no plot: matplotlib is not installed (it is in the extra [bench])")
    return not any("not_measured" in answers[name] for name in asked)


def _kept(about: Mapping[str, Any], results: Path) -> dict[str, dict[str, Any]]:
    """The last answers, where figures of now may stand beside them."""
    try:
        last = json.loads((results / "latest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if any(last["machine"].get(each) != about[each] for each in _SAME):
        return {}
    return {answer["benchmark"]: answer for answer in last["questions"] if "taken" in answer}


def _about(about: Mapping[str, Any]) -> str:
    return (
        f"Python {about['python']}, {about['processors']} processors, {about['system']},"
        f" {about['taken_at']}, revision {about['revision']}"
    )


def refresh(page: Path = PAGE, readme: Path = README, results: Path = RESULTS) -> None:
    """Put the last figures between the marks in the page about them, and a few into the README."""
    suite = json.loads((results / "latest.json").read_text(encoding="utf-8"))
    for path, figures in ((page, markdown(suite)), (readme, headlines(suite))):
        text = path.read_text(encoding="utf-8")
        before, begin, rest = text.partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if not begin or not end:
            raise ValueError(f"{path.name} has no {_BEGIN} and {_END} between which figures belong")
        path.write_text(f"{before}{begin}\n\n{figures}\n{end}{after}", encoding="utf-8")
