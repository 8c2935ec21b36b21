"""A pytest plugin: how many schedules each property test takes until it fails, without shrinking.

Load it with ``-p tests.mutants.counting``. It prints one line for each test that fails, runs the
one that ``MUTANTS_FIRST`` names ahead of the others, and ends the process where a test hangs.
"""

from __future__ import annotations

import functools
import os
import threading
import traceback
from typing import Any

import pytest
from hypothesis import Phase, settings

from runtime.simulation import Simulation

FIRST = "MUTANTS_FIRST"
HANGS = 97  # the exit code
_PATIENCE = 120.0  # seconds for one test

_OUT = os.dup(1)  # before pytest captures it
_schedules = 0  # that the test which runs has begun
_errors: dict[str, tuple[int, str]] = {}  # by test, of the first example that failed
_watchdog: threading.Timer | None = None


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
    enter = Simulation.__enter__

    def counted(simulation: Simulation) -> Simulation:
        global _schedules  # noqa: PLW0603 - the count of one process
        _schedules += 1
        return enter(simulation)

    Simulation.__enter__ = counted  # type: ignore[method-assign]


def pytest_sessionstart() -> None:
    """After the conftest files have loaded a profile of theirs."""
    settings.load_profile("counting")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch every property; the most telling test comes first."""
    first = os.environ.get(FIRST, "")
    items.sort(key=lambda item: not (first and first in item.nodeid))
    for item in items:
        function = getattr(item, "obj", None)
        handle = getattr(function, "hypothesis", None)
        if handle is not None and not hasattr(handle.inner_test, "_counted"):
            handle.inner_test = _counted(item.nodeid, handle.inner_test)


def _counted(name: str, function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            # Hypothesis ends examples by exceptions of its own.
            if name not in _errors and not type(error).__module__.startswith("hypothesis"):
                frame = traceback.extract_tb(error.__traceback__)[-1]
                text = str(error).strip().splitlines()[:1]
                said = text[0] if text else frame.line
                _errors[name] = (_schedules, f"{type(error).__name__}: {said}")
            raise

    call._counted = True  # type: ignore[attr-defined]
    return call


def pytest_runtest_logstart(nodeid: str) -> None:
    """One that hangs is found, and ends here."""
    global _schedules, _watchdog  # noqa: PLW0603 - of one process
    _schedules = 0
    _watchdog = threading.Timer(_PATIENCE, _give_up, (nodeid,))
    _watchdog.daemon = True
    _watchdog.start()


def pytest_runtest_logfinish() -> None:
    """It has not hung."""
    if _watchdog is not None:
        _watchdog.cancel()


def _give_up(nodeid: str) -> None:
    os.write(_OUT, f"\nKILLED {nodeid} {max(_schedules, 1)} it hangs\n".encode())
    os._exit(HANGS)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Every failure counts, that of a fixture too; what Hypothesis took for none does not."""
    if report.failed and report.nodeid not in _errors:
        text = str(report.longrepr).strip().splitlines()[-1:]
        _errors[report.nodeid] = (_schedules, text[0] if text else "")
    elif report.when == "call" and report.passed:
        _errors.pop(report.nodeid, None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each test that failed."""
    for name, (count, text) in _errors.items():
        terminalreporter.write_line(f"KILLED {name} {count} {text[:160]}")
