"""References to pooled actors."""

import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.system.mailbox import Mailbox
from actors.system.stopped import StoppedFlag

if TYPE_CHECKING:
    from actors.system.actor import PooledActor

A = TypeVar("A", bound="PooledActor")

_STOP = _ActorStop()
_naming = threading.RLock()  # for the URNs


class PooledActorRef(pykka.ActorRef[A]):
    """What the world holds of an actor. Safe to share between threads; never blocks by itself.

    While the actor lives, its reference keeps it; an actor that has ended is let go.
    """

    _urn: str | None = None

    actor_inbox: Mailbox
    actor_stopped: StoppedFlag

    def __init__(self, actor: A) -> None:  # not Pykka's, which would ask for the actor's URN
        self.actor_class = actor.__class__
        self.actor_inbox = actor.actor_inbox
        self.actor_stopped = actor.actor_stopped
        self._actor_weakref = weakref.ref(actor)

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """The actor's unique name, made when somebody first asks for it."""
        if self._urn is None:
            with _naming:
                if self._urn is None:
                    self._urn = uuid.uuid4().urn
        return self._urn

    def is_alive(self) -> bool:
        """Whether the actor takes messages: it has not begun to stop."""
        return not self.actor_stopped.is_set()

    def tell(self, message: Any) -> None:
        """Send a message that wants no answer.

        A message that the actor does not live to see is counted as a dead letter.

        Raises:
            pykka.ActorDeadError: the actor has stopped.
        """
        if self.actor_stopped._is_set:  # noqa: SLF001 -- the hot path, as the next line is
            self.actor_inbox.count_dead_letter()
            msg = f"{self} not found"
            raise pykka.ActorDeadError(msg)
        self.actor_inbox.put(Envelope(message) if message.__class__ is Envelope else message)

    @overload
    def ask(
        self, message: Any, *, block: Literal[False], timeout: float | None = None
    ) -> pykka.Future[Any]: ...

    @overload
    def ask(self, message: Any, *, block: Literal[True], timeout: float | None = None) -> Any: ...

    @overload
    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | pykka.Future[Any]: ...

    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | pykka.Future[Any]:
        """Send a message and return the reply, or a future of it with ``block=False``.

        Args:
            message: What to send.
            block: Wait for the reply.
            timeout: Seconds to wait if blocking; see ``Future.get``.

        Raises:
            pykka.ActorDeadError: the actor has stopped, or does so before the message's turn.
            pykka.Timeout: the time has passed.
            Exception: what the actor raised. All of these arrive through the future if there is
                one.
        """
        future = self.actor_class._create_future()  # noqa: SLF001 -- Pykka's hook
        if self.actor_stopped.is_set():
            error = pykka.ActorDeadError(f"{self} not found")
            future.set_exception((pykka.ActorDeadError, error, None))
        else:
            self.actor_inbox.put(Envelope(message, future))
        return future.get(timeout=timeout) if block else future

    @overload
    def stop(self, *, block: Literal[True], timeout: float | None = None) -> bool: ...

    @overload
    def stop(
        self, *, block: Literal[False], timeout: float | None = None
    ) -> pykka.Future[bool]: ...

    @overload
    def stop(
        self, *, block: bool = True, timeout: float | None = None
    ) -> bool | pykka.Future[bool]: ...

    def stop(
        self, *, block: bool = True, timeout: float | None = None
    ) -> bool | pykka.Future[bool]:
        """Ask the actor to stop after the messages that it has already been sent.

        Messages sent later are answered with ``pykka.ActorDeadError``.

        Args:
            block: Wait until it has ended: ``on_stop`` has run and all messages are answered.
            timeout: Seconds to wait if blocking; see ``Future.get``.

        Returns:
            ``True``, or ``False`` if it had stopped before; a future of that with
            ``block=False``, which is resolved by the actor's end whether it is read or not.

        Raises:
            pykka.Timeout: the time has passed. The actor will stop nevertheless.
        """
        future: pykka.Future[bool] = self.actor_class._create_future()  # noqa: SLF001
        if self.actor_stopped.is_set():
            future.set(False)
        else:
            self.actor_inbox.put(Envelope(_STOP, future))
        return future.get(timeout=timeout) if block else future
