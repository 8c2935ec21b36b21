"""Each check is shown a history that breaks its invariant, and real ones that keep it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from actors.stats import Stats
from orchestrator import (
    ActionRegistry,
    AwaitMode,
    Execution,
    ExecutionState,
    GroupPolicy,
    Orchestrator,
    Rate,
    Task,
)
from orchestrator.errors import (
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    RuntimeClosedError,
)
from orchestrator.protocols import Subject
from orchestrator.registry import Action
from orchestrator.values import GroupResult
from runtime import LocalRuntime, observing
from runtime.invariants import Invariant, InvariantChecker, InvariantViolation
from runtime.simulation import SimulatedRuntime
from runtime.simulation.schedule import Schedule
from tests.simulation.busy_runs import Busy

S = ExecutionState


def noop() -> None:
    pass


PLAIN = Action.of(noop, "a:plain")


class History:
    """What an observer would have written down, made by hand."""

    def __init__(self, *, workers: int | None = None) -> None:
        self.checker = InvariantChecker(workers=workers)
        self.now = 0.0
        self.children: dict[str, list[Execution]] = {}

    def note(self, kind: str, *details: Any) -> None:
        self.checker.on_fact((kind, self.now, 0, 0, *details))

    def emit(
        self,
        children: int,
        *,
        group: str = "p#1",
        parent: str = "p",
        deadline: float | None = None,
        below: float | None = None,
        lazy: bool = False,
        reply: object = None,
        **policy: Any,
    ) -> None:
        made = [Execution(action="a:plain", id=f"{group}[{i}]") for i in range(children)]
        self.children[group] = made
        self.note(
            observing.EMITTED, group, parent, parent, made, (PLAIN,), GroupPolicy(**policy),
            deadline, below, lazy, reply,
        )  # fmt: skip

    def report(
        self,
        index: int,
        output: Any = None,
        *,
        group: str = "p#1",
        state: ExecutionState = S.COMPLETED,
        attempts: int = 1,
    ) -> None:
        name = f"{group}[{index}]"
        end = Execution(
            action="a:plain", id=name, index=index, state=state, output=output, attempts=attempts
        )
        self.note(observing.REPORTED, group, index, end)

    def decide(
        self, outputs: list[Any], error: Exception | None = None, *, group: str = "p#1"
    ) -> GroupResult:
        result = GroupResult(outputs, (), error)
        self.note(observing.DECIDED, group, result, tuple(outputs))
        return result

    def start(
        self,
        name: str,
        number: int = 1,
        *,
        action: Action = PLAIN,
        deadline: float | None = None,
    ) -> None:
        self.note(observing.STARTED, name, number, "worker-1", action, deadline, False)

    def end(self, name: str, number: int = 1) -> None:
        self.note(observing.RETURNED, name, number, "worker-1", False)

    def submit(self, name: str, parent: str | None = None) -> None:
        self.note(
            observing.SUBMITTED, Execution(action="a:plain", id=name), parent, None, None, False
        )

    def found(self, *, drained: bool = False) -> set[Invariant]:
        violations = self.checker.look(drained=drained)
        assert all(violation.what for violation in violations)
        return {violation.invariant for violation in violations}


@pytest.fixture
def history() -> History:
    return History()


# Groups


def test_a_history_in_order_is_passed_in_silence(history: History) -> None:
    history.submit("p")
    history.start("p")
    history.emit(2)
    history.report(1, "b")
    history.report(0, "a")
    history.decide(["a", "b"])
    history.end("p")
    history.note(observing.SETTLED, "p", S.COMPLETED)

    history.checker.verify(drained=True)


def test_a_second_decision_is_a_violation(history: History) -> None:
    history.emit(1, mode="first")
    history.report(0, "a")
    history.decide(["a"])
    history.decide(["a"])

    assert history.found() == {Invariant.DECIDED_ONCE}


def test_an_answer_that_changes_afterwards_is_a_violation(history: History) -> None:
    history.emit(1)
    history.report(0, "a")
    result = history.decide(["a"])
    result.outputs.append("b")

    assert history.found() == {Invariant.DECIDED_ONCE}


def test_a_waiter_that_is_given_another_answer_is_a_violation(history: History) -> None:
    history.emit(1)
    history.report(0, "a")
    history.decide(["a"])
    other = GroupResult(["a"], ())
    history.note(observing.WAITED, 0, "p", Subject("group", "p#1"), observing.ANSWERED, other)

    assert history.found() == {Invariant.DECIDED_ONCE}


def test_outputs_in_the_order_of_arrival_are_a_violation(history: History) -> None:
    history.emit(2)
    history.report(1, "b")
    history.report(0, "a")
    history.decide(["b", "a"])

    assert history.found() == {Invariant.EMISSION_ORDER}


def _failed(group: str = "p#1") -> GroupFailedError:
    return GroupFailedError("no", [ValueError()], group, [], ())


@pytest.mark.parametrize(
    ("policy", "ends", "outputs"),
    [
        ({"mode": "all"}, "+", [0, None]),
        ({"mode": "all"}, "-", None),
        ({"mode": "any"}, "-", None),
        ({"mode": "anyError"}, "+", [0, None]),
        ({"mode": "quorum", "quorum": 2}, "+", [0]),
        ({"mode": "quorum", "quorum": 1}, "-", None),
        ({"mode": "first"}, "", []),
    ],
)
def test_a_decision_before_its_mode_can_make_one_is_a_violation(
    history: History, policy: dict[str, Any], ends: str, outputs: list[Any] | None
) -> None:
    history.emit(2, **policy)
    for index, end in enumerate(ends):
        history.report(index, index, state=S.COMPLETED if end == "+" else S.FAILED)
    history.decide(outputs or [], _failed() if outputs is None else None)

    assert history.found() == {Invariant.MODE_RULES}


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        ({"mode": "all"}, "+-"),
        ({"mode": "first"}, "+"),
        ({"mode": "first"}, "-"),
        ({"mode": "any"}, "-+"),
        ({"mode": "any"}, "--"),
        ({"mode": "anyError"}, "-"),
        ({"mode": "anyError"}, "++"),
        ({"mode": "quorum", "quorum": 1}, "-+"),
        ({"mode": "quorum", "quorum": 2}, "-"),
        ({"mode": "quorum", "quorum": 0}, ""),
    ],
)
def test_a_decision_that_is_due_and_does_not_come_is_a_violation(
    history: History, policy: dict[str, Any], ends: str
) -> None:
    history.emit(2, **policy)
    for index, end in enumerate(ends):
        history.report(index, index, state=S.COMPLETED if end == "+" else S.FAILED)

    assert history.found() == {Invariant.MODE_RULES}


@pytest.mark.parametrize("mode", list(AwaitMode))
def test_an_empty_group_that_does_not_decide_is_a_violation(
    history: History, mode: AwaitMode
) -> None:
    history.emit(0, mode=mode, quorum=0 if mode is AwaitMode.QUORUM else None)

    assert history.found() == {Invariant.MODE_RULES}


def test_a_decision_for_the_wrong_side_is_a_violation(history: History) -> None:
    history.emit(2)
    history.report(0, "a")
    history.report(1, state=S.FAILED)
    history.decide(["a", None])

    assert history.found() == {Invariant.MODE_RULES}


def test_a_group_that_times_out_before_its_deadline_is_a_violation(history: History) -> None:
    history.emit(1, deadline=2.0)
    history.now = 1.5
    history.note(observing.GROUP_DEADLINE, "p#1")
    history.decide([None], GroupTimeoutError("p#1", 2.0, [None], (0,)))

    assert history.found() == {Invariant.PATIENCE}


def test_a_deadline_that_passes_after_the_decision_and_wins_is_a_violation(
    history: History,
) -> None:
    history.emit(1, deadline=2.0)
    history.now = 2.0
    history.report(0, "a")
    history.decide(["a"], GroupTimeoutError("p#1", 2.0, ["a"], ()))

    assert history.found() == {Invariant.DEADLINE_RACE}


def test_a_timeout_that_has_lost_what_had_arrived_is_a_violation(history: History) -> None:
    history.emit(2, deadline=2.0)
    history.report(0, "a")
    history.now = 2.0
    history.note(observing.GROUP_DEADLINE, "p#1")
    history.decide([None, None], GroupTimeoutError("p#1", 2.0, [None, None], (0, 1)))

    assert history.found() == {Invariant.DEADLINE_RACE}


def test_a_timeout_that_names_the_wrong_children_is_a_violation(history: History) -> None:
    history.emit(2, deadline=2.0)
    history.report(0, "a")
    history.now = 2.0
    history.note(observing.GROUP_DEADLINE, "p#1")
    history.decide(["a", None], GroupTimeoutError("p#1", 2.0, ["a", None], (0, 1)))

    assert history.found() == {Invariant.DEADLINE_RACE}


def test_a_report_that_is_counted_twice_is_a_violation(history: History) -> None:
    history.emit(2)
    history.report(0, "a")
    history.report(0, "a")
    history.decide(["a", "a"])

    assert history.found() == {Invariant.MODE_RULES}


def test_late_and_second_reports_that_change_nothing_are_none(history: History) -> None:
    history.emit(2, mode="first")
    history.report(0, "a")
    history.decide(["a"])
    history.note(observing.REST_CANCELLED, "p#1", "enough")
    history.report(0, "c")
    history.report(1, "b")

    assert history.found(drained=True) == set()


def test_a_child_that_never_ends_is_a_violation_once_drained(history: History) -> None:
    history.emit(2, mode="first")
    history.report(0, "a")
    history.decide(["a"])

    history.note(observing.REST_CANCELLED, "p#1", "enough")
    assert history.found() == set()
    assert history.found(drained=True) == {Invariant.CONSERVATION}


def test_a_group_that_is_cancelled_and_goes_on_is_a_violation(history: History) -> None:
    history.emit(1)
    history.note(observing.GROUP_CANCELLED, "p#1", "enough")
    history.report(0, "a")
    history.decide(["a"])

    assert Invariant.MODE_RULES in history.found()


def test_a_cancelled_group_decides_as_cancelled(history: History) -> None:
    history.emit(1)
    history.note(observing.GROUP_CANCELLED, "p#1", "enough")
    history.decide([None], GroupCancelledError("p#1", "enough"))
    history.note(observing.REST_CANCELLED, "p#1", "enough")
    history.note(observing.DROPPED, "p#1", (0,), "enough")

    assert history.found(drained=True) == set()


def test_a_group_that_leaves_its_rest_running_is_a_violation(history: History) -> None:
    history.emit(2, mode="first")
    history.report(0, "a")
    history.decide(["a"])
    history.report(1, "b")

    assert history.found(drained=True) == {Invariant.CANCEL_REACHES}


def test_a_group_that_is_never_told_of_its_parents_cancel_is_a_violation(
    history: History,
) -> None:
    history.emit(1)
    history.note(observing.CANCELLED, "p", "enough", S.RUNNING, 1)
    history.report(0, "a")
    history.decide(["a"])

    assert history.found(drained=True) == {Invariant.CANCEL_REACHES}


def test_a_group_that_is_never_told_of_its_parents_deadline_is_a_violation(
    history: History,
) -> None:
    history.emit(1)
    history.note(observing.DEADLINE, "p", False)
    history.report(0, "a")
    history.decide(["a"])

    assert history.found(drained=True) == {Invariant.CANCEL_REACHES}


def test_a_child_that_begins_after_the_rest_was_cancelled_and_completes_is_a_violation(
    history: History,
) -> None:
    history.emit(2, mode="first")
    history.report(0, "a")
    history.decide(["a"])
    history.note(observing.REST_CANCELLED, "p#1", "enough")
    history.start("p#1[1]")
    history.end("p#1[1]")
    history.report(1, "b")

    assert history.found(drained=True) == {Invariant.CANCEL_REACHES}


def test_a_failed_source_fails_its_group(history: History) -> None:
    history.emit(0, lazy=True, max_in_flight=2)
    history.note(observing.SEALED, "p#1", ValueError())
    history.decide([])

    assert history.found() == {Invariant.MODE_RULES}


def test_more_children_in_flight_than_may_be_are_a_violation(history: History) -> None:
    history.emit(0, lazy=True, max_in_flight=1)
    history.note(observing.ADDED, "p#1")
    assert history.found() == set()
    history.note(observing.ADDED, "p#1")

    assert history.found() == {Invariant.LIMITS}


def test_a_refused_emit_that_queues_something_is_a_violation(history: History) -> None:
    reply = object()
    history.emit(1, reply=reply)
    history.note(observing.REFUSED, "p", reply, ValueError())
    history.report(0)

    assert history.found(drained=True) == {Invariant.REFUSED_EMIT}


def test_a_refused_emit_that_is_admitted_is_a_violation(history: History) -> None:
    reply = object()
    history.emit(1, reply=reply)
    history.note(observing.REFUSED, "p", reply, ValueError())
    history.note(observing.ADMITTED, "p#1")

    assert history.found() == {Invariant.REFUSED_EMIT}


# Executions


def test_attempts_that_overlap_are_a_violation(history: History) -> None:
    history.start("p", 1)
    history.start("p", 2)

    assert history.found() == {Invariant.ATTEMPTS}


def test_an_attempt_that_begins_twice_is_a_violation(history: History) -> None:
    history.start("p", 1)
    history.end("p", 1)
    history.start("p", 1)

    assert history.found() == {Invariant.ATTEMPTS}


def test_an_attempt_that_begins_after_its_cancel_is_a_violation(history: History) -> None:
    history.note(observing.CANCELLED, "p", "enough", S.SCHEDULED, 0)
    history.start("p", 1)

    assert history.found() == {Invariant.ATTEMPTS}


def test_a_child_that_begins_after_it_was_dropped_from_the_queue_is_a_violation(
    history: History,
) -> None:
    history.emit(1, mode="first")
    history.note(observing.GROUP_CANCELLED, "p#1", "enough")
    history.decide([None], GroupCancelledError("p#1", "enough"))
    history.note(observing.DROPPED, "p#1", (0,), "enough")
    history.start("p#1[0]")

    assert history.found() == {Invariant.ATTEMPTS}


def test_an_attempt_beside_the_groups_of_the_last_one_is_a_violation(history: History) -> None:
    history.start("p", 1)
    history.emit(1)
    history.end("p", 1)
    history.start("p", 2)

    assert history.found() == {Invariant.ATTEMPTS}


def test_an_end_that_counts_fewer_attempts_than_began_is_a_violation(history: History) -> None:
    history.emit(1)
    history.start("p#1[0]")
    history.end("p#1[0]")
    history.report(0, attempts=0, state=S.CANCELLED)
    history.decide([None], _failed())

    assert history.found() == {Invariant.ATTEMPTS}


def test_a_cancelled_execution_that_completes_is_a_violation(history: History) -> None:
    history.submit("p")
    history.start("p")
    history.note(observing.CANCELLED, "p", "enough", S.RUNNING, 1)
    history.end("p")
    history.note(observing.SETTLED, "p", S.COMPLETED)

    assert history.found() == {Invariant.CANCEL_REACHES}


def test_a_cancel_that_comes_after_the_end_changes_nothing(history: History) -> None:
    history.submit("p")
    history.start("p")
    history.end("p")
    history.note(observing.CANCELLED, "p", "enough", S.COMPLETED, 1)
    history.note(observing.SETTLED, "p", S.COMPLETED)

    assert history.found(drained=True) == set()


def test_an_end_that_changes_is_a_violation(history: History) -> None:
    history.emit(1)
    history.report(0, "a")
    history.decide(["a"])
    history.note(observing.SETTLED, "p#1[0]", S.FAILED)

    assert history.found() == {Invariant.LATE_REPORTS}


def test_an_execution_that_is_over_twice_is_a_violation(history: History) -> None:
    history.note(observing.SETTLED, "p", S.COMPLETED)
    history.note(observing.SETTLED, "p", S.COMPLETED)

    assert history.found() == {Invariant.CONSERVATION}


def test_a_child_that_runs_on_when_its_parent_is_over_is_a_violation(history: History) -> None:
    history.submit("p")
    history.submit("c", "p")
    history.start("c")
    history.note(observing.SETTLED, "p", S.FAILED)

    assert history.found() == {Invariant.NO_ORPHANS}


def test_a_queued_child_that_outlives_its_parent_is_a_violation(history: History) -> None:
    history.emit(1)
    history.note(observing.SETTLED, "p", S.FAILED)

    assert history.found() == {Invariant.NO_ORPHANS}


def test_a_child_that_begins_after_its_parent_is_over_is_a_violation(history: History) -> None:
    history.submit("p")
    history.submit("c", "p")
    history.note(observing.SETTLED, "p", S.FAILED)
    history.start("c")

    assert history.found() == {Invariant.NO_ORPHANS}


def test_code_that_runs_on_when_its_execution_is_over_is_a_violation(history: History) -> None:
    history.start("p")
    history.note(observing.SETTLED, "p", S.FAILED)

    assert history.found() == {Invariant.NO_ORPHANS}


def test_a_parent_that_completes_with_an_open_group_is_a_violation(history: History) -> None:
    history.emit(1, group="c#1", parent="p#1[0]")
    history.emit(1)
    history.report(0, "a")
    history.decide(["a"])

    assert history.found() == {Invariant.RESUMED_ONCE}


def test_an_execution_that_begins_and_never_ends_is_a_violation_once_drained(
    history: History,
) -> None:
    history.start("p")
    history.end("p")

    assert history.found() == set()
    assert history.found(drained=True) == {Invariant.CONSERVATION}


def test_a_deadline_later_than_the_parents_is_a_violation(history: History) -> None:
    history.submit("p")
    history.start("p", deadline=2.0)
    history.submit("c", "p")
    history.start("c", deadline=3.0)

    assert history.found() == {Invariant.DEADLINES_NEST}


def test_a_group_without_its_parents_deadline_is_a_violation(history: History) -> None:
    history.start("p", deadline=2.0)
    history.emit(1, below=None)

    assert history.found() == {Invariant.DEADLINES_NEST}


def test_time_that_runs_backwards_is_a_violation(history: History) -> None:
    history.now = 2.0
    history.start("p")
    history.now = 1.0
    history.end("p")

    assert history.found() == {Invariant.TIME}


# Waits


def _wait(history: History, timeout: float | None = None, kind: str = "group") -> None:
    subject = Subject(kind, "p" if kind == "resume" else "p#1")
    history.note(observing.WAITS, 7, "p", subject, timeout, True)


def _waited(history: History, outcome: str, kind: str = "group") -> None:
    subject = Subject(kind, "p" if kind == "resume" else "p#1")
    history.note(observing.WAITED, 7, "p", subject, outcome, None)


def test_a_waiter_that_is_never_woken_is_a_violation_once_drained(history: History) -> None:
    _wait(history)

    assert history.found() == set()
    assert history.found(drained=True) == {Invariant.NO_LOST_WAKE_UP}


def test_a_waiter_that_gives_up_early_is_a_violation(history: History) -> None:
    _wait(history, timeout=2.0)
    history.now = 1.9
    _waited(history, observing.EXPIRED)

    assert history.found() == {Invariant.PATIENCE}


def test_a_wait_that_ends_twice_is_a_violation(history: History) -> None:
    _wait(history)
    _waited(history, observing.ANSWERED)
    _waited(history, observing.EXPIRED)

    assert history.found() == {Invariant.RESUMED_ONCE}


def test_resuming_beside_an_open_group_is_a_violation(history: History) -> None:
    history.emit(1)
    _wait(history, kind="resume")
    _waited(history, observing.ANSWERED, kind="resume")

    assert history.found() == {Invariant.RESUMED_ONCE}


@pytest.mark.parametrize("name", ["p", "someone"])
def test_resuming_at_once_beside_an_open_group_is_a_violation(history: History, name: str) -> None:
    history.emit(1)
    subject = Subject("resume", "p")
    history.note(observing.WAITED, 0, name, subject, observing.ANSWERED, None)

    assert history.found() == {Invariant.RESUMED_ONCE}


def test_a_root_that_is_told_as_completed_with_an_open_group_is_a_violation(
    history: History,
) -> None:
    history.submit("p")
    history.start("p")
    history.emit(1)
    ended = Execution(action="a:plain", id="p", state=S.COMPLETED)
    subject = Subject("execution", "p")
    history.note(observing.WAITED, 1, "main", subject, observing.ANSWERED, ended)

    assert history.found() == {Invariant.RESUMED_ONCE}


# Limits


def test_more_code_than_max_concurrency_allows_is_a_violation(history: History) -> None:
    few = Action.of(noop, "a:few", max_concurrency=1)
    history.start("a", action=few)
    history.start("b", action=few)

    assert history.found() == {Invariant.LIMITS}


def test_code_that_waits_holds_no_slot_until_it_returns(history: History) -> None:
    few = Action.of(noop, "a:few", max_concurrency=1)
    history.start("p", action=few)
    _wait(history)
    history.start("b", action=few)
    assert history.found() == set()
    _waited(history, observing.ANSWERED)

    assert history.found() == {Invariant.LIMITS}


def test_blocking_frees_the_worker_and_keeps_the_slot() -> None:
    history = History(workers=1)
    few = Action.of(noop, "a:few", max_concurrency=1)
    history.start("a", action=few)
    history.note(observing.STOOD_ASIDE, "a")
    history.start("b")
    assert history.found() == set()
    history.end("b")
    history.start("c", action=few)

    assert history.found() == {Invariant.LIMITS}


def test_more_blocking_code_than_workers_is_a_violation() -> None:
    history = History(workers=1)
    history.start("a")
    history.start("b")

    assert history.found() == {Invariant.LIMITS}


def test_one_start_too_many_in_the_window_of_a_rate_is_a_violation(history: History) -> None:
    rated = Action.of(noop, "a:rated", rate_limit=Rate(2, 1.0))
    for at in (0.0, 0.5, 1.0):
        history.now = at
        history.start(f"at {at}", action=rated)
        history.end(f"at {at}")
    assert history.found() == set()
    history.now = 1.4
    history.start("too early", action=rated)

    assert history.found() == {Invariant.LIMITS}


# States and counters


def _change(
    history: History, state: ExecutionState, previous: ExecutionState, **fields: Any
) -> None:
    execution = Execution(action="a:plain", id=fields.pop("id", "p"), state=state, **fields)
    history.checker.on_change(execution, previous, history.now)


@pytest.mark.parametrize(
    ("previous", "state"),
    [
        (S.PENDING, S.RUNNING),
        (S.SCHEDULED, S.COMPLETED),
        (S.RUNNING, S.PENDING),
        (S.COMPLETED, S.FAILED),
        (S.RUNNING, S.SKIPPED),
    ],
)
def test_a_change_of_state_that_no_life_allows_is_a_violation(
    history: History, previous: ExecutionState, state: ExecutionState
) -> None:
    _change(history, state, previous)

    assert history.found() == {Invariant.STATES}


def test_leaving_a_state_that_it_was_not_in_is_a_violation(history: History) -> None:
    _change(history, S.RUNNING, S.SCHEDULED)
    _change(history, S.CANCELLED, S.SCHEDULED)

    assert history.found() == {Invariant.STATES}


def test_a_change_after_the_end_is_a_violation(history: History) -> None:
    _change(history, S.COMPLETED, S.RUNNING)
    _change(history, S.FAILED, S.RUNNING)

    assert history.found() == {Invariant.LATE_REPORTS}


def test_changes_that_go_back_in_time_are_a_violation(history: History) -> None:
    history.now = 2.0
    _change(history, S.RUNNING, S.SCHEDULED)
    history.now = 1.0
    _change(history, S.COMPLETED, S.RUNNING)

    assert history.found() == {Invariant.TIME}


def test_an_execution_that_starts_before_it_was_scheduled_is_a_violation(
    history: History,
) -> None:
    _change(history, S.RUNNING, S.SCHEDULED, scheduled_at=2.0, started_at=1.0)

    assert history.found() == {Invariant.TIME}


def test_attempts_that_are_lost_are_a_violation(history: History) -> None:
    _change(history, S.SCHEDULED, S.RUNNING, attempts=2)
    _change(history, S.RUNNING, S.SCHEDULED, attempts=1)

    assert history.found() == {Invariant.ATTEMPTS}


def test_a_parent_that_completes_before_its_child_is_a_violation(history: History) -> None:
    _change(history, S.RUNNING, S.SCHEDULED, id="c", parent_id="p")
    _change(history, S.COMPLETED, S.RUNNING)

    assert history.found() == {Invariant.NO_ORPHANS}


def test_what_was_published_and_never_ended_is_a_violation_once_drained(
    history: History,
) -> None:
    _change(history, S.RUNNING, S.SCHEDULED)

    assert history.found() == set()
    assert history.found(drained=True) == {Invariant.CONSERVATION}


@pytest.mark.parametrize("counts", [(0, 0, 0, 0, 1, 0, 0, 2), (0, 1, 0, 0, 1, 0, 0, 2)])
def test_counters_that_do_not_add_up_are_a_violation(
    history: History, counts: tuple[int, ...]
) -> None:
    history.checker.on_stats(Stats(*counts, queue_age=0.0))

    assert history.found() == {Invariant.CONSERVATION}


# What it says


def test_a_violation_names_the_invariant_whom_and_when(history: History) -> None:
    history.now = 1.5
    history.emit(2)
    history.decide([None, None])

    with pytest.raises(InvariantViolation) as caught:
        history.checker.verify()

    (violation,) = caught.value.violations
    assert violation.subjects == ("p#1",)
    assert violation.at == 1.5
    assert "5: a mode decides at the first report" in str(caught.value)
    assert "at 1.500 s: group p#1 (all) decided as ok after 0 of 2 ends" in str(caught.value)


# On real runs


@pytest.fixture
def quiet() -> Iterator[None]:
    """Failures of roots that nobody reads are logged, and these runs have many."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("block", range(8))
def test_it_stays_silent_on_simulated_runs(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        busy = Busy()
        schedule = Schedule.seeded(seed) if seed % 10 else Schedule.plain()
        with SimulatedRuntime(busy.actions, schedule) as runtime:
            if seed % 2:
                runtime.check_invariants()  # what is published too
            busy.drive(runtime, seed // 3)


@pytest.mark.usefixtures("quiet")
def test_it_stays_silent_on_real_threads() -> None:
    for seed in range(25):
        busy = Busy(scale=0.002)
        with LocalRuntime(busy.actions, workers=4) as runtime:
            checker = runtime.check_invariants()
            busy.drive(runtime, seed)
        assert checker.violations == []


def _actions() -> ActionRegistry:
    actions = ActionRegistry()

    @actions.register("a:one")
    def one(x: int) -> int:
        return x

    @actions.register("a:all")
    def every(n: int) -> list[Any]:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_for_each(range(n), "x", Task("a:one"))
        return orchestrator.await_group(group)

    return actions


def test_a_fault_of_a_local_runtime_is_raised_when_it_is_closed() -> None:
    runtime = LocalRuntime(_actions(), workers=2)
    checker = runtime.check_invariants()
    assert runtime.check_invariants() is checker
    runtime.run("a:all", 3)
    checker.on_change(Execution(id="ghost", state=S.RUNNING), S.SCHEDULED, 0.0)

    with pytest.raises(InvariantViolation, match="ghost is running, and nothing runs"):
        runtime.close()

    runtime.close()  # it is closed all the same
    with pytest.raises(RuntimeClosedError):
        runtime.check_invariants()


def test_a_listener_hears_the_same_when_the_check_is_on() -> None:
    heard: list[ExecutionState] = []
    with LocalRuntime(_actions(), workers=2) as runtime:
        runtime.check_invariants()
        runtime.subscribe(lambda event: heard.append(event.execution.state))
        runtime.run("a:one", 1)

    assert heard == [S.SCHEDULED, S.RUNNING, S.COMPLETED]


def test_a_group_actor_that_decides_too_early_is_found_in_a_simulation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from actors.fan_in import FanIn  # noqa: PLC0415 - to be broken here alone

    def hasty(self: FanIn) -> GroupResult | None:
        return self._decide(self._arrived())  # at the first report, whoever is still out

    monkeypatch.setattr(FanIn, "_settle_all", hasty)

    with (
        pytest.raises(InvariantViolation, match="before it could"),
        SimulatedRuntime(_actions(), Schedule.plain()) as runtime,
    ):
        runtime.run("a:all", 3)
