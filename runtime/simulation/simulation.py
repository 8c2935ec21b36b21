"""A simulation without a runtime: plain threads, event loops and actors, in virtual time."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from runtime.simulation.patches.loop import Adoption, SimLoop
from runtime.simulation.schedule import Schedule, lag_of
from runtime.simulation.world import MAX_STEPS, World

__all__ = ["Simulation"]


class Simulation:
    """Runs the code of its ``with`` block, and every thread that this starts, one at a time.

    The schedule says who goes on at each switch point. What is left over at the end of the block is
    ended. ``async with`` takes over the event loop that is running.

    Args:
        schedule: Makes the choices; the plain order if it is left out.
        clock: ``"choose"``, ``"jump"`` or seconds, see `Schedule`; the schedule's own if it is
            left out.
        backend: ``"greenlet"`` or ``"threads"``; the schedule's own if it is left out.
        max_steps: How many choices it may take.

    Raises:
        ValueError: there is no such clock or back end.
        ImportError: the back end needs a package that is not installed.
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        *,
        clock: str | float | None = None,
        backend: str | None = None,
        max_steps: int = MAX_STEPS,
    ) -> None:
        self.schedule = Schedule.plain() if schedule is None else schedule
        clock = self.schedule.clock if clock is None else clock
        self.world = World(
            self.schedule.chooser(),
            jump=clock == "jump",
            lag=lag_of(clock),
            backend=self.schedule.backend if backend is None else backend,
            max_steps=max_steps,
        )
        self.world.schedule = self.schedule
        self._adoption: Adoption | None = None

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.world.now

    def __enter__(self) -> Self:
        self.world.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.world.leave()
        finally:
            self.schedule.finished(self.world)
        error = self.world.take_error()
        if error is not None and (raised is None or isinstance(raised, KeyboardInterrupt)):
            raise error from None

    async def __aenter__(self) -> Self:
        self.__enter__()
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SimLoop):
            try:
                self._adoption = Adoption(loop, self.world)
            except BaseException:
                self.world.leave()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._adoption is not None:
            self._adoption.give_back()
        self.__exit__(kind, raised, traceback)
