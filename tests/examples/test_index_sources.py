"""The example that indexes Python files, on a small tree of its own and on the real one."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from examples.index_sources import find_sources

ROOT = Path(__file__).parent.parent.parent

COMMAND = "import sys; {}; sys.path.insert(0, {!r}); from runtime.cli import main; sys.exit(main())"


@pytest.mark.parametrize("setup", ["None", "sys.modules['rich'] = None"])
def test_it_counts_what_it_can_parse_and_names_what_it_cannot(tmp_path: Path, setup: str) -> None:
    for path, text in {
        "good.py": "class A:\n    def f(self): ...\n    async def g(self): ...\n",
        "package/bigger.py": "def f():\n    def g(): ...\n" + "# a comment\n" * 10,
        "package/bad.py": "print 'hello'\n",
        "package/data.txt": "class B: ...\n",
        "site-packages/other.py": "class C: ...\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    arguments = ["run", "examples.index_sources:actions", "sources:index"]
    done = subprocess.run(
        [
            *[sys.executable, "-c", COMMAND.format(setup, str(ROOT)), *arguments],
            *["--input", json.dumps({"root": str(tmp_path)})],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "modules": 2,
        "classes": 1,
        "functions": 4,
        "lines": 15,
        "largest": [
            {"module": "package/bigger.py", "lines": 12, "classes": 0, "functions": 2},
            {"module": "good.py", "lines": 3, "classes": 1, "functions": 2},
        ],
        "failed": [
            {
                "module": "package/bad.py",
                "error": json.loads(done.stdout)["failed"][0]["error"],  # Python's own text
            }
        ],
    }
    assert "all 2 modules" in done.stderr
    assert "package/bad.py: SyntaxError: " in done.stderr
    assert "done: 3 children, 1 failure, " in done.stderr.splitlines()[-1]


def test_it_finds_the_standard_library_and_nothing_that_was_installed() -> None:
    files = list(find_sources(Path(sysconfig.get_path("stdlib"))))
    assert len(files) > 100
    assert {"ast.py", "json/decoder.py"} <= set(files)
    assert not [file for file in files if "site-packages" in file]


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="no folder"):
        list(find_sources(tmp_path / "none"))
