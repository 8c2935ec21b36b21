"""Which failed attempts are followed by another, and how long apart."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.retrying import may_retry
from orchestrator import errors
from orchestrator.values import Retry

OUTCOMES = [
    errors.AwaitTimeoutError("g", 1.0),
    errors.ExecutionCancelledError("e"),
    errors.ExecutionTimeoutError("e", "a", 1.0),
    errors.GroupCancelledError("g"),
    errors.GroupFailedError("m", [ValueError()]),
    errors.GroupTimeoutError("g", 1.0, [], ()),
]
WRONG_USE = [
    errors.NotInitialisedError(),
    errors.MissingExecutionError(),
    errors.UnknownActionError("a"),
    errors.UnknownTaskError("t"),
    errors.UnknownGroupError("g"),
    errors.UnknownExecutionError("e"),
    errors.DuplicateExecutionError("e"),
    errors.InvalidInputError("p"),
    errors.DeadlockError(("a", "a")),
    errors.BlockingCallError("m", "t"),
    errors.RuntimeClosedError(),
]


@given(most=st.integers(1, 9), attempts=st.integers(1, 12))
def test_there_are_at_most_max_attempts_in_all(most: int, attempts: int) -> None:
    assert may_retry(Retry(most), attempts, ValueError()) is (attempts < most)


def test_without_a_retry_there_is_one_attempt() -> None:
    assert not may_retry(None, 1, ValueError())


@pytest.mark.parametrize("error", OUTCOMES, ids=lambda error: type(error).__name__)
def test_what_happened_to_others_is_retried_like_any_failure(error: Exception) -> None:
    assert may_retry(Retry(), 1, error)


@pytest.mark.parametrize("error", WRONG_USE, ids=lambda error: type(error).__name__)
def test_errors_of_wrong_use_are_never_retried_even_when_asked_for(error: Exception) -> None:
    assert not may_retry(Retry(retry_on=(type(error), Exception, BaseException)), 1, error)


def test_retry_on_is_matched_against_what_was_raised() -> None:
    retry = Retry(retry_on=(LookupError, SystemExit))
    assert may_retry(retry, 1, KeyError())
    assert may_retry(retry, 1, SystemExit())
    assert not may_retry(retry, 1, ValueError())
    assert not may_retry(retry, 1, KeyboardInterrupt())
    assert not may_retry(Retry(), 1, SystemExit())
    assert not may_retry(Retry(retry_on=()), 1, ValueError())


def test_a_plain_type_error_of_the_action_is_no_error_of_wrong_use() -> None:
    assert may_retry(Retry(), 1, TypeError("unhashable"))


@given(
    delay=st.floats(0, 1e3),
    multiplier=st.floats(0, 10),
    max_delay=st.none() | st.floats(0, 1e4),
    jitter=st.floats(0, 1),
    random=st.floats(0, 1),
    attempts=st.integers(1, 30),
)
def test_the_pause_grows_by_the_multiplier_up_to_its_limit_less_a_share_of_it(
    delay: float,
    multiplier: float,
    max_delay: float | None,
    jitter: float,
    random: float,
    attempts: int,
) -> None:
    retry = Retry(delay=delay, multiplier=multiplier, max_delay=max_delay, jitter=jitter)
    whole = delay
    for _ in range(attempts - 1):
        whole *= multiplier
    if max_delay is not None:
        whole = min(whole, max_delay)
    pause = retry.pause(attempts, random)
    assert pause == pytest.approx(whole * (1 - jitter * random), rel=1e-6, abs=1e-9)
    assert whole * (1 - jitter - 1e-6) - 1e-9 <= pause <= whole * (1 + 1e-6) + 1e-9


def test_a_pause_that_outgrows_all_numbers_is_cut_to_its_limit() -> None:
    retry = Retry(10_000, delay=1.0, max_delay=60.0)
    assert retry.pause(9_999) == 60.0
    assert retry.pause(9_999, 0.5) == 60.0
    assert Retry(10_000, delay=1.0).pause(9_999) == math.inf


@pytest.mark.parametrize("attempts", [1, 2, 5_000])
def test_without_a_delay_there_is_no_pause_however_many_attempts(attempts: int) -> None:
    assert Retry(10_000, delay=0.0).pause(attempts) == 0.0
