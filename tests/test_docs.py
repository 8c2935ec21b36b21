"""Every Python program in the documentation runs.

Each fenced block of README.md and docs/ that opens with ```` ```python ```` is a program of its own
and ends with exit code 0; ```` ```python no-run ```` marks one that is only to be read.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest
from attrs import frozen

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TIMEOUT = 30.0  # seconds for each program
FENCE = re.compile(r"^[ \t]*(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")


@frozen
class Block:
    """A fenced block: the page it stands on, the line of its fence, and its program."""

    page: str
    line: int
    info: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(page: str, text: str) -> Iterator[Block]:
    opened: re.Match[str] | None = None
    start, inside = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None:
            opened, start, inside = fence, number, []
        elif fence and not fence["info"] and fence["marks"].startswith(opened["marks"]):
            yield Block(page, start, opened["info"].strip(), dedent("\n".join(inside)) + "\n")
            opened = None
        else:
            inside.append(line)
    assert opened is None, f"{page}:{start}: this block is never closed"


PROGRAMS = [
    block
    for page in PAGES
    if page.is_file()
    for block in _blocks(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))
    if block.info == "python"
]


def _run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """The program in a process and a folder of its own."""
    program = folder / f"{Path(block.page).stem}_{block.line}.py"
    program.write_text("\n" * block.line + block.code, encoding="utf-8")  # same lines as the page
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, program.name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Block, Future[subprocess.CompletedProcess[str]]]]:
    """All programs, running beside each other; a test waits for its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            block: pool.submit(_run, block, tmp_path_factory.mktemp("program"))
            for block in PROGRAMS
        }


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_in_the_documentation_runs(
    block: Block, runs: dict[Block, Future[subprocess.CompletedProcess[str]]]
) -> None:
    try:
        ended = runs[block].result()
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"{block} still ran after {TIMEOUT:g} s\n{error.output or ''}", pytrace=False)
    assert ended.returncode == 0, f"{block} ended with {ended.returncode}\n{ended.stdout}"


def test_the_readme_exists() -> None:
    assert (ROOT / "README.md").is_file()


def test_a_program_is_told_from_a_block_that_is_only_to_be_read() -> None:
    page = """\
```python
run
```

- item

  ```python no-run
  read
  ```

````md
```python
```
````
"""
    found = [(block.line, block.info, block.code) for block in _blocks("page.md", page)]
    assert found == [
        (1, "python", "run\n"),
        (7, "python no-run", "read\n"),
        (11, "md", "```python\n```\n"),
    ]
