"""The tasks of a process, made when someone asks, against a plain dictionary of them all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tasks import with_tasks
from orchestrator.values import Process, Task

emits = st.lists(
    st.tuples(st.sampled_from(["root", "root.index", "root[0]", "a\nb"]), st.integers(0, 4)),
    max_size=5,
)


@given(emits=emits)
def test_a_process_holds_its_own_tasks_and_one_for_every_child_that_was_emitted(
    emits: list[tuple[str, int]],
) -> None:
    process = Process("p", {"own": Task("own:own", id="own")})
    counts: dict[str, int] = {}
    actions: dict[str, str] = {}
    for number, (prefix, count) in enumerate(emits):
        before = dict(process.tasks)
        larger = with_tasks(process, prefix, Task(f"t:{number}", input=number), count)
        assert dict(process.tasks).keys() == before.keys()  # a process is a value
        process = larger
        counts[prefix] = max(counts.get(prefix, 0), count)
        actions[prefix] = f"t:{number}"
    expected = ["own", *(f"{name}[{i}]" for name, count in counts.items() for i in range(count))]
    assert list(process.tasks) == expected
    assert len(process.tasks) == len(expected)
    for prefix, count in counts.items():
        for index in range(count):
            task = process.tasks[f"{prefix}[{index}]"]
            assert (task.id, task.action) == (f"{prefix}[{index}]", actions[prefix])
        assert f"{prefix}[{count}]" not in process.tasks


def test_a_lazy_sources_tasks_are_all_there_and_none_is_listed() -> None:
    process = with_tasks(Process("p"), "root", Task("t:t"), None)
    assert process.tasks["root[123456789]"].action == "t:t"
    assert list(process.tasks) == []
    assert len(process.tasks) == 0
    again = with_tasks(process, "root", Task("t:t"), 3)
    assert "root[99]" in again.tasks


@pytest.mark.parametrize(
    "key", ["root", "root[]", "root[-1]", "root[x]", "root[1]x", "other[0]", ""]
)
def test_what_is_no_task_is_a_key_error(key: str) -> None:
    tasks = with_tasks(Process("p"), "root", Task("t:t"), 5).tasks
    with pytest.raises(KeyError):
        tasks[key]
    assert key not in tasks


def test_an_emit_of_a_million_costs_no_tasks() -> None:
    tasks = with_tasks(Process("p"), "root", Task("t:t"), 1_000_000).tasks
    assert isinstance(tasks, Mapping)
    assert len(tasks) == 1_000_000
    assert tasks["root[999999]"].id == "root[999999]"
