"""The faults that the property tests have to find: each one edit, or a few, of production code.

An edit is a text that stands in the production packages exactly once, and what takes its place. It
is looked for in all of them, so code may move between modules.
"""

from tests.mutants.catalogue import allocator, executions, groups, leaves, simulation, system
from tests.mutants.catalogue.mutant import Edit, Mutant

__all__ = ["MUTANTS", "Edit", "Mutant"]

MUTANTS = (
    *groups.MUTANTS,
    *executions.MUTANTS,
    *leaves.MUTANTS,
    *allocator.MUTANTS,
    *system.MUTANTS,
    *simulation.MUTANTS,
)
