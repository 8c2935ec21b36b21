"""Who goes on at a switch point, and when time moves: the one place where anything is chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from runtime.simulation.alarms import Alarm, Alarms
from runtime.simulation.choices import CLOCK, MANY, Chooser, Options
from runtime.simulation.choosers import Plain
from runtime.simulation.errors import SimulationOverrunError
from runtime.simulation.log import WorldLog
from runtime.simulation.tasks import SimTask, TaskState, nothing

__all__ = ["LAG", "MAX_STEPS", "Deciding"]

MAX_STEPS = 1_000_000
LAG = 5.0  # virtual seconds


class Deciding(WorldLog, ABC):
    """Asks the chooser, and fires the timers of virtual time.

    Args:
        chooser: Makes the choices.
        jump: Let time move only when nothing can run.
        lag: How many virtual seconds may pass, in all, while something can run.
        max_steps: How many choices it may take.
    """

    def __init__(self, chooser: Chooser, *, jump: bool, lag: float, max_steps: int) -> None:
        super().__init__()
        self.chooser = chooser
        self.jump = jump
        self.whole_lag = lag
        self.lag = lag  # what is left of it
        self.max_steps = max_steps
        self.ready: list[SimTask] = []  # who can run beside the current one, in order of arrival
        self.main = SimTask(0, "main", nothing)
        self.current = self.main
        self._alarms = Alarms()
        self._unasked = 0  # timers that fired because nothing could run
        self._error: BaseException | None = None  # to be raised in main

    # Errors

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

    @abstractmethod
    def deadlock(self) -> BaseException:
        """The error of a world in which nothing can run and no timer is pending."""

    # Choices

    def choose(self, task: SimTask, *, runnable: bool) -> SimTask:
        """Who goes on after a switch point of *task*; takes it out of the ready ones.

        *runnable*: *task* itself could go on.
        """
        ready, alarms = self.ready, self._alarms
        while self._error is None:
            alarm = alarms.next() if alarms.heap else None
            clock = alarm is not None and not self.jump and alarm.when - self.now <= self.lag
            options: Sequence[SimTask]
            if runnable:
                if not ready and not clock:
                    return task
                options = [task, *ready] if len(ready) < MANY else Options(task, ready)
            elif ready:
                if len(ready) == 1 and not clock:
                    return ready.pop()
                options = ready
            else:
                if alarm is None:
                    self.fail(self.deadlock())
                elif self._may_go_on():
                    self._unasked += 1
                    self._fire()  # nothing can run: time moves
                continue
            choice = self._ask(task, options, clock, runnable)
            if choice == len(options):
                before = self.now
                self._fire()
                self.lag -= self.now - before
            elif not runnable:
                return ready.pop(choice)
            else:
                return task if choice == 0 else ready.pop(choice - 1)
        return self._take_main(task)

    def _ask(self, task: SimTask, options: Sequence[SimTask], clock: bool, runnable: bool) -> int:  # noqa: FBT001
        self.steps += 1
        if self.steps + self._unasked > self.max_steps and not self._may_go_on():
            return 0
        try:
            choice = self.chooser.choose(task, options, clock)
        except BaseException as error:  # noqa: BLE001 - such as Hypothesis ending this example
            self.give_up(error)
            return 0
        if choice:
            chosen = CLOCK if choice == len(options) else options[choice].name
            self.note_choice(task, chosen, runnable=runnable)
            self.preemptions += runnable and choice < len(options)
        task.visits += 1
        return choice

    def _may_go_on(self) -> bool:
        """Whether the bound is kept; time that moves by itself counts too, or it might for ever."""
        if self.steps + self._unasked > self.max_steps:
            self.fail(SimulationOverrunError(self.max_steps))
        return self._error is None

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
            self.note_decision(task, what, choice, told[choice] if told else choice)
        task.visits += 1
        return choice

    def _take_main(self, task: SimTask) -> SimTask:
        """Main goes on, whatever it waits for: there is something to raise in it."""
        main = self.main
        if main is not task and main in self.ready:
            self.ready.remove(main)
        main.state = TaskState.READY
        return main

    # Time

    def time(self) -> float:
        """Virtual monotonic seconds."""
        return self.now

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
