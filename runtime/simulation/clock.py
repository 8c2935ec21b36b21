"""The clock of a simulated runtime: timers in virtual time."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors.system import Clock, Timer
from runtime.simulation.tasks import TaskKilled

if TYPE_CHECKING:
    from runtime.simulation.alarms import Alarm
    from runtime.simulation.tasks import SimTask
    from runtime.simulation.world import World

__all__ = ["VirtualClock"]

_logger = logging.getLogger("actors.system")


class VirtualClock(Clock):
    """As `Clock`; its timers fire on a task of their own, one after the other."""

    def __init__(self, world: World) -> None:  # not Clock's, which reads the real time
        self._world = world
        self.now = world.time
        self._timers: dict[Timer, Alarm] = {}
        self._due: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._task: SimTask | None = None
        self._idle = False
        self._over = False

    @property
    def pending(self) -> int:
        """As `Clock.pending`."""
        return len(self._timers)

    def call_at(self, when: float, function: Callable[..., object], *args: Any) -> Timer:
        """As `Clock.call_at`, in virtual seconds."""
        if math.isnan(when):
            message = f"a timer needs a time in seconds, not {when!r}"
            raise ValueError(message)
        timer = Timer(when, self)
        if not self._over:

            def fire() -> None:
                del self._timers[timer]
                self._due.append((function, args))
                self._wake()

            self._timers[timer] = self._world.call_at(when, fire)
        return timer

    def start(self) -> None:
        """Nothing to do: the task starts with the first timer that fires."""

    def close(self) -> None:
        """As `Clock.close`."""
        self._over = True
        for alarm in self._timers.values():
            alarm.live = False
        self._timers.clear()
        self._due.clear()
        if self._task is not None and self._idle:
            self._idle = False
            self._world.make_ready(self._task)  # to end

    def _wake(self) -> None:
        if self._task is None:
            self._task = self._world.spawn("clock", self._run)
        elif self._idle:
            self._idle = False
            self._world.make_ready(self._task)

    def _run(self) -> None:
        while True:
            while self._due:
                function, args = self._due.popleft()
                try:
                    function(*args)
                except TaskKilled:
                    raise
                except BaseException:
                    _logger.exception("A timer's callback %r failed", function)
            if self._over:
                return
            self._idle = True
            self._world.block("")

    def _is_live(self, timer: Timer) -> bool:
        return timer in self._timers

    def _cancel(self, timer: Timer) -> None:
        alarm = self._timers.pop(timer, None)
        if alarm is not None:
            alarm.live = False
