"""What runs jobs and actors' turns in a simulation: tasks, and switch points between the turns."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import pykka

from actors.system import ActorSystem, CallingThreadDispatcher, Dispatcher, Mailbox, PooledActor
from actors.system.worker import Job
from runtime.simulation.here import real_ident, worlds
from runtime.simulation.tasks import SimTask, TaskKilled

if TYPE_CHECKING:
    from actors.system.ref import PooledActorRef
    from runtime.simulation.clock import VirtualClock
    from runtime.simulation.world import World

__all__ = ["SimDispatcher", "SimSystem", "SimTurns"]

_logger = logging.getLogger("actors.system")
_NOTHING: AbstractContextManager[None] = nullcontext()

# Called with an actor and its next message; it may return what to call with the actor after it.
Listener: TypeAlias = Callable[[Any, Any], Callable[[Any], object] | None]


class SimDispatcher(Dispatcher):
    """Runs each job at once, as a dispatcher without a limit does, on a task of its own.

    Tasks whose job is over wait for the next one.
    """

    def __init__(self, world: World) -> None:  # not Dispatcher's, which is about threads
        self.name = "simulated"
        self.workers = None
        self._world = world
        self._free: list[_SimWorker] = []
        self._busy: dict[SimTask, None] = {}
        self._waiting: list[SimTask] = []  # for the end of all jobs
        self._over = False

    def execute(self, job: Job) -> None:
        """As `Dispatcher.execute`."""
        if self._over:
            message = "the dispatcher has been shut down and takes no more jobs"
            raise RuntimeError(message)
        if self._free:
            worker = self._free.pop()
            worker.job = job
            self._busy[worker.task] = None
            self._world.make_ready(worker.task)
        else:
            worker = _SimWorker(self, job)
            worker.task = self._world.spawn("worker", worker.run)
            self._busy[worker.task] = None

    def blocking(self) -> AbstractContextManager[object]:
        """Nothing to do: no job waits for another's thread."""
        return _NOTHING

    def keeping(self) -> AbstractContextManager[object]:
        """Nothing to do: the chooser says what comes next."""
        return _NOTHING

    @property
    def threads(self) -> list[threading.Thread]:
        """None: tasks are not threads."""
        return []

    def shutdown(self, timeout: float | None = None) -> bool:
        """As `Dispatcher.shutdown`, in virtual seconds."""
        self._over = True
        world = self._world
        if not world.entered:
            return True
        deadline = None if timeout is None else world.now + timeout
        me = world.current
        while any(task is not me for task in self._busy):
            left = None if deadline is None else deadline - world.now
            if left is not None and left <= 0:
                return False
            self._waiting.append(me)
            world.wait(left, "the end of the runtime's workers")
            if me in self._waiting:
                self._waiting.remove(me)
        while self._free:
            worker = self._free.pop()
            worker.job = None
            world.make_ready(worker.task)  # to end
        return True

    def note_end(self, worker: _SimWorker) -> None:
        """A job is over (the worker's side)."""
        del self._busy[worker.task]
        worker.job = None
        if not self._over:
            self._free.append(worker)
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._world.make_ready(task)

    def go_idle(self) -> None:
        """Wait for the next job (the worker's side)."""
        if not self._over:
            self._world.block("")


class _SimWorker:
    """One task of a dispatcher."""

    __slots__ = ("_dispatcher", "job", "task")

    def __init__(self, dispatcher: SimDispatcher, job: Job) -> None:
        self._dispatcher = dispatcher
        self.job: Job | None = job
        self.task: SimTask

    def run(self) -> None:
        while (job := self.job) is not None:
            try:
                job()
            except TaskKilled:
                raise
            except BaseException:  # whatever it is, it was the job's and not the worker's
                _logger.exception("A job %r failed", job)
            del job
            self._dispatcher.note_end(self)
            self._dispatcher.go_idle()


class SimTurns(CallingThreadDispatcher):
    """Runs each turn on the task that brings the message, as production does.

    The switch points are before an actor's begin, here, and before each message, in `SimSystem`;
    so messages reach the actors in nearly every order that threads could bring about.
    """

    def __init__(self, world: World) -> None:  # not its base's, which is about threads
        self._world = world
        self._over = False

    def execute(self, job: Job) -> None:
        """As `CallingThreadDispatcher.execute`."""
        world = self._world
        if worlds.get(real_ident()) is not world:
            self._execute_outside(job)
            return
        task = world.current
        jobs = task.jobs
        if not task.in_turn and self._over:
            message = "this dispatcher has been shut down and takes no more jobs"
            raise RuntimeError(message)
        jobs.append(job)
        if task.in_turn:
            return
        task.in_turn = True
        try:
            while jobs:
                if jobs[0].__class__ is not Mailbox:  # an actor's begin; for turns see `SimSystem`
                    world.pause()
                try:
                    jobs.popleft()()
                except TaskKilled:
                    raise
                except BaseException:  # the caller only sent a message
                    _logger.exception("A job of %r failed", self)
        finally:
            task.in_turn = False

    def _execute_outside(self, job: Job) -> None:
        """Before the world is entered, and after it was left, there is one thread and no choice."""
        world = self._world
        if world.entered:
            world.note_foreign(
                f"thread {threading.current_thread().name!r}, which is outside the simulation, sent"
                " a message to an actor in it: start what the code under test needs inside the"
                " simulation, with threading.Thread or an executor made there"
            )
            return
        if self._over:
            message = "this dispatcher has been shut down and takes no more jobs"
            raise RuntimeError(message)
        job()


class SimMailbox(Mailbox):
    """A mailbox with a switch point between its two steps, where threads may change too.

    There it is open whether the sender handles what it has put, or somebody who comes meanwhile.
    """

    __slots__ = ()

    def put(self, item: Any, /) -> None:
        """As `Mailbox.put`."""
        self._messages.append(item)
        world = worlds.get(real_ident())
        if world is not None:
            world.pause()
        self._look()

    def put_aside(self, item: Any, /) -> None:
        """As `Mailbox.put_aside`; the sender has still to see whether somebody waits for it."""
        super().put_aside(item)
        world = worlds.get(real_ident())
        if world is not None:
            world.pause()


class SimSystem(ActorSystem):
    """An actor system that shows each message to *listener* before the actor gets it.

    A *thorough* one switches in the middle of every put, too.
    """

    def __init__(
        self,
        world: World,
        clock: VirtualClock,
        dispatcher: SimTurns,
        name: str,
        listener: Listener,
        *,
        thorough: bool = False,
    ) -> None:
        super().__init__(clock=clock, dispatcher=dispatcher, name=name)
        self._world = world
        self._listener = listener
        self._thorough = thorough

    def adopt(self, ref: PooledActorRef[Any]) -> SimSystem:
        """As `ActorSystem.adopt`."""
        home = super().adopt(ref)
        if self._thorough:  # the same object: others may have it already
            ref.actor_inbox.__class__ = SimMailbox
        actor = ref._actor_weakref()  # noqa: SLF001 - it is about to start
        if actor is not None:
            # On the instance, so that the actor's class is the one of production.
            actor._actor_takes_plain = False  # noqa: SLF001 - all messages go through the next
            actor._actor_receive = functools.partial(  # noqa: SLF001
                self._deliver,
                actor,
                actor._actor_receive,  # noqa: SLF001
            )
        return home

    def on_ended(self, ref: pykka.ActorRef[Any]) -> None:
        """As `ActorSystem.on_ended`; the actor no longer refers to itself, so a count frees it."""
        actor = ref._actor_weakref()  # noqa: SLF001 - it ends
        if actor is not None:
            vars(actor).pop("_actor_receive", None)
        super().on_ended(ref)

    def _deliver(
        self,
        actor: PooledActor,
        receive: Callable[[Any, Any], None],
        message: Any,
        reply: pykka.Future[Any] | None,
    ) -> None:
        world = self._world
        if worlds.get(real_ident()) is world:
            world.pause()
            after = self._listener(actor, message)
            receive(message, reply)
            if after is not None:
                after(actor)
        else:
            receive(message, reply)
