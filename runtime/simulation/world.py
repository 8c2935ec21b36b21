"""The world of one simulation: its tasks, and their switch points.

One task runs at a time. At each *switch point* (before an actor's turn, before a lock is taken, at
every wait) the chooser says who goes on: the task itself, another one that can run, or the clock,
which lets the earliest timer fire now. Time stands still otherwise, unless nothing can run.
"""

from __future__ import annotations

import gc
from asyncio import _get_running_loop
from collections.abc import Callable, Iterable
from itertools import count
from types import FrameType

from actors.system.parking import Blocker, ThreadHooks
from orchestrator.ids import replace_id_source
from runtime.simulation.backends import make_backend
from runtime.simulation.choices import Chooser
from runtime.simulation.deciding import LAG, MAX_STEPS, Deciding
from runtime.simulation.errors import (
    SimulationDeadlockError,
    SimulationError,
    UncontrolledError,
)
from runtime.simulation.facts import WAKE_UP
from runtime.simulation.guard import guard
from runtime.simulation.here import real_ident, worlds
from runtime.simulation.interrupts import Interrupts
from runtime.simulation.loop_state import LoopState
from runtime.simulation.parker import SimParker
from runtime.simulation.patches.threads import forget_thread
from runtime.simulation.stacks import where
from runtime.simulation.tasks import NO_HOOKS, SimTask, TaskKilled, TaskState, nothing

__all__ = ["LAG", "MAX_STEPS", "World"]

FIRST_IDENT = 1_000_001  # of tasks; far from what an operating system hands out


class World(Deciding):
    """Runs the tasks of one simulation, on the thread that has entered it.

    Args:
        chooser: Makes the choices.
        jump: Let time move only when nothing can run.
        lag: How many virtual seconds may pass, in all, while something can run.
        backend: ``"greenlet"`` or ``"threads"``.
        max_steps: How many choices it may take.
    """

    def __init__(
        self,
        chooser: Chooser,
        *,
        jump: bool = False,
        lag: float = LAG,
        backend: str = "greenlet",
        max_steps: int = MAX_STEPS,
    ) -> None:
        super().__init__(chooser, jump=jump, lag=lag, max_steps=max_steps)
        self.runtimes = 0  # that were made in it
        self.tasks: dict[SimTask, None] = {}  # alive, beside main
        self.on_leave: list[Callable[[], object]] = []
        self.schedule: object = None  # whose choices these are, if anybody's
        self.entered = False
        self.backend_name = backend
        self._backend = make_backend(backend)
        self._loops = LoopState()
        self._hooks = self._last_hooks = NO_HOOKS  # of every new task; what was made last
        self._idents = count(FIRST_IDENT)
        self._kinds: dict[str, int] = {}
        self._foreign: str | None = None
        self._ending = False
        self.blocked_for_real: UncontrolledError | None = None  # written by the guard
        self._ids = count(1)
        self._previous_ids: Callable[[], str] | None = None
        self._collects = False

    # Entering and leaving

    def enter(self) -> None:
        """Make the calling code its main task.

        Raises:
            SimulationError: this thread is in a simulation already.
        """
        ident = real_ident()
        if ident in worlds:
            message = "this thread is in a simulation already; leave it before another begins"
            raise SimulationError(message)
        self.main.ident = ident
        self.main.hooks = self._hooks = ThreadHooks(self.new_parker, None, self.time)
        self._backend.adopt(self.main)
        worlds[ident] = self
        self.entered = True
        self._interrupts = Interrupts(self)
        guard.watch(self)
        self._previous_ids = replace_id_source(self._new_id)
        # A finaliser that a collection happens to run is a step that no schedule could repeat.
        self._collects = gc.isenabled()
        gc.disable()

    def leave(self) -> None:
        """End what is left over, and give the calling code back to the real world."""
        if not self.entered:
            return
        try:
            for function in self.on_leave:
                function()
            self._kill_all()
        finally:
            self.entered = False
            guard.forget()
            self._interrupts.give_back()
            self._backend.release()
            replace_id_source(self._previous_ids)
            del worlds[self.main.ident]
            self._let_go()
            if self._collects:
                gc.enable()

    def _let_go(self) -> None:
        """Cut what refers back to this world: collecting thousands of cycles a second is dear."""
        del self._interrupts
        self.main.hooks = self._hooks = self._last_hooks = NO_HOOKS
        self.on_leave.clear()
        self._alarms.heap.clear()
        self.schedule = None

    def _kill_all(self) -> None:
        self._ending = True
        self.ready.clear()
        for task in list(self.tasks):
            task.killed = True
            if task.state is not TaskState.OVER:
                self._switch(task)

    def hooks_with(self, blocker: Blocker | None) -> ThreadHooks:
        """How a task waits whose waits are wrapped in what *blocker* makes: mostly the last one."""
        hooks = self._last_hooks
        if hooks.blocker is not blocker or hooks is NO_HOOKS:
            hooks = self._last_hooks = ThreadHooks(self.new_parker, blocker, self.time)
        return hooks

    def new_parker(self) -> SimParker:
        """What a task of this world parks on."""
        return SimParker(self)

    def _new_id(self) -> str:
        return f"sim-{next(self._ids)}"

    # Tasks

    def spawn(self, kind: str, function: Callable[[], object], *, ready: bool = True) -> SimTask:
        """Make a task that runs *function*; it starts when the chooser says so.

        Args:
            kind: Names it, together with a number.
            function: What it runs. What it raises is logged nowhere: catch it inside.
            ready: Whether it can start; else somebody makes it ready.
        """
        number = self._kinds.get(kind, 0) + 1
        self._kinds[kind] = number
        task = SimTask(next(self._idents), f"{kind}-{number}", function, self._hooks)
        self.tasks[task] = None
        self.note_spawned(task)
        self._backend.make(task, self._run)
        if ready:
            self.ready.append(task)
        else:
            task.state = TaskState.BLOCKED
        return task

    def _run(self, task: SimTask) -> SimTask:
        """The life of one task; returns who goes on when it is over."""
        try:
            if not task.killed:
                task.function()
        except TaskKilled:
            pass
        except BaseException as error:  # noqa: BLE001 - nobody above it could handle it
            self.fail(error)
        self._loops.forget(task)
        forget_thread(task)
        task.state = TaskState.OVER
        task.function, task.hooks = nothing, NO_HOOKS  # they refer to the task, and to this
        del self.tasks[task]
        if not task.killed:
            self.note_over(task)
        if self._ending:
            following = self.main
        else:
            for joiner in task.joiners:
                self.make_ready(joiner)
            task.step += 1
            task.visits = 0
            following = self.choose(task, runnable=False)
        self.current = following
        self.path.append(following.name)
        return following

    def make_ready(self, task: SimTask) -> None:
        """Let a blocked task run again; nothing happens to one that can already."""
        if task.state is TaskState.BLOCKED:
            task.state = TaskState.READY
            self.ready.append(task)

    # Switch points

    def pause(self) -> None:
        """A switch point at which the calling task could go on, and others may go first."""
        task = self.current
        task.step += 1
        task.visits = 0
        if task.killed:
            raise TaskKilled
        if self._error is None and not self.ready and (self.jump or not self._alarms.heap):
            return  # nobody else could run: no choice
        following = self.choose(task, runnable=True)
        if following is not task:
            self.ready.append(task)
            self._switch(following)
        if self._error is not None or task.killed:
            self._raise_in(task)

    def block(self, waiting_for: str | Callable[[], str]) -> None:
        """A switch point at which the calling task can't go on until `make_ready`."""
        task = self.current
        task.step += 1
        task.visits = 0
        if task.killed:
            raise TaskKilled
        task.state = TaskState.BLOCKED
        task.waiting_for = waiting_for
        if waiting_for and waiting_for != WAKE_UP:
            self.note_blocked(task, waiting_for)
        following = self.choose(task, runnable=False)
        if following is not task:
            self._switch(following)
        task.waiting_for = ""
        if self._error is not None or task.killed:
            self._raise_in(task)

    def wait(self, seconds: float | None, waiting_for: str | Callable[[], str]) -> None:
        """`block`, for at most *seconds*; the caller looks for itself what ended it."""
        alarm = None if seconds is None else self.call_in(seconds, self._waker(self.current))
        try:
            self.block(waiting_for)
        finally:
            if alarm is not None:
                alarm.live = False

    def _waker(self, task: SimTask) -> Callable[[], None]:
        return lambda: self.make_ready(task)

    def _raise_in(self, task: SimTask) -> None:
        if task.killed:
            raise TaskKilled
        if task is self.main and self._error is not None and not task.in_turn:
            # Raised in an actor's turn, it would be taken for that actor's own failure.
            error, self._error = self._error, None
            raise error

    def _switch(self, to: SimTask) -> None:
        leaving = self.current
        loop = leaving.loop = _get_running_loop()
        if loop is not None:
            self._loops.leave(leaving)
        self.current = to
        self.path.append(to.name)
        to.handle.switch()
        if loop is not None:
            self._loops.come_back(leaving)

    def deadlock(self) -> BaseException:
        """As `Deciding.deadlock`; what a foreign thread has done explains it."""
        if self._foreign is not None:
            return UncontrolledError(self._foreign)
        return SimulationDeadlockError(tuple(self.describe_blocked()))

    def frames(self) -> dict[int, FrameType]:
        """Where each task that has no control stands, by its ident."""
        others = (task for task in (self.main, *self.tasks) if task is not self.current)
        found = ((task.ident, self._backend.frame(task)) for task in others)
        return {ident: frame for ident, frame in found if frame is not None}

    def describe_blocked(self) -> Iterable[str]:
        """Each blocked task: its name, what it waits for, and where in the user's code."""
        for task in (self.main, *self.tasks):
            if task.state is TaskState.BLOCKED and task.waiting_for:
                frame = None if task is self.current else self._backend.frame(task)
                yield f"{task.name} waits for {task.describe_wait()}{where(frame)}"

    # What comes from outside

    def note_foreign(self, what: str) -> None:
        """A real thread did something to a task of this world; called on that thread."""
        self._foreign = self._foreign or what
        self.fail(UncontrolledError(what))
