"""Whether a failed attempt is followed by another."""

from __future__ import annotations

from orchestrator.errors import (
    AwaitTimeoutError,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    OrchestratorError,
)
from orchestrator.values import Retry

__all__ = ["may_retry"]

# What happened to an execution or a group. Every other OrchestratorError is about wrong use, or is
# the verdict of until=, which another attempt was not asked for.
_OUTCOMES = (
    AwaitTimeoutError,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
)


def may_retry(retry: Retry | None, attempts: int, raised: BaseException) -> bool:
    """Whether *retry* allows an attempt after *attempts*, the last of which *raised*."""
    if retry is None or attempts >= retry.max_attempts:
        return False
    misuse = isinstance(raised, OrchestratorError) and not isinstance(raised, _OUTCOMES)
    return isinstance(raised, retry.retry_on) and not misuse
