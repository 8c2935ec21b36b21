"""What the author of an action imports: the emit/await API, its values, errors and protocols.

Inside an action, ``Orchestrator.from_context()`` (``AsyncOrchestrator.from_context()`` in an
``async def`` one) is the way to fan out children, call one, and wait for what they come to.
"""

from orchestrator.asynchronous import AsyncOrchestrator
from orchestrator.blocking import Orchestrator
from orchestrator.context import (
    ORCHESTRATOR_CONTEXT_KEY,
    ExecutionContext,
    current_context,
    use_context,
)
from orchestrator.errors import (
    AwaitTimeoutError,
    BlockingCallError,
    Cancelled,
    CloseTimeoutError,
    DeadlockError,
    DuplicateExecutionError,
    ExecutionCancelledError,
    ExecutionTimeoutError,
    GroupCancelledError,
    GroupFailedError,
    GroupTimeoutError,
    InvalidInputError,
    MissingExecutionError,
    NotInitialisedError,
    OrchestratorError,
    RejectedError,
    RuntimeClosedError,
    UnknownActionError,
    UnknownExecutionError,
    UnknownGroupError,
    UnknownTaskError,
)
from orchestrator.options import GroupOptions
from orchestrator.protocols import Future, Runtime
from orchestrator.registry import Action, ActionRegistry
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

__all__ = [
    "ORCHESTRATOR_CONTEXT_KEY",
    "Action",
    "ActionRegistry",
    "AsyncOrchestrator",
    "AwaitMode",
    "AwaitTimeoutError",
    "BlockingCallError",
    "Cancelled",
    "CloseTimeoutError",
    "DeadlockError",
    "DuplicateExecutionError",
    "Execution",
    "ExecutionCancelledError",
    "ExecutionContext",
    "ExecutionState",
    "ExecutionTimeoutError",
    "Future",
    "GroupCancelledError",
    "GroupFailedError",
    "GroupOptions",
    "GroupPolicy",
    "GroupResult",
    "GroupTimeoutError",
    "InvalidInputError",
    "Merge",
    "MissingExecutionError",
    "NotInitialisedError",
    "Orchestrator",
    "OrchestratorError",
    "Process",
    "Rate",
    "RejectedError",
    "Retry",
    "Runtime",
    "RuntimeClosedError",
    "Task",
    "UnknownActionError",
    "UnknownExecutionError",
    "UnknownGroupError",
    "UnknownTaskError",
    "current_context",
    "use_context",
]
