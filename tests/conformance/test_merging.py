"""DESIGN.md section 3, *Resume and merge*."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AwaitTimeoutError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    Merge,
    Orchestrator,
)
from tests.conformance.support import (
    LIMIT,
    SOON,
    Boom,
    Gate,
    child,
    children,
    ends_of,
    here,
    here_async,
    in_thread,
)

Run = Callable[..., Any]


def test_await_resume_merges_the_groups_in_the_order_of_their_emission(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        await orchestrator.emit_children([child("t:gated_async", {"gate": gate, "value": 1})])
        later = await orchestrator.emit_children(children("t:echo", [2, 3]))
        await anext(orchestrator.as_completed(later))
        gate.open()
        assert await orchestrator.await_resume() == [1, 2, 3]

    run_body(body)


def test_await_resume_with_nothing_emitted_gives_the_pending_output_at_once(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        assert await orchestrator.await_resume(0) is None
        await orchestrator.emit_children(children("t:echo", [1]))
        assert await orchestrator.await_resume() == [1]
        assert await orchestrator.await_resume(0) == [1]
        await orchestrator.emit_children(children("t:echo", [2]))
        assert await orchestrator.await_resume() == [1, 2]

    run_body(body)


@pytest.mark.parametrize(
    ("merges", "expected"),
    [
        (("append", "append"), ["a", "b", "c", "d"]),
        (("append", "replace"), "d"),
        (("replace", "append"), ["b", "c", "d"]),  # anything but a list is one element
        (("replace", "replace"), "d"),
        ((Merge.APPEND, "".join), "cd"),
        (("".join, Merge.APPEND), ["ab", "c", "d"]),
        ((len, "replace"), "d"),
        ((list, "append"), ["a", "b", "c", "d"]),
        ((lambda _outputs: None, "append"), ["c", "d"]),
    ],
)
def test_merging_follows_the_rule_of_each_group(
    run_body: Run, merges: tuple[Any, Any], expected: Any
) -> None:
    async def body(orchestrator: Any) -> None:
        await orchestrator.emit_children(children("t:echo", "ab"), merge=merges[0])
        await orchestrator.emit_children(children("t:echo", "cd"), merge=merges[1])
        assert await orchestrator.await_resume() == expected

    run_body(body)


def test_replace_keeps_the_pending_output_where_there_are_no_outputs(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        await orchestrator.emit_children([], merge="replace")
        assert await orchestrator.await_resume() is None
        await orchestrator.emit_children(children("t:echo", [1]))
        await orchestrator.emit_children([], merge="replace")
        assert await orchestrator.await_resume() == [1]

    run_body(body)


def test_append_keeps_the_nones_and_an_empty_group_appends_nothing(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        await orchestrator.emit_children([])
        assert await orchestrator.await_resume() == []
        await orchestrator.emit_children(children("t:echo", [None, 1, [2]]))
        assert await orchestrator.await_resume() == [None, 1, [2]]

    run_body(body)


def test_await_resume_waits_until_none_of_the_groups_is_open(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        gates = [Gate(), Gate()]
        for n, gate in enumerate(gates):
            await orchestrator.emit_one(child("t:gated_async", {"gate": gate, "value": n}))
        for gate in gates:
            with pytest.raises(AwaitTimeoutError):
                await orchestrator.await_resume(SOON)
            gate.open()
        assert await orchestrator.await_resume(LIMIT) == [0, 1]

    run_body(body)


def test_what_was_consumed_is_not_merged(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        awaited = await orchestrator.emit_children(children("t:echo", ["awaited"]))
        read = await orchestrator.emit_children(children("t:echo", ["read"]))
        cancelled = await orchestrator.emit_children([child("t:forever")])
        failed = await orchestrator.emit_children([child("t:fail")])
        await orchestrator.emit_children(children("t:echo", ["merged"]))
        await orchestrator.await_group(awaited)
        assert len(await ends_of(orchestrator, read)) == 1
        await orchestrator.cancel_group(cancelled)
        with pytest.raises(GroupFailedError):
            await orchestrator.await_group(failed)
        assert await orchestrator.await_resume() == ["merged"]

    run_body(body)


def test_a_wait_that_timed_out_or_somebody_elses_wait_consumes_nothing(
    runtime: Any, run_body: Run
) -> None:
    async def body(orchestrator: Any) -> None:
        gate = Gate()
        group = await orchestrator.emit_one(child("t:gated_async", {"gate": gate, "value": 1}))
        with pytest.raises(AwaitTimeoutError):
            await orchestrator.await_group(group, 0)
        gate.open()
        other = in_thread(lambda: Orchestrator(runtime).await_group(group, LIMIT))
        assert await other == [1]
        assert await orchestrator.await_resume() == [1]

    run_body(body)


def test_what_an_action_returns_is_its_output_and_unconsumed_groups_are_merged_into_it(
    runtime: Any,
) -> None:
    def blocking(value: Any = None) -> Any:
        here().emit_children(children("t:echo", [1, 2]))
        return value

    async def waiting(value: Any = None) -> Any:
        await here_async().emit_children(children("t:echo", [1, 2]))
        return value

    for parent in (blocking, waiting):
        assert runtime.run(parent) == [1, 2]
        assert runtime.run(parent, {"value": 0}) == [0, 1, 2]
        assert runtime.run(parent, {"value": [0]}) == [0, 1, 2]
        assert runtime.run(parent, {"value": "text"}) == ["text", 1, 2]


def test_an_action_that_returns_none_has_its_pending_output(runtime: Any) -> None:
    def parent(value: Any = None) -> Any:
        orchestrator = here()
        orchestrator.emit_children(children("t:echo", [1]))
        assert orchestrator.await_resume() == [1]
        orchestrator.emit_children(children("t:echo", [2]))
        return value

    assert runtime.run(parent) == [1, 2]
    assert runtime.run(parent, {"value": "own"}) == ["own", 2]


def test_the_code_of_an_action_is_not_run_again_for_its_groups(runtime: Any) -> None:
    runs: list[int] = []

    def parent() -> None:
        runs.append(1)
        orchestrator = here()
        orchestrator.emit_children(children("t:echo", [1]))
        orchestrator.await_resume()
        orchestrator.emit_children(children("t:echo", [2]))

    assert runtime.run(parent) == [1, 2]
    assert runs == [1]


def test_an_action_that_has_returned_is_wait_async_until_its_groups_have_ended(
    runtime: Any,
) -> None:
    gate, returned = Gate(), Gate()

    def parent() -> str:
        here().emit_one(child("t:gated_async", {"gate": gate, "value": 1}))
        returned.open()
        return "value"

    handle = runtime.spawn(parent)
    returned.wait()
    assert handle.snapshot().state == "waitAsync"
    gate.open()
    assert handle.result(LIMIT) == ["value", 1]


def test_a_reducer_that_raises_fails_the_parent(run_body: Run, runtime: Any) -> None:
    def reducer(_outputs: list[Any]) -> Any:
        raise Boom("reducer")

    def parent() -> str:
        here().emit_children(children("t:echo", [1]), merge=reducer)
        return "lost"

    async def body(orchestrator: Any) -> None:
        await orchestrator.emit_children(children("t:echo", [1]), merge=reducer)
        with pytest.raises(Boom, match="reducer"):
            await orchestrator.await_resume()

    with pytest.raises(Boom, match="reducer"):
        runtime.run(parent)
    run_body(body)


def test_a_reducer_is_called_once_per_group_with_its_outputs(run_body: Run) -> None:
    calls: list[list[Any]] = []

    def reducer(outputs: list[Any]) -> Any:
        calls.append(list(outputs))
        return sum(outputs)

    async def body(orchestrator: Any) -> None:
        calls.clear()
        await orchestrator.emit_children(children("t:echo", [1, 2]), merge=reducer)
        assert await orchestrator.await_resume() == 3
        assert await orchestrator.await_resume() == 3
        assert calls == [[1, 2]]

    run_body(body)


def test_errors_of_unconsumed_groups_fail_the_parent(runtime: Any) -> None:
    def parent(broken: int) -> str:
        orchestrator = here()
        for n in range(broken):
            orchestrator.emit_children([child("t:fail", f"group {n}")])
        return "lost"

    with pytest.raises(GroupFailedError) as caught:
        runtime.run(parent, 1)
    assert [str(error) for error in caught.value.exceptions] == ["group 0"]
    with pytest.raises(ExceptionGroup) as both:
        runtime.run(parent, 2)
    assert len(both.value.exceptions) == 2
    assert all(isinstance(error, GroupFailedError) for error in both.value.exceptions)


def test_await_resume_raises_after_merging_the_others(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        await orchestrator.emit_children(children("t:echo", [1]))
        await orchestrator.emit_children([child("t:fail", "only once")])
        await orchestrator.emit_children(children("t:echo", [2]))
        with pytest.raises(GroupFailedError, match=r".*"):
            await orchestrator.await_resume()
        assert await orchestrator.await_resume() == [1, 2]

    run_body(body)


def test_await_resume_raises_several_errors_together(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        await orchestrator.emit_children([child("t:fail")])
        await orchestrator.emit_children([child("t:forever")], timeout=SOON)
        with pytest.raises(ExceptionGroup) as caught:
            await orchestrator.await_resume()
        kinds = [type(error) for error in caught.value.exceptions]
        assert kinds == [GroupFailedError, GroupTimeoutError]

    run_body(body)


def test_the_end_of_a_scope_raises_the_errors_of_its_unconsumed_groups(runtime: Any) -> None:
    with pytest.raises(GroupFailedError), runtime.execution() as orchestrator:
        orchestrator.emit_children([child("t:fail")])


def test_a_group_cancelled_by_somebody_else_is_an_error_of_its_parent(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:canceller")
    def canceller(group: str) -> None:
        here().cancel_group(group, "by another")

    def parent() -> str:
        orchestrator = here()
        group = orchestrator.emit_children([child("t:forever")])
        orchestrator.call(child("t:canceller", group))
        return "lost"

    with pytest.raises(GroupCancelledError, match="by another"):
        runtime.run(parent)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_merge_does_not_depend_on_the_order_in_which_groups_end(
    runtime: Any, order: tuple[int, ...]
) -> None:
    with runtime.execution() as orchestrator:
        gates = [Gate() for _ in order]
        groups = [
            orchestrator.emit_one(child("t:gated_async", {"gate": gate, "value": n}))
            for n, gate in enumerate(gates)
        ]
        for place in order:
            gates[place].open()
            next(iter(orchestrator.as_completed(groups[place])))
        assert orchestrator.await_resume() == [0, 1, 2]


def test_await_resume_gives_an_outsider_the_execution_that_it_waits_for(runtime: Any) -> None:
    """The `Runtime` protocol's `wait_for_unblock`, which `await_resume` is made of."""
    with runtime.execution("root") as orchestrator:
        orchestrator.emit_children(children("t:echo", [1]))
        parent = runtime.wait_for_unblock("root").get(timeout=LIMIT)
        assert (parent.id, parent.output) == ("root", [1])
