"""What the actions of a plan have seen: steps, answers and errors, as values that compare."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from orchestrator import (
    Execution,
    GroupFailedError,
    GroupTimeoutError,
)
from runtime.simulation.errors import SimulationError
from runtime.simulation.plans import (
    Path,
)

__all__ = [
    "Kind",
    "PlannedError",
    "PlannedExit",
    "Record",
    "Step",
    "Told",
    "comparable",
    "name_of",
    "told",
    "told_error",
]


class PlannedError(Exception):
    """What failing tasks raise."""


class PlannedExit(BaseException):
    """What tasks raise that end by a ``BaseException``."""


@frozen
class Told:
    """What a waiter got, comparable."""

    kind: str  # "outputs", or the name of the error's class
    outputs: tuple[Any, ...] = ()
    errors: tuple[str, ...] = ()  # of a failed group: each child's, in their order
    missing: tuple[int, ...] = ()  # of a group whose deadline has passed
    states: tuple[str, ...] = ()  # of a failed group: each child's at the decision


class Kind:
    """What a step of a record is."""

    STARTS = "starts"  # the code of an attempt
    ENDS = "ends"  # likewise
    EMITS = "emits"  # the emit has returned
    TOLD = "told"  # a wait has returned
    CHILD = "child"  # as_completed gave an end
    FAULT = "fault"  # something was done from outside
    OPENS = "opens"  # a source of children was read for the first time
    CLOSES = "closes"  # it is over


@frozen
class Step:
    """One thing that was seen, in the order in which it was."""

    kind: str
    path: Path
    at: float  # seconds of the clock that the code sees
    execution_id: str = ""
    attempt: int = 0
    deadline: float | None = None  # of the code that starts, in the same seconds
    group_id: str = ""
    who: str = ""  # of those who wait: "parent", or the waiter's number
    since: float = 0.0  # when the wait began
    timeout: float | None = None  # of the wait
    told: Told | None = None
    child: Execution | None = None


@define(eq=False)
class Record:
    """What was seen of one run. Any thread appends; every entry is one step."""

    steps: list[Step] = field(factory=list)
    watched: bool = False  # whether somebody reads the ends of every group
    ids: dict[Path, str] = field(factory=dict)  # of the last execution made for each path
    groups: dict[Path, str] = field(factory=dict)
    threads: list[threading.Thread] = field(factory=list)
    runtime: Any = None
    reductions: list[tuple[Any, ...]] = field(factory=list)  # what the reducers were given

    def of(self, kind: str) -> list[Step]:
        """The steps of one kind."""
        return [step for step in self.steps if step.kind == kind]

    def running(self) -> set[str]:
        """The executions whose code has started and not ended."""
        inside: dict[str, int] = {}
        for step in self.steps:
            if step.kind == Kind.STARTS:
                inside[step.execution_id] = inside.get(step.execution_id, 0) + 1
            elif step.kind == Kind.ENDS:
                inside[step.execution_id] -= 1
        return {name for name, count in inside.items() if count}

    def start(self, function: Callable[[], object]) -> None:
        """Run *function* on a thread of its own, to be joined by `join`."""
        thread = threading.Thread(target=function, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for all threads, those started meanwhile too."""
        for thread in self.threads:  # a list may grow while it is read
            thread.join()


def name_of(path: Path) -> str:
    """What an execution of a plan is called in outputs and errors."""
    return ".".join(map(str, path)) or "root"


def told(wait: Callable[[], Any]) -> Told:
    """What a wait comes to, comparable."""
    try:
        value = wait()
    except SimulationError:
        raise
    except Exception as error:  # noqa: BLE001 - it is the answer
        return told_error(error)
    return Told("outputs", comparable(value))


def comparable(value: Any) -> tuple[Any, ...]:
    """*value* as something that can be hashed and compared."""
    return tuple(value) if isinstance(value, list) else (value,)


def told_error(error: BaseException) -> Told:
    """What a waiter was told by *error*."""
    kind = type(error).__name__
    match error:
        case GroupFailedError():
            errors = tuple(f"{type(each).__name__}: {each}" for each in error.exceptions)
            states = tuple(each.state.value for each in error.executions)
            return Told(kind, tuple(error.outputs), errors, states=states)
        case GroupTimeoutError():
            return Told(kind, tuple(error.outputs), (str(error),), tuple(error.missing))
        case BaseExceptionGroup():
            return Told(kind, (), tuple(str(each) for each in error.exceptions))
        case _:
            return Told(kind, (), (str(error),))


# What the actions do
