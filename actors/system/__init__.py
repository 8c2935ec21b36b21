"""A general actor system on Pykka: many actors on few threads.

Mailboxes, a dispatcher of worker threads, futures with callbacks and ``await``, and timers. It
knows nothing of executions; ``pykka.ThreadingActor`` becomes ``PooledActor`` by a change of the
base class.
"""

from actors.system.actor import PooledActor
from actors.system.calling_thread import CallingThreadDispatcher
from actors.system.clock import Clock, Timer
from actors.system.dispatcher import Dispatcher
from actors.system.future import Future
from actors.system.mailbox import Mailbox
from actors.system.ref import PooledActorRef
from actors.system.relay import Relay
from actors.system.system import ActorSystem, StopTimeoutError, default_system
from actors.system.waiting import dropped_waiters, get_all, wait_first

__all__ = [
    "ActorSystem",
    "CallingThreadDispatcher",
    "Clock",
    "Dispatcher",
    "Future",
    "Mailbox",
    "PooledActor",
    "PooledActorRef",
    "Relay",
    "StopTimeoutError",
    "Timer",
    "default_system",
    "dropped_waiters",
    "get_all",
    "wait_first",
]
