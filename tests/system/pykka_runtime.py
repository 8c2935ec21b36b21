"""A pytest plugin that runs Pykka's own test-suite on ``PooledActor`` and our ``Future``.

It is loaded by the pytest that ``test_pykka_own_suite.py`` starts, and only there.
"""

import dataclasses

import pytest

from actors.system import Future, PooledActor

_replaced = 0


def pytest_itemcollected(item: pytest.Item) -> None:
    """Hand the test our classes where the suite's own fixture would hand it Pykka's."""
    global _replaced  # noqa: PLW0603
    params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
    if params and "runtime" in params:
        params["runtime"] = dataclasses.replace(
            params["runtime"], name="pooled", actor_class=PooledActor, future_class=Future
        )
        _replaced += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"ran on PooledActor: {_replaced}")
