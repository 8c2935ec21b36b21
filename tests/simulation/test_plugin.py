import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from runtime.simulation.exploring import totals

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent.parent

ACTIONS = """
    import pytest
    from orchestrator import ActionRegistry, Orchestrator, Task
    from runtime.simulation import Schedule, SimulatedRuntime, Simulation, simulate

    actions = ActionRegistry()

    @actions.register("add")
    def add(x):
        Orchestrator.from_context().sleep(x)
        return x + 1

    @actions.register("all")
    def add_all(n):
        orchestrator = Orchestrator.from_context()
        return orchestrator.await_group(orchestrator.emit_for_each(range(n), "x", Task("add")))

"""


@pytest.fixture(autouse=True)
def _options_of_the_outer_session() -> Iterator[None]:
    """A session inside this one takes the options over; they are given back."""
    before = (totals.asked_schedules, totals.asked_seed, totals.default_seed)
    yield
    totals.asked_schedules, totals.asked_seed, totals.default_seed = before


def _run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(ACTIONS + source)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_pytest_finds_the_plugin_by_itself() -> None:
    (entry,) = entry_points(group="pytest11", name="simulation")
    assert entry.value == "runtime.simulation.pytest_plugin"


COUNTED = """
    runs = []

    @simulate(schedules=7, seed=5)
    def test_one(schedule):
        runs.append(schedule)
        with Simulation(schedule):
            pass

    def test_two():
        print(f"ran {len(runs)}", repr(runs[-1]._choosers))
"""


def test_a_summary_says_how_many_schedules_were_run(pytester: pytest.Pytester) -> None:
    result = _run(pytester, COUNTED, "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*ran 7*", "simulation: 7 schedules in 1 test (*"])


def test_it_counts_what_the_workers_of_xdist_have_run(pytester: pytest.Pytester) -> None:
    source = """
    from runtime.simulation.exploring import totals

    @pytest.mark.parametrize("number", range(4))
    def test_it(number):
        @simulate(schedules=5)
        def test(schedule):
            with Simulation(schedule):
                pass

        test()
        print("drawn from", totals.default_seed)
    """
    pytester.makepyfile(ACTIONS + source)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", "-rP")
    result.assert_outcomes(passed=4)
    text = result.stdout.str()
    assert "[gw1]" in text  # each has run some
    drawn = set(re.findall(r"drawn from (\d+)", text))
    summary = re.findall(r"simulation: (\d+) schedules in 4 tests \(--schedule-seed (\d+)\)", text)
    assert summary == [("20", seed) for seed in drawn]


def test_the_command_line_says_how_many_schedules_and_from_which_seed(
    pytester: pytest.Pytester,
) -> None:
    source = """
    @simulate(schedules=7, seed=5)
    def test_one(schedule):
        with Simulation(schedule) as simulation:
            assert simulation.world.decide("a fault", 2) == 0
    """
    result = _run(pytester, source, "--schedules", "60", "--schedule-seed", "77")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*found by schedule * of 60 with seed=77*"])


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_at_least_one_schedule_is_run(pytester: pytest.Pytester, number: str) -> None:
    result = pytester.runpytest_inprocess("--schedules", number)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--schedules*"])


def test_no_summary_where_nothing_was_simulated(pytester: pytest.Pytester) -> None:
    result = _run(pytester, "    def test_nothing(): pass\n")
    result.assert_outcomes(passed=1)
    assert "simulation:" not in result.stdout.str()


def test_a_test_with_the_fixture_is_run_under_many_schedules(pytester: pytest.Pytester) -> None:
    source = """
    answers = []

    def test_all(simulated_runtime, tmp_path):
        assert tmp_path.is_dir()
        with simulated_runtime(actions, workers=2) as runtime:
            answers.append(runtime.run("all", 3))

    def test_they_were_many():
        assert answers == [[1, 2, 3]] * 25
    """
    result = _run(pytester, source, "--schedules", "25")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["simulation: 25 schedules in 1 test (*"])


def test_an_async_test_with_the_fixture_is_run_under_many_schedules(
    pytester: pytest.Pytester,
) -> None:
    source = """
    answers = []

    async def test_all(simulated_runtime):
        async with simulated_runtime(actions) as runtime:
            answers.append(await runtime.run_async("all", 3))

    def test_they_were_many():
        assert answers == [[1, 2, 3]] * 25
    """
    result = _run(pytester, source, "--schedules", "25")
    result.assert_outcomes(passed=2)


def test_the_fixture_goes_with_the_decorators(pytester: pytest.Pytester) -> None:
    source = f"""
    from runtime.simulation import reproduce_schedule

    runs = []

    @simulate(schedules=4, clock="jump")
    def test_four(simulated_runtime):
        with simulated_runtime(actions) as runtime:
            runs.append(runtime.run("all", 2))

    @reproduce_schedule({_plain_token()!r}, strict=False)
    def test_one(simulated_runtime):
        with simulated_runtime(actions) as runtime:
            runs.append(runtime.run("all", 2))

    def test_they_were_five():
        assert runs == [[1, 2]] * 5
    """
    _run(pytester, source).assert_outcomes(passed=3)


def _plain_token() -> str:
    from runtime.simulation import Schedule, Simulation  # noqa: PLC0415 - as in the tests above

    schedule = Schedule.plain()
    with Simulation(schedule):
        pass
    return schedule.token


def test_a_failure_with_the_fixture_tells_its_token(pytester: pytest.Pytester) -> None:
    source = """
    def test_race(simulated_runtime):
        with simulated_runtime(actions) as runtime:
            handles = [runtime.spawn("add", n) for n in (2, 1)]
            handles[0].result()
            assert handles[1].snapshot().is_settled
    """
    result = _run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*@reproduce_schedule(*"])


def test_the_fixture_is_refused_where_no_schedule_is_run(pytester: pytest.Pytester) -> None:
    source = """
    @pytest.fixture
    def runtime(simulated_runtime):
        return simulated_runtime(actions)

    def test_it(runtime):
        pass
    """
    result = _run(pytester, source)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*call it in the test function itself*"])


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(["-q", "-p", "no:hypothesispytest", "-p", "no:cacheprovider", {path!r}]))
"""


def _run_without(missing: list[str], path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing, path=str(path))],
        cwd=path.parent,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def test_pytest_runs_where_greenlet_and_hypothesis_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "import pytest\n"
        "from runtime.simulation import Simulation, schedules, simulate\n"
        "def test_nothing(): pass\n"
        "@simulate(schedules=3, backend='threads')\n"
        "def test_threads(schedule):\n"
        "    with Simulation(schedule): pass\n"
        "def test_greenlet():\n"
        "    with pytest.raises(ImportError, match='actor-orchestrator\\\\[testing]'):\n"
        "        Simulation()\n"
        "def test_hypothesis():\n"
        "    with pytest.raises(ImportError):\n"
        "        schedules()\n",
        encoding="utf-8",
    )
    output = _run_without(["greenlet", "hypothesis"], path)
    assert re.search(r"^4 passed", output, re.MULTILINE), output


def test_what_a_test_module_binds_is_what_simulations_replace(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "from time import sleep, monotonic\n"
        "from threading import Lock\n"
        "def test_it():\n"
        "    from runtime.simulation import Simulation\n"
        "    with Simulation():\n"
        "        sleep(3600)\n"
        "        assert monotonic() == 3600\n"
        "        assert 'simulated' in repr(Lock())\n",
        encoding="utf-8",
    )
    output = _run_without([], path)
    assert re.search(r"^1 passed", output, re.MULTILINE), output
