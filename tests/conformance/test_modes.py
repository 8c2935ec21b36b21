"""DESIGN.md section 3, *Modes*: when each decides, what it gives, until, cancel_rest, quorum."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import (
    ActionRegistry,
    AwaitMode,
    AwaitTimeoutError,
    ExecutionState,
    GroupFailedError,
    Orchestrator,
    RejectedError,
)
from tests.conformance.support import Boom, Gate, child, children, ends_of, here

Run = Callable[..., Any]


class Stage:
    """A group whose children end one by one, when the test says so."""

    def __init__(self, orchestrator: Any, outcomes: str, **policy: Any) -> None:
        self.orchestrator = orchestrator
        self.outcomes = outcomes  # "v" a value, "f" a failure, "c" cancelled
        self.policy = policy
        self.gates = [Gate() for _ in outcomes]

    async def open(self) -> Stage:
        self.children = [
            child(
                "t:gated_async",
                {"gate": gate, "value": place, "error": Boom(str(place)) if kind == "f" else None},
            )
            for place, (kind, gate) in enumerate(zip(self.outcomes, self.gates, strict=True))
        ]
        self.group = await self.orchestrator.emit_children(self.children, **self.policy)
        self.ends = self.orchestrator.as_completed(self.group)
        return self

    async def end(self, place: int) -> None:
        """Let one child end, and wait until its group has heard of it."""
        if self.outcomes[place] == "c":
            await self.orchestrator.cancel(self.children[place].id)
        else:
            self.gates[place].open()
        assert (await anext(self.ends)).index == place

    async def undecided(self) -> None:
        with pytest.raises(AwaitTimeoutError):
            await self.orchestrator.await_group(self.group, 0)

    async def result(self) -> list[Any]:
        return await self.orchestrator.await_group(self.group)

    async def failure(self) -> GroupFailedError:
        with pytest.raises(GroupFailedError) as caught:
            await self.orchestrator.await_group(self.group)
        return caught.value


def texts(error: GroupFailedError) -> list[str]:
    return [str(inner) for inner in error.exceptions]


def test_all_is_decided_when_every_child_has_ended_though_one_has_failed(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "fvv", mode="all").open()
        await stage.end(0)
        await stage.undecided()
        await stage.end(2)
        await stage.undecided()
        await stage.end(1)
        error = await stage.failure()
        assert texts(error) == ["0"]
        assert error.outputs == [None, 1, 2]

    run_body(body)


def test_all_is_the_default(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vv").open()
        await stage.end(1)
        await stage.undecided()
        await stage.end(0)
        assert await stage.result() == [0, 1]

    run_body(body)


def test_any_error_is_decided_by_the_first_failure(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vfvf", mode="anyError").open()
        await stage.end(2)
        await stage.undecided()
        await stage.end(3)
        error = await stage.failure()
        assert texts(error)[0] == "3"
        assert error.outputs == [None, None, 2, None]

    run_body(body)


def test_any_error_gives_every_output_when_all_have_succeeded(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vv", mode=AwaitMode.ANY_ERROR).open()
        await stage.end(1)
        await stage.undecided()
        await stage.end(0)
        assert await stage.result() == [0, 1]

    run_body(body)


def test_first_is_decided_by_the_first_child_to_end_and_gives_its_one_output(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vvv", mode="first").open()
        await stage.undecided()
        await stage.end(1)
        assert await stage.result() == [1]

    run_body(body)


@pytest.mark.parametrize("kind", ["f", "c"])
def test_first_fails_where_the_first_child_to_end_has_failed_or_was_cancelled(
    run_body: Run, kind: str
) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, f"v{kind}", mode="first").open()
        await stage.end(1)
        error = await stage.failure()
        assert error.outputs == [None, None]

    run_body(body)


def test_any_is_decided_by_the_first_success(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "fcvv", mode="any").open()
        await stage.end(0)
        await stage.undecided()
        await stage.end(1)
        await stage.undecided()
        await stage.end(3)
        assert await stage.result() == [3]

    run_body(body)


def test_any_fails_when_all_have_failed(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "fcf", mode="any").open()
        await stage.end(2)
        await stage.end(1)
        await stage.undecided()
        await stage.end(0)
        assert len((await stage.failure()).exceptions) == 3

    run_body(body)


def test_quorum_is_decided_by_so_many_successes_and_gives_them_in_the_order_of_emission(
    run_body: Run,
) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vfvvv", mode="quorum", quorum=3).open()
        await stage.end(3)
        await stage.end(1)
        await stage.end(2)
        await stage.undecided()
        await stage.end(0)
        assert await stage.result() == [0, 2, 3]

    run_body(body)


def test_quorum_fails_as_soon_as_it_cannot_be_reached_any_more(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vfvcv", mode="quorum", quorum=4).open()
        await stage.end(0)
        await stage.end(1)
        await stage.undecided()
        await stage.end(3)
        error = await stage.failure()
        assert error.outputs == [0, None, None, None, None]

    run_body(body)


def test_a_quorum_of_none_is_reached_at_once(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children([child("t:forever")], mode="quorum", quorum=0)
        assert await orchestrator.await_group(group) == []

    run_body(body)


def test_a_child_that_was_cancelled_counts_as_failed(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vc").open()
        await stage.end(1)
        await stage.undecided()
        await stage.end(0)
        error = await stage.failure()
        assert error.outputs == [0, None]
        assert "cancelled" in texts(error)[0]

    run_body(body)


@pytest.mark.parametrize(
    ("outcomes", "policy", "last"),
    [
        ("vvv", {"mode": "first"}, 1),
        ("vvv", {"mode": "any"}, 1),
        ("vfv", {"mode": "anyError"}, 1),
        ("vvv", {"mode": "quorum", "quorum": 1}, 1),
    ],
)
def test_what_is_still_out_when_a_group_decides_early_is_cancelled(
    run_body: Run, outcomes: str, policy: Any, last: int
) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, outcomes, **policy).open()
        await stage.end(last)
        states = {end.index: end.state for end in await ends_of(orchestrator, stage.group)}
        assert states.pop(last) is not ExecutionState.CANCELLED
        assert set(states.values()) == {ExecutionState.CANCELLED}

    run_body(body)


def test_with_cancel_rest_off_the_rest_runs_on_uncounted(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vfv", mode="first", cancel_rest=False).open()
        await stage.end(2)
        assert await stage.result() == [2]
        await stage.end(1)
        await stage.end(0)
        assert await stage.result() == [2]
        states = [end.state.value for end in await ends_of(orchestrator, stage.group)]
        assert states == ["completed", "failed", "completed"]

    run_body(body)


def test_a_parent_ends_only_after_what_runs_on_uncounted(
    actions: ActionRegistry, runtime: Any
) -> None:
    gate = Gate()

    @actions.register("t:parent")
    def parent() -> Any:
        orchestrator = here()
        given = [child("t:echo", "now"), child("t:gated_async", {"gate": gate})]
        group = orchestrator.emit_children(given, mode="any", cancel_rest=False)
        return orchestrator.await_group(group)

    with runtime.execution() as orchestrator:
        group = orchestrator.emit_one(child("t:parent"))
        ends = orchestrator.as_completed(group)
        with pytest.raises(AwaitTimeoutError):
            orchestrator.await_group(group, 0.05)
        gate.open()
        assert next(ends).output == ["now"]


@pytest.mark.parametrize("policy", [{"mode": "any"}, {"mode": "quorum", "quorum": 1}])
def test_until_narrows_what_counts_as_a_success(run_body: Run, policy: Any) -> None:
    async def body(orchestrator: Any) -> None:
        stage = await Stage(orchestrator, "vvvv", until=lambda output: output >= 2, **policy).open()
        await stage.end(1)
        await stage.undecided()
        await stage.end(0)
        await stage.undecided()
        await stage.end(3)
        assert await stage.result() == [3]

    run_body(body)


def test_an_output_that_until_does_not_accept_is_a_failure_that_says_so(run_body: Run) -> None:
    async def body(orchestrator: Any) -> None:
        given = children("t:echo", [1, 2])
        group = await orchestrator.emit_children(given, mode="any", until=lambda _output: False)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert [type(error) for error in caught.value.exceptions] == [RejectedError] * 2
        ends = await ends_of(orchestrator, group)
        assert [end.state.value for end in ends] == ["failed", "failed"]

    run_body(body)


def test_until_runs_where_the_child_ran(runtime: Any, actions: ActionRegistry) -> None:
    seen: list[int] = []

    @actions.register("t:where")
    def where() -> int:
        return threading.get_ident()

    def accept(output: int) -> bool:
        seen.append(threading.get_ident())
        return output == threading.get_ident()

    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:where", [None]), mode="any", until=accept)
        assert orchestrator.await_group(group) == seen


def test_a_predicate_that_raises_has_failed_its_child(run_body: Run) -> None:
    def accept(output: int) -> bool:
        return 1 / output > 0

    async def body(orchestrator: Any) -> None:
        group = await orchestrator.emit_children(children("t:echo", [0]), mode="any", until=accept)
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
        given = children("t:echo", [0, 5])
        group = await orchestrator.emit_children(given, mode="any", until=accept)
        assert await orchestrator.await_group(group) == [5]

    run_body(body)


def test_a_report_after_the_decision_changes_nothing(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        gates = [Gate() for _ in range(3)]
        given = [
            child("t:gated", {"gate": gates[0], "value": "first"}),
            child("t:gated", {"gate": gates[1], "value": "second"}),
            child("t:gated", {"gate": gates[2], "error": Boom("third")}),
        ]
        group = orchestrator.emit_children(given, mode="any", cancel_rest=False)
        for gate in gates:
            gate.open()
            assert orchestrator.await_group(group) == ["first"]
        assert len(list(orchestrator.as_completed(group))) == 3
        assert Orchestrator(runtime).await_group(group) == ["first"]
