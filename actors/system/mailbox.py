"""The queue of one actor, and the rule of who works it off."""

import logging
import queue
import threading
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
    def requeue(self) -> Callable[[Job], None]:
        """``execute``, as the last step of a job that runs there."""

    @property
    def relay(self) -> Callable[..., None] | None: ...
    @property
    def closed(self) -> bool:
        """Whether ``execute`` may raise."""

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
    @property
    def _actor_has_begin(self) -> bool:
        """Whether ``_actor_begin`` does anything."""

    @property
    def _actor_takes_plain(self) -> bool:
        """Whether a message that nobody waits for goes right to ``on_receive``, which may raise."""

    def on_receive(self, message: Any) -> object:
        """Handle a message."""

    def _actor_begin(self) -> None:
        """Come to life. Called once, before the first message."""

    def _actor_receive(self, message: Any, reply: pykka.Future[Any] | None) -> None:
        """Handle one message; it raises nothing."""

    def _actor_raised(self, error: BaseException, message: Any) -> None:
        """Handle what ``on_receive`` has raised."""

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
    queue again. So one of the two sees the other and no message is left lying. Nobody ever waits:
    a message may be put from a signal handler or ``__del__``.

    The flag is a list, from which whoever schedules a run takes the one item: so a look at it costs
    next to nothing while a run is scheduled (see benchmarks/actor_messages.py). It is taken from
    the start, so that messages wait until the actor is started; and for good once the actor has
    stopped, when whoever puts a message answers it too.

    The queue is a list too, as an empty deque takes 760 bytes. Senders append to it, and the run
    that has the flag takes all that is there at once, and turns it around.

    All of this rests on single steps of lists being atomic, and on one thread's steps being seen
    in their order: by the GIL, or by the lock that each list has where there is none.

    And so it is with dicts and deques elsewhere. What others may change is looked through in a
    copy, a ``list(...)`` of it: this is made in one step. (A ``tuple(...)`` is not: CPython 3.11
    may collect garbage in the middle, and let others in. Nor is one of a dict's ``items()``.)

    A message lies in the queue bare when nobody waits for an answer, else in Pykka's envelope.
    """

    __slots__ = (
        "_batch",
        "_closed",
        "_home",
        "_idle",
        "_messages",
        "_owner",
        "_receiver",
    )

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._batch: list[Any] | tuple[()] = ()  # what a run has taken, the oldest last
        self._idle: list[None] = []  # the flag; empty while a run is scheduled
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
        if not receiver._actor_has_begin and not home.closed:  # noqa: SLF001 -- see below
            self._give_back()
            return
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
            if self._idle:
                self._schedule()
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

    def put_aside(self, item: Any, /) -> None:
        """As ``put``, but nobody is sent for it: it is handled with the next one that is put.

        In its order, and so as if it had been handled at once, for who is told nothing of it
        (see benchmarks/latency.py).
        """
        try:
            self._messages.append(item)
        finally:
            if self._closed:
                self._refuse()

    def look(self) -> None:
        """See that what was put aside is handled, after all."""
        relay = None if self._home is None else self._home.relay
        if relay is None or not may_be_interrupted():
            self._look()
        else:
            relay(self._look)

    def _look(self) -> None:
        """See that what was added is handled, or answered."""
        if self._idle:
            self._schedule()
        elif self._closed:
            self._refuse()

    def _schedule(self) -> None:
        """Have the messages delivered, unless somebody else is about it."""
        try:
            self._idle.pop()
        except IndexError:
            return
        try:
            self._home.execute(self)  # type: ignore[union-attr]
        except RuntimeError:  # the dispatcher was shut down under a living actor
            self.abandon()

    def get(self) -> Envelope[Any]:
        """Take the oldest message. Meant for the actor's own turn: it does not wait.

        Raises:
            IndexError: there is none.
        """
        item = self._batch.pop() if self._batch else self._messages.pop(0)
        return item if item.__class__ is Envelope else Envelope(item)

    def empty(self) -> bool:
        """Whether there is no message; another thread may put one at any time."""
        return not self._batch and not self._messages

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
        self._close()

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
        stopped = receiver.actor_stopped
        tracked = receiver._actor_runs_user_code  # noqa: SLF001 -- likewise
        if tracked:
            previous, _here.receiver = _here.receiver, receiver
        try:
            self._deliver(receiver, stopped)
            if stopped._is_set:  # noqa: SLF001
                self._end(receiver)
                return
        finally:
            if tracked:
                _here.receiver = previous
        if self._batch or self._messages:
            self._pass_on()
            return
        self._idle.append(None)  # as in `_give_back`, without the call (see benchmarks/latency.py)
        if self._messages:
            self._schedule()

    def _deliver(self, receiver: Receiver, stopped: StoppedFlag) -> None:
        """Hand over messages until there are none, or enough of them, or the actor has stopped."""
        messages, batch = self._messages, self._batch
        receive = receiver._actor_receive  # noqa: SLF001 -- a name out of the users' way
        plain = receiver.on_receive if receiver._actor_takes_plain else None  # noqa: SLF001
        left = BATCH
        while left and not stopped._is_set:  # noqa: SLF001 -- for every message
            if not batch:
                if not messages:
                    break
                batch = self._batch = messages[::-1]
                del messages[: len(batch)]  # others have only added to it
            left -= 1
            item = batch.pop()
            if item.__class__ is Envelope:
                receive(item.message, item.reply_to)
            elif plain is None or isinstance(item, tuple):  # as all of Pykka's own are
                receive(item, None)
            else:  # the hot path: `receive` without its steps for replies
                try:
                    plain(item)
                except BaseException as error:  # noqa: BLE001 -- the actor knows what to do
                    receiver._actor_raised(error, item)  # noqa: SLF001 -- likewise
            del item  # or it would live until the next one comes
        if not batch:
            self._batch = ()

    def _give_back(self) -> None:
        """Let the next message schedule a run."""
        self._idle.append(None)
        if self._messages:  # it came before the flag was back
            self._schedule()

    def _pass_on(self) -> None:
        try:
            self._home.requeue(self)  # type: ignore[union-attr]
        except RuntimeError:
            self.abandon()

    def _end(self, receiver: Receiver) -> None:
        self._close()
        self._receiver = None
        receiver._actor_end()  # noqa: SLF001 -- a name out of the users' way

    def _close(self) -> None:
        """Answer all messages, now and from now on."""
        if self._batch or self._messages:
            messages = self._messages[::-1]
            del self._messages[: len(messages)]
            left = [*messages, *self._batch]  # the oldest last
            self._batch = ()
            while left:
                self._answer_dead(left.pop())
        self._closed = True  # before the queue is emptied: who puts later empties it again
        self._refuse()

    def _refuse(self) -> None:
        """Answer what is in the queue for an actor that is dead."""
        while self._messages:
            try:
                item = self._messages.pop(0)
            except IndexError:
                return  # another thread has answered it
            self._answer_dead(item)

    def _answer_dead(self, item: Any) -> None:
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
