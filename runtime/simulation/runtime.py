"""The runtime of a simulation: the local one, with the parts that move it exchanged."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Self

from orchestrator.errors import RuntimeClosedError
from orchestrator.registry import ActionRegistry
from runtime.machinery import Machinery
from runtime.simulation.clock import VirtualClock
from runtime.simulation.dispatching import SimDispatcher, SimSystem, SimTurns
from runtime.simulation.errors import SimulationError
from runtime.simulation.facts import LONGEST_RUN
from runtime.simulation.faults import FaultInjector, Faults
from runtime.simulation.here import current_world
from runtime.simulation.processes import SimProcessHost
from runtime.simulation.schedule import Schedule, lag_of
from runtime.simulation.simulation import Simulation
from runtime.simulation.watching import WatchedRuntime
from runtime.simulation.world import MAX_STEPS, World

__all__ = ["SimulatedRuntime"]

_RUNS = (0, 1, 3)  # other bounds than production's for children that are handed out at a time
_JITTER = 997  # answers that a schedule has for the share of a retry's jitter


class SimulatedRuntime(WatchedRuntime):
    """A `LocalRuntime` in virtual time, of which a schedule decides everything that can differ.

    The rules, the actors and their messages are those of production. The code of its ``with``
    block, and every thread and action below it, runs one at a time; who goes on at each switch
    point, and when time passes, is the schedule's to say. Outside the block it can't be used.

    Made inside a `Simulation`, or in the block of another simulated runtime, it joins that.

    Args:
        actions: The actions that can be run.
        schedule: Makes the choices; the plain order if it is left out. A simulation that is joined
            has one already, and takes no other.
        workers: As for `LocalRuntime`; 4 by default, on every machine.
        clock: ``"choose"``, ``"jump"`` or seconds, see `Schedule`; by default the schedule's own.
        backend: ``"greenlet"`` or ``"threads"``; the schedule's own if it is left out.
        max_steps: How many choices one simulation may take; a million if it is left out. A
            simulation that is joined has clock, back end and bound already, and takes no others.
        faults: What may go wrong in the actions, drawn like every other choice; by default nothing.
        thorough: Switch in the middle of every message that is sent, too, where threads may: it
            reaches a few orders more, and costs a fifth of the speed.
        check: Check the invariants of the runtime while it runs; a violation is raised at its end.

    Raises:
        SimulationDeadlockError: nothing can run any more; raised where the block waits.
        SimulationOverrunError: it is not over after *max_steps*; likewise.
        UncontrolledError: the code under test uses what can't be controlled; the text names it.
        InvariantViolation: the runtime itself has broken a promise; at the end of the block.
        TypeError, ValueError: a wrong argument.
        ImportError: the back end needs a package that is not installed.
    """

    def __init__(
        self,
        actions: ActionRegistry,
        schedule: Schedule | None = None,
        *,
        workers: int | None = None,
        clock: str | float | None = None,
        backend: str | None = None,
        max_steps: int | None = None,
        faults: Faults | None = None,
        thorough: bool = False,
        check: bool = True,
    ) -> None:
        world = current_world()
        self._simulation: Simulation | None = None
        if world is None:
            self._simulation = Simulation(
                schedule,
                clock=clock,
                backend=backend,
                max_steps=MAX_STEPS if max_steps is None else max_steps,
            )
            world = self._simulation.world
        else:
            _check_joins(world, schedule, clock, backend, max_steps)
        self._world: World = world
        self._faults = faults
        self._thorough = thorough
        self.watch(world)
        super().__init__(actions, 4 if workers is None else workers)
        longest = (self._environment.longest_run, *_RUNS)
        told = tuple(map(str, longest))
        self._environment.longest_run = longest[world.decide(LONGEST_RUN, len(longest), told)]
        if faults is not None:
            self.inject(
                FaultInjector(faults, world, self.sleep, self.sleep_async, self.cancel_root)
            )
        if check:
            self.check_messages()
        world.on_leave.append(self._note_left)

    def _note_left(self) -> None:
        """Nobody answers any more: what a garbage collection still closes must not ask and wait."""
        self._closed = True

    @property
    def world(self) -> World:
        """What it runs in: its virtual time, its story, what it has reached."""
        return self._world

    def _make_machinery(self, name: str, workers: int) -> Machinery:  # noqa: ARG002 - the base's
        world = self._world
        clock = VirtualClock(world)
        system = SimSystem(
            world,
            clock,
            SimTurns(world),
            name,
            self._observer.on_message,
            thorough=self._thorough,
        )
        mortal = self._faults is not None and self._faults.process_deaths
        processes = SimProcessHost(world, mortal=mortal)
        return Machinery(clock, SimDispatcher(world), system, processes, partial(_jitter, world))

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loops.adopt(loop)  # and an interrupt is the world's

    def check(self) -> None:
        """As `RuntimePort.check`; outside its block it is refused too."""
        super().check()
        if not self._world.entered:
            message = (
                "a simulated runtime works inside its block: write `with SimulatedRuntime(...) as"
                " runtime:` and use it there"
            )
            raise RuntimeClosedError(message)

    def __enter__(self) -> Self:
        if self._simulation is not None:
            self._simulation.__enter__()
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, raised, traceback)
        except SimulationError:
            if not isinstance(raised, SimulationError):
                raise  # else its own end is what could not be reached
        finally:
            if self._simulation is not None:
                self._simulation.__exit__(kind, raised, traceback)

    async def __aenter__(self) -> Self:
        if self._simulation is not None:
            await self._simulation.__aenter__()
        return await super().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, raised, traceback)
        finally:
            if self._simulation is not None:
                await self._simulation.__aexit__(kind, raised, traceback)

    def __repr__(self) -> str:
        return f"<SimulatedRuntime with {self._workers} workers, at {self._world.now:.3f} s>"


def _jitter(world: World) -> float:
    return world.decide("jitter", _JITTER) / _JITTER


def _check_joins(
    world: World,
    schedule: Schedule | None,
    clock: str | float | None,
    backend: str | None,
    max_steps: int | None,
) -> None:
    """Refuse what the simulation that is joined has otherwise already."""
    lag = None if clock is None else lag_of(clock)
    others = {
        "schedule": schedule is not None and schedule is not world.schedule,
        "clock": lag is not None and (clock == "jump", lag) != (world.jump, world.whole_lag),
        "backend": backend is not None and backend != world.backend_name,
        "max_steps": max_steps is not None and max_steps != world.max_steps,
    }
    for name, is_other in others.items():
        if is_other:
            message = (
                f"this code runs in a simulation already, which has another {name}; leave"
                f" {name}= out, and this runtime joins it"
            )
            raise ValueError(message)
