"""The errors: one family, picklable with their facts, and each says the way out."""

from __future__ import annotations

import copy
import inspect
import pickle

import attrs
import pytest

import orchestrator
from orchestrator import errors
from orchestrator.errors import GroupFailedError, OrchestratorError
from orchestrator.values import Execution, ExecutionState

KINDS = [
    kind
    for _name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, OrchestratorError)
]

EXAMPLES: list[tuple[OrchestratorError, list[str]]] = [
    (errors.NotInitialisedError("no runtime"), ["no runtime"]),
    (errors.MissingExecutionError("none here"), ["none here"]),
    (errors.UnknownActionError("txt:index", ("text:index",)), ["'txt:index'", "'text:index'"]),
    (errors.UnknownActionError("x:y"), ["'x:y'", "register"]),
    (errors.UnknownTaskError("t[1]", "p"), ["'t[1]'", "'p'", "emit_for_each"]),
    (errors.UnknownGroupError("g"), ["'g'", "ends"]),
    (errors.UnknownExecutionError("e"), ["'e'", "handle"]),
    (errors.DuplicateExecutionError("e"), ["'e'", "before", "ad_hoc"]),
    (errors.DuplicateExecutionError("e", "is taken"), ["'e'", "is taken"]),
    (
        errors.InvalidInputError("missing", "a:b", "x", "an int", "'y'"),
        ["missing", "'a:b'", "'x'", "an int", "'y'"],
    ),
    (errors.AwaitTimeoutError("group 'g'", 2.5), ["'g'", "2.5 s", "timeout="]),
    (errors.ExecutionTimeoutError("e", "a:b", 3.0), ["'e'", "a:b", "3 s", "timeout="]),
    (
        errors.GroupTimeoutError("g", 1.0, [1, None], tuple(range(1, 20))),
        ["'g'", "1 s", "19", "...", "timeout=", ".outputs"],
    ),
    (
        errors.GroupTimeoutError("g", 1.0, [1], ()),
        ["'g'", "1 s", "its source", "timeout=", ".outputs"],
    ),
    (errors.GroupFailedError("m", [ValueError("v")], "g", [1]), ["m", "1 sub-exception"]),
    (errors.GroupCancelledError("g", "enough"), ["'g'", "enough"]),
    (errors.ExecutionCancelledError("e", "enough"), ["'e'", "enough"]),
    (errors.RejectedError("until said no", 5), ["until said no"]),
    (errors.DeadlockError(("a", "b", "a")), ["a waits for b waits for a", "timeout="]),
    (errors.BlockingCallError("X.get", "Y.get"), ["X.get", "Y.get", "to_thread"]),
    (errors.RuntimeClosedError("closed"), ["closed"]),
    (errors.CloseTimeoutError(2.0, ("x:y\nstack",)), ["1 still running", "2 s", "x:y", "again"]),
]


def name_of(value: object) -> str:
    return type(value).__name__


def test_every_error_of_the_page_is_there_with_an_example_and_at_the_top_of_the_package() -> None:
    page = [
        "NotInitialisedError",
        "MissingExecutionError",
        "UnknownActionError",
        "UnknownTaskError",
        "UnknownGroupError",
        "UnknownExecutionError",
        "DuplicateExecutionError",
        "InvalidInputError",
        "AwaitTimeoutError",
        "ExecutionTimeoutError",
        "GroupTimeoutError",
        "GroupFailedError",
        "GroupCancelledError",
        "ExecutionCancelledError",
        "RejectedError",
        "DeadlockError",
        "BlockingCallError",
        "RuntimeClosedError",
        "CloseTimeoutError",
    ]
    for name in page:
        assert getattr(orchestrator, name) is getattr(errors, name)
    assert {kind.__name__ for kind in KINDS} == {*page, "OrchestratorError"}
    assert {name_of(error) for error, _texts in EXAMPLES} == set(page)


@pytest.mark.parametrize(("error", "texts"), EXAMPLES, ids=name_of)
def test_an_error_says_what_was_wrong_with_which_value_and_what_to_do(
    error: OrchestratorError, texts: list[str]
) -> None:
    for text in texts:
        assert text in str(error)


@pytest.mark.parametrize(("error", "_texts"), EXAMPLES, ids=name_of)
def test_an_error_survives_pickling_and_copying_with_its_fields_and_notes(
    error: OrchestratorError, _texts: list[str]
) -> None:
    error = copy.copy(error)
    error.add_note("child 7")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.__notes__ == ["child 7"]
        if attrs.has(type(error)):
            assert attrs.asdict(twin, recurse=False) == attrs.asdict(error, recurse=False)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_timeouts_are_timeout_errors_and_nothing_else_is(kind: type) -> None:
    assert issubclass(kind, TimeoutError) is ("Timeout" in kind.__name__)
    assert issubclass(kind, Exception)


def test_cancelled_passes_through_every_except_exception() -> None:
    assert not issubclass(errors.Cancelled, Exception)
    assert not issubclass(errors.Cancelled, OrchestratorError)


def test_values_in_texts_that_cannot_be_printed_or_are_long_do_no_harm() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Unprintable" in str(errors.UnknownGroupError(Unprintable()))  # type: ignore[arg-type]
    assert len(str(errors.UnknownGroupError("x" * 100_000))) < 300


# GroupFailedError


def failed_group() -> GroupFailedError:
    children = [
        Execution("t:t", id="a", state=ExecutionState.FAILED, error=ValueError("a")),
        Execution("t:t", id="b", state=ExecutionState.COMPLETED, output=1),
        Execution("t:t", id="c", state=ExecutionState.FAILED, error=KeyError("c")),
    ]
    own = [child.error for child in children if child.error is not None]
    return GroupFailedError("2 failed", own, "g", [None, 1, None], children, source_failed=True)


def same_facts(error: BaseException | None) -> bool:
    return (
        isinstance(error, GroupFailedError)
        and error.group_id == "g"
        and error.outputs == [None, 1, None]
        and [child.id for child in error.executions] == ["a", "b", "c"]
        and error.source_failed
    )


def test_except_star_takes_a_failed_group_apart_and_each_part_keeps_its_facts() -> None:
    seen: dict[str, object] = {}
    try:
        raise failed_group()
    except* ValueError as values:
        seen["values"] = values
    except* KeyError as keys:
        seen["keys"] = keys
    for name, kind in (("values", ValueError), ("keys", KeyError)):
        part = seen[name]
        assert isinstance(part, GroupFailedError)
        assert same_facts(part)
        assert [type(one) for one in part.exceptions] == [kind]


def test_split_subgroup_and_derive_keep_the_facts() -> None:
    group = failed_group()
    match, rest = group.split(ValueError)
    assert same_facts(match)
    assert same_facts(rest)
    assert same_facts(group.subgroup(KeyError))
    assert same_facts(group.derive([OSError()]))
    assert group.split(OSError)[0] is None


def test_a_failed_group_survives_pickling_with_its_children() -> None:
    group = failed_group()
    group.exceptions[0].add_note("child 0")
    twin = pickle.loads(pickle.dumps(group))
    assert same_facts(twin)
    assert [repr(one) for one in twin.exceptions] == ["ValueError('a')", "KeyError('c')"]
    assert twin.exceptions[0].__notes__ == ["child 0"]


def test_a_copy_of_a_failed_group_shares_the_childrens_exceptions_and_nothing_that_changes() -> (
    None
):
    group = failed_group()
    group.__cause__ = OSError()
    group.add_note("a note")
    one, other = group.copy(), group.copy()
    assert same_facts(one)
    assert one.exceptions == other.exceptions == group.exceptions
    assert one.__cause__ is group.__cause__
    one.outputs.append("mine")
    one.add_note("mine")
    assert same_facts(other)
    assert other.__notes__ == group.__notes__ == ["a note"]
    with pytest.raises(GroupFailedError):
        raise one
    assert other.__traceback__ is None
