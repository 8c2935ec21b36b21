"""Readers of a group's ends."""

from __future__ import annotations

from typing import Any

import pykka

from actors.ends import EndsLog, EndsReader
from orchestrator import Execution
from tests.collecting import TRIES, others_come_in


class Inbox:
    """The mailbox of a group that ends before it comes to what is in it."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def put(self, item: Any) -> None:
        self.items.append(item)

    put_whole = put

    def refuse(self) -> None:
        for item in self.items:
            error = pykka.ActorDeadError("the group has ended")
            item.reply_to.set_exception((type(error), error, None))


class Ref:
    def __init__(self) -> None:
        self.actor_inbox = Inbox()


def test_a_reader_whose_question_comes_behind_the_end_of_its_group_is_answered() -> None:
    ref = Ref()
    log = EndsLog(lambda index, end: None, keep=True)  # type: ignore[arg-type,return-value]  # noqa: ARG005
    answer = EndsReader(ref, log).next()

    log.close()
    ref.actor_inbox.refuse()

    assert answer.get(timeout=0) is None


def test_ends_reach_who_reads_while_others_begin_to_read() -> None:
    ref = Ref()
    log = EndsLog(lambda index, end: None, keep=False)  # type: ignore[arg-type,return-value]  # noqa: ARG005
    first = EndsReader(ref, log)
    readers = [EndsReader(ref, log) for _ in range(40)]
    end = Execution("t:t")
    with others_come_in(lambda: readers.append(EndsReader(ref, log))) as tries:
        for _ in tries:
            log.append(end)
    assert len(first.queue) == TRIES
