"""What an actor of the runtime has around it: the objects that a simulation swaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from actors.loans import Loans
from actors.system import ActorSystem, Clock, Dispatcher
from actors.waking import WakeUps
from orchestrator.protocols import FullRuntime
from orchestrator.values import Execution, ExecutionState

if TYPE_CHECKING:
    from actors.attempt import Attempt
    from actors.leaf import LeafAttempt
    from actors.run import Run
    from actors.wait import Nap
    from orchestrator.context import ExecutionContext

__all__ = ["Environment", "Place", "Publisher"]


class Place(Protocol):
    """Where an action's code runs."""

    def start(self, attempt: Attempt) -> None:
        """Run the attempt's code soon; its actor hears of it by `AttemptEnded`. Never blocks."""
        ...

    def start_run(self, run: Run) -> None:
        """Run the code of its children soon, one after another or as tasks. Never blocks.

        Each that completes is reported to its group, anything else to its actor; then, once, the
        allocator is told `RunOver`.
        """
        ...

    def after_starts(self, function: Callable[[], object]) -> None:
        """Call *function* when the async attempts started so far have had their first step."""
        ...

    def abandon(self, attempt: Attempt) -> None:
        """Its event loop has closed: its code will never go on, and counts as ended."""
        ...


class Publisher(Protocol):
    """Where changes of state are told."""

    @property
    def active(self) -> Sized:
        """Who listens; empty, and so false, where nobody does. Read for every change."""
        ...

    def changed(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        """Tell that *execution* was *previous* until *at*. Never blocks."""
        ...


@define(eq=False)
class Environment:
    """One runtime's clock, place, publisher and actors; made once, before any actor."""

    clock: Clock
    system: ActorSystem
    dispatcher: Dispatcher  # for user code that belongs to no attempt: reducers, sources
    place: Place
    publisher: Publisher
    random: Callable[[], float]
    call_on_loop: Callable[[asyncio.AbstractEventLoop, Callable[..., Any]], bool]
    # Children that are handed out at a time; 1: one by one; 0: each is an actor from the start.
    longest_run: int = 256
    loans: Loans = field(factory=Loans)
    wake_ups: WakeUps = field(factory=WakeUps)
    # Leaves that sleep: put in by their own code, taken out in one atomic step by who ends that.
    asleep: dict[LeafAttempt, Nap] = field(factory=dict)
    making: dict[LeafAttempt, ExecutionContext] = field(
        factory=dict
    )  # leaves that are given theirs
    allocator: Any = None  # the allocator's ref
    runtime: FullRuntime = None  # type: ignore[assignment]  # set by the runtime that makes it

    def tell(self, ref: Any, message: object) -> None:
        """Send *message*; to an actor that has ended, nothing happens (it is a dead letter)."""
        ref.actor_inbox.put(message)
