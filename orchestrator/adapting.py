"""Makes a `FullRuntime` of any object that has the four methods of `Runtime`.

What the object offers beyond the four is used; what it lacks is done with them where that is
possible, and refused by name where it isn't. Waits fall back to Pykka's ``get(timeout=)``: in a
task, a future with `add_done_callback` costs nothing while it waits, one without is waited for on
a helper thread. Asyncio takes longer to import than this package, so it is left to who waits in a
task, where it is loaded already.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import pykka

from orchestrator.errors import AwaitTimeoutError, NotInitialisedError, OrchestratorError
from orchestrator.protocols import ChildSource, EndsReader, FullRuntime, Future, Runtime, Subject
from orchestrator.texts import excerpt
from orchestrator.values import Execution, GroupPolicy, GroupResult

if TYPE_CHECKING:
    import asyncio

__all__ = ["adapt", "wait_for", "wait_for_async"]

T = TypeVar("T")

_FOUR = ("emit_executions", "wait_for_unblock", "await_group", "schedule_execution")
_ALL = tuple(
    name for name, _ in inspect.getmembers(FullRuntime, inspect.isfunction) if name[0] != "_"
)


def adapt(runtime: Runtime | None) -> FullRuntime:
    """*runtime* itself where it offers everything, else an adapter over it.

    Raises:
        NotInitialisedError: *runtime* is ``None``.
        TypeError: it lacks one of the four methods.
    """
    if runtime is None:
        message = "an orchestrator needs a runtime; pass one, such as LocalRuntime(actions)"
        raise NotInitialisedError(message)
    kind: type = type(runtime)
    if _offers_all(kind):
        return runtime  # type: ignore[return-value]
    missing = [name for name in _FOUR if not callable(getattr(runtime, name, None))]
    if missing:
        message = (
            f"a runtime has the methods {', '.join(_FOUR)}; {excerpt(runtime)} lacks"
            f" {', '.join(missing)}"
        )
        raise TypeError(message)
    if all(callable(getattr(runtime, name, None)) for name in _ALL):
        return runtime  # type: ignore[return-value]
    return _Adapter(runtime)


@functools.lru_cache(maxsize=32)
def _offers_all(kind: type) -> bool:
    """Whether a class of runtimes has all that there is; asked for every orchestrator."""
    return all(callable(getattr(kind, name, None)) for name in _ALL)


def wait_for(future: Future[T], timeout: float | None, subject: Subject) -> T:
    """Block for *future*; Pykka's timeout becomes `AwaitTimeoutError`."""
    try:
        return future.get(timeout=timeout)
    except pykka.Timeout:
        raise AwaitTimeoutError(str(subject), timeout or 0.0) from None


async def wait_for_async(future: Future[T], timeout: float | None, subject: Subject) -> T:
    """Await any future with Pykka's interface; the event loop stays free."""
    import asyncio  # noqa: PLC0415 - see the module

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def resolve() -> None:
        if not done.done():
            done.set_result(None)

    def notify(_future: object = None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits there
            loop.call_soon_threadsafe(resolve)

    add_callback: Callable[[Callable[[Any], None]], object] | None
    add_callback = getattr(future, "add_done_callback", None)
    if add_callback is not None:
        add_callback(notify)
    else:

        def get() -> None:
            with contextlib.suppress(BaseException):  # told to the waiter by the get below
                future.get(timeout=timeout)
            notify()

        threading.Thread(target=get, name="orchestrator-wait", daemon=True).start()
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done, timeout)
    finally:
        remove_callback: Callable[[Callable[[Any], None]], object] | None
        remove_callback = getattr(future, "remove_done_callback", None)
        if remove_callback is not None:
            remove_callback(notify)
    try:
        return future.get(timeout=0)  # a last look: it may be done, and its wake-up on the way
    except pykka.Timeout:
        raise AwaitTimeoutError(str(subject), timeout or 0.0) from None


class _Adapter:
    """A plain `Runtime` with stand-ins for what it does not offer."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattribute__(self, name: str) -> Any:
        if name in _ALL:
            offered = getattr(object.__getattribute__(self, "_runtime"), name, None)
            if callable(offered):
                return offered
        return object.__getattribute__(self, name)

    def _refuse(self, what: str) -> OrchestratorError:
        return OrchestratorError(
            f"{type(self._runtime).__name__} does not offer {what}; use a runtime that does, such"
            " as LocalRuntime"
        )

    def emit_lazily(
        self, parent: Execution, source: ChildSource, policy: GroupPolicy
    ) -> Future[str]:
        raise self._refuse("max_in_flight")

    def read_ends(self, group_id: str) -> EndsReader:
        return _EndsAtOnce(self._runtime.await_group(group_id))

    def consume(self, group_id: str) -> None:
        """Nothing: the four methods know no consumption."""

    def cancel_group(self, group_id: str, reason: str) -> None:
        raise self._refuse("cancel_group")

    def cancel(self, execution_id: str, reason: str) -> None:
        raise self._refuse("cancel")

    def release_group(self, group_id: str) -> None:
        raise self._refuse("release_group")

    def now(self) -> float:
        return time.monotonic()

    def wait(self, future: Future[T], timeout: float | None, subject: Subject) -> T:
        return wait_for(future, timeout, subject)

    async def wait_async(self, future: Future[T], timeout: float | None, subject: Subject) -> T:
        return await wait_for_async(future, timeout, subject)

    def call(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        return self.wait(self._schedule(child), timeout, Subject("execution", child.id))

    async def call_async(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        future = self._schedule(child)
        return await self.wait_async(future, timeout, Subject("execution", child.id))

    def _schedule(self, child: Execution) -> Future[Execution]:
        return self._runtime.schedule_execution(child)

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(min(seconds, threading.TIMEOUT_MAX))

    async def sleep_async(self, seconds: float) -> None:
        import asyncio  # noqa: PLC0415 - see the module

        await asyncio.sleep(seconds)

    def blocking(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class _EndsAtOnce:
    """The ends of a group whose runtime tells them all together, once it has decided."""

    def __init__(self, result: Future[GroupResult]) -> None:
        self._result = result
        self._read = False

    def next(self) -> Future[list[Execution] | None]:
        first, self._read = not self._read, True
        return _Mapped(self._result, _in_order_of_ending if first else lambda _result: None)

    def close(self) -> None:
        """Nothing is held."""


def _in_order_of_ending(result: GroupResult) -> list[Execution]:
    executions: Sequence[Execution] = result.executions
    return sorted(executions, key=lambda execution: execution.completed_at or 0.0)


class _Mapped:
    """A future's value, passed through a function by whoever gets it."""

    def __init__(self, future: Future[Any], function: Callable[[Any], Any]) -> None:
        self._future = future
        self._function = function

    def get(self, *, timeout: float | None = None) -> Any:
        return self._function(self._future.get(timeout=timeout))
