"""Actions that run plans, and what they have seen of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from attrs import define, field, frozen

from orchestrator import (
    ActionRegistry,
    AsyncOrchestrator,
    Cancelled,
    Execution,
    GroupFailedError,
    GroupTimeoutError,
    Orchestrator,
    OrchestratorError,
    Retry,
    RuntimeClosedError,
    UnknownGroupError,
    current_context,
)
from runtime.simulation.errors import SimulationError
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

__all__ = [
    "Kind",
    "PlannedError",
    "PlannedExit",
    "Record",
    "Step",
    "Told",
    "name_of",
    "planned",
    "planned_actions",
    "run_plan",
    "told",
]

HOUR = 3600.0  # seconds

T = TypeVar("T")


class PlannedError(Exception):
    """What failing tasks raise."""


class PlannedExit(BaseException):
    """What tasks raise that end by a ``BaseException``."""


@frozen
class Told:
    """What a waiter got, comparable."""

    kind: str  # "outputs", or the name of the error's class
    outputs: tuple[Any, ...] = ()
    errors: tuple[str, ...] = ()  # of a failed group: each child's, in their order
    missing: tuple[int, ...] = ()  # of a group whose deadline has passed
    states: tuple[str, ...] = ()  # of a failed group: each child's at the decision


class Kind:
    """What a step of a record is."""

    STARTS = "starts"  # the code of an attempt
    ENDS = "ends"  # likewise
    EMITS = "emits"  # the emit has returned
    TOLD = "told"  # a wait has returned
    CHILD = "child"  # as_completed gave an end
    FAULT = "fault"  # something was done from outside
    OPENS = "opens"  # a source of children was read for the first time
    CLOSES = "closes"  # it is over


@frozen
class Step:
    """One thing that was seen, in the order in which it was."""

    kind: str
    path: Path
    at: float  # seconds of the clock that the code sees
    execution_id: str = ""
    attempt: int = 0
    deadline: float | None = None  # of the code that starts, in the same seconds
    group_id: str = ""
    who: str = ""  # of those who wait: "parent", or the waiter's number
    since: float = 0.0  # when the wait began
    timeout: float | None = None  # of the wait
    told: Told | None = None
    child: Execution | None = None


@define(eq=False)
class Record:
    """What was seen of one run. Any thread appends; every entry is one step."""

    steps: list[Step] = field(factory=list)
    watched: bool = False  # whether somebody reads the ends of every group
    ids: dict[Path, str] = field(factory=dict)  # of the last execution made for each path
    groups: dict[Path, str] = field(factory=dict)
    threads: list[threading.Thread] = field(factory=list)
    runtime: Any = None
    reductions: list[tuple[Any, ...]] = field(factory=list)  # what the reducers were given

    def of(self, kind: str) -> list[Step]:
        """The steps of one kind."""
        return [step for step in self.steps if step.kind == kind]

    def running(self) -> set[str]:
        """The executions whose code has started and not ended."""
        inside: dict[str, int] = {}
        for step in self.steps:
            if step.kind == Kind.STARTS:
                inside[step.execution_id] = inside.get(step.execution_id, 0) + 1
            elif step.kind == Kind.ENDS:
                inside[step.execution_id] -= 1
        return {name for name, count in inside.items() if count}

    def start(self, function: Callable[[], object]) -> None:
        """Run *function* on a thread of its own, to be joined by `join`."""
        thread = threading.Thread(target=function, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait for all threads, those started meanwhile too."""
        for thread in self.threads:  # a list may grow while it is read
            thread.join()


def name_of(path: Path) -> str:
    """What an execution of a plan is called in outputs and errors."""
    return ".".join(map(str, path)) or "root"


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
        return drive(_task(seen, plan, path, BlockingFace(_here())))

    @actions.register("plan:task_async")
    async def task_async(plan: TaskPlan, path: Path) -> Any:
        return await _task(seen, plan, path, _here_async())

    @actions.register("plan:fan_out")
    def fan_out(plan: FanOutPlan, path: Path) -> Any:
        return drive(_fan_out(seen, plan, path, BlockingFace(_here())))

    @actions.register("plan:fan_out_async")
    async def fan_out_async(plan: FanOutPlan, path: Path) -> Any:
        return await _fan_out(seen, plan, path, _here_async())

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


def told(wait: Callable[[], Any]) -> Told:
    """What a wait comes to, comparable."""
    try:
        value = wait()
    except SimulationError:
        raise
    except Exception as error:  # noqa: BLE001 - it is the answer
        return _told_error(error)
    return Told("outputs", _comparable(value))


def _comparable(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _told_error(error: BaseException) -> Told:
    kind = type(error).__name__
    match error:
        case GroupFailedError():
            errors = tuple(f"{type(each).__name__}: {each}" for each in error.exceptions)
            states = tuple(each.state.value for each in error.executions)
            return Told(kind, tuple(error.outputs), errors, states=states)
        case GroupTimeoutError():
            return Told(kind, tuple(error.outputs), (str(error),), tuple(error.missing))
        case BaseExceptionGroup():
            return Told(kind, (), tuple(str(each) for each in error.exceptions))
        case _:
            return Told(kind, (), (str(error),))


# What the actions do


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
        note(_told_error(error))
        if not plan.tolerant:
            raise
        return f"{name_of(path)} survived"
    note(Told("outputs", _comparable(value)))
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


class BlockingFace:
    """An `Orchestrator` with awaitable methods, so that one body runs on both faces."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.plain = orchestrator

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self.plain, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call

    async def as_completed(self, *args: Any, **kwargs: Any) -> Any:
        """As the orchestrator's, as an async iterator."""
        for end in self.plain.as_completed(*args, **kwargs):
            yield end


def drive(body: Awaitable[T]) -> T:
    """Run a coroutine that never suspends: one over a `BlockingFace`."""
    steps = body.__await__()
    try:
        next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    message = "a body over a blocking face has suspended"
    raise RuntimeError(message)


def _here() -> Orchestrator:
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None  # noqa: S101 - it is called by an action
    return orchestrator


def _here_async() -> AsyncOrchestrator:
    orchestrator = AsyncOrchestrator.from_context()
    assert orchestrator is not None  # noqa: S101 - it is called by an action
    return orchestrator
