"""Actors that live and end together."""

import os
import threading
from _thread import allocate_lock
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import pykka
from attrs import define

from actors.system.actor import PooledActor
from actors.system.clock import Clock
from actors.system.dispatcher import Dispatcher
from actors.system.future import Future
from actors.system.mailbox import current_receiver
from actors.system.parking import Deadline
from actors.system.ref import PooledActorRef
from actors.system.tally import Tally
from actors.system.worker import Job

A = TypeVar("A", bound=PooledActor)


class SystemDispatcher(Protocol):
    """What a system needs of the dispatcher that it is given."""

    @property
    def threads(self) -> list[threading.Thread]: ...
    def execute(self, job: Job, /) -> None: ...
    def shutdown(self, timeout: float | None = None) -> bool: ...


@define(eq=False)
class StopTimeoutError(TimeoutError):
    """A system could not be stopped in time. Calling ``stop`` again goes on waiting."""

    system: str
    timeout: float | None  # seconds
    busy: tuple[str, ...]  # the actors that had not ended yet
    threads: tuple[str, ...] = ()  # those that still ran something else

    def __str__(self) -> str:
        what = f"actors {', '.join(self.busy)}" if self.busy else f"threads {self.threads}"
        return (
            f"actor system {self.system!r} has not stopped in {self.timeout} s, as it waits for"
            f" {what}; call stop() again to go on waiting"
        )


class ActorSystem:
    """Actors that share threads, and are stopped together.

    All methods are safe from any thread. As a context manager, it is stopped at the end.
    """

    def __init__(
        self,
        workers: int | None = None,
        clock: Clock | None = None,
        *,
        dispatcher: SystemDispatcher | None = None,
        name: str = "actors",
        relay: Callable[..., None] | None = None,
    ) -> None:
        """Make a system; it starts no thread yet.

        Args:
            workers: How many actors may run at a time, those that wait for a future not counted;
                by default 4 more than the machine has processors, up to 32.
            clock: What ``clock`` returns; by default one of its own.
            dispatcher: What runs the actors, instead of workers of its own.
            name: The threads are called ``{name}-{n}``.
            relay: What ``Mailbox.put_whole`` uses where a Ctrl-C may come: ``Relay.call``.

        Raises:
            ValueError: *workers* is less than one, or given together with a *dispatcher*.
        """
        if workers is not None and dispatcher is not None:
            msg = "an actor system takes either workers or a dispatcher, not both"
            raise ValueError(msg)
        self.name = name
        self._clock = clock or Clock(name=f"{name}-clock")
        self._own_clock = self._clock if clock is None else None
        self._own_dispatcher: Dispatcher | None = None
        if dispatcher is None:
            workers = min(32, (os.cpu_count() or 1) + 4) if workers is None else workers
            dispatcher = Dispatcher(workers, name=name, clock=self._clock)
            self._own_dispatcher = dispatcher
        self._dispatcher: SystemDispatcher = dispatcher
        self.relay = relay
        self.execute = dispatcher.execute  # bound once: mailboxes use them for every message
        self.requeue = getattr(dispatcher, "requeue", dispatcher.execute)
        self._known: set[type[PooledActor]] = set()  # classes that were found fit to spawn
        self._refs: dict[PooledActorRef[Any], None] = {}  # the living, in the order of spawning
        self._dead_letters = Tally()
        self._stopping = False
        self._finishers: dict[threading.Thread, None] = {}  # go on where an actor can't
        self._all_ended: Future[None] = Future()

    def __repr__(self) -> str:
        state = "stopping" if self._stopping else "running"
        return f"<ActorSystem {self.name!r}: {state}, {self.actors} actors>"

    @property
    def clock(self) -> Clock:
        """The clock, for timers of the actors."""
        return self._clock

    @property
    def dispatcher(self) -> SystemDispatcher:
        """What runs the actors."""
        return self._dispatcher

    @property
    def closed(self) -> bool:
        """Whether the dispatcher may take no more jobs; one that can't tell has to be asked."""
        return getattr(self._dispatcher, "closed", True)

    @property
    def actors(self) -> int:
        """How many actors have been started and have not ended."""
        return len(self._refs)

    @property
    def dead_letters(self) -> int:
        """How many messages, told to actors that were dead or died before, nobody has seen."""
        return self._dead_letters.value

    def spawn(self, actor_class: type[A], *args: Any, **kwargs: Any) -> PooledActorRef[A]:
        """Make an actor and start it. It is not in Pykka's global registry.

        ``__init__`` runs here and now, ``on_start`` on the actor's first turn. An actor without an
        ``on_start`` of its own needs no thread before its first message.

        Args:
            actor_class: A subclass of ``PooledActor``.
            args: What to make it with.
            kwargs: Likewise.

        Returns:
            A reference; the actor lives until it is stopped.

        Raises:
            TypeError: *actor_class* is anything else.
            RuntimeError: the system has been stopped.
        """
        if actor_class not in self._known:
            if not (isinstance(actor_class, type) and issubclass(actor_class, PooledActor)):
                msg = f"spawn() needs a subclass of PooledActor, not {actor_class!r}"
                raise TypeError(msg)
            self._known.add(actor_class)
        actor = actor_class(*args, **kwargs)
        ref: PooledActorRef[A] | None = getattr(actor, "_actor_ref", None)
        if ref is None:
            msg = f"{actor_class.__qualname__}.__init__() must call super().__init__()"
            raise TypeError(msg)
        self.launch(actor)
        return ref

    def launch(self, actor: PooledActor) -> None:
        """Start an actor that was made by hand; what it was sent until now comes first.

        Raises:
            RuntimeError: the system has been stopped.
        """
        actor._actor_home = self.adopt(actor._actor_ref)  # noqa: SLF001
        actor._actor_registered = False  # noqa: SLF001
        actor._start_actor_loop()  # noqa: SLF001

    def stop(self, timeout: float | None = None) -> None:
        """Ask all actors to stop, the latest first, and wait until they have; then end threads.

        May be called again, also after a timeout, and from several threads at once. Called by
        one of its own actors, it can't wait for that one's end: it then returns at once, and a
        thread of its own does the rest.

        Args:
            timeout: Seconds to wait for all of it together; ``None`` waits without limit.

        Raises:
            StopTimeoutError: the time has passed; it is a ``TimeoutError`` and names the actors
                that are busy. They will stop nevertheless.
            ValueError: *timeout* is NaN.
        """
        deadline = Deadline(timeout)
        self._stopping = True
        self.ask_all_to_stop()
        self._note_if_all_ended()
        if getattr(current_receiver(), "_actor_home", None) is self:
            finisher = threading.Thread(target=self.stop, name=f"{self.name}-stop", daemon=True)
            self._finishers[finisher] = None
            finisher.start()
            return
        try:
            self._all_ended.get(timeout=deadline.remaining())
        except pykka.Timeout:
            busy = tuple(str(ref) for ref in list(self._refs))
            raise StopTimeoutError(self.name, timeout, busy) from None
        dispatcher = self._own_dispatcher
        if dispatcher is not None and not dispatcher.shutdown(deadline.remaining()):
            names = tuple(thread.name for thread in dispatcher.threads)
            raise StopTimeoutError(self.name, timeout, (), names)
        if self._own_clock is not None:
            self._own_clock.close()
        self._finishers.pop(threading.current_thread(), None)
        for finisher in list(self._finishers):
            finisher.join(deadline.remaining())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # What actors call ------------------------------------------------------------------------

    def adopt(self, ref: PooledActorRef[Any]) -> Self:
        """Count a new actor among its own, from before it starts until ``on_ended``.

        Raises:
            RuntimeError: the system has been stopped. What the actor was sent is answered.
        """
        self._refs[ref] = None
        if self._stopping:  # after it is in: a stop that did not see it, we see here
            ref.actor_stopped.set()
            ref.actor_inbox.abandon()
            self.on_ended(ref)
            msg = f"actor system {self.name!r} has been stopped; make a new one for new actors"
            raise RuntimeError(msg)
        return self

    def on_ended(self, ref: pykka.ActorRef[Any]) -> None:
        """Forget an actor, which has ended."""
        self._refs.pop(ref, None)  # type: ignore[call-overload]
        self._note_if_all_ended()

    def on_dead_letter(self) -> None:
        """Count a message that wanted no answer and reached a dead actor."""
        self._dead_letters.add()

    def ask_all_to_stop(self) -> None:
        """Ask all actors to stop, the latest first. Never blocks."""
        for ref in reversed(list(self._refs)):
            ref.stop(block=False)

    def _note_if_all_ended(self) -> None:
        if self._stopping and not self._refs:
            self._all_ended.try_set()


_default: ActorSystem | None = None
_default_lock = allocate_lock()


def default_system() -> ActorSystem:
    """Return the process-wide system of ``PooledActor.start``, made when it is first needed.

    One that has been stopped, or was inherited through a fork, is replaced by a new one.
    """
    global _default  # noqa: PLW0603 -- one per process is what it is
    system = _default
    if system is None or system._stopping:  # noqa: SLF001 -- same module
        with _default_lock:
            if _default is None or _default._stopping:  # noqa: SLF001
                _default = _elastic_system("pykka")
            system = _default
    return system


def _elastic_system(name: str) -> ActorSystem:
    """Make a system in which every actor that has something to do gets a thread at once.

    For actors that were written with a thread of their own in mind may block it for ever.
    """
    dispatcher = Dispatcher(None, name=name)
    system = ActorSystem(dispatcher=dispatcher, name=name)
    system._own_dispatcher = dispatcher  # noqa: SLF001 -- same module
    return system


def _forget_default() -> None:
    global _default, _default_lock  # noqa: PLW0603
    _default = None
    _default_lock = allocate_lock()


os.register_at_fork(after_in_child=_forget_default)
