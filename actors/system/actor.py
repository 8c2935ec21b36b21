"""Pykka actors that share threads."""

import logging
import sys
import weakref
from typing import TYPE_CHECKING, Any, Self

import pykka
from pykka import ActorRegistry
from pykka.messages import _ActorStop

from actors.system.future import Future
from actors.system.mailbox import Home, Mailbox, settle
from actors.system.ref import PooledActorRef
from actors.system.stopped import StoppedFlag

if TYPE_CHECKING:
    from types import TracebackType

_logger = logging.getLogger("pykka")


class PooledActor(pykka.Actor):
    """A Pykka actor without a thread of its own.

    Code written for ``pykka.ThreadingActor`` runs on it as it is, except what is about the thread:
    its name, its daemon flag and thread-locals. Messages are handled one at a time, each sender's
    in the order in which they were sent, on whichever thread of the actor's system is free.

    ``start`` makes an actor of the process-wide default system, known to Pykka's registry;
    ``ActorSystem.spawn`` one that only its own system knows.
    """

    actor_inbox: Mailbox
    actor_stopped: StoppedFlag
    _actor_ref: PooledActorRef[Any]
    _actor_home: Home | None = None
    _actor_registered = True  # in Pykka's registry
    _actor_runs_user_code = True
    _actor_takes_plain = True
    _actor_stop_reply: pykka.Future[Any] | None = None  # answered when all is over

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> PooledActorRef[Self]:
        """Make an actor, register it and start it; as Pykka does, without asking for its name.

        ``__init__`` runs here and now, ``on_start`` on the actor's first turn.

        Args:
            args: What to make it with.
            kwargs: Likewise.

        Returns:
            A reference; the actor lives until it is stopped.
        """
        actor = cls(*args, **kwargs)
        ref: PooledActorRef[Self] | None = getattr(actor, "_actor_ref", None)
        if ref is None:
            msg = f"{cls.__qualname__}.__init__() must call super().__init__()"
            raise AssertionError(msg)  # as Pykka does
        with ActorRegistry._actor_refs_lock:  # noqa: SLF001 -- its register() makes a text of it
            ActorRegistry._actor_refs.append(ref)  # noqa: SLF001
        _logger.debug("Registered %s", ref)
        _logger.debug("Starting %s", actor)
        actor._start_actor_loop()
        return ref

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:  # not Pykka's: see StoppedFlag
        self.__dict__  # noqa: B018 -- as in Settled: two threads may make a proxy at once
        self.actor_stopped = StoppedFlag()
        self.actor_inbox = self._create_actor_inbox()
        self._actor_ref = PooledActorRef(self)

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """The actor's unique name, made when somebody first asks for it."""
        return self._actor_ref.actor_urn

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _start_actor_loop(self) -> None:
        """Come to life on a thread of the home's; until now messages have waited."""
        home = self._actor_home
        if home is None:
            from actors.system.system import default_system  # noqa: PLC0415 -- it imports this

            try:
                home = self._actor_home = default_system().adopt(self._actor_ref)
            except RuntimeError:  # it was stopped just now
                self._actor_unregister()
                raise
        self.actor_inbox.start(self, home, weakref.ref(self._actor_ref))

    @property
    def _actor_has_begin(self) -> bool:
        return getattr(self.on_start, "__func__", None) is not pykka.Actor.on_start

    def _actor_begin(self) -> None:
        try:
            self._actor_loop_setup()
        except BaseException as error:  # noqa: BLE001 -- handled as if a message had raised it
            self._actor_crashed(error, None)

    def _actor_receive(self, message: Any, reply: pykka.Future[Any] | None) -> None:
        try:
            response = self._handle_receive(message)
        except Exception as error:  # noqa: BLE001 -- it is logged, and is the answer
            self._actor_failed(error, reply)
        except BaseException as error:  # noqa: BLE001 -- likewise
            self._actor_crashed(error, reply)
        else:
            if reply is None:
                return
            if isinstance(message, _ActorStop) and self.actor_stopped.is_set():
                self._actor_stop_reply = reply
            else:
                settle(reply, response)

    def _actor_raised(self, error: BaseException, message: Any) -> None:  # noqa: ARG002
        if isinstance(error, Exception):
            self._actor_failed(error, None)
        else:
            self._actor_crashed(error, None)

    def _actor_abandon(self) -> None:
        _logger.error("%s ends without on_stop(), as its dispatcher has been shut down", self)
        self._actor_unregister()
        self.actor_stopped.set()

    def _actor_end(self) -> None:
        if self._actor_home is not None:
            self._actor_home.on_ended(self._actor_ref)
        reply, self._actor_stop_reply = self._actor_stop_reply, None
        if reply is not None:
            settle(reply, True)  # noqa: FBT003 -- the answer to stop()

    def _actor_failed(self, error: Exception, reply: pykka.Future[Any] | None) -> None:
        """Answer with what handling a message raised; without anyone to answer, the actor ends."""
        if reply is not None:
            _logger.info("Exception returned from %s to caller:", self, exc_info=error)
            settle(reply, error=error)
            return
        exc_info = (type(error), error, error.__traceback__)
        self._handle_failure(*exc_info)
        try:
            self.on_failure(*exc_info)
        except Exception:  # noqa: BLE001 -- it is logged
            self._handle_failure(*sys.exc_info())
        except BaseException as worse:  # noqa: BLE001 -- likewise
            self._actor_crashed(worse, None)

    def _actor_crashed(self, error: BaseException, reply: pykka.Future[Any] | None) -> None:
        """End this actor and ask all others to, as Pykka does for what is no ``Exception``.

        The others are not waited for: one of them may be waiting for this one.
        """
        _logger.debug("%r in %s. Stopping all actors.", error, self)
        try:
            self._stop()
        except BaseException:  # on_stop's; the others come first
            _logger.exception("Unhandled exception in %s:", self)
        if reply is not None:
            settle(reply, error=error)
        if self._actor_registered:
            ActorRegistry.stop_all(block=False)
        elif self._actor_home is not None:
            self._actor_home.ask_all_to_stop()

    def _stop(self) -> None:
        self._actor_unregister()
        self.actor_stopped.set()
        _logger.debug("Stopped %s", self)
        try:
            self.on_stop()
        except Exception:  # noqa: BLE001 -- it is logged
            self._handle_failure(*sys.exc_info())

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        _logger.error(
            "Unhandled exception in %s:",
            self,
            exc_info=(exception_type, exception_value, traceback),  # type: ignore[arg-type]
        )
        self._actor_unregister()
        self.actor_stopped.set()

    def _actor_unregister(self) -> None:
        if not self._actor_registered:
            return
        ref, refs = self._actor_ref, ActorRegistry._actor_refs  # noqa: SLF001 -- as in `start`
        with ActorRegistry._actor_refs_lock:  # noqa: SLF001
            if refs and refs[-1] is ref:  # the last one first, as `stop_all` has it
                del refs[-1]
            elif ref in refs:
                refs.remove(ref)
            else:
                _logger.debug("Unregistered %s (not found in registry)", ref)
                return
        _logger.debug("Unregistered %s", ref)

    def _handle_receive(self, message: Any) -> Any:
        if isinstance(message, tuple):  # as all of Pykka's own are
            return super()._handle_receive(message)
        return self.on_receive(message)
