"""What bad input gets: an error of the named class, the value, the way out; nothing half done."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

import orchestrator as api
from orchestrator import (
    ActionRegistry,
    AwaitMode,
    Execution,
    ExecutionState,
    GroupFailedError,
    GroupPolicy,
    Merge,
    MissingExecutionError,
    OrchestratorError,
    Task,
    UnknownActionError,
    current_context,
    use_context,
)
from tests.conformance.support import LIMIT, Boom, Gate, child, children, ends_of, here

Run = Callable[..., Any]
NAN = float("nan")


class Rude:
    """A value whose ``__repr__`` raises."""

    def __repr__(self) -> str:
        raise Boom("repr")


@pytest.mark.parametrize(
    ("policy", "error", "part"),
    [
        ({"timeout": -1}, ValueError, "-1"),
        ({"timeout": NAN}, ValueError, "nan"),
        ({"timeout": "1"}, TypeError, "'1'"),
        ({"mode": "most"}, ValueError, "most"),
        ({"mode": None}, ValueError, "None"),
        ({"merge": "sum"}, ValueError, "sum"),
        ({"mode": "quorum"}, ValueError, "quorum"),
        ({"quorum": 1}, ValueError, "quorum"),
        ({"mode": "quorum", "quorum": 3}, ValueError, "3"),
        ({"mode": "quorum", "quorum": -1}, ValueError, "-1"),
        ({"mode": "quorum", "quorum": 1.5}, TypeError, "1.5"),
        ({"until": bool}, ValueError, "until"),
        ({"mode": "first", "until": bool}, ValueError, "until"),
        ({"mode": "any", "until": "yes"}, TypeError, "yes"),
        ({"max_in_flight": 0}, ValueError, "0"),
        ({"max_in_flight": 1.5}, TypeError, "1.5"),
        ({"patience": 1}, TypeError, "patience"),
        ({"keep": "no"}, TypeError, "keep"),
        ({"keep": 0}, TypeError, "keep"),
        ({"cancel_rest": None}, TypeError, "cancel_rest"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_and_queues_nothing(
    runtime: Any, run_body: Run, policy: Any, error: type[Exception], part: str
) -> None:
    async def body(orchestrator: Any) -> None:
        before = runtime.stats().emitted
        given = children("t:echo", [1, 2])
        with pytest.raises(error, match=part):
            await orchestrator.emit_children(given, **policy)
        with pytest.raises(error, match=part):
            await orchestrator.emit_for_each([1, 2], "n", Task("t:echo"), **policy)
        assert runtime.stats().emitted == before
        assert await orchestrator.await_group(await orchestrator.emit_children(given)) == [1, 2]

    run_body(body)


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (NAN, ValueError), ("1", TypeError)]
)
def test_a_timeout_that_makes_no_sense_is_refused_everywhere(
    runtime: Any, run_body: Run, timeout: Any, error: type[Exception]
) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", [1]))
        for wait in (
            lambda: orchestrator.await_group(group, timeout),
            lambda: orchestrator.await_resume(timeout),
            lambda: orchestrator.call(child("t:echo", 1), timeout),
            lambda: ends(orchestrator, group),
            lambda: orchestrator.sleep(timeout),
        ):
            with pytest.raises(error, match=r"timeout|seconds"):
                await wait()
        assert await orchestrator.await_group(group) == [1]

    async def ends(orchestrator: Any, group: str) -> None:
        async for _ in orchestrator.as_completed(group, timeout):
            pass

    run_body(body)
    before = runtime.stats().emitted
    for call in (
        lambda: runtime.run("t:echo", 1, timeout=timeout),
        lambda: runtime.spawn("t:echo", 1, timeout=timeout),
        lambda: runtime.execution(timeout=timeout),
        lambda: Task("t:echo", timeout=timeout),
        lambda: Execution.ad_hoc("t:echo", timeout=timeout),
        lambda: ActionRegistry().register("x", timeout=timeout)(print),
        lambda: GroupPolicy(timeout=timeout),
    ):
        with pytest.raises(error, match="timeout"):
            call()
    assert runtime.stats().emitted == before


@pytest.mark.parametrize("template", [None, "t:echo", 3, Rude()])
def test_a_template_that_is_no_task_is_refused(run_body: Run, template: Any) -> None:
    async def body(orchestrator: Any) -> None:
        with pytest.raises(TypeError, match="Task"):
            await orchestrator.emit_for_each([1], "n", template)

    run_body(body)


@pytest.mark.parametrize("wrong", [3, "entries", b"entries", ["entries"], float("nan")])
def test_a_context_that_is_no_mapping_is_refused(runtime: Any, wrong: Any) -> None:
    before = runtime.stats().emitted
    for call in (
        lambda: runtime.run("t:echo", 1, context=wrong),
        lambda: runtime.spawn("t:echo", 1, context=wrong),
        lambda: runtime.execution(context=wrong).__enter__(),
        lambda: api.Orchestrator.from_context(wrong),
        lambda: api.AsyncOrchestrator.from_context(wrong),
    ):
        with pytest.raises(TypeError, match="context must be a mapping"):
            call()
    assert runtime.stats().emitted == before


@pytest.mark.parametrize("field", ["id", "name"])
def test_the_fields_of_a_template_are_checked_where_it_is_made(field: str) -> None:
    for wrong in (3, None, b"id", []):
        with pytest.raises(TypeError, match=f"{field} must be a string"):
            Task("t:echo", **{field: wrong})


@pytest.mark.parametrize("field", ["data", "meta"])
def test_what_an_execution_carries_is_a_mapping(field: str) -> None:
    for wrong in (3, "x", [1]):
        with pytest.raises(TypeError, match=f"{field} must be a mapping"):
            Execution.ad_hoc("t:echo", **{field: wrong})


def test_a_timeout_of_more_seconds_than_a_float_holds_is_no_timeout(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_one(child("t:echo", 1), timeout=10**400)
        assert orchestrator.await_group(group, 10**400) == [1]
        assert orchestrator.call(child("t:echo", 2, timeout=10**400)) == 2
        group = orchestrator.emit_for_each([3], "n", Task("t:echo_async", timeout=10**400))
        assert orchestrator.await_group(group) == [3]
    with pytest.raises(ValueError, match="0 or more"):
        runtime.run("t:echo", 1, timeout=-(10**400))


def test_a_template_without_an_action_is_refused(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        with pytest.raises(ValueError, match="action"):
            await orchestrator.emit_for_each([1], "n", Task(""))
        with pytest.raises(TypeError, match="action"):
            Task(None)  # type: ignore[arg-type]

    run_body(body)


def test_a_template_of_an_unknown_action_is_refused_and_the_nearest_named(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        with pytest.raises(UnknownActionError, match="t:echo"):
            await orchestrator.emit_for_each([1], "n", Task("t:ehco"))

    run_body(body)


@pytest.mark.parametrize("bad", [None, "t:echo", 3, Task("t:echo"), Rude()])
def test_children_that_are_no_executions_are_refused_and_queue_nothing(
    runtime: Any, run_body: Run, bad: Any
) -> None:
    async def body(orchestrator: Any) -> None:
        before = runtime.stats().emitted
        with pytest.raises(TypeError, match="Execution"):
            await orchestrator.emit_children([child("t:echo", 1), bad])
        with pytest.raises(TypeError, match="Execution"):
            await orchestrator.emit_one(bad)
        with pytest.raises(TypeError):
            await orchestrator.emit_children(3)
        assert runtime.stats().emitted == before

    run_body(body)


@pytest.mark.parametrize(("as_", "error"), [("", ValueError), ("a b", ValueError), (3, TypeError)])
def test_a_name_that_no_reference_could_use_is_refused(
    run_body: Run, as_: Any, error: type[Exception]
) -> None:
    async def body(orchestrator: Any) -> None:
        with pytest.raises(error, match="as_"):
            await orchestrator.emit_for_each([1], as_, Task("t:echo"))

    run_body(body)


def test_an_emit_from_a_thread_that_outlived_its_execution_is_refused(runtime: Any) -> None:
    left: list[Any] = []

    def leaves() -> None:
        left.extend([here(), current_context()])

    runtime.run(leaves)
    orchestrator, context = left
    before = runtime.stats().emitted
    with use_context(context):
        for call in (
            lambda: orchestrator.emit_one(child("t:echo", 1)),
            lambda: orchestrator.emit_for_each([1], "n", Task("t:echo")),
            lambda: orchestrator.emit_children(iter([]), max_in_flight=1),
            lambda: orchestrator.call(child("t:echo", 1)),
            orchestrator.await_resume,
        ):
            with pytest.raises(MissingExecutionError):
                call()
    assert runtime.stats().emitted == before


def test_an_emit_that_the_end_of_its_attempt_overtakes_starts_nothing(
    runtime: Any, actions: ActionRegistry
) -> None:
    ran: list[int] = []
    go, told = Gate(), Gate()

    @actions.register("t:note")
    def note() -> None:
        ran.append(1)

    def leaves() -> str:
        context, orchestrator = current_context(), here()

        def late() -> None:
            with use_context(context):
                go.wait()
                try:
                    orchestrator.emit_one(child("t:note"))
                except MissingExecutionError:
                    told.open()

        threading.Thread(target=late, daemon=True).start()
        return "done"

    assert runtime.run(leaves) == "done"
    go.open()
    told.wait()
    assert ran == []


def test_values_whose_repr_raises_do_no_harm(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        rude = Rude()
        assert await orchestrator.call(child("t:echo", rude)) is rude
        group = await orchestrator.emit_children([child("t:echo", rude), child("t:fail")])
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert caught.value.outputs[0] is rude
        assert str(caught.value)
        assert all(repr(end) for end in await ends_of(orchestrator, group))
        with pytest.raises(api.InvalidInputError):
            await orchestrator.call(child("t:echo", {"wrong": rude}))

    run_body(body)


def test_an_exception_that_cannot_be_printed_or_noted_is_still_told(
    actions: ActionRegistry, run_body: Run
) -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise Boom("str")

        def add_note(self, _note: str) -> None:
            raise Boom("note")

    @actions.register("t:mute")
    def mute() -> None:
        raise Mute

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children([child("t:mute"), child("t:echo", 1)])
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group, LIMIT)
        assert isinstance(caught.value.exceptions[0], Mute)

    run_body(body)


def test_the_same_exception_object_raised_by_many_children_is_told_for_each(
    actions: ActionRegistry, run_body: Run
) -> None:
    shared = Boom("shared")

    @actions.register("t:shared")
    def raises() -> None:
        raise shared

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:shared", [None] * 3))
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert len(caught.value.exceptions) == 3
        assert all(str(error) == "shared" for error in caught.value.exceptions)

    run_body(body)


def test_an_action_is_registered_once_under_a_name_that_is_a_string(
    actions: ActionRegistry,
) -> None:
    with pytest.raises(ValueError, match="t:echo"):
        actions.register("t:echo")(print)
    for name, error in ((3, TypeError), ("", ValueError)):
        with pytest.raises(error, match="name"):
            actions.register(name)(print)  # type: ignore[call-overload]
    for options, error in (
        ({"max_concurrency": 0}, ValueError),
        ({"max_concurrency": "1"}, TypeError),
        ({"rate_limit": 3}, TypeError),
        ({"retry": 3}, TypeError),
        ({"runs_in": "space"}, ValueError),
    ):
        with pytest.raises(error, match=next(iter(options))):
            actions.register("t:new", **options)(print)
    with pytest.raises(TypeError, match="callable"):
        actions.register("t:new")(3)
    assert "t:new" not in actions


def test_what_no_action_can_be_is_refused(actions: ActionRegistry) -> None:
    async def generates() -> Any:
        yield 1

    with pytest.raises(TypeError, match="async generator"):
        actions.register("t:generates")(generates)


def test_every_error_is_an_orchestrator_error_and_survives_pickling() -> None:
    made: list[Exception] = [
        api.NotInitialisedError("text"),
        api.MissingExecutionError("text"),
        api.UnknownActionError("t:ecko", ("t:echo",)),
        api.UnknownTaskError("task", "process"),
        api.UnknownGroupError("group"),
        api.UnknownExecutionError("execution"),
        api.DuplicateExecutionError("execution"),
        api.InvalidInputError("problem", "action", "parameter", "expected", "got"),
        api.AwaitTimeoutError("group 'x'", 1.5),
        api.ExecutionTimeoutError("execution", "action", 1.5),
        api.GroupTimeoutError("group", 1.5, [None, 1], (0,)),
        api.GroupFailedError("failed", [Boom("one")], "group", [None], ()),
        api.GroupCancelledError("group", "reason"),
        api.ExecutionCancelledError("execution", "reason"),
        api.RejectedError("rejected", 3),
        api.DeadlockError(("a", "b", "a")),
        api.BlockingCallError("call", "twin"),
        api.RuntimeClosedError("closed"),
        api.CloseTimeoutError(1.5, ("action",)),
    ]
    names = {name for name in api.__all__ if name.endswith("Error")} - {"OrchestratorError"}
    assert {type(error).__name__ for error in made} == names
    for error in made:
        assert isinstance(error, OrchestratorError)
        assert isinstance(error, TimeoutError) == ("Timeout" in type(error).__name__)
        twin = pickle.loads(pickle.dumps(error))
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin).keys() == vars(error).keys()


def test_the_closed_sets_are_the_strings_of_the_seed() -> None:
    assert [state.value for state in ExecutionState] == [
        "pending",
        "scheduled",
        "running",
        "waitAsync",
        "completed",
        "failed",
        "cancelled",
        "skipped",
        "paused",
    ]
    assert {mode.value for mode in AwaitMode} == {"all", "first", "any", "anyError", "quorum"}
    assert {merge.value for merge in Merge} == {"append", "replace"}
