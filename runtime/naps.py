"""How the code of an execution sleeps; a leaf remains one meanwhile.

Nobody can be waiting for one who sleeps, so that the allocator need not know who it is: of async
code, which has no worker to give away, it hears nothing, and of blocking code that its worker is
free. Everybody else finds it in `Environment.asleep`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from actors.environment import Environment
from actors.leaf import LeafAttempt
from actors.messages import NapBegan, WaitEnded
from actors.protocol_actor import send, tell
from actors.system.parking import new_parker
from actors.wait import Nap
from runtime.waits import Waits, current_attempt

__all__ = ["Naps"]


class Naps:
    """The sleeps of one runtime's executions."""

    def __init__(self, environment: Environment, waits: Waits) -> None:
        self._environment = environment
        self._waits = waits

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            new_parker().park(seconds)
            return
        attempt.check()
        if seconds <= 0:
            return
        if not (
            isinstance(attempt, LeafAttempt)
            and attempt.run.ledger is None  # else the worker is its caller's to give back
            and attempt.on_own_thread()
            and self._sleep_as_leaf(attempt, seconds)
        ):
            self._waits.pause(attempt, None, seconds, None)

    def _sleep_as_leaf(self, attempt: LeafAttempt, seconds: float) -> bool:
        """Whether it was a leaf: the clock tells the allocator that it needs its worker again."""
        environment = self._environment
        parker = new_parker()
        nap = Nap(attempt, parker)
        nap.parked = True
        if not self._lie_down(nap):
            return False
        timer = None
        try:
            attempt.watch(nap)
            due = environment.clock.now() + seconds
            send(environment.allocator, NapBegan(nap))
            timer = environment.clock.call_at(due, tell, environment.allocator, WaitEnded(nap))
            while not nap.granted and attempt.interruption is None:
                parker.park()
        finally:
            if timer is not None:
                timer.cancel()
            self._waits.come_back(nap, parker, None)
            attempt.unwatch(nap)
        attempt.check()
        return True

    def _lie_down(self, nap: Nap) -> bool:
        """Be asleep, unless the execution is an actor: then it waits as others do."""
        asleep, attempt = self._environment.asleep, nap.attempt
        asleep[attempt] = nap
        # Whoever makes it an actor after this look finds it asleep.
        return not attempt.is_actor or asleep.pop(attempt, None) is None

    def sleep_async(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait *seconds* in this task. No coroutine of its own: each would be held by who waits."""
        attempt = current_attempt(self._environment)
        if attempt is None:
            return asyncio.sleep(seconds)
        attempt.check()
        if seconds <= 0:
            return asyncio.sleep(0)
        if isinstance(attempt, LeafAttempt) and attempt.in_own_task():
            return self._sleep_as_leaf_async(attempt, seconds)
        return self._waits.pause_async(attempt, None, seconds, None)

    async def _sleep_as_leaf_async(self, attempt: LeafAttempt, seconds: float) -> None:
        """Sleep; a cancel of the execution cancels the task, which is its own."""
        nap = Nap(attempt, _SELF_WAKING)
        if not self._lie_down(nap):
            await self._waits.pause_async(attempt, None, seconds, None)
            return
        now = self._environment.clock.now
        loop = asyncio.get_running_loop()
        due = now() + seconds
        try:
            while seconds > 0:  # more than once, where the loop's own clock is a coarse one
                over: asyncio.Future[None] = loop.create_future()
                # In an empty context: a loop keeps cancelled timers, and their contexts, for long.
                timer = loop.call_later(seconds, _end, over, context=contextvars.Context())
                try:
                    await over
                finally:
                    timer.cancel()
                seconds = due - now()
        finally:
            if self._environment.asleep.pop(attempt, None) is None:  # it is an actor now
                send(self._environment.allocator, WaitEnded(nap))
        attempt.check()


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


class _SelfWaking:
    """Stands for who wakes an async sleeper: nobody, as the cancel of its task reaches it."""

    def unpark(self) -> None:
        """Nothing."""


_SELF_WAKING = _SelfWaking()
