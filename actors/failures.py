"""The errors that an execution's end is made of."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import GroupFailedError, MissingExecutionError, OrchestratorError

__all__ = ["attempt_over", "combined", "translated"]


def combined(errors: Sequence[Exception], execution_id: str) -> Exception:
    """One exception for the errors of several groups; a single one is itself."""
    if len(errors) == 1:
        error = errors[0]
        return error.copy() if isinstance(error, GroupFailedError) else error
    return ExceptionGroup(f"{len(errors)} groups of execution {execution_id!r} failed", errors)


def translated(raised: BaseException, what: str) -> Exception:
    """An `Exception` for a ``BaseException`` out of user code, which must end nothing else."""
    error = OrchestratorError(
        f"{what} raised {type(raised).__name__}, which is no Exception; it ended this execution"
        " and nothing else"
    )
    error.__cause__ = raised
    return error


def attempt_over(execution_id: str) -> MissingExecutionError:
    """What code is told that outlived its attempt."""
    return MissingExecutionError(
        f"the attempt of execution {execution_id!r} that this code belongs to has ended; what it"
        " left running can emit or wait no more: wait for it inside the action"
    )
