"""What `spawn` returns: the way to one root execution from outside."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from actors.system import Future
from orchestrator.blocking import refuse_on_loop
from orchestrator.checks import checked_timeout
from orchestrator.core import output_of
from orchestrator.protocols import Subject
from orchestrator.values import Execution, ExecutionState

if TYPE_CHECKING:
    from runtime.local import LocalRuntime

__all__ = ["Handle"]

_logger = logging.getLogger("runtime")


class Handle:
    """One execution that was spawned. Safe from any thread; awaitable on any event loop.

    Cancelling a task that awaits it cancels nothing but that wait. If it fails and nobody ever
    reads the result, the failure is logged when the handle is let go.
    """

    def __init__(self, runtime: LocalRuntime, execution_id: str, ended: Future[Execution]) -> None:
        self._runtime = runtime
        self._id = execution_id
        self._ended = ended
        self._read = False

    @property
    def id(self) -> str:
        """The execution's id."""
        return self._id

    def done(self) -> bool:
        """Whether it has ended; never blocks."""
        return self._ended.done()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the output, or raise the execution's own exception.

        Args:
            timeout: Seconds to wait; ``0`` looks once, ``None`` waits without limit.

        Raises:
            AwaitTimeoutError: *timeout* passed first; the execution goes on.
            ExecutionCancelledError: it was cancelled.
            ExecutionTimeoutError: it missed its deadline.
            BlockingCallError: on an event loop's thread; await the handle there.
            ValueError: *timeout* is negative or NaN.
        """
        refuse_on_loop("Handle.result", "`await handle`")
        seconds = checked_timeout(timeout)
        ended = self._runtime.wait(self._ended, seconds, Subject("execution", self._id))
        self._read = True
        return output_of(ended)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        subject = Subject("execution", self._id)
        ended = await self._runtime.wait_async(self._ended, None, subject)
        self._read = True
        return output_of(ended)

    def cancel(self, reason: str = "") -> None:
        """Cancel it and everything below it; nothing happens to one that has ended."""
        self._runtime.check_fork()
        if not self._ended.done():
            self._runtime.cancel_root(self._id, reason)

    def snapshot(self) -> Execution:
        """The execution as it is now."""
        self._runtime.check_fork()
        if self._ended.done():
            return self._ended.get()
        return self._runtime.snapshot_of(self._id, self._ended)

    def __repr__(self) -> str:
        state = self._ended.get().state.value if self._ended.done() else "not ended"
        return f"<Handle of {self._id!r}: {state}>"

    def __del__(self) -> None:
        if getattr(self, "_read", True):
            return
        # The callback must not hold this object, which is on its way out.
        self._ended.add_done_callback(_log_unread)


def _log_unread(ended: Future[Execution]) -> None:
    try:
        execution = ended.get()
    except Exception:  # noqa: BLE001 - it was refused, and the caller of spawn was told
        return
    if execution.state is ExecutionState.FAILED and execution.error is not None:
        _logger.error(
            "execution %r of %r failed and nobody read its result",
            execution.id,
            execution.action,
            exc_info=execution.error,
        )
