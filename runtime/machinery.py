"""What moves a runtime: the parts that a simulation swaps for its own."""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import frozen

from actors.system import ActorSystem, CallingThreadDispatcher, Clock, Dispatcher, Relay
from runtime.processes import ProcessHost

__all__ = ["Machinery", "of_threads"]

_LINGER = 1.0  # seconds that a thread which is one too many waits for work


@frozen(eq=False)
class Machinery:
    """The moving parts of one runtime."""

    clock: Clock
    dispatcher: Dispatcher
    system: ActorSystem
    processes: ProcessHost
    random: Callable[[], float]  # for the jitter of retries
    relay: Relay | None = None  # where a Ctrl-C may come between any two steps


def of_threads(name: str, workers: int) -> Machinery:
    """Those of a real runtime.

    Args:
        name: What its threads are called.
        workers: How many threads it mostly has.

    Raises:
        RuntimeError: no thread can be started.
    """
    clock = Clock(name=f"{name}-clock")
    dispatcher = Dispatcher(
        None, name=f"{name}-worker", clock=clock, keep_idle=workers + 1, linger=_LINGER
    )
    relay = Relay(f"{name}-relay")
    turns = CallingThreadDispatcher(dispatcher)
    system = ActorSystem(clock=clock, dispatcher=turns, name=name, relay=relay.call)
    clock.start()  # so that no timer fails later for want of a thread
    relay.start()
    return Machinery(clock, dispatcher, system, ProcessHost(), random.random, relay)
