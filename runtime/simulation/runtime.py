"""The runtime of a simulation."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from actors.environment import Publisher
from orchestrator.registry import ActionRegistry
from runtime.local import LocalRuntime, Machinery
from runtime.processes import ProcessHost
from runtime.simulation.clock import VirtualClock
from runtime.simulation.dispatching import SimDispatcher, SimSystem, SimTurns
from runtime.simulation.errors import SimulationError
from runtime.simulation.here import current_world
from runtime.simulation.patches.loop import Adoption, SimLoop
from runtime.simulation.world import World

__all__ = ["SimulatedRuntime"]


class SimulatedRuntime(LocalRuntime):
    """draft."""

    def __init__(self, actions: ActionRegistry, schedule: Any = None, *, workers: int | None = None, clock: str = "choose", backend: str = "greenlet") -> None:
        world = current_world()
        self._owns_world = world is None
        self._world = world or World(schedule.chooser(), jump=clock == "jump", backend=backend)
        self._adoption: Adoption | None = None
        self.seen: list[Any] = []
        super().__init__(actions, workers if workers is not None else 4)
        self._world.on_leave.append(self._note_left)

    def _note_left(self) -> None:
        """Nobody answers any more: what a garbage collection still closes must not ask and wait."""
        self._closed = True

    def _make_machinery(self, name: str, workers: int) -> Machinery:
        world = self._world
        clock = VirtualClock(world)
        dispatcher = SimDispatcher(world)
        system = SimSystem(world, clock, SimTurns(world), name, self._on_message)
        return Machinery(clock, dispatcher, system, ProcessHost(), lambda: 0.5)

    def _on_message(self, actor: Any, message: Any) -> None:
        self.seen.append((self._world.now, type(actor).__name__, type(message).__name__))

    def __enter__(self) -> Self:
        if self._owns_world:
            self._world.enter()
        return super().__enter__()

    def __exit__(self, kind: Any, raised: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            super().__exit__(kind, raised, traceback)
        except SimulationError:
            if not isinstance(raised, SimulationError):
                raise
        finally:
            if self._owns_world:
                self._world.leave()

    async def __aenter__(self) -> Self:
        if self._owns_world:
            self._world.enter()
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SimLoop):
            self._adoption = Adoption(loop, self._world)
        return await super().__aenter__()

    async def __aexit__(self, kind: Any, raised: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            await super().__aexit__(kind, raised, traceback)
        finally:
            if self._adoption is not None:
                self._adoption.give_back()
            if self._owns_world:
                self._world.leave()
