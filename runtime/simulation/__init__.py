"""Tests of concurrent code that find the order of events in which it fails, and can tell it again.

A `SimulatedRuntime`, or a bare `Simulation`, runs one thread at a time, in virtual time; every
choice is made by a `Schedule`. `schedules` lets Hypothesis make them, `simulate` a seed, and
`reproduce_schedule` a token that a failure has printed.
"""

from runtime.simulation.patches.install import install

install()  # before anything else binds what it replaces

from runtime.simulation.covering import covers  # noqa: E402
from runtime.simulation.decorators import reproduce_schedule, simulate  # noqa: E402
from runtime.simulation.errors import (  # noqa: E402
    NotDeterministicError,
    RealTimeWarning,
    ReplayError,
    SimulationDeadlockError,
    SimulationError,
    SimulationOverrunError,
    UncontrolledError,
)
from runtime.simulation.faults import Faults, InjectedFaultError  # noqa: E402
from runtime.simulation.hypothesis_schedules import schedules  # noqa: E402
from runtime.simulation.reach import NotReachedError, Reach  # noqa: E402
from runtime.simulation.runtime import SimulatedRuntime  # noqa: E402
from runtime.simulation.schedule import Schedule  # noqa: E402
from runtime.simulation.simulation import Simulation  # noqa: E402

__all__ = [
    "Faults",
    "InjectedFaultError",
    "NotDeterministicError",
    "NotReachedError",
    "Reach",
    "RealTimeWarning",
    "ReplayError",
    "Schedule",
    "SimulatedRuntime",
    "Simulation",
    "SimulationDeadlockError",
    "SimulationError",
    "SimulationOverrunError",
    "UncontrolledError",
    "covers",
    "reproduce_schedule",
    "schedules",
    "simulate",
]
