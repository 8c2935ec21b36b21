"""Failed checks of the simulation's tests show their values."""

import pytest

pytest.register_assert_rewrite(
    "tests.simulation.checks", "tests.simulation.harness", "tests.simulation.interleaving"
)
