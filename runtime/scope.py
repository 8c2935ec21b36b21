"""The caller's own code as an execution: ``with runtime.execution() as orchestrator``."""

from __future__ import annotations

import asyncio
import functools
from _thread import get_ident
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from actors.attempt import Attempt
from actors.failures import translated
from actors.messages import AttemptEnded
from actors.protocol_actor import send
from actors.system import Future
from orchestrator.blocking import refuse_on_loop
from orchestrator.context import ExecutionContext, current
from orchestrator.core import output_of
from orchestrator.errors import Cancelled, ExecutionTimeoutError
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState
from runtime.port import error_of

if TYPE_CHECKING:
    from orchestrator.asynchronous import AsyncOrchestrator
    from orchestrator.blocking import Orchestrator
    from runtime.local import LocalRuntime

__all__ = ["Scope", "leave_interrupted"]


def _the_callers_code() -> None:
    """Stands for the body of the ``with`` block, which runs where it is written."""


async def _the_callers_coroutine() -> None:
    """Stands for the body of the ``async with`` block."""


BLOCKING = Action.of(_the_callers_code, "scope")
ASYNC = Action.of(_the_callers_coroutine, "scope")


class Scope:
    """A scope that ends only when everything in it has ended. Entered once.

    Leaving it by an exception cancels what is in it. Errors of groups that nobody awaited are
    raised at its end.
    """

    def __init__(self, runtime: LocalRuntime, execution: Execution, **options: Any) -> None:
        self._runtime = runtime
        self._execution = execution
        self._options = options
        self._attempt: Attempt | None = None
        self._token: Token[ExecutionContext | None] | None = None
        self._ended: Future[Execution]
        self._over: Future[None]

    @property
    def id(self) -> str:
        """The id of the scope's execution."""
        return self._execution.id

    def __enter__(self) -> Orchestrator:
        refuse_on_loop("with runtime.execution()", "`async with runtime.execution()`")
        ready = self._once()
        outer = current.get()
        try:
            self._submit(BLOCKING, ready)
            attempt = ready.get()
            attempt.thread_id = get_ident()
            return self._begin(attempt)  # type: ignore[no-any-return]
        except BaseException as raised:
            current.set(outer)
            ready.add_done_callback(functools.partial(_end_unentered, raised))
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._end(raised, traceback)
            self._over.get()
        except BaseException as interrupt:  # what is in it has to end, and it too
            self._leave_interrupted(interrupt)
            self._runtime.cancel_root(self.id, "its scope was interrupted")
            raise
        self._conclude(raised)

    async def __aenter__(self) -> AsyncOrchestrator:
        ready = self._once()
        outer = current.get()
        try:
            self._submit(ASYNC, ready)
            return self._begin(await ready)  # type: ignore[no-any-return]
        except BaseException as raised:
            current.set(outer)
            ready.add_done_callback(functools.partial(_end_unentered, raised))
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._end(raised, traceback)
            await self._over
        except BaseException as interrupt:
            self._leave_interrupted(interrupt)
            self._runtime.cancel_root(self.id, "its scope was cancelled")
            await asyncio.shield(_until(self._over))
            raise
        self._conclude(raised)

    def _once(self) -> Future[Attempt]:
        """What is resolved with the attempt when the scope may be entered."""
        if self._attempt is not None:
            message = f"scope {self.id!r} was entered before; make a new one for each `with`"
            raise RuntimeError(message)
        return Future()

    def _submit(self, action: Action, ready: Future[Attempt]) -> None:
        self._over = Future()
        self._ended = self._runtime.submit_root(
            self._execution, action, scope=ready, over=self._over, **self._options
        )
        self._ended.add_done_callback(functools.partial(_never_began, ready))

    def _begin(self, attempt: Attempt) -> Any:
        self._attempt = attempt
        self._token = current.set(attempt.context)
        return attempt.orchestrator(attempt.context)

    def _end(self, raised: BaseException | None, traceback: TracebackType | None) -> None:
        attempt, token = self._attempt, self._token
        assert attempt is not None  # noqa: S101 - it was entered
        assert token is not None  # noqa: S101
        current.reset(token)
        error: Exception | None = None
        if isinstance(raised, Exception):
            error = raised
        elif raised is not None:
            error = translated(raised, f"scope {self.id!r}")
        send(attempt.ref, AttemptEnded(attempt.number, None, error, raised, traceback))

    def _leave_interrupted(self, interrupt: BaseException) -> None:
        token = self._token
        if token is not None:
            outer = token.old_value
            current.set(outer if isinstance(outer, ExecutionContext) else None)
        end_interrupted(self._attempt, interrupt)

    def _conclude(self, raised: BaseException | None) -> None:
        ended = self._ended.get()
        unwound = raised is None or isinstance(raised, Cancelled | asyncio.CancelledError)
        expired = isinstance(ended.error, ExecutionTimeoutError)
        if unwound and (expired or ended.state is ExecutionState.CANCELLED):
            output_of(ended)
        if raised is None:
            output_of(ended)


def end_interrupted(attempt: Attempt | None, raised: BaseException) -> None:
    """End the attempt of a scope that was left, but may not have ended, as its end was interrupted.

    A Ctrl-C comes between any two steps of the main thread, the first of ``__exit__`` too.
    """
    if attempt is not None and attempt.is_scope:
        error = translated(raised, f"the end of scope {attempt.execution_id!r}")
        send(attempt.ref, AttemptEnded(attempt.number, None, error, raised, raised.__traceback__))


def leave_interrupted(attempt: Attempt | None, raised: BaseException | None) -> None:
    """The block around the current scope, if there is one, is left by an exception: end it."""
    if raised is not None and attempt is not None and attempt.is_scope:
        end_interrupted(attempt, raised)
        current.set(None)


def _end_unentered(raised: BaseException, ready: Future[Attempt]) -> None:
    """The code that would be in the scope never comes."""
    if error_of(ready) is None:
        end_interrupted(ready.get(), raised)


def _never_began(ready: Future[Attempt], ended: Future[Execution]) -> None:
    """Tell whoever enters the scope that it was refused, or had ended before it began."""
    if not ready.done():
        try:
            output_of(ended.get())
        except BaseException as error:  # noqa: BLE001 - it is the answer
            ready.set_error(error)


async def _until(over: Future[None]) -> None:
    await over
