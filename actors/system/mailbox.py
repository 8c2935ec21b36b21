"""The queue of one actor, and the rule of who works it off."""

import logging
import queue
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.system.interrupts import may_be_interrupted
from actors.system.stopped import StoppedFlag
from actors.system.worker import Job

_logger = logging.getLogger("actors.system")

BATCH = 128  # messages that one run handles before it lets others have the thread


class Executor(Protocol):
    """What runs jobs: a dispatcher."""

    def execute(self, job: Job, /) -> None: ...


class Home(Protocol):
    """Where an actor lives: what runs it, and who is told of its end."""

    @property
    def execute(self) -> Callable[[Job], None]: ...
    @property
    def relay(self) -> Callable[..., None] | None: ...

    def on_dead_letter(self) -> None:
        """Count a message that wanted no answer and reached a dead actor."""

    def on_ended(self, ref: pykka.ActorRef[Any]) -> None:
        """Forget an actor, which has ended."""

    def ask_all_to_stop(self) -> None:
        """Ask all actors to stop. Never blocks."""


class Receiver(Protocol):
    """What a mailbox delivers to: an actor, whose own names must not clash with these."""

    @property
    def actor_stopped(self) -> StoppedFlag: ...
    @property
    def _actor_runs_user_code(self) -> bool: ...

    def _actor_begin(self) -> None:
        """Come to life. Called once, before the first message."""

    def _actor_receive(self, message: Any, reply: pykka.Future[Any] | None) -> None:
        """Handle one message; it raises nothing."""

    def _actor_abandon(self) -> None:
        """Stop without a thread to do it on."""

    def _actor_end(self) -> None:
        """Go. Called once, when the mailbox is closed and all that was in it answered."""


class _Here(threading.local):
    receiver: Receiver | None = None


_here = _Here()


def current_receiver() -> Receiver | None:
    """Return the actor whose turn the calling thread is in, if any."""
    return _here.receiver


class Mailbox:
    """An unbounded queue of messages, worked off by one thread at a time.

    Putting appends the message, then tries for the flag that says "a run is scheduled". Who gets
    it schedules one. A run gives the flag back when the queue is empty, and *then* looks at the
    queue again. So one of the two sees the other and no message is left lying. The flag is a lock
    that nobody ever waits for: a message may be put from a signal handler or ``__del__``.

    The flag is held from the start, so that messages wait until the actor is started; and for
    good once the actor has stopped, when whoever puts a message answers it too.

    A message lies in the queue bare when nobody waits for an answer, else in Pykka's envelope.
    """

    __slots__ = (
        "_closed",
        "_home",
        "_messages",
        "_owner",
        "_receiver",
        "_scheduled",
    )

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._scheduled = allocate_lock()
        self._scheduled.acquire()
        self._closed = False
        self._receiver: Receiver | None = None
        self._home: Home | None = None
        self._owner: Callable[[], object] = str  # what error messages call the actor

    def start(self, receiver: Receiver, home: Home, owner: Callable[[], object]) -> None:
        """Begin to deliver to *receiver*, on threads of *home*'s dispatcher; once.

        The mailbox holds its receiver until that has ended. *owner* returns what error messages
        call it.

        Raises:
            RuntimeError: the dispatcher takes no more jobs. All that was put is answered.
        """
        self._receiver = receiver
        self._home = home
        self._owner = owner
        try:
            home.execute(self._begin)
        except RuntimeError:
            self.abandon()
            raise

    def tell(self, message: Any) -> None:
        """Add a message that wants no answer. Never blocks, never raises."""
        self.put(Envelope(message) if message.__class__ is Envelope else message)

    def put(self, item: Any, /) -> None:
        """Add an envelope, or a bare message. Never blocks, never raises."""
        try:
            self._messages.append(item)
        finally:  # a KeyboardInterrupt between the two must not leave the message lying
            if self._scheduled.acquire(False):  # noqa: FBT003 -- by position: it is the hot path
                try:
                    self._home.execute(self)  # type: ignore[union-attr]
                except RuntimeError:  # the dispatcher was shut down under a living actor
                    self.abandon()
            elif self._closed:
                self._refuse()

    def put_whole(self, item: Any, /) -> None:
        """As ``put``, for a thread that a Ctrl-C may interrupt: it is put whole or not at all.

        A ``put`` that is cut in half may hold the flag for ever. So the flag is left to a relay.
        """
        relay = None if self._home is None else self._home.relay
        if relay is None or not may_be_interrupted():
            self.put(item)
            return
        try:
            self._messages.append(item)
        finally:
            relay(self._look)

    def _look(self) -> None:
        """See that what was added is handled, or answered."""
        if self._scheduled.acquire(blocking=False):
            try:
                self._home.execute(self)  # type: ignore[union-attr]
            except RuntimeError:  # the dispatcher was shut down under a living actor
                self.abandon()
        elif self._closed:
            self._refuse()

    def get(self) -> Envelope[Any]:
        """Take the oldest message. Meant for the actor's own turn: it does not wait.

        Raises:
            IndexError: there is none.
        """
        item = self._messages.popleft()
        return item if item.__class__ is Envelope else Envelope(item)

    def empty(self) -> bool:
        """Whether there is no message; another thread may put one at any time."""
        return not self._messages

    def count_dead_letter(self) -> None:
        """Count a message that nobody answers and that its actor does not see."""
        if self._home is not None:
            self._home.on_dead_letter()

    def abandon(self) -> None:
        """Answer all messages, now and from now on, with ``ActorDeadError``.

        For an actor that was not started, or whose dispatcher takes no more jobs.
        """
        receiver = self._receiver
        if receiver is not None:
            receiver._actor_abandon()  # noqa: SLF001 -- a name out of the users' way
            self._end(receiver)
            return
        self._closed = True
        self._refuse()

    def _begin(self) -> None:
        receiver = self._receiver
        if receiver is None:
            return  # abandoned meanwhile
        previous, _here.receiver = _here.receiver, receiver
        try:
            receiver._actor_begin()  # noqa: SLF001 -- a name out of the users' way
        finally:
            _here.receiver = previous
        self()

    def __call__(self) -> None:
        """Deliver what is there; then give the flag back, or pass the rest on to a later run."""
        receiver = self._receiver
        if receiver is None:
            return
        messages = self._messages
        stopped = receiver.actor_stopped
        tracked = receiver._actor_runs_user_code  # noqa: SLF001 -- likewise
        if tracked:
            previous, _here.receiver = _here.receiver, receiver
        receive = receiver._actor_receive  # noqa: SLF001 -- a name out of the users' way
        left = BATCH
        try:
            while left and messages and not stopped._is_set:  # noqa: SLF001 -- for every message
                left -= 1
                item = messages.popleft()
                if item.__class__ is Envelope:
                    receive(item.message, item.reply_to)
                else:
                    receive(item, None)
                del item  # or it would live until the next one comes
            if stopped._is_set:  # noqa: SLF001
                self._end(receiver)
                return
        finally:
            if tracked:
                _here.receiver = previous
        if not messages:
            self._scheduled.release()
            if not messages or not self._scheduled.acquire(blocking=False):
                return
        try:
            self._home.execute(self)  # type: ignore[union-attr]
        except RuntimeError:
            self.abandon()

    def _end(self, receiver: Receiver) -> None:
        self._closed = True  # before the queue is emptied: who puts later empties it again
        self._refuse()
        self._receiver = None
        receiver._actor_end()  # noqa: SLF001 -- a name out of the users' way

    def _refuse(self) -> None:
        """Answer what is in the queue for an actor that is dead."""
        while self._messages:
            try:
                item = self._messages.popleft()
            except IndexError:
                return  # another thread has answered it
            message, reply = _open(item)
            if isinstance(message, _ActorStop):
                if reply is not None:
                    settle(reply, True)  # noqa: FBT003 -- the answer to stop()
            elif reply is not None:
                name = self._owner() or "The actor"
                error = pykka.ActorDeadError(f"{name} stopped before handling the message")
                settle(reply, error=error)
            else:
                self.count_dead_letter()


def _open(item: Any) -> tuple[Any, pykka.Future[Any] | None]:
    return (item.message, item.reply_to) if item.__class__ is Envelope else (item, None)


def settle(reply: pykka.Future[Any], value: Any = None, error: BaseException | None = None) -> None:
    """Answer with *error* or *value*; logs it if somebody else has answered."""
    try:
        if error is None:
            reply.set(value)
        else:
            reply.set_exception((type(error), error, error.__traceback__))
    except queue.Full:
        _logger.exception("The reply %r had been answered by someone else", reply)
