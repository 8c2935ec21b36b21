"""How outputs enter the pending output."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.merging import merged, runs_user_code
from orchestrator.values import Merge

anything = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.tuples(st.integers()),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
several = st.lists(anything, max_size=4)


def naive_append(pending: Any, outputs: list[Any]) -> list[Any]:
    result: list[Any] = []
    if isinstance(pending, list):
        result += pending
    elif pending is not None:
        result.append(pending)
    for output in outputs:
        result.append(output)
    return result


@given(pending=anything, outputs=several)
def test_append_puts_the_outputs_behind_what_is_pending(pending: Any, outputs: list[Any]) -> None:
    assert merged(pending, outputs, Merge.APPEND) == naive_append(pending, outputs)


@given(pending=anything, outputs=several)
def test_replace_gives_the_last_output_or_what_is_pending_where_there_is_none(
    pending: Any, outputs: list[Any]
) -> None:
    expected = outputs[-1] if outputs else pending
    assert merged(pending, outputs, Merge.REPLACE) is expected


@given(pending=anything, outputs=several)
def test_a_callable_gives_what_it_returns_for_the_outputs_alone(
    pending: Any, outputs: list[Any]
) -> None:
    seen: list[list[Any]] = []

    def reduce(given_outputs: list[Any]) -> str:
        seen.append(given_outputs)
        return "reduced"

    assert merged(pending, outputs, reduce) == "reduced"
    assert seen == [outputs]


@given(pending=anything, outputs=several)
@pytest.mark.parametrize("rule", [Merge.APPEND, Merge.REPLACE, lambda outputs: outputs.clear()])
def test_merging_changes_neither_what_is_pending_nor_the_outputs(
    pending: Any, outputs: list[Any], rule: Any
) -> None:
    before = [list(pending) if isinstance(pending, list) else pending, list(outputs)]
    result = merged(pending, outputs, rule)
    assert [pending, outputs] == before
    if rule is Merge.APPEND:
        assert result is not pending
        assert result is not outputs


def test_a_replacing_none_replaces() -> None:
    assert merged("old", ["new", None], Merge.REPLACE) is None


def test_what_a_reducer_raises_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        merged(None, [0], lambda outputs: 1 // outputs[0])


def test_only_callables_are_user_code() -> None:
    assert not runs_user_code([])
    assert not runs_user_code([Merge.APPEND, Merge.REPLACE])
    assert runs_user_code([Merge.APPEND, len])
