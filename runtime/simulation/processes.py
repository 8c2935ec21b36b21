"""Process actions in a simulation: each process is a task that shares nothing with the others.

What is sent is pickled and unpickled as in production, and it is production's code that answers a
request. What a real process would have for itself (globals, the working directory) it has not.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from runtime._process_worker import Child, Stage, answer_request
from runtime.processes import ProcessHost
from runtime.simulation.tasks import TaskState

if TYPE_CHECKING:
    from runtime.simulation.tasks import SimTask
    from runtime.simulation.world import World

__all__ = ["ProcessExit", "SimChild", "SimProcessHost"]

FIRST_PID = 4_194_305  # above what Linux ever gives out
KILLED = -9


class ProcessExit(BaseException):  # what os._exit() raises in a simulated process
    """Ends a simulated process on the spot."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class SimProcessHost(ProcessHost):
    """As `ProcessHost`, with simulated processes."""

    def __init__(self, world: World, *, mortal: bool = False) -> None:
        """*mortal*: let the schedule decide that a process dies in the middle of a call."""
        super().__init__(keep_idle=4)  # of which there can be no shortage
        self._world = world
        self._mortal = mortal
        self._pids = count(FIRST_PID)

    def _make_child(self) -> SimChild:
        return SimChild(self._world, next(self._pids), mortal=self._mortal)


class SimChild(Child):
    """As `Child`, on a task."""

    def __init__(self, world: World, pid: int, *, mortal: bool) -> None:  # not Child's, a real one
        self._world = world
        self._mortal = mortal
        self._task: SimTask | None = None
        self._caller = world.new_parker()
        self._dead = False
        self.pid = pid
        self.stage = Stage.STARTING
        self.late = False
        self.exit_code = None

    def start(self) -> None:
        """Nothing to do: it is there."""

    def ask(self, request: bytes) -> bytes | None:
        """As `Child.ask`."""
        world = self._world
        self.stage = Stage.READY
        if self._dead:
            return None
        answers: list[bytes] = []
        died = self._mortal and world.decide("fault in a process", 2, ("none", "it dies")) == 1

        def run() -> None:
            try:
                if died:
                    self.note_exit(KILLED)
                    return
                answers.append(bytes(answer_request(request)))
            except ProcessExit as end:
                self.note_exit(end.code)
            finally:
                self._caller.unpark()

        self.stage = Stage.ASKED
        task = self._task = world.spawn("process", run)
        task.process = self
        while not answers and not self._dead:
            self._caller.park()
        if self._dead:
            return None
        self.stage = Stage.READY
        return answers[0]

    def note_exit(self, code: int) -> None:
        """It has ended by itself."""
        self._dead = True
        self.exit_code = code

    def kill(self) -> None:
        """End it where it stands: at its next switch point, or now if it waits."""
        self.note_exit(KILLED)
        task = self._task
        if task is not None and task.state is not TaskState.OVER:
            task.killed = True
            self._world.make_ready(task)
        self._caller.unpark()

    def dismiss(self) -> None:
        """As `Child.dismiss`."""
        self._dead = True

    def has_ended(self, patience: float = 0.0) -> bool:  # noqa: ARG002 - it ends at once
        """As `Child.has_ended`."""
        return self._dead

    def end(self) -> None:
        """As `Child.end`."""
        if not self._dead:
            self.kill()
