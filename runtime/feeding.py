"""Draws the children of a lazy group from its source, as fast as the group has room for them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

from actors.environment import Environment
from actors.failures import translated
from actors.live import GroupEntry
from actors.messages import AddChild, Draw, Seal, SourceClosed
from actors.protocol_actor import tell
from actors.system import Future
from orchestrator.errors import DuplicateExecutionError
from orchestrator.protocols import ChildSource
from orchestrator.registry import Action
from orchestrator.texts import excerpt
from orchestrator.values import Execution
from runtime.interrupts import pass_on

__all__ = ["Feeders"]

_logger = logging.getLogger("runtime")

_RETRY = 0.05  # seconds after which a thread that could not be started is tried again


class Feeders:
    """The sources that one runtime is drawing from.

    Args:
        environment: The runtime's.
        admit: Checks a drawn child and finds its action; raises what is wrong with it.
    """

    def __init__(self, environment: Environment, admit: Callable[[Execution], Action]) -> None:
        self._environment = environment
        self._admit = admit
        self._threads: set[threading.Thread] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that draw now."""
        return list(self._threads)

    def start(
        self,
        group: GroupEntry,
        group_id: str,
        source: ChildSource,
        variables: contextvars.Context,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        """Begin to draw, in a task of *loop*, or on a thread of its own; called on any thread."""
        feeder = _Feeder(group, source, self._admit)
        if loop is not None:

            def begin() -> None:
                task = loop.create_task(feeder.feed_async(), context=variables)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(feeder.close_unfed)
                # A decision ends a draw that waits for the source's next item.
                group.decided.add_done_callback(
                    lambda _decided: self._environment.call_on_loop(loop, task.cancel)
                )

            self._environment.call_on_loop(loop, begin)
            return
        self._start_thread(feeder, f"source-{group_id}", variables)

    def _start_thread(self, feeder: _Feeder, name: str, variables: contextvars.Context) -> None:
        thread = threading.Thread(
            target=self._run, args=(feeder, variables), name=name, daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # no thread is to be had now
            self._threads.discard(thread)
            if feeder.decided:
                self._environment.dispatcher.execute(functools.partial(feeder.refuse, error))
            else:
                self._environment.clock.call_later(
                    _RETRY, self._start_thread, feeder, name, variables
                )

    def _run(self, feeder: _Feeder, variables: contextvars.Context) -> None:
        try:
            variables.run(feeder.feed)
        finally:
            self._threads.discard(threading.current_thread())


class _Feeder:
    """Draws from one source."""

    def __init__(
        self, group: GroupEntry, source: ChildSource, admit: Callable[[Execution], Action]
    ) -> None:
        self._group = group
        self._source = source
        self._admit = admit
        self._index = 0
        self._closed = False

    @property
    def decided(self) -> bool:
        """Whether the group needs no more children."""
        return self._group.decided.done()

    def feed(self) -> None:
        """Draw to the end, on this thread."""
        iterator: Any = self._source.iterator
        try:
            while (room := self._ask().get()) > 0:
                for _ in range(room):
                    if self._group.decided.done():
                        break
                    self._add(next(iterator))
        except StopIteration:
            self._tell(Seal())
        except BaseException as raised:  # noqa: BLE001 - it fails the group, nothing else
            self._fail(raised)
        finally:
            self._close_source()

    async def feed_async(self) -> None:
        """Draw to the end, in this task."""
        iterator: Any = self._source.iterator
        has_next = hasattr(iterator, "__anext__")
        try:
            while (room := await self._ask()) > 0:
                for _ in range(room):
                    if self._group.decided.done():
                        break
                    self._add(await anext(iterator) if has_next else next(iterator))
        except (StopIteration, StopAsyncIteration):
            self._tell(Seal())
        except BaseException as raised:  # noqa: BLE001 - it fails the group, nothing else
            self._fail(raised)
        finally:
            if has_next and hasattr(iterator, "aclose"):
                with _logged("closing the source"):
                    await iterator.aclose()
                self._closed = True
                self._tell(SourceClosed())
            else:
                self._close_source()

    def close_unfed(self, task: asyncio.Task[None]) -> None:
        """The task has ended; one that was cancelled before it began has told nobody."""
        if not self._closed:
            self._fail(asyncio.CancelledError("its task was cancelled"))
            self._close_source()
        if not task.cancelled() and task.exception() is not None:
            _logger.error("drawing from a source failed", exc_info=task.exception())

    def refuse(self, error: Exception) -> None:
        """Nothing can be drawn: the group fails."""
        self._fail(error)
        self._close_source()

    def _ask(self) -> Future[int]:
        reply: Future[int] = Future()
        self._tell(Draw(reply))
        return reply

    def _add(self, item: Any) -> None:
        child = self._source.child(self._index, item)
        if not isinstance(child, Execution):
            message = f"item {self._index} of the source must be an Execution, not {excerpt(child)}"
            raise TypeError(message)
        action = self._admit(child)
        if not child.claim():
            raise DuplicateExecutionError(child.id)
        self._index += 1
        self._tell(AddChild(child, action))

    def _fail(self, raised: BaseException) -> None:
        error = raised if isinstance(raised, Exception) else translated(raised, "the source")
        pass_on(raised)
        self._tell(Seal(error))

    def _close_source(self) -> None:
        self._closed = True
        close = getattr(self._source.iterator, "close", None)
        if close is not None:
            with _logged("closing the source"):
                close()
        self._tell(SourceClosed())

    def _tell(self, message: object) -> None:
        tell(self._group.ref, message)


@contextlib.contextmanager
def _logged(what: str) -> Any:
    try:
        yield
    except BaseException as raised:
        pass_on(raised)
        _logger.exception("%s failed", what)
