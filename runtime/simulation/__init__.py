"""Simulated."""

from runtime.simulation.patches.install import install

install()

from runtime.simulation.runtime import SimulatedRuntime  # noqa: E402

__all__ = ["SimulatedRuntime"]
