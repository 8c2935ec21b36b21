"""The awaitable face of the orchestrator."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, Unpack

from orchestrator.adapting import wait_for_async
from orchestrator.blocking import _itself, _pause, core_of
from orchestrator.checks import checked_timeout
from orchestrator.core import Children, Core, checked_items, is_async_iterable, output_of
from orchestrator.errors import AwaitTimeoutError
from orchestrator.options import GroupOptions, policy_of
from orchestrator.protocols import Future, Runtime, Subject
from orchestrator.values import Execution, Task

__all__ = ["AsyncOrchestrator"]


class AsyncOrchestrator:
    """`Orchestrator` with the same names, awaitable: the event loop stays free in every wait.

    Cancelling the awaiting task cancels nothing but that wait (a `call` cancels its child, whose
    answer nobody else could get). In a cancelled execution every wait raises
    `asyncio.CancelledError`.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._core = Core(runtime)

    @classmethod
    def _over(cls, core: Core) -> Self:
        orchestrator = cls.__new__(cls)
        orchestrator._core = core  # noqa: SLF001 - its own
        return orchestrator

    @classmethod
    def from_context(cls, context: Mapping[str, Any] | None = None) -> Self | None:
        """As `Orchestrator.from_context`; a plain call, not awaited."""
        core = core_of(context)
        return None if core is None else cls._over(core)

    async def emit_for_each(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        as_: str,
        template: Task,
        **policy: Unpack[GroupOptions],
    ) -> str:
        """As `Orchestrator.emit_for_each`; takes async iterables too, a lazy one in a task."""
        rules = policy_of(policy)
        expansion = self._core.expansion(as_, template)
        if rules.max_in_flight is not None:
            children = Children(_iterator(items), expansion.child, in_task=True)
            return await _answer(self._core.emit_lazily(children, rules, expansion, template))
        return await _answer(self._core.emit_items(await _read(items), expansion, template, rules))

    async def emit_children(
        self,
        children: Iterable[Execution] | AsyncIterable[Execution],
        **policy: Unpack[GroupOptions],
    ) -> str:
        """As `Orchestrator.emit_children`; takes async iterables too."""
        rules = policy_of(policy)
        if rules.max_in_flight is not None:
            source = Children(_iterator(children), _itself, in_task=True)
            return await _answer(self._core.emit_lazily(source, rules))
        return await _answer(self._core.emit(await _read(children), rules))

    async def emit_one(self, child: Execution, **policy: Unpack[GroupOptions]) -> str:
        """As `Orchestrator.emit_one`."""
        children = [self._core.check_child(child)]
        rules = policy_of(policy)
        if rules.max_in_flight is not None:
            return await self.emit_children(children, **policy)
        return await _answer(self._core.emit(children, rules))

    async def await_group(
        self, group_id: str, timeout: float | None = None, *, return_exceptions: bool = False
    ) -> list[Any]:
        """As `Orchestrator.await_group`."""
        seconds = None if timeout is None else checked_timeout(timeout)
        core = self._core
        if core.is_mute:
            with core.speaking():
                return await self.await_group(
                    group_id, seconds, return_exceptions=return_exceptions
                )
        future = core.runtime.await_group(group_id)
        result = await core.runtime.wait_async(future, seconds, Subject("group", group_id))
        return core.outputs(group_id, result, return_exceptions=return_exceptions)

    async def await_resume(self, timeout: float | None = None) -> Any:
        """As `Orchestrator.await_resume`."""
        seconds = checked_timeout(timeout)
        core = self._core
        execution_id = core.context().execution.id
        with core.speaking():
            future = core.runtime.wait_for_unblock(execution_id)
            subject = Subject("resume", execution_id)
            return (await core.runtime.wait_async(future, seconds, subject)).output

    async def call(self, child: Execution, timeout: float | None = None) -> Any:
        """As `Orchestrator.call`."""
        seconds = None if timeout is None else checked_timeout(timeout)
        core = self._core
        if child.__class__ is not Execution:
            core.check_child(child)
        if core.is_mute:
            with core.speaking():
                return await self.call(child, seconds)
        try:
            ended = await core.runtime.call_async(child, seconds)
        except BaseException as error:
            core.give_up(child, error)
            raise
        return ended[0] if isinstance(ended, tuple) else output_of(ended)

    def as_completed(self, group_id: str, timeout: float | None = None) -> AsyncIterator[Execution]:
        """As `Orchestrator.as_completed`, for ``async for``."""
        seconds = checked_timeout(timeout)
        runtime = self._core.runtime
        with self._core.speaking():
            deadline = None if seconds is None else runtime.now() + seconds
            result = runtime.await_group(group_id)
            reader = runtime.read_ends(group_id)
        return self._read(group_id, seconds, deadline, reader, result)

    async def _read(
        self, group_id: str, timeout: float | None, deadline: float | None, reader: Any, result: Any
    ) -> AsyncIterator[Execution]:
        core = self._core
        runtime = core.runtime
        subject = Subject("ends", group_id)
        try:
            while True:
                left = None if deadline is None else max(0.0, deadline - runtime.now())
                try:
                    ends = await runtime.wait_async(reader.next(), left, subject)
                except AwaitTimeoutError:
                    raise AwaitTimeoutError(str(subject), timeout or 0.0) from None
                if ends is None:
                    break
                for end in ends:
                    yield end
        finally:
            reader.close()
        outcome = await runtime.wait_async(result, None, Subject("group", group_id))
        core.outputs(group_id, outcome, return_exceptions=False)

    async def cancel_group(self, group_id: str, reason: str = "") -> None:
        """As `Orchestrator.cancel_group`."""
        with self._core.speaking():
            self._core.runtime.cancel_group(group_id, reason)

    async def cancel(self, execution_id: str, reason: str = "") -> None:
        """As `Orchestrator.cancel`."""
        self._core.runtime.cancel(execution_id, reason)

    async def release_group(self, group_id: str) -> None:
        """As `Orchestrator.release_group`."""
        with self._core.speaking():
            self._core.runtime.release_group(group_id)

    async def sleep(self, seconds: float) -> None:
        """As `Orchestrator.sleep`."""
        await self._core.runtime.sleep_async(_pause(seconds))

    def blocking(self) -> AbstractAsyncContextManager[None]:
        """For symmetry, an ``async with`` that does nothing: a waiting task holds no worker."""
        return contextlib.nullcontext()


async def _answer(reply: Future[str]) -> str:
    if getattr(reply, "done", lambda: False)():
        return reply.get()
    return await wait_for_async(reply, None, Subject("emit", ""))


async def _read(items: Any) -> list[Any]:
    if is_async_iterable(items):
        return [item async for item in items]
    return list(checked_items(items))


def _iterator(items: Any) -> Any:
    return aiter(items) if is_async_iterable(items) else iter(checked_items(items))
