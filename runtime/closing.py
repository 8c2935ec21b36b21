"""How a runtime ends: what runs is waited for, then every thread of it is joined.

Each step can be done again, so a `close` that ran out of time can be followed by another, and two
at once do no harm: both return when everything is over.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from attrs import define

from actors.attempt import Attempt
from actors.environment import Environment
from actors.messages import Drain, ReadStats
from actors.protocol_actor import PromptReply, Reply, request
from actors.stats import Stats
from actors.system import Future, Relay, StopTimeoutError
from orchestrator.errors import CloseTimeoutError, RuntimeClosedError
from orchestrator.protocols import Subject
from orchestrator.texts import excerpt
from runtime.feeding import Feeders
from runtime.loops import Loops
from runtime.places import Places
from runtime.processes import ProcessHost
from runtime.subscriptions import Subscriptions

__all__ = ["DRAIN", "Closing", "Drained", "closed_error"]


@define(eq=False)
class Closing:
    """The parts of one runtime, in the order in which they end."""

    environment: Environment
    places: Places
    feeders: Feeders
    loops: Loops
    processes: ProcessHost
    subscriptions: Subscriptions
    relay: Relay | None
    stats: Stats | None = None  # the last ones, once everything has ended

    def drain(self, *, cancel: bool) -> Future[None]:
        """Take no more roots; resolved when nothing is left to run."""
        reply: Reply[None] = Reply(Drained)
        cancel = cancel or self.loops.lost is not None  # what ran there can't be waited for
        request(self.environment.allocator, Drain(reply, cancel, "its runtime was closed"))
        return reply

    def shut_down(self, deadline: float | None, timeout: float | None) -> None:
        """End every thread, process and actor; nothing runs any more.

        Raises:
            CloseTimeoutError: one of them did not end by *deadline*, in the clock's seconds.
        """
        clock = self.environment.clock
        if self.stats is None:
            reply: PromptReply[Stats] = PromptReply(Drained)
            request(self.environment.allocator, ReadStats(reply))
            with contextlib.suppress(Drained):  # another close has stopped the actors
                self.stats = reply.get()

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - clock.now())

        late: list[str] = []
        for thread in self.feeders.threads:
            thread.join(left())
            late += _if_alive(thread)
        if not self.loops.close(left()) and self.loops.thread is not None:
            late += _if_alive(self.loops.thread)
        self.processes.close()
        late += [f"listener {excerpt(listener)}" for listener in self.subscriptions.close(deadline)]
        try:
            self.environment.system.stop(left())
        except StopTimeoutError as error:
            late.append(str(error))
        if not self.environment.dispatcher.shutdown(left()):
            for thread in self.environment.dispatcher.threads:
                late += _if_alive(thread)
        clock.close()
        if self.relay is not None:
            self.relay.close()
        if late and timeout is not None:
            raise CloseTimeoutError(timeout, tuple(late))

    def late(self, timeout: float) -> CloseTimeoutError:
        """The error of a drain that took too long: each attempt that still runs, with its stack."""
        running = tuple(_describe(attempt) for attempt in tuple(self.places.running))
        sources = tuple(line for thread in self.feeders.threads for line in _if_alive(thread))
        return CloseTimeoutError(timeout, running + sources)


class Drained(Exception):  # noqa: N818 - never leaves this package
    """The actors are gone already."""


DRAIN = Subject("runtime", "to end")


def _describe(attempt: Attempt) -> str:
    lines: Iterable[str] = ()
    task = attempt.task  # looked at once: it is gone when the code ends
    if task is not None:
        lines = _stack_of_task(task.get_coro())
    elif attempt.thread_id is not None:
        lines = _stack_of(attempt.thread_id)
    return f"{attempt.action.name} (execution {attempt.execution_id}):\n{''.join(lines)}"


def _stack_of_task(coroutine: Any) -> list[str]:
    outermost = coroutine.cr_frame
    for innermost in sys._current_frames().values():  # noqa: SLF001 - as in _stack_of
        if any(frame is outermost for frame, _line in traceback.walk_stack(innermost)):
            return traceback.format_stack(innermost)  # it holds up its loop
    return [line for frame in _frames_of(coroutine) for line in traceback.format_stack(frame, 1)]


def _frames_of(awaited: Any) -> Iterator[FrameType]:
    """Of a coroutine and of all that it awaits; ``Task.get_stack`` has the first of them alone."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):  # a coroutine, a generator, an async one
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                next_one = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
                awaited = getattr(awaited, next_one)
                break
        else:
            return


def _if_alive(thread: threading.Thread) -> list[str]:
    if not thread.is_alive() or thread is threading.current_thread():
        return []
    return [f"thread {thread.name}:\n{''.join(_stack_of(thread.ident))}"]


def _stack_of(thread_id: int | None) -> list[str]:
    frame = sys._current_frames().get(thread_id or 0)  # noqa: SLF001 - the way to another's stack
    return [] if frame is None else traceback.format_stack(frame)


def closed_error() -> RuntimeClosedError:
    """What every call on a closed runtime raises."""
    return RuntimeClosedError("the runtime is closed; make another one")
