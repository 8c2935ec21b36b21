"""What a simulation raises about itself, and not on behalf of the code that runs in it."""

from __future__ import annotations

from attrs import define

from orchestrator.errors import OrchestratorError

__all__ = [
    "NotDeterministicError",
    "RealTimeWarning",
    "ReplayError",
    "SimulationDeadlockError",
    "SimulationError",
    "SimulationOverrunError",
    "UncontrolledError",
]


class SimulationError(OrchestratorError):
    """Something that a simulation can't go on with."""


@define(eq=False)
class SimulationDeadlockError(SimulationError):
    """No task can run and no timer is pending: the code waits for what nobody will ever do."""

    waiting: tuple[str, ...]  # each blocked task, with what it waits for and where

    def __str__(self) -> str:
        lines = "\n".join(f"  {line}" for line in self.waiting)
        return (
            "nothing can run any more and no timer is pending, but these wait:\n"
            f"{lines}\n"
            "Either this is a deadlock of the code under test, or it waits for something outside"
            " the simulation (a real thread, a process, a socket), which can't be waited for here"
        )


@define(eq=False)
class SimulationOverrunError(SimulationError):
    """A schedule has taken more steps than it may: a livelock, or a very long test."""

    steps: int

    def __str__(self) -> str:
        return (
            f"the simulation is not over after {self.steps} steps: either some code goes round in"
            " circles without end, or the test is a long one and needs a larger max_steps="
        )


class UncontrolledError(SimulationError):
    """Code under test uses something that the simulation can't control; the text names it."""


class RealTimeWarning(UserWarning):
    """Code under test reads the real clock by a way that no simulation can replace."""


class ReplayError(SimulationError):
    """A token can't be read, or was made for other code than that which runs now."""


class NotDeterministicError(SimulationError):
    """The same choices led to something else: not everything that matters is in the simulation."""
