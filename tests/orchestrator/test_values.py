"""The values: what they refuse and how, what they survive, and that each is emitted once."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.values import (
    AwaitMode,
    Execution,
    ExecutionState,
    GroupPolicy,
    GroupResult,
    Merge,
    Process,
    Rate,
    Retry,
    Task,
)


class Unprintable:
    """Can't be printed, compared or hashed."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    __hash__ = None  # type: ignore[assignment]


# What takes seconds, by the name that its error must give
SECONDS: list[tuple[str, Callable[[Any], Any]]] = [
    ("timeout", lambda value: Task("t:t", timeout=value)),
    ("timeout", lambda value: GroupPolicy(timeout=value)),
    ("timeout", lambda value: Execution.ad_hoc("t:t", timeout=value)),
    ("Retry.delay", lambda value: Retry(delay=value)),
    ("Retry.multiplier", lambda value: Retry(multiplier=value)),
    ("Retry.max_delay", lambda value: Retry(max_delay=value)),
    ("Retry.jitter", lambda value: Retry(jitter=value)),
    ("Rate.per", lambda value: Rate(1, value)),
]


@pytest.mark.parametrize(("name", "make"), SECONDS)
@given(
    value=st.floats(max_value=0, exclude_max=True) | st.just(math.nan) | st.integers(max_value=-1)
)
def test_negative_times_and_nan_are_value_errors_that_name_the_field_and_the_value(
    name: str, make: Callable[[Any], Any], value: float
) -> None:
    with pytest.raises(ValueError, match="0") as caught:
        make(value)
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(("name", "make"), SECONDS)
@pytest.mark.parametrize("value", ["5", True, [1], Unprintable(), 1j])
def test_what_is_no_number_is_a_type_error_that_names_the_field(
    name: str, make: Callable[[Any], Any], value: object
) -> None:
    with pytest.raises(TypeError) as caught:
        make(value)
    assert name in str(caught.value)


@pytest.mark.parametrize("make", [make for name, make in SECONDS if name == "timeout"])
@pytest.mark.parametrize("value", [None, 0, 0.0, 1, 2.5, math.inf])
def test_a_timeout_is_none_or_seconds_and_an_infinite_one_is_none(
    make: Callable[[Any], Any], value: float | None
) -> None:
    timeout = make(value).timeout
    assert timeout in (value, None)
    if value == math.inf:
        assert GroupPolicy(timeout=value).timeout is None


@pytest.mark.parametrize(
    ("make", "texts"),
    [
        (lambda: Retry(0), ["Retry.max_attempts", "1", "0"]),
        (lambda: Retry(-3), ["Retry.max_attempts", "-3"]),
        (lambda: Retry(delay=math.inf), ["Retry.delay", "inf"]),
        (lambda: Retry(multiplier=math.inf), ["Retry.multiplier", "inf"]),
        (lambda: Retry(jitter=1.5), ["Retry.jitter", "0 to 1", "1.5"]),
        (lambda: Rate(0), ["Rate.limit", "0"]),
        (lambda: Rate(1, 0), ["Rate.per", "more than 0"]),
        (lambda: Rate(1, math.inf), ["Rate.per", "inf"]),
        (lambda: GroupPolicy(mode="most"), ["mode", "'most'", "anyError"]),
        (lambda: GroupPolicy(merge="sum"), ["merge", "'sum'", "append"]),
        (lambda: GroupPolicy(mode="quorum"), ["quorum", "None"]),
        (lambda: GroupPolicy(quorum=2), ["quorum", "2", "all"]),
        (lambda: GroupPolicy(mode="quorum", quorum=-1), ["quorum", "-1"]),
        (lambda: GroupPolicy(max_in_flight=0), ["max_in_flight", "0"]),
        (lambda: GroupPolicy(until=bool), ["until", "any", "all"]),
        (lambda: GroupPolicy(mode="first", until=bool), ["until", "first"]),
        (lambda: Execution.ad_hoc(""), ["action", "service:method"]),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_with_the_value_and_what_was_expected(
    make: Callable[[], Any], texts: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the texts say more
        make()
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Retry(2.0), "Retry.max_attempts"),  # type: ignore[arg-type]
        (lambda: Retry(True), "Retry.max_attempts"),
        (lambda: Retry(retry_on=ValueError), "Retry.retry_on"),  # type: ignore[arg-type]
        (lambda: Retry(retry_on=(ValueError, "x")), "Retry.retry_on"),  # type: ignore[arg-type]
        (lambda: Rate("1"), "Rate.limit"),  # type: ignore[arg-type]
        (lambda: Task(None), "service:method"),  # type: ignore[arg-type]
        (lambda: Task("t:t", retry=3), "retry"),  # type: ignore[arg-type]
        (lambda: Execution.ad_hoc(None), "action"),  # type: ignore[arg-type]
        (lambda: Execution.ad_hoc("t:t", retry=3), "retry"),
        (lambda: Execution.ad_hoc("t:t", tiemout=3), "tiemout"),
        (lambda: GroupPolicy(mode="any", until="x"), "until"),  # type: ignore[arg-type]
        (lambda: GroupPolicy(mode="quorum", quorum=1.0), "quorum"),  # type: ignore[arg-type]
        (lambda: GroupPolicy(max_in_flight="1"), "max_in_flight"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(TypeError, match=name.replace(".", r"\.")):
        make()


def test_modes_merges_and_states_are_the_strings_of_the_seed() -> None:
    assert [mode.value for mode in AwaitMode] == ["all", "first", "any", "anyError", "quorum"]
    assert [merge.value for merge in Merge] == ["append", "replace"]
    assert [state.value for state in ExecutionState] == [
        *("pending", "scheduled", "running", "waitAsync", "completed", "failed", "cancelled"),
        *("skipped", "paused"),
    ]
    assert GroupPolicy(mode="anyError").mode is AwaitMode.ANY_ERROR
    assert GroupPolicy(merge="replace").merge is Merge.REPLACE
    ended = {state.value for state in ExecutionState if state.ended}
    assert ended == {"completed", "failed", "cancelled", "skipped"}


VALUES = [
    Task("t:t", {"a": 1}, "id", "name", Retry(2), 1.0, 3),
    Process("p", {"t": Task("t:t")}),
    Execution.ad_hoc("t:t", 1),
    GroupPolicy(mode="quorum", quorum=2, until=bool),
    GroupResult([1], ()),
    Retry(),
    Rate(1),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_and_survive_pickling_and_copying(value: Any) -> None:
    names = [name for name in dir(type(value)) if not name.startswith("_")]
    with pytest.raises((FrozenInstanceError, AttributeError)):
        value.id = "other"
    with pytest.raises((FrozenInstanceError, AttributeError)):
        value.no_such_field = 1
    for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value)):
        assert type(twin) is type(value)
        for name in names:
            mine, theirs = getattr(value, name), getattr(twin, name)
            if isinstance(mine, str | int | float | None.__class__):
                assert theirs == mine


def test_executions_are_compared_by_identity_and_have_ids_of_their_own() -> None:
    one, other = Execution.ad_hoc("t:t", 1), Execution.ad_hoc("t:t", 1)
    assert one != other
    assert one.id != other.id
    assert len({one, other, one}) == 2


def test_values_neither_print_nor_compare_what_the_user_put_into_them() -> None:
    thing = Unprintable()
    execution = Execution.ad_hoc("t:t", thing, data={"x": thing}, meta={"x": thing})
    failed = Execution(
        "t:t", output=thing, state=ExecutionState.FAILED, error=ValueError("x" * 999)
    )
    for value in (execution, failed, Task("t:t", thing), GroupResult([thing], [failed])):
        assert len(repr(value)) < 120
        assert value == value  # noqa: PLR0124 - identity
        hash(value)
    assert "ValueError" in repr(failed)
    assert execution.input is thing


def test_an_execution_keeps_its_error_with_its_notes_across_pickling() -> None:
    error = ValueError("no")
    error.add_note("child 3")
    failed = Execution("t:t", id="x", state=ExecutionState.FAILED, error=error)
    twin = pickle.loads(pickle.dumps(failed))
    assert str(twin.error) == "no"
    assert twin.error.__notes__ == ["child 3"]
    assert twin.id == "x"


# The one claim


def test_an_execution_can_be_claimed_once_and_again_after_it_was_given_back() -> None:
    execution = Execution.ad_hoc("t:t")
    assert [execution.claim(), execution.claim()] == [True, False]
    execution.unclaim()
    assert [execution.claim(), execution.claim()] == [True, False]


@pytest.mark.parametrize("state", [state for state in ExecutionState if state != "pending"])
def test_a_snapshot_has_no_claim(state: ExecutionState) -> None:
    assert not Execution("t:t", state=state).claim()


@pytest.mark.parametrize("claimed", [True, False])
def test_a_pickled_execution_is_claimed_where_its_original_was(claimed: bool) -> None:
    execution = Execution.ad_hoc("t:t")
    if claimed:
        execution.claim()
    assert pickle.loads(pickle.dumps(execution)).claim() is not claimed


def test_of_many_threads_exactly_one_gets_the_claim() -> None:
    executions = [Execution.ad_hoc("t:t") for _ in range(200)]
    barrier = threading.Barrier(4)
    won: list[int] = []

    def claim_all() -> None:
        barrier.wait()
        for place, execution in enumerate(executions):
            if execution.claim():
                won.append(place)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(200))
