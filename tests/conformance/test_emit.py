"""DESIGN.md section 3, *Emit*: ids, all or nothing, empty groups, contexts, waitAsync."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from orchestrator import (
    ORCHESTRATOR_CONTEXT_KEY,
    ActionRegistry,
    AsyncOrchestrator,
    AwaitMode,
    DuplicateExecutionError,
    Execution,
    ExecutionContext,
    ExecutionState,
    MissingExecutionError,
    Orchestrator,
    Task,
    UnknownActionError,
    current_context,
)
from tests.conformance.support import Gate, child, children, ends_of, here, here_async

Run = Callable[..., Any]
colour: ContextVar[str] = ContextVar("colour", default="none")


def test_emit_for_each_gives_every_item_to_a_child_of_its_own(run_body: Run) -> None:
    async def body(orchestrator: Any) -> list[Any]:
        group = await orchestrator.emit_for_each([3, 1, 2], "n", Task("t:echo"))
        return await orchestrator.await_group(group)

    assert run_body(body) == [3, 1, 2]


def test_emit_children_and_emit_one_make_groups_of_the_executions_they_are_given(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> list[Any]:
        many = await orchestrator.emit_children(children("t:echo", "ab"))
        one = await orchestrator.emit_one(child("t:echo_async", "c"))
        assert many != one
        return [await orchestrator.await_group(many), await orchestrator.await_group(one)]

    assert run_body(body) == [["a", "b"], ["c"]]


def test_task_ids_are_those_of_the_parent_with_the_place_of_the_item(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        mine = current_context().execution
        base = mine.task_id or mine.id
        group = await orchestrator.emit_for_each("ab", "x", Task("t:echo"))
        ends = await ends_of(orchestrator, group)
        assert sorted(end.task_id for end in ends) == [f"{base}[0]", f"{base}[1]"]

    run_body(body)


def test_task_ids_name_the_template_where_it_has_an_id(runtime: Any) -> None:
    with runtime.execution("import-42") as orchestrator:
        group = orchestrator.emit_for_each("ab", "x", Task("t:echo", id="parse"))
        ids = sorted(end.task_id for end in orchestrator.as_completed(group))

    assert ids == ["import-42.parse[0]", "import-42.parse[1]"]


def test_task_ids_nest_and_may_repeat_while_execution_ids_never_do(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:nest")
    def nest(_item: int) -> list[tuple[str, str]]:
        orchestrator = here()
        seen = []
        for _ in range(2):
            group = orchestrator.emit_for_each("x", "x", Task("t:echo", id="leaf"))
            seen += [(end.task_id, end.id) for end in orchestrator.as_completed(group)]
        return seen

    with runtime.execution("root") as orchestrator:
        group = orchestrator.emit_for_each([0, 1], "n", Task("t:nest", id="mid"))
        seen = [pair for pairs in orchestrator.await_group(group) for pair in pairs]

    assert [task_id for task_id, _ in seen] == [
        "root.mid[0].leaf[0]",
        "root.mid[0].leaf[0]",
        "root.mid[1].leaf[0]",
        "root.mid[1].leaf[0]",
    ]
    assert len({execution_id for _, execution_id in seen}) == 4


def test_emit_for_each_registers_its_tasks_in_the_process_of_the_execution(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        mine = current_context().execution
        before = current_context().process
        await orchestrator.emit_for_each("ab", "x", Task("t:echo", id="parse"))
        after = current_context().process
        task_id = f"{mine.task_id or mine.id}.parse[1]"
        assert after.tasks[task_id].action == "t:echo"
        assert after.id == before.id
        assert task_id not in before.tasks  # a value: the old one stays as it was

    run_body(body)


def test_a_child_belongs_to_its_parent_its_group_and_its_process(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        mine = current_context().execution
        group = await orchestrator.emit_for_each(["item"], "x", Task("t:echo"))
        (end,) = await ends_of(orchestrator, group)
        assert (end.parent_id, end.group_id, end.index) == (mine.id, group, 0)
        assert end.process_id == current_context().process.id
        assert dict(end.data) == {"x": "item"}
        assert end.action == "t:echo"
        assert end.state is ExecutionState.COMPLETED
        assert end.attempts == 1
        assert end.output == "item"
        assert end.error is None
        assert end.scheduled_at <= end.started_at <= end.completed_at

    run_body(body)


def test_an_execution_id_is_kept_when_a_child_is_made_with_one(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        mine = child("t:echo", 1, id="mine", meta={"colour": "red"})
        group = orchestrator.emit_one(mine)
        (end,) = orchestrator.as_completed(group)

    assert (end.id, dict(end.meta)) == ("mine", {"colour": "red"})


def test_one_bad_child_keeps_all_of_its_siblings_out_of_the_queue(
    runtime: Any, run_body: Run
) -> None:
    async def body(orchestrator: Any) -> None:
        good = children("t:echo", "ab")
        before = runtime.stats().emitted
        with pytest.raises(UnknownActionError):
            await orchestrator.emit_children([*good, child("t:nobody")])
        assert runtime.stats().emitted == before
        group = await orchestrator.emit_children(good)  # as if the first emit had not been
        assert await orchestrator.await_group(group) == ["a", "b"]

    run_body(body)


def test_a_source_that_raises_fails_the_emit_and_queues_nothing(
    runtime: Any, run_body: Run
) -> None:
    def source() -> Any:
        yield "a"
        raise LookupError("the source is broken")

    async def body(orchestrator: Any) -> None:
        before = runtime.stats().emitted
        with pytest.raises(LookupError, match="the source is broken"):
            await orchestrator.emit_for_each(source(), "x", Task("t:echo"))
        assert runtime.stats().emitted == before

    run_body(body)


def test_without_max_in_flight_the_source_is_read_to_its_end_by_the_emit(run_body: Run) -> None:
    drawn: list[int] = []

    def source() -> Any:
        for number in range(5):
            drawn.append(number)
            yield number

    async def body(orchestrator: Any) -> None:
        drawn.clear()
        await orchestrator.emit_for_each(source(), "x", Task("t:echo"))
        assert drawn == [0, 1, 2, 3, 4]

    run_body(body)


@pytest.mark.parametrize("mode", AwaitMode)
@pytest.mark.parametrize("keep", [True, False])
def test_an_emit_of_nothing_is_a_complete_group(run_body: Run, mode: AwaitMode, keep: bool) -> None:
    async def body(orchestrator: Any) -> None:
        quorum = 0 if mode is AwaitMode.QUORUM else None
        group = await orchestrator.emit_children([], mode=mode, quorum=quorum, keep=keep)
        assert await orchestrator.await_group(group, 0) == []
        assert await ends_of(orchestrator, group) == []

    run_body(body)


def test_a_child_sees_the_context_variables_of_its_emit_and_leaks_none(
    actions: ActionRegistry, run_body: Run
) -> None:
    @actions.register("t:paint")
    def paint(own: str) -> str:
        seen = colour.get()
        colour.set(own)
        return seen

    @actions.register("t:paint_async")
    async def paint_async(own: str) -> str:
        seen = colour.get()
        colour.set(own)
        return seen

    async def body(orchestrator: Any) -> None:
        colour.set("red")
        first = await orchestrator.emit_children(
            children("t:paint", "ab") + children("t:paint_async", "cd")
        )
        colour.set("blue")
        second = await orchestrator.emit_children(children("t:paint", "ef"))
        assert await orchestrator.await_group(first) == ["red"] * 4
        assert await orchestrator.await_group(second) == ["blue"] * 2
        assert colour.get() == "blue"

    run_body(body)


def test_a_child_sees_the_context_entries_of_its_run_however_deep(
    actions: ActionRegistry, run_body: Run
) -> None:
    @actions.register("t:tenant")
    def tenant(depth: int, context: ExecutionContext) -> str:
        if depth:
            return here().call(child("t:tenant", {"depth": depth - 1}))
        return context["tenant"]

    async def body(orchestrator: Any) -> list[str]:
        group = await orchestrator.emit_children(children("t:tenant", [0, 2]))
        return await orchestrator.await_group(group)

    assert run_body(body, context={"tenant": "a"}) == ["a", "a"]


def test_the_orchestrator_is_an_entry_of_the_context_under_the_seeds_key(runtime: Any) -> None:
    def blocking(context: ExecutionContext) -> list[type]:
        assert "tenant" in context
        assert ORCHESTRATOR_CONTEXT_KEY in context
        twin = AsyncOrchestrator.from_context(context)
        return [type(context[ORCHESTRATOR_CONTEXT_KEY]), type(twin), type(here())]

    async def waiting(context: ExecutionContext) -> list[type]:
        twin = Orchestrator.from_context(context)
        return [type(context[ORCHESTRATOR_CONTEXT_KEY]), type(twin), type(here_async())]

    assert ORCHESTRATOR_CONTEXT_KEY == "fluxor.orchestrator"
    entries = {"tenant": "a"}
    assert runtime.run(blocking, context=entries) == [Orchestrator, AsyncOrchestrator, Orchestrator]
    assert runtime.run(waiting, context=entries) == [
        AsyncOrchestrator,
        Orchestrator,
        AsyncOrchestrator,
    ]


def test_from_context_finds_nothing_outside_an_execution_or_in_a_context_without_one() -> None:
    assert Orchestrator.from_context() is None
    assert AsyncOrchestrator.from_context() is None
    assert Orchestrator.from_context({"tenant": "a"}) is None


def test_an_execution_is_wait_async_from_its_emit_until_its_groups_have_ended(
    run_body: Run,
) -> None:
    gate = Gate()

    async def body(orchestrator: Any) -> None:
        assert current_context().execution.state is ExecutionState.RUNNING
        group = await orchestrator.emit_one(child("t:gated_async", {"gate": gate}))
        assert current_context().execution.state is ExecutionState.WAIT_ASYNC
        gate.open()
        await orchestrator.await_group(group)
        await orchestrator.await_resume()
        assert current_context().execution.state is ExecutionState.RUNNING
        for _ in range(50):
            group = await orchestrator.emit_one(child("t:echo_async"))
            await orchestrator.await_group(group)
            assert current_context().execution.state is ExecutionState.RUNNING

    run_body(body)


def test_an_emit_outside_an_execution_says_how_to_be_inside_one(runtime: Any) -> None:
    with pytest.raises(MissingExecutionError, match=r"runtime\.execution"):
        Orchestrator(runtime).emit_one(child("t:echo", 1))

    assert runtime.stats().emitted == 0


def test_the_same_template_serves_a_hundred_emits(run_body: Run) -> None:
    template = Task("t:echo", {"value": "${n}"}, id="same")

    async def body(orchestrator: Any) -> list[Any]:
        groups = [await orchestrator.emit_for_each([n], "n", template) for n in range(100)]
        return [await orchestrator.await_group(group) for group in groups]

    assert run_body(body) == [[n] for n in range(100)]


def test_an_execution_can_be_emitted_once_only(runtime: Any, run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        once = child("t:echo", 1)
        group = await orchestrator.emit_one(once)
        assert await orchestrator.await_group(group) == [1]
        before = runtime.stats().emitted
        with pytest.raises(DuplicateExecutionError, match="ad_hoc"):
            await orchestrator.emit_one(once)
        with pytest.raises(DuplicateExecutionError):
            await orchestrator.call(once)
        twice = child("t:echo", 2)
        with pytest.raises(DuplicateExecutionError):
            await orchestrator.emit_children([twice, twice])
        alike = [child("t:echo", 3, id="alike"), child("t:echo", 4, id="alike")]
        with pytest.raises(DuplicateExecutionError, match="alike"):
            await orchestrator.emit_children(alike)
        assert runtime.stats().emitted == before
        assert await orchestrator.call(twice) == 2  # refused above, so it was not used up

    run_body(body)


def test_an_execution_compares_by_identity() -> None:
    one, other = (Execution.ad_hoc("t:echo", 1, id="same") for _ in range(2))

    assert one != other
    assert len({one, other}) == 2
