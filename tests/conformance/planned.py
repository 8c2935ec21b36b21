"""Makes the plans of `tests.strategies` happen, and writes down what could be seen of it."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from attrs import define, field

from orchestrator import ActionRegistry, Execution, OrchestratorError, Retry, current_context
from tests.conformance.support import (
    FOREVER,
    LIMIT,
    BlockingFace,
    Boom,
    Meter,
    drive,
    here,
    here_async,
    quiet,
)
from tests.strategies import FanOut, Leaf, Outcome, Wait


@define(eq=False)
class Record:
    """What the actions of one run have seen. Written from any thread."""

    lock: Any = field(factory=threading.Lock)
    inside: set[str] = field(factory=set)  # executions whose code runs
    runs: dict[str, int] = field(factory=lambda: defaultdict(int))
    wrong: list[str] = field(factory=list)  # what must not be, as texts
    events: list[Any] = field(factory=list)
    meter: Meter = field(factory=Meter)  # of blocking leaves

    def enter(self) -> str:
        """Code of an attempt begins."""
        execution = current_context().execution
        with self.lock:
            self.runs[execution.id] += 1
            if execution.id in self.inside:
                self.wrong.append(f"attempts of {execution.id} overlap")
            if execution.attempts != self.runs[execution.id]:
                self.wrong.append(f"attempt {execution.attempts} is run {self.runs[execution.id]}")
            self.inside.add(execution.id)
        return execution.id

    def leave(self, execution_id: str) -> None:
        """It ends."""
        with self.lock:
            self.inside.discard(execution_id)

    def check(self, message: str, *, holds: bool) -> None:
        """Note what does not hold."""
        if not holds:
            with self.lock:
                self.wrong.append(message)

    def ends(self) -> dict[str, list[str]]:
        """The ended states that were announced, by execution."""
        ended: dict[str, list[str]] = defaultdict(list)
        for event in self.events:
            if event.execution.state.ended:
                ended[event.execution.id].append(event.execution.state.value)
        return ended


class Odd(BaseException):
    """What some leaves raise."""


def made(plan: Leaf | FanOut, deadline: float | None = None) -> Execution:
    """The execution of a plan; *deadline* is its parent's time left."""
    kind = "leaf" if isinstance(plan, Leaf) else "fan"
    action = f"plan:{kind}_async" if plan.is_async else f"plan:{kind}"
    retry = None
    if isinstance(plan, Leaf) and plan.attempts > 1:
        retry = Retry(max_attempts=plan.attempts)
    return Execution.ad_hoc(action, {"plan": plan, "above": deadline}, retry=retry)


def planned_actions(record: Record) -> ActionRegistry:
    """The actions that run plans."""
    actions = ActionRegistry()

    @actions.register("plan:leaf")
    def leaf(plan: Leaf, above: float | None) -> Any:
        return drive(_leaf(record, plan, above, BlockingFace(here())))

    @actions.register("plan:leaf_async")
    async def leaf_async(plan: Leaf, above: float | None) -> Any:
        return await _leaf(record, plan, above, here_async())

    @actions.register("plan:fan")
    def fan(plan: FanOut, above: float | None) -> Any:
        return drive(_fan(record, plan, above, BlockingFace(here())))

    @actions.register("plan:fan_async")
    async def fan_async(plan: FanOut, above: float | None) -> Any:
        return await _fan(record, plan, above, here_async())

    return actions


def _check_deadline(record: Record, above: float | None) -> float | None:
    mine = current_context().remaining()
    if above is not None:  # its parent's time left, read before this was emitted
        record.check(f"{mine} left, {above} above", holds=mine is not None and mine <= above)
    return mine


async def _leaf(record: Record, plan: Leaf, above: float | None, orchestrator: Any) -> Any:
    _check_deadline(record, above)
    execution_id = record.enter()
    try:
        if plan.milliseconds:
            await orchestrator.sleep(plan.milliseconds / 1000)
        if current_context().execution.attempts < plan.attempts:
            raise Boom("not the last attempt")
        match plan.outcome:
            case Outcome.VALUE:
                return execution_id
            case Outcome.NONE:
                return None
            case Outcome.FAILURE:
                raise Boom(execution_id)
            case Outcome.BASE_EXCEPTION:
                raise Odd(execution_id)
            case Outcome.STUCK:
                await orchestrator.sleep(FOREVER)
    finally:
        record.leave(execution_id)


async def _fan(record: Record, plan: FanOut, above: float | None, orchestrator: Any) -> Any:
    mine = _check_deadline(record, above)
    execution_id = record.enter()
    try:
        given = [made(each, mine) for each in plan.children]
        try:
            if plan.wait is Wait.CALLS:
                return [await _called(orchestrator, each, plan) for each in given]
            options = plan.policy.options()
            group = await orchestrator.emit_children(given, **options)
            return await _waited(orchestrator, group, plan.wait)
        except (OrchestratorError, Boom, ExceptionGroup):
            if not plan.tolerant:
                raise
            return "survived"
    finally:
        record.leave(execution_id)


async def _called(orchestrator: Any, given: Execution, plan: FanOut) -> Any:
    milliseconds = plan.policy.milliseconds
    return await orchestrator.call(given, None if milliseconds is None else milliseconds / 1000)


async def _waited(orchestrator: Any, group: str, wait: Wait) -> Any:
    match wait:
        case Wait.AWAIT:
            return await orchestrator.await_group(group)
        case Wait.RESUME:
            return await orchestrator.await_resume()
        case Wait.ENDS:
            return [end.id async for end in orchestrator.as_completed(group)]
        case _:
            return None


def settle(runtime: Any, record: Record) -> Any:
    """Close, and check what must hold of every run: conservation, one end each, nothing left."""
    runtime.close(LIMIT)
    stats = runtime.stats()
    assert record.wrong == []
    assert record.inside == set()
    assert quiet(stats)
    assert stats.emitted == stats.completed + stats.failed + stats.cancelled == stats.settled
    seen: dict[str, str] = {}
    for event in record.events:  # a chain without a gap for each execution
        execution = event.execution
        assert event.previous == seen.get(execution.id, "pending")
        seen[execution.id] = execution.state.value
    ends = record.ends()
    assert [states for states in ends.values() if len(states) != 1] == []
    counts = [states[0] for states in ends.values()]
    assert (stats.completed, stats.failed) == (counts.count("completed"), counts.count("failed"))
    assert counts.count("cancelled") == stats.cancelled
    return stats
