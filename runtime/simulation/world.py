"""The world of one simulation: its tasks, its time, and the one place where anything is chosen.

One task runs at a time. At each *switch point* (before an actor's turn, before a lock is taken, at
every wait) the chooser says who goes on: the task itself, another one that can run, or the clock,
which lets the earliest timer fire now. Time stands still otherwise, unless nothing can run.
"""

from __future__ import annotations

import gc
import sys
from asyncio import _get_running_loop
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from types import FrameType

from actors.system.parking import ThreadHooks
from orchestrator.ids import replace_id_source
from runtime.observing import Fact
from runtime.simulation.alarms import Alarm, Alarms
from runtime.simulation.backends import make_backend
from runtime.simulation.choices import CLOCK, MANY, Chooser, Deviation, Options
from runtime.simulation.choosers import Plain
from runtime.simulation.errors import (
    SimulationDeadlockError,
    SimulationError,
    SimulationOverrunError,
    UncontrolledError,
)
from runtime.simulation.facts import BLOCKED, CHOICE, FAULT, OVER, SPAWNED, WAKE_UP, spot
from runtime.simulation.guard import guard
from runtime.simulation.here import real_ident, worlds
from runtime.simulation.interrupts import Interrupts
from runtime.simulation.loop_state import LoopState
from runtime.simulation.parker import SimParker
from runtime.simulation.patches.threads import forget_thread
from runtime.simulation.reach import Reach, count_reach
from runtime.simulation.stacks import where
from runtime.simulation.tasks import SimTask, TaskKilled, TaskState

__all__ = ["LAG", "MAX_STEPS", "World"]

FIRST_IDENT = 1_000_001  # of tasks; far from what an operating system hands out
MAX_STEPS = 1_000_000
LAG = 5.0  # virtual seconds


class World:
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
        self.chooser = chooser
        self.now = 0.0  # virtual seconds
        self.jump = jump
        self._lag = lag  # what is left of it
        self.max_steps = max_steps
        self.steps = 0  # choices made
        self.preemptions = 0  # choices that took a task off that could have gone on
        self.deviations: list[Deviation] = []  # from the plain order: enough to replay it all
        self.path: list[str] = []  # who ran, one name for each switch
        self.runtimes = 0  # that were made in it
        self.facts: list[Fact] = []  # what happened, for stories and for counting
        self.ready: list[SimTask] = []  # who can run beside the current one, in order of arrival
        self.main = SimTask(0, "main", _nothing)
        self.current = self.main
        self.tasks: dict[SimTask, None] = {}  # alive, beside main
        self.on_leave: list[Callable[[], object]] = []
        self.schedule: object = None  # whose choices these are, if anybody's
        self.entered = False
        self.backend_name = backend
        self._backend = make_backend(backend)
        self._switch_to = self._backend.switch  # bound once: it is called at every switch
        self._loops = LoopState()
        self._alarms = Alarms()
        self._idents = count(FIRST_IDENT)
        self._kinds: dict[str, int] = {}
        self._error: BaseException | None = None  # to be raised in main
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
        self.main.hooks = self.hooks()
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
            if self._collects:
                gc.enable()

    def _kill_all(self) -> None:
        self._ending = True
        self.ready.clear()
        for task in list(self.tasks):
            task.killed = True
            if task.state is not TaskState.OVER:
                self._switch(task)

    def hooks(self) -> ThreadHooks:
        """How a task of this world waits."""
        return ThreadHooks(self.new_parker, None, self.time)

    def time(self) -> float:
        """Virtual monotonic seconds."""
        return self.now

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
        task = SimTask(next(self._idents), f"{kind}-{number}", function)
        task.hooks = self.hooks()
        self.tasks[task] = None
        self.facts.append((SPAWNED, self.now, len(self.path), task.name))
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
        del self.tasks[task]
        if not task.killed:
            self.facts.append((OVER, self.now, len(self.path), task.name))
        if self._ending:
            following = self.main
        else:
            for joiner in task.joiners:
                self.make_ready(joiner)
            task.step += 1
            task.visits = 0
            following = self._choose(task, runnable=False)
        self.current = following
        self.path.append(following.name)
        return following

    def make_ready(self, task: SimTask) -> None:
        """Let a blocked task run again; nothing happens to one that can already."""
        if task.state is TaskState.BLOCKED:
            task.state = TaskState.READY
            self.ready.append(task)

    def fail(self, error: BaseException) -> None:
        """Raise *error* in the main task, ahead of everything else."""
        if self._error is None:
            self._error = error

    def give_up(self, error: BaseException) -> None:
        """The chooser can't go on: end in the plain order, and raise *error* in the main task."""
        self.chooser = Plain()
        self.fail(error)

    def take_error(self) -> BaseException | None:
        """What was still to be raised in the main task, once."""
        error, self._error = self._error, None
        return error

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
        following = self._choose(task, runnable=True)
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
            place = spot(sys._getframe(1))  # noqa: SLF001 - the cheap way to it
            self.facts.append((BLOCKED, self.now, len(self.path), task.name, waiting_for, place))
        following = self._choose(task, runnable=False)
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

    def _choose(self, task: SimTask, *, runnable: bool) -> SimTask:
        """Who goes on after a switch point of *task*; takes it out of the ready ones."""
        while True:
            if self._error is not None:
                return self._take_main(task)
            ready = self.ready
            alarm = self._alarms.next() if self._alarms.heap else None
            options: Sequence[SimTask]
            if runnable:
                options = [task, *ready] if len(ready) < MANY else Options(task, ready)
            elif ready:
                options = ready
            elif alarm is not None:
                self._fire()  # nothing can run: time moves
                continue
            else:
                self.fail(self._deadlock())
                continue
            clock = alarm is not None and not self.jump and alarm.when - self.now <= self._lag
            if len(options) == 1 and not clock:
                choice = 0
            else:
                choice = self._ask(task, options, clock=clock, runnable=runnable)
                if choice == len(options):
                    before = self.now
                    self._fire()
                    self._lag -= self.now - before
                    continue
            if runnable:
                return task if choice == 0 else ready.pop(choice - 1)
            return ready.pop(choice)

    def _ask(
        self, task: SimTask, options: Sequence[SimTask], *, clock: bool, runnable: bool
    ) -> int:
        self.steps += 1
        if self.steps > self.max_steps:
            self.fail(SimulationOverrunError(self.max_steps))
            return 0
        try:
            choice = self.chooser.choose(task, options, clock)
        except BaseException as error:  # noqa: BLE001 - such as Hypothesis ending this example
            self.give_up(error)
            return 0
        if choice != 0:
            chosen = CLOCK if choice == len(options) else options[choice].name
            self.deviations.append((task.name, task.step, task.visits, chosen))
            place = spot(sys._getframe(1))  # noqa: SLF001 - the cheap way to it
            self.facts.append(
                (CHOICE, self.now, len(self.path), task.name, chosen, runnable, place)
            )
            self.preemptions += runnable and choice < len(options)
        task.visits += 1
        return choice

    def decide(self, what: str, options: int, told: Sequence[str] = ()) -> int:
        """Let the chooser decide something for the calling task; 0 is the plain answer.

        *told* is what stories call the answers, by default their numbers.
        """
        task = self.current
        self.steps += 1
        try:
            choice = self.chooser.decide(task, what, options)
        except BaseException as error:  # noqa: BLE001 - as above
            self.give_up(error)
            return 0
        if choice != 0:
            self.deviations.append((task.name, task.step, task.visits, f"{what}={choice}"))
            place = spot(sys._getframe(1))  # noqa: SLF001
            self.facts.append(
                (
                    FAULT,
                    self.now,
                    len(self.path),
                    task.name,
                    what,
                    told[choice] if told else choice,
                    place,
                )
            )
        task.visits += 1
        return choice

    def _take_main(self, task: SimTask) -> SimTask:
        """Main goes on, whatever it waits for: there is something to raise in it."""
        main = self.main
        if main is not task and main in self.ready:
            self.ready.remove(main)
        main.state = TaskState.READY
        return main

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
        self._switch_to(leaving, to)
        if loop is not None:
            self._loops.come_back(leaving)

    def _deadlock(self) -> BaseException:
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

    # Time

    def call_at(self, when: float, fire: Callable[[], object]) -> Alarm:
        """Let *fire* be called at *when*, in virtual seconds, or a little later; never at once."""
        return self._alarms.set(when, fire)

    def call_in(self, seconds: float, fire: Callable[[], object]) -> Alarm:
        """`call_at`, counted from now."""
        return self.call_at(self.now + max(0.0, seconds), fire)

    def _fire(self) -> None:
        alarm = self._alarms.take()
        self.now = max(self.now, alarm.when)
        alarm.fire()

    # What happened

    @property
    def reach(self) -> Counter[Reach]:
        """How often this run has reached what tests mostly want to see; counted when asked."""
        return count_reach(self.facts)

    # What comes from outside

    def note_foreign(self, what: str) -> None:
        """A real thread did something to a task of this world; called on that thread."""
        self._foreign = self._foreign or what
        self.fail(UncontrolledError(what))


def _nothing() -> None:
    """The main task runs no function: it is the code that has entered the world."""
