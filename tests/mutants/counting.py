"""A pytest plugin: how many examples each property test takes until it fails, without shrinking.

Load it with ``-p tests.mutants.counting``; it prints one line for each test that fails.
"""

from __future__ import annotations

import functools
import traceback
from typing import Any

import pytest
from hypothesis import Phase, settings

_taken: dict[str, int] = {}  # by test, examples until the first that failed
_errors: dict[str, str] = {}


def pytest_configure() -> None:
    """The examples of the CI profile, but none made smaller."""
    settings.register_profile(
        "counting",
        parent=settings.get_profile("default"),
        derandomize=True,
        max_examples=100,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.generate),
    )


def pytest_sessionstart() -> None:
    """After the conftest files have loaded a profile of theirs."""
    settings.load_profile("counting")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count the calls of every property."""
    for item in items:
        function = getattr(item, "obj", None)
        handle = getattr(function, "hypothesis", None)
        if handle is not None and not hasattr(handle.inner_test, "_counted"):
            handle.inner_test = _counted(item.nodeid, handle.inner_test)


def _counted(name: str, function: Any) -> Any:
    calls = 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if name not in _taken:
                _taken[name] = calls
                frame = traceback.extract_tb(error.__traceback__)[-1]
                text = str(error).strip().splitlines()[:1]
                _errors[name] = f"{type(error).__name__}: {text[0] if text else frame.line}"
            raise

    call._counted = True  # type: ignore[attr-defined]
    return call


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What Hypothesis did not take for a failure is none."""
    if report.when == "call" and report.passed:
        _taken.pop(report.nodeid, None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each property that failed."""
    for name, count in _taken.items():
        terminalreporter.write_line(f"KILLED {name} {count} {_errors[name][:160]}")
