"""Index the standard library of the Python that runs this: one child execution per file.

Run it with ``make run``, with ``python -m examples.index_sources``, or through the command line:

    orchestrate run examples.index_sources:actions sources:index
    orchestrate run examples.index_sources:actions sources:index --input '{"root": "."}'

``sources:index`` finds the files, emits one child for each, waits for the group and merges what
came back. Parsing is work for the CPU and holds Python's global lock, so threads would take turns
at it: ``sources:parse`` asks for processes of its own, one for each CPU. Some files that come with
Python are wrong on purpose; their children fail, and ``return_exceptions=True`` puts each
exception in the place of an output.
"""

import ast
import io
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator import (
    ORCHESTRATOR_CONTEXT_KEY,
    ActionRegistry,
    ExecutionContext,
    Orchestrator,
    Task,
)
from runtime.cli import main

try:
    import rich.console
    import rich.table
except ImportError:  # an extra that draws better tables
    rich = None  # type: ignore[assignment]

COUNTS = ("classes", "functions", "lines")
LARGEST = 10  # modules in the table
SKIPPED = {"site-packages", "dist-packages", "__pycache__"}  # what is not the standard library's

actions = ActionRegistry()


@actions.register("sources:index")
def index(context: ExecutionContext, root: str | None = None) -> dict[str, Any]:
    """Count what the Python files below *root* hold, by default those of the standard library."""
    top = Path(sysconfig.get_path("stdlib") if root is None else root)
    files = sorted(find_sources(top))

    orchestrator: Orchestrator = context[ORCHESTRATOR_CONTEXT_KEY]
    template = Task("sources:parse", {"root": str(top), "file": "${file}"})
    group = orchestrator.emit_for_each(files, "file", template)
    results = orchestrator.await_group(group, return_exceptions=True)

    summary = merge(files, results)
    print(table(summary), file=sys.stderr)
    return summary


@actions.register("sources:parse", runs_in="process", max_concurrency=os.cpu_count())
def parse(root: str, file: str) -> dict[str, int]:
    """Count the lines, classes and functions of one file; it fails where Python can't parse it."""
    source = Path(root, file).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of '\d' in old sources, which are not ours to mend
        tree = ast.parse(source, file)
    kinds = [type(node) for node in ast.walk(tree)]
    return {
        "lines": len(source.splitlines()),
        "classes": kinds.count(ast.ClassDef),
        "functions": kinds.count(ast.FunctionDef) + kinds.count(ast.AsyncFunctionDef),
    }


def find_sources(top: Path) -> Iterator[str]:
    """The Python files below *top*, as paths relative to it."""
    if not top.is_dir():
        message = f"{str(top)!r} is no folder; give the one to index as root"
        raise NotADirectoryError(message)
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        for name in names:
            if name.endswith(".py"):
                yield Path(folder, name).relative_to(top).as_posix()


def merge(files: list[str], results: list[Any]) -> dict[str, Any]:
    """One summary of the children's outputs and exceptions, which come in the order of *files*."""
    parsed, failed = [], []
    for file, result in zip(files, results, strict=True):
        if isinstance(result, Exception):
            failed.append({"module": file, "error": f"{type(result).__name__}: {result}"})
        else:
            parsed.append({"module": file, **result})
    largest = sorted(parsed, key=lambda module: module["lines"], reverse=True)
    return {
        "modules": len(parsed),
        **{count: sum(module[count] for module in parsed) for count in COUNTS},
        "largest": largest[:LARGEST],
        "failed": failed,
    }


def table(summary: dict[str, Any]) -> str:
    """The summary for people."""
    everything = {"module": f"all {summary['modules']} modules", **summary}
    rows = [
        (module["module"], *(f"{module[count]:,}" for count in COUNTS))
        for module in [*summary["largest"], everything]
    ]
    lines = [drawn([("largest modules", *COUNTS), *rows])]
    if summary["failed"]:
        lines.append(f"{len(summary['failed'])} files could not be parsed:")
    lines += [f"  {failure['module']}: {failure['error']}" for failure in summary["failed"]]
    return "\n".join(lines)


def drawn(rows: list[tuple[str, ...]]) -> str:
    """Rows as a table, the first its head and the last its foot: by rich where it is installed."""
    if rich is None:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            name.ljust(widths[0])
            + "".join(text.rjust(2 + width) for text, width in zip(row, widths[1:], strict=True))
            for name, *row in rows
        )
    result = rich.table.Table(show_footer=True)
    for place, (head, foot) in enumerate(zip(rows[0], rows[-1], strict=True)):
        result.add_column(head, foot, justify="right" if place else "left", overflow="fold")
    for row in rows[1:-1]:
        result.add_row(*row)
    # Made into text here and printed by the caller, so that it stands above a progress bar.
    console = rich.console.Console(file=io.StringIO(), force_terminal=sys.stderr.isatty())
    with console.capture() as text:
        console.print(result)
    return text.get().rstrip()


if __name__ == "__main__":
    sys.exit(main(["run", "examples.index_sources:actions", "sources:index"]))
