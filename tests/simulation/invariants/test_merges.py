"""Merges: in the order of emission, once, one at a time, and never beside the code they are for."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    ActionRegistry,
    AwaitTimeoutError,
    Execution,
    Orchestrator,
    Retry,
)
from runtime.simulation import SimulatedRuntime
from runtime.simulation.strategies import delays
from tests.simulation.schedules import orders


class Emitted(NamedTuple):
    """One group: the delays of its children, and what becomes of their outputs."""

    delays: list[float]
    merge: str
    first: bool  # the first child's output decides; the others run on

    @property
    def outputs(self) -> int:
        return min(1, len(self.delays)) if self.first else len(self.delays)


GROUPS = st.lists(
    st.builds(
        Emitted,
        st.sampled_from([[], [0.0], [1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
        st.sampled_from(["append", "replace", "reducer"]),
        st.booleans(),
    ),
    max_size=2,
)


class Reducers:
    """Who reduces, and whether two ever did at once."""

    def __init__(self, takes: float) -> None:
        self.inside = self.total = 0
        self._takes = takes

    def reduce(self, outputs: list[str]) -> tuple[str, ...]:
        assert self.inside == 0, "two at once"
        self.inside += 1
        self.total += 1
        time.sleep(self._takes)
        self.inside -= 1
        return ("reduced", *outputs)


def actions_of(groups: list[Emitted], reducers: Reducers, way: str) -> Any:
    """A parent that emits the groups, and merges them in the *way* that is asked for."""
    actions = ActionRegistry()

    @actions.register("t:child")
    def child(name: str, delay: float) -> str:
        time.sleep(delay)
        return name

    @actions.register("t:parent", retry=Retry(max_attempts=2, retry_on=(AwaitTimeoutError,)))
    def parent() -> Any:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        assert reducers.inside == 0, "a reducer of the last attempt runs on"
        for number, group in enumerate(groups):
            early: dict[str, Any] = {"mode": "any", "until": is_first, "cancel_rest": False}
            orchestrator.emit_children(
                [
                    Execution.ad_hoc("t:child", {"name": f"{number}.{index}", "delay": delay})
                    for index, delay in enumerate(group.delays)
                ],
                merge=reducers.reduce if group.merge == "reducer" else group.merge,
                **(early if group.first else {}),
            )
        again = bool(attempts)
        attempts.append(again)
        match way:
            case "resumes":
                return "resumed", orchestrator.await_resume()
            case "gives up":
                return "resumed", orchestrator.await_resume(None if again else 1.0)
            case _:
                return None

    def is_first(output: str) -> bool:
        return output.endswith(".0")

    attempts: list[bool] = []
    return actions


def expected(groups: list[Emitted]) -> Any:
    """The pending output, group by group."""
    pending: Any = None
    for number, group in enumerate(groups):
        outputs = [f"{number}.{index}" for index in range(group.outputs)]
        match group.merge:
            case "append":
                before = pending if isinstance(pending, list) else [pending]
                pending = outputs if pending is None else [*before, *outputs]
            case "replace":
                pending = outputs[-1] if outputs else pending
            case _:
                pending = ("reduced", *outputs)
    return pending


@given(
    GROUPS,
    st.sampled_from([0.0, 2.0]),
    st.sampled_from(["returns", "resumes", "gives up"]),
    orders(),
)
def test_4_groups_are_merged_in_the_order_of_emission_each_once(
    groups: list[Emitted], takes: float, way: str, schedule: Any
) -> None:
    reducers = Reducers(takes)
    with SimulatedRuntime(actions_of(groups, reducers, way), schedule) as runtime:
        merged = expected(groups)
        assert runtime.run("t:parent") == (merged if way == "returns" else ("resumed", merged))
        assert reducers.inside == 0
    if way != "gives up":
        assert reducers.total == sum(group.merge == "reducer" for group in groups)


@given(GROUPS, st.sampled_from(["returns", "resumes"]), delays(3), orders())
def test_10_no_reducer_outlives_the_scope_of_its_execution(
    groups: list[Emitted], way: str, after: float, schedule: Any
) -> None:
    reducers = Reducers(2.0)
    with SimulatedRuntime(actions_of(groups, reducers, way), schedule) as runtime:
        try:
            with runtime.execution() as orchestrator:
                orchestrator.emit_one(Execution.ad_hoc("t:parent"))
                orchestrator.sleep(after)
                raise LookupError  # noqa: TRY301 - the scope must see it
        except LookupError:
            pass
        assert reducers.inside == 0
