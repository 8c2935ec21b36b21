"""A task of a simulation: what would be a thread outside it."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.system.parking import ThreadHooks

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from runtime.simulation.processes import SimChild

__all__ = ["NO_HOOKS", "SimTask", "TaskKilled", "TaskState", "nothing"]

NO_HOOKS = ThreadHooks()


def nothing() -> None:
    """What a task runs that is the code which has entered the world, or that is over."""


class TaskKilled(BaseException):
    """Ends a task that is left over when its simulation ends. Never catch it."""


class TaskState(enum.Enum):
    """What a task is doing."""

    READY = "ready"  # runnable, or running
    BLOCKED = "blocked"  # until somebody makes it ready
    OVER = "over"


class SimTask:
    """One line of control, of which a simulation runs one at a time.

    Everything here is written by the task itself or by the world while no task runs.
    """

    __slots__ = (
        "function",
        "handle",
        "hooks",
        "ident",
        "in_turn",
        "jobs",
        "joiners",
        "killed",
        "loop",
        "name",
        "process",
        "state",
        "step",
        "visits",
        "waiting_for",
    )

    def __init__(
        self,
        ident: int,
        name: str,
        function: Callable[[], object],
        hooks: ThreadHooks = NO_HOOKS,
    ) -> None:
        self.ident = ident  # what get_ident() answers inside it
        self.name = name  # the same in every run of one schedule
        self.function = function
        self.handle: Any = None  # the back end's
        self.hooks = hooks  # how it waits
        self.jobs: deque[Callable[[], object]] = deque()  # actors' turns that it has to run
        self.in_turn = False
        self.joiners: list[SimTask] = []  # blocked until it is over
        self.killed = False
        self.loop: AbstractEventLoop | None = None  # that ran in it when it was switched from
        self.state = TaskState.READY
        self.step = 0  # switch points that it has passed
        self.visits = 0  # choices that were made at this step
        self.process: SimChild | None = None  # that it stands for
        self.waiting_for: str | Callable[[], str] = ""  # while it is blocked, for reports

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state is TaskState.OVER

    def describe_wait(self) -> str:
        """What it is blocked on, in words."""
        waiting_for = self.waiting_for
        return waiting_for if isinstance(waiting_for, str) else waiting_for()

    def __repr__(self) -> str:
        return f"<task {self.name}: {self.state.value}>"
