"""What becomes of the figures: a table to read, JSON to keep, and what they were taken with."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "HEADER",
    "PEERS",
    "figure",
    "headlines",
    "lines",
    "machine",
    "markdown",
    "report",
    "versions",
]

_MEASURED = ("actors", "benchmarks/*.py", "orchestrator", "runtime")  # what figures depend on
PEERS = ("trio", "anyio", "pykka", "xoscar", "dask", "distributed", "ray")
HEADER = f"{'':49}{'size':>9}{'median':>10}{'low':>10}{'high':>10}  {'unit':12}beside"


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
        "system": platform.system(),
        "release": platform.release(),
        "processor": _processor(),
        "processors": _processors(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "revision": _revision(),
    }


def _processors() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _revision() -> str:
    """The commit that was measured, ``+`` where files that git tracks were changed."""
    folder = Path(__file__).parent.parent
    try:
        head = _git(folder, "rev-parse", "--short", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", *_MEASURED)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def versions(distributions: Iterable[str] = ("attrs", "cattrs", *PEERS)) -> dict[str, str | None]:
    """The version of each, ``None`` for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def report(question: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One question's answer, as JSON has it."""
    return {"question": question, "rows": list(rows)}


def figure(value: float) -> str:
    """A number with about three digits."""
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    if abs(value) >= 10:  # noqa: PLR2004
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"  # noqa: PLR2004


def lines(answer: Mapping[str, Any]) -> list[str]:
    """One question's part of the table."""
    found = [f"-- {answer['question']}"]
    last = None
    for row in answer["rows"]:
        if row["what"] != last:
            last = row["what"]
            found += [f"   {last}"] if last else []
        name = f"     {_name(row)}"
        size = "" if row["size"] is None else f"{row['size']:,}"
        if "not_measured" in row:
            found.append(f"{name:49}{size:>9}  not measured: {row['not_measured']}")
            continue
        numbers = "".join(f"{figure(row[part]):>10}" for part in ("median", "low", "high"))
        beside = "; ".join(_beside(ratio) for ratio in row["ratios"])
        found.append(f"{name:49}{size:>9}{numbers}  {row['unit']:12}{beside}".rstrip())
        found += [f"{'':70}not measured: {peer}" for peer in row["unmeasured_peers"]]
    return found


def _name(row: Mapping[str, Any]) -> str:
    if row["cores"] is None:
        return str(row["system"])
    return f"{row['system']} [{row['cores']} core{'s'[: row['cores'] > 1]}]"


def _beside(ratio: Mapping[str, Any]) -> str:
    text = ""
    if ratio["peer"]:
        text = f"{figure(ratio['median'])}{_spread(ratio)} x {ratio['peer']}"
    if ratio["limit"] is None:
        return text
    verdict = "met" if ratio["met"] else "MISSED"
    return f"{text}{', ' if text else ''}bar {figure(ratio['limit'])}: {verdict}"


def _spread(found: Mapping[str, Any]) -> str:
    if found["low"] == found["high"]:
        return ""
    return f" ({figure(found['low'])} to {figure(found['high'])})"


def markdown(suite: Mapping[str, Any]) -> str:
    """All answers as tables for a page of documentation."""
    about = suite["machine"]
    have = {name: version for name, version in suite["versions"].items() if version}
    absent = [name for name, version in suite["versions"].items() if not version]
    text = [
        f"Python {about['python']} on {about['processors']} processors ({about['processor']},"
        f" {about['system']}); "
        + ", ".join(f"{name} {version}" for name, version in have.items())
        + "."
        + (f" Not installed, so not measured: {', '.join(absent)}." if absent else "")
    ]
    for answer in suite["questions"]:
        text += ["", f"### {answer['question']}", "", f"{_taken(answer['taken'])}.", ""]
        if "not_measured" in answer:
            text.append(f"Not measured: {answer['not_measured']}.")
            continue
        text += ["| | size | median (low to high) | beside |", "| --- | ---: | ---: | --- |"]
        last = ""
        for row in answer["rows"]:
            if row["what"] != last:
                last = row["what"]
                text.append(f"| **{last}** | | | |")
            size = "" if row["size"] is None else f"{row['size']:,}"
            if "not_measured" in row:
                text.append(f"| {_name(row)} | {size} | not measured | {_cell(row)} |")
                continue
            text.append(
                f"| {_name(row)} | {size} | {figure(row['median'])}{_spread(row)} {row['unit']}"
                f" | {_compared(row['ratios'])} |"
            )
    return "\n".join(text) + "\n"


def _taken(taken: Mapping[str, Any]) -> str:
    load = f", load average {taken['load'][0]:g} before" if taken["load"] else ""
    asked = f", with {' '.join(taken['arguments'])}" if taken["arguments"] else ""
    return f"{taken['at'][:10]}, revision {taken['revision']}{load}{asked}"


def headlines(suite: Mapping[str, Any], names: Sequence[str] = ("fan_out", "calls")) -> str:
    """What this costs beside its peers, in a table of one row for each kind of work."""
    answers = [answer for answer in suite["questions"] if answer["benchmark"] in names]
    text = ["| | each | beside |", "| --- | ---: | --- |"]
    for answer in answers:
        for row in answer["rows"]:
            beside = _compared(row.get("ratios", ()), bars=False)
            if beside and row["cores"] in {None, suite["machine"]["processors"]}:
                size = f"{row['size']:,} × " if row["size"] is not None else ""  # noqa: RUF001
                each = f"{figure(row['median'])} {row['unit'].partition('/')[0]}"
                text.append(
                    f"| {size}{row['what']} | {each} | {_compared(row['ratios'], bars=False)} |"
                )
    return "\n".join(text) + "\n"


def _compared(ratios: Iterable[Mapping[str, Any]], *, bars: bool = True) -> str:
    shown = ratios if bars else ({**ratio, "limit": None} for ratio in ratios if ratio["peer"])
    return "; ".join(_beside(ratio) for ratio in shown).replace(" x ", " × ")  # noqa: RUF001


def _cell(row: Mapping[str, Any]) -> str:
    return str(row["not_measured"]).replace("|", "/").replace("\n", " ")
