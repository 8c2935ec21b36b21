"""The ends of a group in the order of ending, for any number of readers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias
from weakref import ref

from actors.fan_in import Cancelled, Completed, Describe
from actors.messages import LeaveReaders, ReadEnds
from actors.protocol_actor import request, send
from actors.system import Future
from orchestrator.values import Execution

__all__ = ["EndsLog", "EndsReader"]

Entry: TypeAlias = Execution | tuple[int, Cancelled] | Completed

_OF_CANCELLED = 2  # fields of the entry of a child that was cancelled in the queue


class EndsLog:
    """What has ended so far. Written by the group's turns alone, and only appended to.

    But for who reads a keep=False group: a reader puts itself in, by one atomic step, and not by a
    message, since ends of leaves are taken in ahead of the messages that came before them.
    """

    def __init__(self, make: Describe, *, keep: bool) -> None:
        self.keep = keep
        self.entries: list[Entry] = []
        self.closed = False  # no more ends come; set before the group's actor can end
        self._make = make
        # Of a keep=False group. One that was let go unread must not gather ends for ever.
        self._readers: dict[object, ref[EndsReader]] = {}
        self._pending: list[ReadEnds] = []

    def append(self, entry: Entry) -> None:
        """One more end."""
        if self.keep:
            self.entries.append(entry)
        else:
            self._hand_over((entry,))
        if self._pending:
            self._wake()

    def extend(self, entries: Sequence[Entry]) -> None:
        """More ends, in their order."""
        if self.keep:
            self.entries.extend(entries)
        else:
            self._hand_over(entries)
        if self._pending:
            self._wake()

    def _hand_over(self, entries: Sequence[Entry]) -> None:
        """Give the ends of a keep=False group to those who read it, whole, as nobody keeps them."""
        readers = self._joined()
        if readers:
            made = [self.execution(entry) for entry in entries]
            for reader in readers:
                reader.queue.extend(made)

    def _joined(self) -> list[EndsReader]:
        """Who reads a keep=False group; those that were let go are forgotten."""
        found = []
        for key in list(self._readers):
            reader = self._readers[key]()
            if reader is not None:
                found.append(reader)
            else:
                self._readers.pop(key, None)
        return found

    @property
    def awaited(self) -> bool:
        """Whether a reader waits for the next end."""
        return bool(self._pending)

    def close(self) -> None:
        """That was the last one."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        pending, self._pending = self._pending, []
        for message in pending:
            message.reply.set(None)

    def wait(self, message: ReadEnds) -> None:
        """Answer when there is something to read."""
        if self.closed or message.reader.has_more():
            message.reply.set(None)
        else:
            self._pending.append(message)

    def join(self, reader: EndsReader) -> None:
        """Keep ends for *reader* from now on."""
        if not self.keep and not self.closed:
            self._readers[reader.key] = ref(reader)

    def leave(self, reader: EndsReader) -> None:
        """Keep nothing for *reader*."""
        self._readers.pop(reader.key, None)
        self._pending = [message for message in self._pending if message.reader is not reader]

    def execution(self, entry: Entry) -> Execution:
        """The snapshot of an entry."""
        if isinstance(entry, Execution):
            return entry
        if len(entry) == _OF_CANCELLED:
            return self._make(*entry)
        return self._make(entry[0], entry)  # type: ignore[arg-type]  # told by its length


class EndsReader:
    """One reader's place in a group's ends. Used by one thread or task at a time."""

    def __init__(self, group: Any, log: EndsLog) -> None:
        self._group = group
        self._log = log
        self._cursor = 0
        self.queue: deque[Entry] = deque()
        self.key = object()  # names it in the log, and nothing else ever after
        if not log.keep:
            log.join(self)

    def has_more(self) -> bool:
        """Whether there are ends that have not been read."""
        return bool(self.queue) if not self._log.keep else self._cursor < len(self._log.entries)

    def next(self) -> Future[list[Execution] | None]:
        """The ends since the last call, one or more; ``None`` after the last."""
        answer: Future[list[Execution] | None] = Future()
        self._answer(answer)
        return answer

    def _answer(self, answer: Future[list[Execution] | None]) -> None:
        closed = self._log.closed  # looked at first: what came before it is in the log
        batch = self._read()
        if batch:
            answer.set(batch)
        elif closed:
            answer.set(None)
        else:
            reply: Future[None] = Future()
            request(self._group, ReadEnds(self, reply))  # answered too if the group ends first
            if self._log.closed and not reply.done():
                # The group may have ended before it saw the message, and never answer.
                self._answer(answer)
            else:
                reply.add_done_callback(lambda _reply: self._answer(answer))

    def _read(self) -> list[Execution]:
        log = self._log
        if log.keep:
            entries = log.entries[self._cursor :]
            self._cursor += len(entries)
        else:
            entries = []
            while self.queue:
                entries.append(self.queue.popleft())
        return [log.execution(entry) for entry in entries]

    def close(self) -> None:
        """Leave; nothing is kept for this reader any more."""
        send(self._group, LeaveReaders(self))
