"""Both orchestrators over an object with the seed's four methods only."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from orchestrator import (
    AsyncOrchestrator,
    AwaitMode,
    AwaitTimeoutError,
    BlockingCallError,
    Execution,
    ExecutionContext,
    GroupFailedError,
    InvalidInputError,
    MissingExecutionError,
    NotInitialisedError,
    Orchestrator,
    OrchestratorError,
    Task,
    use_context,
)
from tests.orchestrator.plain_runtimes import CallbackFuture, PlainRuntime

FUTURES = [pykka.ThreadingFuture, CallbackFuture]


def fail(value: Any) -> Any:
    raise LookupError(value)


@pytest.fixture(params=FUTURES, ids=lambda future: future.__name__)
def runtime(request: pytest.FixtureRequest) -> PlainRuntime:
    return PlainRuntime(
        request.param, double=lambda n: n * 2, fail=fail, none=lambda _: None, echo=lambda v: v
    )


@pytest.fixture(params=["blocking", "async"])
def face(request: pytest.FixtureRequest, runtime: PlainRuntime) -> Iterator[Any]:
    """Either orchestrator, each method called to its end; inside an execution."""
    context = ExecutionContext(Execution("t:t", id="parent", data={"rate": 3}))
    with use_context(context):
        yield Orchestrator(runtime) if request.param == "blocking" else Awaiting(runtime)


class Awaiting:
    """`AsyncOrchestrator` for a test that is no coroutine."""

    def __init__(self, runtime: PlainRuntime) -> None:
        self.inner = AsyncOrchestrator(runtime)

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            async def main() -> Any:
                answer = getattr(self.inner, name)(*args, **kwargs)
                if inspect.isasyncgen(answer):
                    return [item async for item in answer]
                return await answer

            return asyncio.run(main())

        return method


def child(action: str, value: Any = None) -> Execution:
    return Execution.ad_hoc(action, value)


def test_emit_for_each_makes_a_child_of_every_item_and_await_group_gives_their_outputs(
    face: Any, runtime: PlainRuntime
) -> None:
    template = Task("echo", {"n": "${item.n}", "rate": "${rate}"}, id="tpl")
    group = face.emit_for_each([{"n": 1}, {"n": 2}], "item", template)
    assert face.await_group(group) == [{"n": 1, "rate": 3}, {"n": 2, "rate": 3}]
    assert [one.task_id for one in runtime.emitted] == ["parent.tpl[0]", "parent.tpl[1]"]
    assert runtime.parents == ["parent"]


def test_without_an_input_in_the_template_the_item_is_the_input(face: Any) -> None:
    assert face.await_group(face.emit_for_each([1, 2], "n", Task("double"))) == [2, 4]


def test_emit_children_and_emit_one_keep_the_order_the_nones_and_the_policy(
    face: Any, runtime: PlainRuntime
) -> None:
    group = face.emit_children([child("double", 1), child("none")], mode="anyError")
    assert face.await_group(group) == [2, None]
    assert runtime.policies[0].mode is AwaitMode.ANY_ERROR
    assert face.await_group(face.emit_one(child("double", 4), timeout=5)) == [8]


def test_await_resume_gives_the_output_of_the_unblocked_execution(face: Any) -> None:
    face.emit_children([child("double", 1)])
    assert face.await_resume() == [2]


def test_call_gives_the_childs_output_or_raises_its_own_exception(face: Any) -> None:
    assert face.call(child("double", 21)) == 42
    with pytest.raises(LookupError, match="why"):
        face.call(child("fail", "why"))


def test_a_failed_group_raises_a_group_of_ones_own_and_keeps_its_exceptions_in_their_places(
    face: Any,
) -> None:
    group = face.emit_children([child("double", 1), child("fail", "x")])
    raised = []
    for _ in range(2):
        with pytest.raises(GroupFailedError) as caught:
            face.await_group(group)
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert raised[0].exceptions == raised[1].exceptions
    output, error = face.await_group(group, return_exceptions=True)
    assert output == 2
    assert isinstance(error, LookupError)


def test_as_completed_gives_the_ends_in_the_order_of_ending(face: Any) -> None:
    group = face.emit_children([child("double", n) for n in (1, 2, 3)])
    assert [end.output for end in face.as_completed(group)] == [6, 4, 2]
    failed = face.emit_children([child("fail")])
    with pytest.raises(GroupFailedError):
        list(face.as_completed(failed))


def test_patience_ends_in_a_timeout_error_of_this_waiter_and_the_group_goes_on(
    face: Any, runtime: PlainRuntime
) -> None:
    runtime.held = True
    runtime.never.add("double")
    group = face.emit_children([child("double", 1)])
    for wait in (
        lambda: face.await_group(group, 0),
        lambda: face.await_group(group, timeout=0.001),
        lambda: list(face.as_completed(group, timeout=0)),
        lambda: face.call(child("double"), timeout=0),
    ):
        with pytest.raises(AwaitTimeoutError) as caught:
            wait()
        assert isinstance(caught.value, TimeoutError)
    runtime.let_go(group)
    assert face.await_group(group, timeout=0) == [2]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("emit_children", ([], {"max_in_flight": 1})),
        ("cancel_group", ("g", {})),
        ("cancel", ("e", {})),
        ("release_group", ("g", {})),
    ],
)
def test_what_the_runtime_lacks_is_refused_by_name(
    face: Any, name: str, args: tuple[Any, dict[str, Any]]
) -> None:
    with pytest.raises(OrchestratorError, match=f"PlainRuntime.*{next(iter(args[1]), name)}"):
        getattr(face, name)(args[0], **args[1])


def test_sleeping_for_no_time_works_everywhere(face: Any) -> None:
    assert face.sleep(0) is None


def test_wrong_arguments_are_refused_before_the_runtime_sees_anything(
    face: Any, runtime: PlainRuntime
) -> None:
    cases: list[tuple[type[Exception], Any]] = [
        (TypeError, lambda: face.emit_for_each([1], "n", None)),
        (ValueError, lambda: face.emit_for_each([1], "n", Task(""))),
        (ValueError, lambda: face.emit_for_each([1], "not a name", Task("double"))),
        (TypeError, lambda: face.emit_for_each(5, "n", Task("double"))),
        (InvalidInputError, lambda: face.emit_for_each([1], "n", Task("double", "${m.a.b}"))),
        (InvalidInputError, lambda: face.emit_for_each([1], "n", Task("double", "${n.__class__}"))),
        (TypeError, lambda: face.emit_children([child("double"), "no child"])),
        (TypeError, lambda: face.emit_one(None)),
        (TypeError, lambda: face.call("double")),
        (ValueError, lambda: face.emit_children([child("double")], mode="quorum", quorum=2)),
        (ValueError, lambda: face.emit_children([], timeout=float("nan"))),
        (TypeError, lambda: face.emit_children([], no_such_option=1)),
        (ValueError, lambda: face.await_group("g", -1)),
        (ValueError, lambda: face.await_resume(float("nan"))),
        (ValueError, lambda: face.call(child("double"), -0.5)),
        (ValueError, lambda: face.as_completed("g", -1)),
        (ValueError, lambda: face.sleep(float("inf"))),
        (ValueError, lambda: face.sleep(-1)),
    ]
    for kind, wrong in cases:
        with pytest.raises(kind):
            wrong()
    assert runtime.emitted == []
    assert runtime.parents == []


@pytest.mark.parametrize("kind", [Orchestrator, AsyncOrchestrator])
def test_without_a_runtime_an_orchestrator_is_not_initialised(kind: type) -> None:
    with pytest.raises(NotInitialisedError):
        kind(None)


@pytest.mark.parametrize("kind", [Orchestrator, AsyncOrchestrator])
def test_an_object_that_lacks_one_of_the_four_methods_is_refused_by_its_name(kind: type) -> None:
    class Three:
        def emit_executions(self) -> None: ...
        def wait_for_unblock(self) -> None: ...
        def schedule_execution(self) -> None: ...

    with pytest.raises(TypeError, match="lacks await_group"):
        kind(Three())


def test_outside_an_execution_emits_are_refused_and_calls_are_roots(runtime: PlainRuntime) -> None:
    orchestrator = Orchestrator(runtime)
    assert orchestrator.call(child("double", 2)) == 4
    for emit in (
        lambda: orchestrator.emit_children([child("double")]),
        lambda: orchestrator.emit_for_each([1], "n", Task("double")),
        orchestrator.await_resume,
    ):
        with pytest.raises(MissingExecutionError, match=r"execution\(\)"):
            emit()


# The event loop

BLOCKING: list[tuple[str, tuple[Any, ...]]] = [
    ("emit_for_each", ([], "x", Task("t:t"))),
    ("emit_children", ([],)),
    ("emit_one", (Execution("t:t"),)),
    ("await_group", ("g",)),
    ("await_resume", ()),
    ("call", (Execution("t:t"),)),
    ("as_completed", ("g",)),
    ("cancel_group", ("g",)),
    ("cancel", ("e",)),
    ("release_group", ("g",)),
    ("sleep", (0,)),
    ("blocking", ()),
]


def test_every_method_has_an_awaitable_twin_and_is_listed_here() -> None:
    public = {name for name in vars(Orchestrator) if not name.startswith("_")} - {"from_context"}
    twins = {name for name in vars(AsyncOrchestrator) if not name.startswith("_")}
    assert public == {name for name, _args in BLOCKING}
    assert public | {"from_context"} == twins


@pytest.mark.parametrize(("name", "args"), BLOCKING, ids=[name for name, _args in BLOCKING])
def test_every_blocking_method_is_refused_at_once_on_a_loops_thread_and_names_its_twin(
    runtime: PlainRuntime, name: str, args: tuple[Any, ...]
) -> None:
    orchestrator = Orchestrator(runtime)

    async def main() -> None:
        with pytest.raises(BlockingCallError) as caught:
            getattr(orchestrator, name)(*args)
        assert caught.value.method == f"Orchestrator.{name}"
        assert caught.value.twin == f"AsyncOrchestrator.{name}"

    asyncio.run(main())
    assert runtime.parents == []


@pytest.mark.parametrize("wait", ["await_group", "as_completed"])
def test_a_wait_in_a_task_leaves_the_loop_free(runtime: PlainRuntime, wait: str) -> None:
    runtime.held = True

    async def main() -> None:
        orchestrator = AsyncOrchestrator(runtime)
        group = await orchestrator.emit_children([child("double", 1)])

        async def waiter() -> Any:
            if wait == "await_group":
                return await orchestrator.await_group(group)
            return [end.output async for end in orchestrator.as_completed(group)]

        tasks = [asyncio.create_task(waiter()) for _ in range(3)]
        turns = 0
        while turns < 50:  # the loop goes round while all of them wait
            await asyncio.sleep(0)
            turns += 1
        assert not any(task.done() for task in tasks)
        tasks.pop().cancel()
        threading.Thread(target=runtime.let_go, args=(group,)).start()
        assert await asyncio.gather(*tasks) == [[2], [2]]

    with use_context(ExecutionContext(Execution("t:t", id="parent"))):
        asyncio.run(main())


def test_async_sources_are_read_by_the_awaitable_face_alone(runtime: PlainRuntime) -> None:
    async def numbers() -> Any:
        for number in range(3):
            yield number

    async def main() -> Any:
        orchestrator = AsyncOrchestrator(runtime)
        return await orchestrator.await_group(
            await orchestrator.emit_for_each(numbers(), "n", Task("double"))
        )

    with use_context(ExecutionContext(Execution("t:t"))):
        assert asyncio.run(main()) == [0, 2, 4]
        with pytest.raises(TypeError, match="AsyncOrchestrator"):
            Orchestrator(runtime).emit_for_each(numbers(), "n", Task("double"))
