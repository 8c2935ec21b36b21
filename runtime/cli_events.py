"""The file of ``--events``: one line of JSON for every change of an execution's state."""

from __future__ import annotations

import json
from typing import Any

from runtime.cli_streams import described
from runtime.subscriptions import EventsLost, ExecutionEvent

__all__ = ["EventLog"]


class EventLog:
    """A listener that writes each event to a file, line by line, as it comes.

    A disk that fills up must not end the run: the first error of a write is kept, what would have
    come after it is counted, and `close` tells both.

    Every line has ``at`` (seconds since the first event), ``id``, ``action``, ``state``,
    ``previous``, ``parent_id``, ``group_id``, ``index``, ``task_id``, ``attempts`` and ``error``
    (``null``, or its type and message in one string). Where events were lost, a line has ``lost``
    alone: how many.

    Raises:
        OSError: the file can't be opened. What it held before is gone.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "w", encoding="utf-8", buffering=1)  # noqa: PTH123, SIM115
        self._first: float | None = None
        self._problem: OSError | None = None
        self._missing = 0

    def __call__(self, news: ExecutionEvent | EventsLost) -> None:
        if isinstance(news, EventsLost):
            self._missing += news.count
            self._write({"lost": news.count})
        else:
            if self._first is None:
                self._first = news.at
            self._missing += not self._write(_record(news, self._first))

    def close(self) -> str | None:
        """Close the file; what went wrong with it, or ``None``. The listener has ended."""
        try:
            self._file.close()
        except OSError as error:  # some systems tell only here that a write has failed
            self._problem = self._problem or error
        if self._problem is not None:
            reason = self._problem.strerror or self._problem
            missing = f"{self._missing} events are missing" if self._missing else "events may miss"
            return f"--events {self._path}: {reason}; {missing}"
        if self._missing:
            return f"--events {self._path}: too slow to be written; {self._missing} events are lost"
        return None

    def _write(self, record: dict[str, Any]) -> bool:
        if self._problem is not None:
            return False
        try:
            self._file.write(json.dumps(record) + "\n")
        except OSError as error:
            self._problem = error
            return False
        return True


def _record(event: ExecutionEvent, start: float) -> dict[str, Any]:
    execution = event.execution
    error = execution.error
    return {
        "at": round(event.at - start, 6),
        "id": execution.id,
        "action": execution.action,
        "state": execution.state.value,
        "previous": event.previous.value,
        "parent_id": execution.parent_id,
        "group_id": execution.group_id,
        "index": execution.index,
        "task_id": execution.task_id,
        "attempts": execution.attempts,
        "error": None if error is None else described(error),
    }
