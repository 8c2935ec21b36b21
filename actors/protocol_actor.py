"""The base of the runtime's actors: a protocol of messages, each with its own reply."""

from __future__ import annotations

import contextlib
import logging
import queue
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.system import Future, PooledActor
from actors.system.parking import Parker

__all__ = ["PromptReply", "ProtocolActor", "Reply", "ask", "put_aside", "request", "send", "tell"]

_logger = logging.getLogger("pykka")

T = TypeVar("T")


class Reply(Future[T]):
    """A reply that says in the caller's terms that the actor asked had ended."""

    def __init__(self, when_dead: Callable[[], BaseException]) -> None:
        super().__init__()
        self._when_dead = when_dead

    def set_exception(self, exc_info: Any = None) -> None:
        """Resolve it with an exception; a dead actor's is translated."""
        if exc_info is not None and exc_info[0] is pykka.ActorDeadError:
            self.set_error(self._when_dead())
        else:
            super().set_exception(exc_info)


class PromptReply(Reply[T]):
    """A reply that hangs on actors' turns alone, which never block: its wait keeps the worker."""

    def _park(self, parker: Parker, timeout: float | None) -> None:
        parker.park(timeout)


def tell(ref: Any, message: object) -> None:
    """Send a message that has no reply; for an ended actor it is a counted dead letter."""
    ref.actor_inbox.put(message)


def ask(ref: Any, message: Any) -> None:
    """Send a message whose ``reply`` the actor resolves; an ended actor's mailbox answers it."""
    ref.actor_inbox.put(Envelope(message, message.reply))


def send(ref: Any, message: object) -> None:
    """`tell`, for code outside of turns: where a Ctrl-C may come, it goes whole or not at all."""
    ref.actor_inbox.put_whole(message)


def request(ref: Any, message: Any) -> None:
    """`ask`, for code outside of turns; see `send`."""
    ref.actor_inbox.put_whole(Envelope(message, message.reply))


def put_aside(ref: Any, message: object) -> None:
    """`send` of a message that matters to nobody before the actor's next one: it takes no turn."""
    ref.actor_inbox.put_aside(message)


class ProtocolActor(PooledActor):
    """An actor whose messages carry their replies, to be resolved in this turn or a later one.

    Its turns hold no user code, so an exception out of one is a fault of this library: it is
    logged, the reply is answered with it, and the actor goes on, as others depend on it.
    """

    _actor_registered = False  # ActorSystem.spawn makes it
    _actor_runs_user_code = False
    _actor_has_begin = True

    def _actor_begin(self) -> None:
        try:
            self.on_start()
        except Exception as error:
            _logger.exception("Unhandled exception in %s on its start:", self)
            self._answer_fault(error)

    def on_fault(self, error: Exception) -> None:
        """A turn has failed: answer those who would wait for ever for what it should have done."""

    def _answer_fault(self, error: Exception) -> None:
        try:
            self.on_fault(error)
        except Exception:
            _logger.exception("Unhandled exception in %s while it answered a fault:", self)

    def finish(self) -> None:
        """End at the end of this turn: there is nothing left to do and nobody left to tell."""
        self.actor_stopped.set()

    @abstractmethod
    def on_receive(self, message: Any) -> None:
        """Handle one message of the protocol."""

    def _actor_receive(self, message: Any, reply: pykka.Future[Any] | None) -> None:
        try:
            if message.__class__ is _ActorStop:
                super()._actor_receive(message, reply)
            else:
                self.on_receive(message)
        except Exception as error:  # noqa: BLE001 - it is logged, and answered
            self._actor_raised(error, message, reply)

    def _actor_raised(
        self, error: BaseException, message: Any, reply: pykka.Future[Any] | None = None
    ) -> None:
        if not isinstance(error, Exception):
            raise error
        name = type(message).__name__
        _logger.error("Unhandled exception in %s on %s:", self, name, exc_info=error)
        if reply is None:  # it may ride in a message that was passed on to this actor
            reply = getattr(message, "reply", None)
        if reply is not None:
            with contextlib.suppress(queue.Full):
                reply.set_exception((type(error), error, error.__traceback__))
        self._answer_fault(error)
