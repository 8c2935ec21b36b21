"""What user code raises, returns and is given may be as hostile as it likes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    Cancelled,
    Execution,
    GroupFailedError,
    InvalidInputError,
    OrchestratorError,
    Retry,
    Task,
)
from runtime import EventsLost, LocalRuntime
from tests.conformance.support import LIMIT, Boom, child, children, standard_actions


@pytest.fixture
def actions() -> ActionRegistry:
    return standard_actions()


@pytest.fixture
def runtime(actions: ActionRegistry) -> Iterator[LocalRuntime]:
    made = LocalRuntime(actions, workers=2)
    yield made
    made.close(LIMIT, cancel=True)


class Hostile:
    """Whatever is done with it raises."""

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("hands off")

    __repr__ = __str__ = __eq__ = __bool__ = __len__ = __iter__ = _raise
    __copy__ = __deepcopy__ = __reduce_ex__ = __format__ = __call__ = _raise
    __hash__ = _raise


class HostileError(Exception):
    """It can't be printed, compared, noted, copied or made without arguments."""

    def __init__(self, one: object, /, *, two: object) -> None:
        super().__init__()
        self.given = (one, two)

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("hands off")

    __repr__ = __str__ = __eq__ = __bool__ = add_note = __reduce_ex__ = _raise
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("action", ["t:echo", "t:echo_async"])
def test_hostile_values_travel_as_they_are(
    runtime: LocalRuntime, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = Hostile()
    seen: list[Any] = []
    subscription = runtime.subscribe(seen.append)
    assert runtime.run(action, hostile) is hostile
    with runtime.execution(context={"entry": hostile}) as orchestrator:
        for template in (Task(action), Task(action, "${one}"), Task(action, ["${one}"])):
            group = orchestrator.emit_for_each([hostile], "one", template)
            (output,) = orchestrator.await_group(group, LIMIT)
            assert (output if type(output) is Hostile else output[0]) is hostile
        orchestrator.emit_children(children(action, [hostile]))
        assert orchestrator.await_resume()[0] is hostile
        rejecting = orchestrator.emit_children(
            children(action, [hostile]), mode="any", until=lambda _output: False
        )
        with pytest.raises(GroupFailedError) as caught:
            orchestrator.await_group(rejecting, LIMIT)
        assert "Hostile" in repr(caught.value.exceptions[0])
        undecided = orchestrator.emit_children(
            children(action, [1]), mode="any", until=lambda _output: hostile
        )
        with pytest.raises(GroupFailedError):
            orchestrator.await_group(undecided, LIMIT)
    subscription.close()
    assert seen
    assert not caplog.records


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_hostile_exceptions_are_told_as_they_are(
    runtime: LocalRuntime, actions: ActionRegistry, kind: str
) -> None:
    @actions.register("t:blocking", retry=Retry(2))
    def fails() -> None:
        raise HostileError(1, two=2)

    @actions.register("t:async", retry=Retry(2))
    async def fails_async() -> None:
        raise HostileError(1, two=2)

    with pytest.raises(HostileError):
        runtime.run(f"t:{kind}")
    with runtime.execution() as orchestrator:
        with pytest.raises(HostileError):
            orchestrator.call(child(f"t:{kind}"))
        group = orchestrator.emit_children([child(f"t:{kind}"), child("t:echo", 1)])
        with pytest.raises(GroupFailedError) as caught:
            orchestrator.await_group(group, LIMIT)
        assert caught.value.outputs == [None, 1]
        outcome, one = orchestrator.await_group(group, LIMIT, return_exceptions=True)
        assert (type(outcome), one) == (HostileError, 1)


@pytest.mark.parametrize("where", ["id", "task_id", "process_id", "priority"])
def test_an_execution_with_fields_of_the_wrong_type_is_refused_and_nothing_is_queued(
    runtime: LocalRuntime, where: str
) -> None:
    for wrong in (Hostile(), [], 1.5):
        with pytest.raises(TypeError):
            runtime.run(Execution.ad_hoc("t:echo", 1, **{where: wrong}))
        with runtime.execution() as orchestrator, pytest.raises(TypeError):
            orchestrator.emit_children([child("t:echo", 1, **{where: wrong})])
    assert runtime.run("t:echo", 1) == 1


RAISED: list[BaseException] = [
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("mine"),
    Cancelled("mine"),
    BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError()]),
    BaseException("bare"),
]


@pytest.mark.parametrize("kind", ["blocking", "async"])
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised).__name__)
def test_what_is_no_exception_fails_the_execution_alone(
    runtime: LocalRuntime, actions: ActionRegistry, raised: BaseException, kind: str
) -> None:
    @actions.register("t:blocking")
    def raises() -> None:
        raise raised

    @actions.register("t:async")
    async def raises_async() -> None:
        raise raised

    with pytest.raises(OrchestratorError, match=type(raised).__name__) as caught:
        runtime.run(f"t:{kind}")
    assert caught.value.__cause__ is raised
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children([child(f"t:{kind}"), child("t:echo", 1)])
        with pytest.raises(GroupFailedError) as failed:
            orchestrator.await_group(group, LIMIT)
        assert failed.value.outputs == [None, 1]
    assert runtime.run("t:echo", 2) == 2
    assert runtime.run("t:echo_async", 2) == 2


def test_stop_iteration_out_of_an_action_is_an_exception_like_any_other(
    runtime: LocalRuntime,
) -> None:
    def stops() -> None:
        raise StopIteration(1)

    async def stops_async() -> None:
        raise StopAsyncIteration(2)

    with pytest.raises(StopIteration):
        runtime.run(stops)
    with pytest.raises(StopAsyncIteration):
        runtime.run(stops_async)


def test_an_action_that_recurses_without_end_fails_alone(
    runtime: LocalRuntime, actions: ActionRegistry
) -> None:
    @actions.register("t:endless")
    def endless() -> None:
        endless()

    with pytest.raises(RecursionError):
        runtime.run("t:endless")
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children([child("t:endless"), child("t:echo", 1)])
        assert orchestrator.await_group(group, LIMIT, return_exceptions=True)[1] == 1


def test_exceptions_of_any_depth_are_told(runtime: LocalRuntime, actions: ActionRegistry) -> None:
    @actions.register("t:chain")
    def chain() -> None:
        error: Exception | None = None
        for number in range(10_000):
            following = ValueError(number)
            following.__cause__ = error
            error = following
        assert error is not None
        raise error

    @actions.register("t:nest")
    def nest() -> None:
        error: Exception = ValueError("innermost")
        for _ in range(300):
            error = ExceptionGroup("nested", [error])
        raise error

    with pytest.raises(ValueError, match="9999"):
        runtime.run("t:chain")
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children([child("t:chain"), child("t:nest")])
        chained, nested = orchestrator.await_group(group, LIMIT, return_exceptions=True)
        assert (type(chained), type(nested)) == (ValueError, ExceptionGroup)


def test_huge_and_deep_input_passes_and_is_named_in_brief_where_it_is_wrong(
    runtime: LocalRuntime,
) -> None:
    huge = "x" * 10_000_000
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for given in (huge, deep, endless, 10**10_000):
        assert runtime.run("t:echo", given) is given
        with pytest.raises(InvalidInputError) as caught:
            runtime.run("t:echo", {"nothing_of_that_name": given})
        assert len(str(caught.value)) < 2000
    with runtime.execution() as orchestrator:
        for given in (deep, endless):
            with pytest.raises(InvalidInputError, match="deeply"):
                orchestrator.emit_for_each([1], "n", Task("t:echo", input=[given]))
    while deep:  # or its end would recurse
        deep = deep.pop()


def test_a_listener_that_raises_anything_is_kept(
    runtime: LocalRuntime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)  # what can't be printed isn't
    raised = iter([SystemExit(1), KeyboardInterrupt(), HostileError(1, two=2), Boom("boom")])
    told: list[Any] = []

    def listen(news: Any) -> None:
        told.append(news)
        if error := next(raised, None):
            raise error

    subscription = runtime.subscribe(listen)
    for number in range(3):
        assert runtime.run("t:echo", number) == number
    subscription.close()
    assert len(told) == 9
    assert subscription.failures == 4
    assert caplog.records
    assert not any(isinstance(news, EventsLost) for news in told)
