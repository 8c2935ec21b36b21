"""A run is told as a story that a stranger can follow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import pytest

from runtime.simulation import SimulatedRuntime, Simulation
from runtime.simulation.facts import CHOICE
from runtime.simulation.marks import Line, Marks
from runtime.simulation.naming import Names
from runtime.simulation.schedule import Schedule
from runtime.simulation.story import render_story
from runtime.simulation.world import World
from tests.simulation.busy_runs import Busy
from tests.simulation.shop import CLOCK, Scripted, Shop, run, scripted


def lines_of(world: World) -> list[str]:
    """The story without times."""
    return [line[2:].partition(" s  ")[2] for line in render_story(world).splitlines()]


def marked(world: World) -> list[str]:
    return [line for line in render_story(world).splitlines() if line.startswith(">>")]


def test_a_fan_out_is_told_from_its_emit_to_its_answer() -> None:
    world, answer = run(scripted(), "shop:buyers", 2)

    assert answer == 2
    assert render_story(world) == (
        "      0.000 s  root shop:buyers submitted  [id sim-1]\n"
        "      0.000 s  root shop:buyers started, on worker-1\n"
        "      0.000 s  root shop:buyers emitted group shop:buyers:"
        " 2 children of shop:buy, mode all  [id sim-1#1]\n"
        "      0.000 s  root shop:buyers waits for group shop:buyers\n"
        "      0.000 s  child shop:buyers[0] started, on worker-2\n"
        "      0.000 s  child shop:buyers[0] completed -> 0\n"
        "      0.000 s  child shop:buyers[1] started, on worker-3\n"
        "      0.000 s  child shop:buyers[1] completed -> 1\n"
        "      0.000 s  group shop:buyers decided -> [0, 1]\n"
        "      0.000 s  root shop:buyers has the answer of group shop:buyers\n"
        "      0.000 s  root shop:buyers completed -> 2\n"
        "      0.000 s  the runtime closes"
    )


def test_the_choice_that_mattered_is_marked_where_it_was_made() -> None:
    world, answer = run(scripted({("worker-2", 2): "worker-3"}), "shop:buyers", 2)

    assert answer == 1  # one update is lost
    (mark,) = marked(world)
    assert re.fullmatch(
        r">>    0\.000 s  here worker-2 \(child shop:buyers\[0\]\) was taken off at"
        r" shop\.py:\d+ in buy, and worker-3 \(about to start child shop:buyers\[1\]\) went on",
        mark,
    )
    lines = lines_of(world)
    place = next(i for i, line in enumerate(lines) if line.startswith("here"))
    assert lines[place - 1] == "child shop:buyers[0] started, on worker-2"
    assert lines[place + 1] == "child shop:buyers[1] started, on worker-3"
    assert lines[place + 2] == "child shop:buyers[1] completed -> 0"
    assert re.fullmatch(
        r"worker-2 \(child shop:buyers\[0\]\) went on at shop\.py:\d+ in buy", lines[place + 3]
    )


def test_a_deadline_tells_who_was_out_whom_the_cancel_reached_and_who_was_late() -> None:
    world, _answer = run(scripted(), "shop:import", 3)

    late = "child shop:import[2]"
    error = (
        "GroupTimeoutError: group shop:import closed after 1.5 s with 1 children still out ([2]);"
        " emit it with a longer timeout=, or re..."
    )
    assert [
        line for line in render_story(world).splitlines() if line.startswith("      1.500")
    ] == [
        "      1.500 s  " + line
        for line in (
            "group shop:import deadline passed",
            "group shop:import decided as timed out, still out: shop:import[2]",
            "what is still out of group shop:import is cancelled",
            f"cancel came to {late} while its code ran: its group ended with GroupTimeoutError",
            "child shop:import[2] cancelled (late)",
            "root shop:import has the answer of group shop:import",
            "child shop:import[2] was interrupted in its sleep",
            "child shop:import[2]'s code ended, after it was cancelled",
            f"root shop:import failed: {error}",
            "the runtime closes",
        )
    ]


def test_the_clock_that_fires_early_is_a_choice_too() -> None:
    world, _answer = run(scripted({("worker-1", 4): CLOCK}), "shop:import", 2)

    (mark,) = marked(world)
    assert mark.startswith(">>    1.500 s  here the clock fired, though worker-1")


def test_retries_are_told_with_their_reason_and_without_addresses() -> None:
    world, _answer = run(scripted(), "shop:fan", {"kind": "shop:flaky", "n": 1})

    lines = lines_of(world)
    assert (
        "child shop:fan[0]: attempt 1 failed (ValueError: not yet, says <object object>),"
        " another follows"
    ) in lines
    assert "child shop:fan[0] is queued for its next attempt" in lines
    assert "child shop:fan[0] started again, attempt 2, on worker-2" in lines
    assert "0x" not in render_story(world)


def test_locks_are_numbered_and_sleeps_told_in_virtual_time() -> None:
    world, _answer = run(scripted(), "shop:fan", {"kind": "shop:locked", "n": 2})

    lines = [re.sub(r"py:\d+", "py:N", line) for line in lines_of(world)]
    assert "worker-2 (child shop:fan[0]) sleeps until 1.000 s, at shop.py:N in locked" in lines
    assert (
        "worker-3 (child shop:fan[1]) waits for a lock (number 1) at shop.py:N in locked" in lines
    )


def test_a_waiter_that_gives_up_and_one_that_resumes() -> None:
    given = {"kind": "shop:slow", "n": 3, "mode": "first", "patience": 0}
    world, _answer = run(scripted(leaves=False), "shop:fan", given)

    lines = lines_of(world)
    assert "root shop:fan waits for group shop:fan, for at most 0 s" in lines
    assert "root shop:fan gave up waiting for group shop:fan" in lines
    assert "root shop:fan waits for all of its groups" in lines
    assert "root shop:fan resumed" in lines
    assert (
        "cancel came to child shop:fan[1] before its code began: its group has decided without it"
        in lines
    )


def test_a_wait_that_is_refused_says_why() -> None:
    shop = Shop()

    def waits_for_itself() -> None:
        from orchestrator import Execution, Orchestrator  # noqa: PLC0415

        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_one(Execution.ad_hoc("shop:waits_above", "sim-1#1", id="up"))
        orchestrator.await_group(group, return_exceptions=True)

    shop.actions.register("shop:cycle")(waits_for_itself)
    with SimulatedRuntime(shop.actions, scripted()) as runtime:
        runtime.run("shop:cycle")

    lines = lines_of(runtime._world)
    assert (
        "child shop:cycle[0] may not wait for group shop:cycle: that could never end (a deadlock)"
        in lines
    )
    # The error's own text speaks of ids; the story says whom they mean.
    assert any("shop:cycle[0] waits for group shop:cycle waits for" in line for line in lines)


def test_groups_of_one_parent_are_told_apart_and_so_are_their_children() -> None:
    shop = Shop()

    def twice() -> None:
        from orchestrator import Orchestrator, Task  # noqa: PLC0415

        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        for _ in range(2):
            orchestrator.emit_for_each([0], "i", Task("shop:slow"))

    shop.actions.register("shop:twice")(twice)
    with SimulatedRuntime(shop.actions, scripted()) as runtime:
        runtime.run("shop:twice")

    lines = lines_of(runtime._world)
    assert "child shop:twice[0] completed -> 0" in lines
    assert "group shop:twice#1 decided -> [0]" in lines
    assert "child shop:twice#2[0] completed -> 0" in lines
    assert "group shop:twice#2 decided -> [0]" in lines


def test_a_fault_is_marked_with_whom_it_struck() -> None:
    shop = Shop()

    def asks() -> int:
        from runtime.simulation.here import current_world  # noqa: PLC0415

        world = current_world()
        assert world is not None
        return world.decide("raise in the tool", 3)

    shop.actions.register("shop:asks")(asks)
    with SimulatedRuntime(shop.actions, scripted(answers=(2,))) as runtime:
        assert runtime.run("shop:asks") == 2

    (mark,) = marked(runtime._world)
    assert re.fullmatch(
        r">>    0\.000 s  here the schedule chose for worker-1 \(root shop:asks\)"
        r" at test_story\.py:\d+ in asks: raise in the tool, answer 2",
        mark,
    )


def test_a_choice_is_told_at_its_own_time_and_one_of_the_clock_at_the_time_that_it_leads_to() -> (
    None
):
    facts = [
        (CHOICE, 1.0, 0, "worker-1", "worker-2", True, None),
        (CHOICE, 1.0, 1, "worker-2", CLOCK, False, None),
    ]
    marks, names = Marks(facts, ["worker-2", "main"]), Names(facts)

    assert [line for fact in facts for line in marks.choices(fact, names)] == []
    assert [line.at for line in marks.rest(3.0, names)] == [1.0, 3.0]


def test_whoever_goes_on_was_taken_off_in_a_line_before() -> None:
    seen = 0
    for seed in range(40):
        with Simulation(Schedule.seeded(seed)) as simulation:
            lock = threading.Lock()

            def take(lock: threading.Lock = lock) -> None:
                for _ in range(2):
                    with lock:
                        pass

            threads = [threading.Thread(target=take) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        story = render_story(simulation.world)
        for found in re.finditer(r"^ .* s  (\S+) went on", story, re.MULTILINE):
            before = story[: found.start()]
            folded = "choices in a row" in before  # such a line tells who was chosen, not who ran
            assert folded or f"here {found[1]} was taken off" in before
            seen += 1
    assert seen


def test_many_choices_in_a_row_are_one_line() -> None:
    facts = [
        (CHOICE, 0.0, place, f"worker-{place}", chosen, True, None)
        for place, chosen in enumerate(["worker-2", CLOCK, "main"])
    ]
    marks, names = Marks(facts, ["worker-2", "main"]), Names(facts)

    assert [text for fact in facts for text in marks.choices(fact, names)] == []
    text = "here 3 choices in a row: worker-2, the clock, main"
    assert marks.rest(2.0, names) == [Line(2.0, text, mark=True)]
    assert marks.rest(2.0, names) == []


def test_a_bare_simulation_tells_of_its_tasks_and_locks() -> None:
    world = World(Scripted({}))
    world.enter()
    try:
        lock = threading.Lock()
        lock.acquire()
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        world.pause()
        threading.Event().wait(1.0)
        lock.release()
        thread.join()
    finally:
        world.leave()

    lines = [re.sub(r"(, at| at) \S+:\d+ in \S+", "", line) for line in lines_of(world)]
    assert lines[0] == "thread-1 was made"
    assert "thread-1 waits for a lock (number 2)" in lines or (
        "thread-1 waits for a lock (number 1)" in lines
    )
    assert "main waits for the end of thread" in lines[-2] or "thread-1 is over" in lines[-1]


def test_several_runtimes_in_one_world_are_one_story() -> None:
    one, other = Shop(), Shop()
    world = World(Scripted({}))
    world.enter()
    try:
        with (
            SimulatedRuntime(one.actions) as first,
            SimulatedRuntime(other.actions) as second,
        ):
            first.run("shop:slow", 1)
            second.run("shop:buy", 1)
    finally:
        world.leave()

    lines = lines_of(world)
    assert "root shop:slow completed -> 1" in lines
    assert "root shop:buy completed -> 0" in lines
    assert "the runtime 2 closes" in lines


def test_a_long_story_is_cut_and_says_how_much_is_missing() -> None:
    world, _answer = run(scripted({("worker-2", 1): "worker-3"}), "shop:buyers", 60)

    whole = render_story(world, limit=10_000).splitlines()
    cut = render_story(world, limit=30).splitlines()

    gaps = [int(n) for line in cut for n in re.findall(r"\.\.\. +(\d+) lines? left out", line)]
    assert gaps
    assert len(cut) <= 30 + len(gaps)
    assert sum(gaps) + len(cut) - len(gaps) == len(whole)
    assert cut[0] == whole[0]
    assert cut[-1] == whole[-1]
    (mark,) = [line for line in cut if line.startswith(">>")]
    place = cut.index(mark)
    assert cut[place - 1 : place + 2] == whole[whole.index(mark) - 1 : whole.index(mark) + 2]


@pytest.mark.parametrize("backend", ["greenlet", "threads"])
def test_the_same_schedule_gives_the_same_story_on_either_back_end(backend: str) -> None:
    stories = set()
    for name in ("greenlet", backend):
        world, _answer = run(Schedule.seeded(7), "shop:import", 5, backend=name)
        stories.add(render_story(world))

    assert len(stories) == 1


_ELSEWHERE = """
from tests.simulation.shop import run
from runtime.simulation.facts import CHOICE
from runtime.simulation.marks import Line, Marks
from runtime.simulation.naming import Names
from runtime.simulation.schedule import Schedule
from runtime.simulation.story import render_story
world, answer = run(Schedule.seeded(11), "shop:fan", {"kind": "shop:locked", "n": 4, "timeout": 2})
print(render_story(world))
"""


def test_the_story_is_the_same_in_another_process_with_other_hashes() -> None:
    stories = {
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(stories) == 1


def test_whatever_happens_can_be_told() -> None:
    for seed in range(40):
        busy = Busy()
        with SimulatedRuntime(busy.actions, Schedule.seeded(seed)) as runtime:
            busy.drive(runtime, seed)
        story = render_story(runtime._world, limit=60)
        assert "0x" not in story
        assert len(story.splitlines()) <= 150
