"""Hypothesis strategies for property tests of one's own fan-outs.

Each draws plain values of `plans`, small ones first: they shrink towards blocking tasks that
return a value at once, and towards fewer of everything. `planned_actions` and `run_plan` of
`planned` make a plan happen::

    from hypothesis import given
    from runtime.simulation import SimulatedRuntime, schedules
    from runtime.simulation.planned import planned_actions, run_plan
    from runtime.simulation.records import Record
    from runtime.simulation.strategies import fan_outs, faults

    @given(fan_outs(depth=2), faults(), schedules())
    def test_whatever_was_emitted_ends(plan, disturbances, schedule):
        record = Record()
        with SimulatedRuntime(planned_actions(record), schedule) as runtime:
            run_plan(runtime, plan, record, faults=disturbances)
        assert record.running() == set()

Or build executions of your own actions from them: ``planned`` is one way, and a plan is data that
any test can read::

    @given(tasks(outcomes=outcomes(only=[Outcome.VALUE, Outcome.ERROR])), schedules())
    def test_the_cache_forgets_what_failed(plan, schedule): ...

Delays are drawn from few whole seconds, so that ties are common: what happens first in one instant
is the schedule's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from orchestrator.values import AwaitMode
from runtime.simulation.plans import (
    FanOutPlan,
    Fault,
    FaultKind,
    MergePlan,
    Outcome,
    TaskPlan,
    Wait,
    WaiterPlan,
)

__all__ = ["delays", "fan_outs", "faults", "outcomes", "tasks", "waiters"]

_MODES = tuple(AwaitMode)
_WAITS = (Wait.AWAIT, Wait.RESUME, Wait.RETURN, Wait.ENDS, Wait.CALLS)


def delays(most: int = 3) -> st.SearchStrategy[float]:
    """Whole seconds, from none to *most*."""
    return st.integers(0, most).map(float)


def outcomes(
    only: Sequence[Outcome] = tuple(Outcome), *, hangs: bool = False
) -> st.SearchStrategy[Outcome]:
    """How a task ends; `Outcome.HANGS` only with *hangs*.

    Args:
        only: Those to draw from, the simplest first.
        hangs: Whether tasks may wait for an hour: they end in time only by a cancel or a deadline.
    """
    return st.sampled_from([each for each in only if hangs or each is not Outcome.HANGS])


def tasks(
    outcomes: st.SearchStrategy[Outcome] = outcomes(),  # noqa: B008 - strategies never change
    *,
    delay: st.SearchStrategy[float] = delays(),  # noqa: B008
    is_async: bool | None = None,
    retries: int = 0,
    timeouts: bool = False,
    lingers: bool = False,
) -> st.SearchStrategy[TaskPlan]:
    """Executions without children.

    Args:
        outcomes: How they end.
        delay: Seconds that they take.
        is_async: Only such, or only blocking ones; ``None`` for both.
        retries: How many attempts may fail before the last.
        timeouts: Whether an attempt may have a timeout.
        lingers: Whether their code may go on for some seconds after a cancel.
    """
    given: dict[str, st.SearchStrategy[Any]] = {
        "outcome": outcomes,
        "delay": delay,
        "is_async": st.booleans() if is_async is None else st.just(is_async),
    }
    if retries:
        given["fails_first"] = st.integers(0, retries)
        given["pause"] = delays(1)
    if timeouts:
        given["timeout"] = st.none() | st.integers(1, 3).map(float)
    if lingers:
        given["lingers"] = delays(2)
    return st.builds(TaskPlan, **given)


def waiters(*, most: int = 2, timeouts: bool = True) -> st.SearchStrategy[tuple[WaiterPlan, ...]]:
    """Those who wait for a group from outside, before, at and after its decision.

    Args:
        most: How many at most.
        timeouts: Whether their patience may end.
    """
    one = st.builds(
        WaiterPlan,
        after=delays(),
        timeout=st.none() | delays() if timeouts else st.none(),
        reads_ends=st.booleans(),
    )
    return st.lists(one, max_size=most).map(tuple)


def fan_outs(
    children: st.SearchStrategy[TaskPlan] | None = None,
    *,
    depth: int = 1,
    width: int = 4,
    modes: Sequence[AwaitMode] = _MODES,
    waits: Sequence[Wait] = _WAITS,
    merges: Sequence[MergePlan] = (MergePlan.APPEND,),
    until: bool = True,
    deadlines: bool = False,
    patience: bool = False,
    lazy: bool = False,
    retries: int = 0,
    outside: st.SearchStrategy[tuple[WaiterPlan, ...]] | None = None,
    is_async: bool | None = None,
) -> st.SearchStrategy[FanOutPlan]:
    """Trees of groups and calls.

    Args:
        children: The leaves; `tasks()` by default.
        depth: Levels of fan-outs, one above the other.
        width: How many children each has at most.
        modes: The modes to draw from, the simplest first.
        waits: How a parent waits for what it emitted.
        merges: How outputs are merged where the parent does not await them.
        until: Whether ``any`` and ``quorum`` may have a predicate.
        deadlines: Whether a group may have a deadline.
        patience: Whether a parent's own wait may have a timeout.
        lazy: Whether a group may have ``max_in_flight``, and may keep nothing.
        retries: How many attempts of a parent may fail behind their emit.
        outside: Who else waits for each group; see `waiters`.
        is_async: Only async parents, or only blocking ones; ``None`` for both.
    """
    leaves = tasks() if children is None else children

    @st.composite
    def one(draw: st.DrawFn, level: int) -> FanOutPlan:
        below = leaves if level <= 1 else leaves | one(level - 1)
        emitted = tuple(draw(st.lists(below, max_size=width)))
        mode = draw(st.sampled_from(modes))
        wait = draw(st.sampled_from(waits))
        given: dict[str, Any] = {"children": emitted, "mode": mode, "wait": wait}
        if mode is AwaitMode.QUORUM:
            given["quorum"] = draw(st.integers(0, len(emitted)))
        if until and mode in (AwaitMode.ANY, AwaitMode.QUORUM):
            given["until"] = draw(st.booleans())
        if mode is not AwaitMode.ALL:
            given["cancel_rest"] = not draw(st.booleans())
        if deadlines:
            given["timeout"] = draw(st.none() | delays())
        if patience:
            given["patience"] = draw(st.none() | delays())
        if lazy:
            given["max_in_flight"] = draw(st.none() | st.integers(1, 3))
            given["keep"] = not draw(st.booleans())
        if retries:
            given["fails_first"] = draw(st.integers(0, retries))
        if outside is not None:
            given["waiters"] = draw(outside)
        given["merge"] = draw(st.sampled_from(merges))
        given["is_async"] = draw(st.booleans()) if is_async is None else is_async
        given["tolerant"] = draw(st.booleans())
        return FanOutPlan(**given)

    return one(depth)


def faults(
    *, most: int = 2, kinds: Sequence[FaultKind] = tuple(FaultKind), depth: int = 2
) -> st.SearchStrategy[tuple[Fault, ...]]:
    """What is done to a plan's executions from outside, while it runs.

    Args:
        most: How many things at most.
        kinds: Cancels of executions (the root, a child, a whole branch) and of groups.
        depth: How far below the root.
    """
    one = st.builds(
        Fault,
        kind=st.sampled_from(kinds),
        path=st.lists(st.integers(0, 3), max_size=depth).map(tuple),
        after=delays(),
    )
    return st.lists(one, max_size=most).map(tuple)
