"""What ``import orchestrator`` costs, counted: seconds would depend on the machine."""

import json
import subprocess
import sys

import pytest

COUNTED = """
import json, sys
import attrs, pykka
before, generated = set(sys.modules), []

def note(event, arguments):
    if event == "compile" and arguments[0] is not None:
        if str(arguments[1]).startswith("<attrs generated"):
            generated.append(len(arguments[0]))

sys.addaudithook(note)
import orchestrator
modules = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
print(json.dumps({"modules": modules, "classes": len(generated), "characters": sum(generated)}))
"""
PYTHON_HAS_THESE_ANYWAY = {"_contextvars", "contextvars"}


@pytest.fixture(scope="module")
def counted() -> dict[str, object]:
    """What a fresh process has done for the import, beyond that of attrs and Pykka."""
    ended = subprocess.run(
        [sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, object] = json.loads(ended.stdout)
    return found


def test_the_import_loads_no_module_that_takes_longer_than_it_does_itself(
    counted: dict[str, object],
) -> None:
    # Not asyncio, which takes longer than all else together; nor cattrs, difflib or secrets.
    assert set(counted["modules"]) - PYTHON_HAS_THESE_ANYWAY == {"orchestrator"}  # type: ignore[call-overload]


def test_the_import_makes_no_more_code_than_its_attrs_classes_need(
    counted: dict[str, object],
) -> None:
    # Half of its time goes into the code that attrs writes; see texts.fields_repr for the reprs.
    assert counted["classes"] <= 26
    assert counted["characters"] <= 12_000
