"""Actions that run plans, and what they have seen of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from orchestrator import (
    ActionRegistry,
    Cancelled,
    Execution,
    Orchestrator,
    OrchestratorError,
    Retry,
    RuntimeClosedError,
    UnknownGroupError,
    current_context,
)
from runtime.simulation.faces import BlockingFace, drive, here, here_async
from runtime.simulation.plans import (
    FanOutPlan,
    Fault,
    FaultKind,
    MergePlan,
    Outcome,
    Path,
    Plan,
    TaskPlan,
    Wait,
    WaiterPlan,
    plan_at,
)
from runtime.simulation.records import (
    Kind,
    PlannedError,
    PlannedExit,
    Record,
    Step,
    Told,
    comparable,
    name_of,
    told,
    told_error,
)

__all__ = ["planned", "planned_actions", "run_plan"]

HOUR = 3600.0  # seconds

T = TypeVar("T")


def planned(plan: Plan, path: Path = ()) -> Execution:
    """An execution of *plan*, to spawn, run, emit or call; of `planned_actions`."""
    kind = "task" if isinstance(plan, TaskPlan) else "fan_out"
    retry = None
    if plan.fails_first:
        pause = plan.pause if isinstance(plan, TaskPlan) else 0.0
        retry = Retry(max_attempts=plan.fails_first + 1, delay=pause, multiplier=1.0)
    timeout = plan.timeout if isinstance(plan, TaskPlan) else None
    action = f"plan:{kind}_async" if plan.is_async else f"plan:{kind}"
    given = {"plan": plan, "path": path}
    return Execution.ad_hoc(action, given, retry=retry, timeout=timeout)


def planned_actions(record: Record | None = None) -> ActionRegistry:
    """The actions that run plans; what they see goes into *record*."""
    seen = Record() if record is None else record
    actions = ActionRegistry()

    @actions.register("plan:task")
    def task(plan: TaskPlan, path: Path) -> Any:
        return drive(_task(seen, plan, path, BlockingFace(here())))

    @actions.register("plan:task_async")
    async def task_async(plan: TaskPlan, path: Path) -> Any:
        return await _task(seen, plan, path, here_async())

    @actions.register("plan:fan_out")
    def fan_out(plan: FanOutPlan, path: Path) -> Any:
        return drive(_fan_out(seen, plan, path, BlockingFace(here())))

    @actions.register("plan:fan_out_async")
    async def fan_out_async(plan: FanOutPlan, path: Path) -> Any:
        return await _fan_out(seen, plan, path, here_async())

    return actions


def run_plan(
    runtime: Any,
    plan: Plan,
    record: Record,
    *,
    faults: Sequence[Fault] = (),
    timeout: float | None = None,
) -> Told:
    """Run *plan* as a root of *runtime*, whose actions are `planned_actions(record)`.

    What it comes to is also the first thing that the record's root is told. Returns when all who
    wait, and all who do something to it, have done so; what runs on is the runtime's to close.
    """
    record.runtime = runtime
    root = planned(plan)
    record.ids[()] = root.id
    handle = runtime.spawn(root, timeout=timeout)
    for fault in faults:
        record.start(lambda fault=fault: _do(record, plan, fault))  # type: ignore[misc]
    answer = told(handle.result)
    record.join()
    return answer


async def _task(record: Record, plan: TaskPlan, path: Path, orchestrator: Any) -> Any:
    execution_id, attempt = _starts(record, path)
    try:
        if plan.delay:
            await orchestrator.sleep(plan.delay)
        if attempt <= plan.fails_first:
            raise PlannedError(f"{name_of(path)}, attempt {attempt}")
        return await _end(plan, path, orchestrator)
    except (Cancelled, asyncio.CancelledError):
        if plan.lingers:
            await _linger(plan)
        raise
    finally:
        record.steps.append(Step(Kind.ENDS, path, time.monotonic(), execution_id, attempt))


async def _end(plan: TaskPlan, path: Path, orchestrator: Any) -> Any:
    match plan.outcome:
        case Outcome.NONE:
            return None
        case Outcome.ERROR:
            raise PlannedError(name_of(path))
        case Outcome.BASE_EXCEPTION:
            raise PlannedExit(name_of(path))
        case Outcome.REJECTED:
            return ("rejected", name_of(path))
        case Outcome.HANGS:
            await orchestrator.sleep(HOUR)
    return name_of(path)


async def _linger(plan: TaskPlan) -> None:
    if plan.is_async:
        await asyncio.sleep(plan.lingers)
    else:
        time.sleep(plan.lingers)  # noqa: ASYNC251 - it runs in blocking code


def _starts(record: Record, path: Path) -> tuple[str, int]:
    context = current_context()
    execution = context.execution
    record.steps.append(
        Step(
            Kind.STARTS,
            path,
            time.monotonic(),
            execution.id,
            execution.attempts,
            context.deadline,
        )
    )
    return execution.id, execution.attempts


async def _fan_out(record: Record, plan: FanOutPlan, path: Path, orchestrator: Any) -> Any:
    execution_id, attempt = _starts(record, path)
    try:
        if plan.wait is Wait.CALLS:
            return await _call_all(record, plan, path, orchestrator)
        children = _children(record, plan, path)
        options = _options(record, plan)
        group_id = await orchestrator.emit_children(children, **options)
        record.groups[path] = group_id
        record.steps.append(
            Step(Kind.EMITS, path, time.monotonic(), execution_id, attempt, group_id=group_id)
        )
        if record.watched:
            record.start(lambda: _read_ends(record, path, group_id, "watcher", WaiterPlan()))
        for number, waiter in enumerate(plan.waiters):
            _send_waiter(record, path, group_id, number, waiter)
        if attempt <= plan.fails_first:
            raise PlannedError(f"{name_of(path)}, attempt {attempt}")
        return await _wait(record, plan, path, group_id, orchestrator)
    finally:
        record.steps.append(Step(Kind.ENDS, path, time.monotonic(), execution_id, attempt))


def _children(record: Record, plan: FanOutPlan, path: Path) -> Iterator[Execution]:
    record.steps.append(Step(Kind.OPENS, path, time.monotonic()))
    try:
        for index, child in enumerate(plan.children):
            execution = planned(child, (*path, index))
            record.ids[*path, index] = execution.id
            yield execution
    finally:
        record.steps.append(Step(Kind.CLOSES, path, time.monotonic()))


async def _call_all(record: Record, plan: FanOutPlan, path: Path, orchestrator: Any) -> Any:
    outputs = []
    for child in _children(record, plan, path):
        try:
            outputs.append(await orchestrator.call(child, plan.patience))
        except Exception as error:
            if not plan.tolerant:
                raise
            outputs.append(type(error).__name__)
    return outputs


def _options(record: Record, plan: FanOutPlan) -> dict[str, Any]:
    merge: Any = plan.merge.value
    if plan.merge is MergePlan.REDUCER:

        def merge(outputs: list[Any]) -> Any:
            record.reductions.append(tuple(outputs))
            return ("reduced", *outputs)

    return {
        "mode": plan.mode,
        "merge": merge,
        "timeout": plan.timeout,
        "quorum": plan.quorum,
        "until": _accepts if plan.until else None,
        "cancel_rest": plan.cancel_rest,
        "max_in_flight": plan.max_in_flight,
        "keep": plan.keep,
    }


def _accepts(output: Any) -> bool:
    return not (isinstance(output, tuple) and output[:1] == ("rejected",))


async def _wait(
    record: Record, plan: FanOutPlan, path: Path, group_id: str, orchestrator: Any
) -> Any:
    if plan.wait is Wait.RETURN:
        return None
    since = time.monotonic()

    def note(answer: Told) -> None:
        record.steps.append(
            Step(
                Kind.TOLD,
                path,
                time.monotonic(),
                group_id=group_id,
                who="parent" if plan.wait is not Wait.RESUME else "resumed",
                since=since,
                timeout=plan.patience,
                told=answer,
            )
        )

    try:
        match plan.wait:
            case Wait.RESUME:
                value = await orchestrator.await_resume(plan.patience)
            case Wait.ENDS:
                ends = orchestrator.as_completed(group_id, plan.patience)
                return [end.index async for end in ends]
            case _:
                value = await orchestrator.await_group(group_id, plan.patience)
    except (OrchestratorError, ExceptionGroup) as error:
        note(told_error(error))
        if not plan.tolerant:
            raise
        return f"{name_of(path)} survived"
    note(Told("outputs", comparable(value)))
    return value


# What others do


def _send_waiter(
    record: Record, path: Path, group_id: str, number: int, waiter: WaiterPlan
) -> None:
    who = str(number)
    if waiter.reads_ends:
        record.start(lambda: _read_ends(record, path, group_id, who, waiter))
    else:
        record.start(lambda: _await_group(record, path, group_id, who, waiter))


def _await_group(record: Record, path: Path, group_id: str, who: str, waiter: WaiterPlan) -> None:
    if waiter.after:
        time.sleep(waiter.after)
    since = time.monotonic()
    orchestrator = Orchestrator(record.runtime)
    answer = told(lambda: orchestrator.await_group(group_id, waiter.timeout))
    _note_told(record, path, group_id, who, waiter, since, answer)


def _read_ends(record: Record, path: Path, group_id: str, who: str, waiter: WaiterPlan) -> None:
    if waiter.after:
        time.sleep(waiter.after)
    since = time.monotonic()
    orchestrator = Orchestrator(record.runtime)
    ends: list[Any] = []

    def read() -> list[Any]:
        for end in orchestrator.as_completed(group_id, waiter.timeout):
            ends.append(end.index)
            record.steps.append(
                Step(Kind.CHILD, path, time.monotonic(), group_id=group_id, who=who, child=end)
            )
        return ends

    answer = told(read)
    _note_told(record, path, group_id, who, waiter, since, answer)


def _note_told(
    record: Record,
    path: Path,
    group_id: str,
    who: str,
    waiter: WaiterPlan,
    since: float,
    answer: Told,
) -> None:
    record.steps.append(
        Step(
            Kind.TOLD,
            path,
            time.monotonic(),
            group_id=group_id,
            who=f"{who} (ends)" if waiter.reads_ends or who == "watcher" else who,
            since=since,
            timeout=waiter.timeout,
            told=answer,
        )
    )


def _do(record: Record, plan: Plan, fault: Fault) -> None:
    if fault.after:
        time.sleep(fault.after)
    path, _part = plan_at(plan, fault.path)
    orchestrator = Orchestrator(record.runtime)
    found = record.groups if fault.kind is FaultKind.CANCEL_GROUP else record.ids
    name = found.get(path)
    if name is None:
        return  # it was not there by then
    step = Step(Kind.FAULT, path, time.monotonic(), who=fault.kind)
    record.steps.append(step)
    try:
        if fault.kind is FaultKind.CANCEL_GROUP:
            orchestrator.cancel_group(name, "a planned fault")
        else:
            orchestrator.cancel(name, "a planned fault")
    except (UnknownGroupError, RuntimeClosedError):
        pass  # its emitter, or all of it, has ended


# One body for blocking and async code
