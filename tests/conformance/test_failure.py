"""DESIGN.md section 3, *Failure*: what a failed group raises, and how its errors travel."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AwaitMode,
    ExecutionCancelledError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    OrchestratorError,
)
from tests.conformance.support import LIMIT, SOON, Boom, Gate, child, children, ends_of

Run = Callable[..., Any]


class Odd(BaseException):
    """No ``Exception``."""


async def failing(orchestrator: Any) -> str:
    """A group in which the second and the fourth of five children fail."""
    given = children("t:echo", "abcde")
    given[1] = child("t:fail", "second")
    given[3] = child("t:fail_async", "fourth")
    return await orchestrator.emit_children(given)


async def error_of(orchestrator: Any, group: str) -> GroupFailedError:
    with pytest.raises(GroupFailedError) as caught:
        await orchestrator.await_group(group)
    return caught.value


def test_a_failed_group_raises_the_childrens_own_exceptions_in_a_group(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        error = await error_of(orchestrator, await failing(orchestrator))
        assert isinstance(error, ExceptionGroup)
        assert isinstance(error, OrchestratorError)
        assert [type(inner) for inner in error.exceptions] == [Boom, Boom]
        assert [str(inner) for inner in error.exceptions] == ["second", "fourth"]

    run_body(body)


def test_each_exception_has_a_note_that_names_its_child(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        error = await error_of(orchestrator, await failing(orchestrator))
        failed = [end for end in error.executions if end.state == "failed"]
        for inner, end in zip(error.exceptions, failed, strict=True):
            notes = "\n".join(inner.__notes__)
            assert end.id in notes or end.task_id in notes
            assert notes in "".join(traceback.format_exception(error))

    run_body(body)


def test_notes_do_not_pile_up_however_often_the_error_is_raised(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await failing(orchestrator)
        errors = [await error_of(orchestrator, group) for _ in range(3)]
        assert [len(error.exceptions[0].__notes__) for error in errors] == [1, 1, 1]

    run_body(body)


def test_outputs_and_executions_of_the_error_are_by_emission(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await failing(orchestrator)
        error = await error_of(orchestrator, group)
        assert error.group_id == group
        assert error.outputs == ["a", None, "c", None, "e"]
        assert [end.index for end in error.executions] == [0, 1, 2, 3, 4]
        assert [end.state.value for end in error.executions] == [
            "completed",
            "failed",
            "completed",
            "failed",
            "completed",
        ]
        assert error.executions[1].error is error.exceptions[0]

    run_body(body)


def test_except_star_and_split_keep_what_the_error_knows(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:fail"), child("t:fail_async"), child("t:echo", 1)]
        group = await orchestrator.emit_children([*given, child("t:echo", 2)])
        error = await error_of(orchestrator, group)
        match, rest = error.split(lambda inner: inner is error.exceptions[0])
        for part in (match, rest):
            assert isinstance(part, GroupFailedError)
            assert part.group_id == group
            assert part.outputs == error.outputs
            assert len(part.executions) == 4
        seen: list[Any] = []
        try:
            await orchestrator.await_group(group)
        except* Boom as booms:
            seen.append(booms)
        assert isinstance(seen[0], GroupFailedError)
        assert seen[0].outputs == [None, None, 1, 2]

    run_body(body)


def test_a_failed_group_survives_pickling(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        error = await error_of(orchestrator, await failing(orchestrator))
        twin = pickle.loads(pickle.dumps(error))
        assert type(twin) is GroupFailedError
        assert twin.outputs == error.outputs
        assert twin.group_id == error.group_id
        assert [end.id for end in twin.executions] == [end.id for end in error.executions]
        assert [str(inner) for inner in twin.exceptions] == ["second", "fourth"]
        assert twin.exceptions[0].__notes__ == error.exceptions[0].__notes__

    run_body(body)


def test_every_waiter_gets_a_group_of_its_own(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await failing(orchestrator)
        one, other = [await error_of(orchestrator, group) for _ in range(2)]
        assert one is not other
        one.outputs.append("mine")
        assert other.outputs == ["a", None, "c", None, "e"]
        assert (await error_of(orchestrator, group)).outputs == other.outputs

    run_body(body)


def test_a_childs_exception_is_raised_with_its_original_traceback_however_often(
    runtime: Any,
) -> None:
    def raises() -> None:
        raise Boom("deep")

    handle = runtime.spawn(raises)
    lines: list[list[str]] = []
    for _ in range(4):
        with pytest.raises(Boom) as caught:
            handle.result(LIMIT)
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert frames[-1].name == "raises"
        lines.append([frame.name for frame in frames])
    assert lines[0] == lines[-1]  # it does not grow


def test_a_called_childs_exception_is_its_own_with_its_traceback(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        for action in ("t:fail", "t:fail_async"):
            with pytest.raises(Boom, match="called") as caught:
                await orchestrator.call(child(action, "called"))
            names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert names[-1] in ("fail", "fail_async")

    run_body(body)


@pytest.mark.parametrize("kind", [Odd, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_action_that_raises_a_base_exception_has_failed_with_it_as_the_cause(
    actions: ActionRegistry, run_body: Run, kind: type[BaseException]
) -> None:
    @actions.register("t:odd")
    def odd() -> None:
        raise kind("odd")

    async def body(orchestrator: Any) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is not promised
            await orchestrator.call(child("t:odd"))
        assert isinstance(caught.value.__cause__, kind)
        group = await orchestrator.emit_children([child("t:odd"), child("t:echo", 1)])
        error = await error_of(orchestrator, group)
        assert error.outputs == [None, 1]  # it ended nothing else
        assert isinstance(error.exceptions[0].__cause__, kind)

    run_body(body)


@pytest.mark.parametrize("kind", [Odd, SystemExit, KeyboardInterrupt])
def test_an_async_action_that_raises_a_base_exception_has_failed_as_well(
    actions: ActionRegistry, runtime: Any, kind: type[BaseException]
) -> None:
    @actions.register("t:odd_async")
    async def odd() -> None:
        raise kind("odd")

    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is not promised
        runtime.run("t:odd_async")
    assert isinstance(caught.value.__cause__, kind)
    assert runtime.run("t:echo_async", 1) == 1


def test_an_async_action_that_raises_cancelled_error_uncancelled_has_failed(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:odd_cancel")
    async def odd() -> None:
        raise asyncio.CancelledError("on its own")

    handle = runtime.spawn("t:odd_cancel")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class is not promised
        handle.result(LIMIT)
    assert handle.snapshot().state == "failed"
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def test_return_exceptions_puts_the_exceptions_of_a_failed_group_in_their_places(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        stopped = child("t:forever")
        given = [child("t:echo", 1), child("t:fail", "two"), stopped, child("t:echo")]
        group = await orchestrator.emit_children(given)
        await orchestrator.cancel(stopped.id, "not needed")
        one, two, three, four = await orchestrator.await_group(group, return_exceptions=True)
        assert (one, four) == (1, None)
        assert isinstance(two, Boom)
        assert isinstance(three, ExecutionCancelledError)
        assert "not needed" in str(three)

    run_body(body)


def test_return_exceptions_gives_the_list_by_emission_for_other_modes_too(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:forever"), child("t:fail", "first"), child("t:forever_async")]
        group = await orchestrator.emit_children(given, mode=AwaitMode.ANY_ERROR)
        places = await orchestrator.await_group(group, return_exceptions=True)
        kinds = [ExecutionCancelledError, Boom, ExecutionCancelledError]
        assert [type(place) for place in places] == kinds

    run_body(body)


def test_return_exceptions_changes_nothing_for_a_group_that_has_not_failed(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", [1, 2]))
        assert await orchestrator.await_group(group, return_exceptions=True) == [1, 2]

    run_body(body)


def test_a_deadline_or_a_cancelled_group_still_raises_with_return_exceptions(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        late = await orchestrator.emit_children([child("t:forever")], timeout=SOON)
        with pytest.raises(GroupTimeoutError):
            await orchestrator.await_group(late, return_exceptions=True)
        cancelled = await orchestrator.emit_children([child("t:forever")])
        await orchestrator.cancel_group(cancelled)
        with pytest.raises(GroupCancelledError):
            await orchestrator.await_group(cancelled, return_exceptions=True)

    run_body(body)


def test_a_group_that_misses_its_deadline_tells_what_became_of_each_child(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:echo", 1), child("t:fail", 2), child("t:forever_async")]
        group = await orchestrator.emit_children(given, timeout=SOON)
        with pytest.raises(GroupTimeoutError) as caught:
            await orchestrator.await_group(group)
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert 2 in error.missing
            assert len(error.executions) == 3
            if 1 not in error.missing:  # as mostly: nothing but time could hold it up
                assert type(error.executions[1].error) is Boom

    run_body(body)


def test_an_exception_that_all_children_share_has_few_notes(
    actions: ActionRegistry, run_body: Run
) -> None:
    shared = ConnectionError("down")

    @actions.register("t:shares")
    def shares(_value: int) -> None:
        raise shared

    async def body(orchestrator: Any) -> None:
        for _ in range(2):
            group = await orchestrator.emit_children(children("t:shares", range(30)))
            with pytest.raises(GroupFailedError) as caught:
                await orchestrator.await_group(group)
            assert caught.value.exceptions == (shared,) * 30

    run_body(body)
    assert len(shared.__notes__) == 10


def test_cancel_group_decides_it_as_cancelled_and_cancels_its_children(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = [child("t:echo", 1), child("t:forever"), child("t:forever_async")]
        group = await orchestrator.emit_children(given)
        assert (await anext(orchestrator.as_completed(group))).output == 1
        await orchestrator.cancel_group(group, "changed my mind")
        for _ in range(2):
            with pytest.raises(GroupCancelledError, match="changed my mind"):
                await orchestrator.await_group(group)
        states = {end.index: end.state.value for end in await ends_of(orchestrator, group)}
        assert states == {0: "completed", 1: "cancelled", 2: "cancelled"}

    run_body(body)


def test_cancelling_a_group_that_has_decided_changes_nothing(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", [1]))
        assert await orchestrator.await_group(group) == [1]
        await orchestrator.cancel_group(group)
        assert await orchestrator.await_group(group) == [1]

    run_body(body)


def test_a_failing_scope_cancels_what_is_in_it_and_raises_its_own_exception(runtime: Any) -> None:
    started = Gate()
    with pytest.raises(Boom, match="mine"), runtime.execution() as orchestrator:  # noqa: PT012
        orchestrator.emit_children([child("t:forever", {"started": started})])
        started.wait()
        raise Boom("mine")

    assert runtime.stats().cancelled == 1


def test_the_failure_of_a_root_that_nobody_reads_is_logged(
    runtime: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logged = Gate()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and isinstance(record.exc_info[1], Boom):
                logged.open()

    watch = Watch()
    logging.getLogger().addHandler(watch)
    try:
        runtime.spawn("t:fail", "unread")
        logged.wait()
    finally:
        logging.getLogger().removeHandler(watch)
    assert any("t:fail" in record.getMessage() for record in caplog.records)


def test_the_failure_of_a_root_that_is_read_is_not_logged(
    make_runtime: Run, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = make_runtime()
    handle = runtime.spawn("t:fail", "read")
    with pytest.raises(Boom):
        handle.result(LIMIT)
    del handle
    runtime.close(LIMIT)

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
