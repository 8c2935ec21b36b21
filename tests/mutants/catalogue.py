"""The faults that the property tests have to find: each one edit, or a few, of production code.

An edit is a text that stands in the production packages exactly once, and what takes its place. It
is looked for in all of them, so code may move between modules.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["MUTANTS", "Edit", "Mutant"]


@frozen
class Edit:
    """A text that occurs once, and its replacement."""

    old: str
    new: str


@frozen
class Mutant:
    """One seeded fault."""

    name: str
    invariant: str  # of DESIGN.md section 5
    comment: str  # what kind of fault it is
    edits: tuple[Edit, ...]


def _mutant(name: str, invariant: str, comment: str, *edits: tuple[str, str]) -> Mutant:
    return Mutant(name, invariant, comment, tuple(Edit(old, new) for old, new in edits))


MUTANTS = (
    # The rules of a group
    _mutant(
        "counts-reports",
        "14",
        "counts reports instead of children: a second report counts again",
        (
            "            return  # a second report changes nothing\n",
            "            pass\n",
        ),
        (
            "        if not self.is_out(index):\n            return None\n        if self.policy.keep:",
            "        if self.policy.keep:",
        ),
    ),
    _mutant(
        "late-deadline-decides",
        "7",
        "decides twice: a deadline on its way replaces the decision",
        (
            '        """The deadline has passed."""\n        if self.decided:\n            return None\n',
            '        """The deadline has passed."""\n',
        ),
    ),
    _mutant(
        "late-cancel-decides",
        "1",
        "decides twice: a cancel replaces the decision",
        (
            '        """The group is cancelled."""\n        if self.decided:\n            return None\n',
            '        """The group is cancelled."""\n',
        ),
    ),
    _mutant(
        "shared-snapshots",
        "1",
        "an answer that late reports go on changing",
        (
            "        executions = Snapshots(list(self._ends), self._describe)\n",
            "        executions = Snapshots(self._ends, self._describe)\n",
        ),
    ),
    _mutant(
        "settles-with-code-running",
        "10",
        "a group is over while code of its children runs on",
        (
            "        settled = ended and self._unsettled == 0 and not self._source_open\n",
            "        settled = ended and not self._source_open\n",
        ),
    ),
    _mutant(
        "late-child-of-a-source",
        "11",
        "a child that was drawn too late is queued all the same",
        (
            "            return  # it was drawn too late, and is never queued\n",
            "            pass\n",
        ),
    ),
    _mutant(
        "all-decides-unsealed",
        "5",
        "decides early: when all that were emitted so far have ended",
        (
            "        if self.out or not self._sealed:\n            return None\n        if self._failed:",
            "        if self.out:\n            return None\n        if self._failed:",
        ),
    ),
    _mutant(
        "quorum-decides-unsealed",
        "5",
        "decides early: a quorum that a source could still reach",
        (
            "        if not self._sealed or self._emitted - self._failed >= quorum:\n",
            "        if self._emitted - self._failed >= quorum:\n",
        ),
    ),
    _mutant(
        "rest-of-decided-group-lives",
        "11",
        "a cancel does not reach what runs on behind a decision",
        (
            "        if already and message.rest_too and self._fan_in.out:\n",
            "        if already and message.rest_too and self._fan_in.out > 1:\n",
        ),
    ),
    _mutant(
        "abandoned-rest-lives",
        "7",
        "a deadline leaves what is out running where cancel_rest is off",
        (
            "        if self._fan_in.out and (self._policy.cancel_rest or abandoned):\n",
            "        if self._fan_in.out and self._policy.cancel_rest:\n",
        ),
    ),
    _mutant(
        "one-too-many-in-flight",
        "15",
        "counts the room for one child too many once some have ended",
        (
            "        room = 0 if self._fan_in.decided else most - self._fan_in.out\n",
            "        room = 0 if self._fan_in.decided else most - self._fan_in.out"
            " + (self._fan_in.emitted > most)\n",
        ),
    ),
    _mutant(
        "reader-not-woken",
        "2",
        "lost wake-up: a reader asks, and what came meanwhile is not looked at",
        (
            "        if self.closed or message.reader.has_more():\n",
            "        if self.closed:\n",
        ),
    ),
    _mutant(
        "reader-behind-the-end",
        "2",
        "lost wake-up: a question that comes behind the end is never answered",
        (
            "            request(self._group, ReadEnds(self, reply))",
            "            self._group.actor_inbox.put(ReadEnds(self, reply))",
        ),
        (
            "            if self._log.closed and not reply.done():\n",
            "            if False:\n",
        ),
    ),
    # Attempts
    _mutant(
        "stale-attempt-timeout",
        "13",
        "stale timer: the timeout of one attempt ends the next",
        (
            "            or number != attempt.number\n            or self._phase not in",
            "            or self._phase not in",
        ),
    ),
    _mutant(
        "timer-survives-attempt",
        "13",
        "stale timer: never cancelled, and not known by its attempt",
        (
            "            or number != attempt.number\n            or self._phase not in",
            "            or self._phase not in",
        ),
        (
            "        self._cancel_timer()\n        if pause > 0:",
            "        if pause > 0:",
        ),
    ),
    _mutant(
        "worker-ignores-start-token",
        "13",
        "blocking code starts although a cancel took its start token",
        (
            "        if not attempt.take():\n            return\n        attempt.thread_id = get_ident()",
            "        attempt.take()\n        attempt.thread_id = get_ident()",
        ),
    ),
    _mutant(
        "loop-ignores-start-token",
        "13",
        "async code starts although a cancel took its start token",
        (
            "        if not attempt.take():\n            return\n"
            "        attempt.task = asyncio.current_task()",
            "        attempt.take()\n        attempt.task = asyncio.current_task()",
        ),
    ),
    _mutant(
        "cancelled-start-counts",
        "13",
        "an attempt whose start a cancel took is counted",
        (
            "                self._attempts -= 1  # so it was none\n",
            "",
        ),
    ),
    _mutant(
        "cancel-decides-again",
        "11",
        "decides twice: a cancel of what is decided, while its code runs on",
        (
            "    def _on_cancel(self, reason: str) -> None:\n        if self._final is not None:\n"
            "            return\n",
            "    def _on_cancel(self, reason: str) -> None:\n",
        ),
    ),
    _mutant(
        "deadline-decides-again",
        "7",
        "decides twice: a deadline of what is decided, while its code runs on",
        (
            "    def _on_deadline_passed(self) -> None:\n        if self._final is None:\n",
            "    def _on_deadline_passed(self) -> None:\n        if True:\n",
        ),
        (
            "        if self._deadline_timer is not None:\n"
            "            self._deadline_timer.cancel()\n        if environment.publisher.active:",
            "        if environment.publisher.active:",
        ),
    ),
    _mutant(
        "retries-over-running-code",
        "13",
        "the next attempt starts while code below the last one runs on",
        (
            "                    if (below is None or below.all_settled) and not merging:\n",
            "                    if (below is None or below.all_ended) and not merging:\n",
        ),
    ),
    _mutant(
        "failed-attempt-leaves-children",
        "11",
        "the groups of a failed attempt are waited for instead of cancelled",
        (
            '        self._end_below("its parent\'s attempt has failed")\n',
            "",
        ),
    ),
    _mutant(
        "ends-before-the-rest",
        "10",
        "a parent ends when its groups have decided, not when they have ended",
        (
            "                elif below.all_ended:\n                    self._merge_rest()\n",
            "                elif not below.any_open:\n                    self._merge_rest()\n",
        ),
    ),
    _mutant(
        "late-admission-lives",
        "11",
        "a group admitted behind the end of its emitter is not cancelled",
        (
            '            tell(message.group, CancelGroup("its parent has ended", rest_too=True))\n',
            "            pass\n",
        ),
    ),
    _mutant(
        "late-admission-stays-known",
        "20",
        "a group admitted behind the end of its emitter is never forgotten",
        (
            "        if self._final is not None:  # it has forgotten the others already\n"
            "            below.forget_groups()\n",
            "",
        ),
    ),
    _mutant(
        "late-opening",
        "20",
        "a source is looked for when a cancel may have had its group forgotten",
        (
            "            reply.add_done_callback(draw)\n        request(",
            "            pass\n        request(",
        ),
        (
            " variables, lazy, reply)\n        )\n        return reply\n",
            " variables, lazy, reply)\n        )\n        if draw is not None:\n"
            "            reply.add_done_callback(draw)\n        return reply\n",
        ),
    ),
    _mutant(
        "resume-not-withdrawn",
        "8",
        "stale resume: a wait that timed out still consumes the groups, and their errors",
        (
            "                ended = self._withdraw(future, error).get()\n"
            "                self._check_attempt()\n                return ended\n",
            "                raise\n",
        ),
    ),
    _mutant(
        "withdrawn-twice",
        "8",
        "double resume: a wait that is answered is withdrawn too",
        (
            "        if not message.reply.done():\n            message.reply.set_error(message.error)",
            "        message.reply.set_error(message.error)",
        ),
    ),
    _mutant(
        "merges-twice",
        "4",
        "a group that was merged is merged again",
        (
            "        for group in groups:\n            group.consumed = True\n        return groups",
            "        return groups",
        ),
    ),
    _mutant(
        "childs-deadline-replaces",
        "17",
        "a group's deadline replaces its parent's instead of narrowing it",
        (
            "        deadline = above if deadline is None else min(deadline, above)\n",
            "        deadline = above if deadline is None else deadline\n",
        ),
    ),
    _mutant(
        "attempts-deadline-replaces",
        "17",
        "an attempt's timeout replaces the deadline above it",
        (
            "            attempt.context.deadline = deadline if above is None else"
            " min(above, deadline)\n",
            "            attempt.context.deadline = deadline\n",
        ),
    ),
    # Leaves, and how they become actors
    _mutant(
        "leaf-and-actor",
        "6",
        "a leaf that has become an actor while its code ran reports as a leaf too",
        (
            "        fate = run.fates.setdefault(index, LEAF)\n        if fate is LEAF:\n"
            "            run.owners",
            "        fate = run.fates.setdefault(index, LEAF)\n        if True:\n"
            "            run.owners",
        ),
    ),
    _mutant(
        "token-not-asked",
        "13",
        "a worker starts a child whose start token a cancel has taken",
        (
            "            if owner_of(index, attempt) is attempt and not copy().run(",
            "            owner_of(index, attempt)\n            if not copy().run(",
        ),
    ),
    _mutant(
        "about-to-start-missed",
        "11",
        "a cancel of a group misses the child that a worker is about to start",
        (
            "            indexes += [index for index in run.indexes if run.take(index)]"
            "  # about to start\n",
            "",
        ),
    ),
    _mutant(
        "leaves-run-on",
        "11",
        "a cancel of a group reaches queued children and actors, but no leaf that runs",
        (
            "                if ref is not None:\n                    tell(ref, Cancel(message.reason))\n",
            "",
        ),
        (
            "                ref = run.find(index)  # of a leaf, or of an actor that is not in"
            " `live` yet\n",
            "                pass\n",
        ),
    ),
    _mutant(
        "reports-come-last",
        "5",
        "a group takes in what leaves have come to when it is told of that, and not before",
        (
            "        if self._reports.ends:\n            self.take_in_reports()  # they came before\n",
            "        if self._reports.ends and isinstance(message, Reported):\n"
            "            self.take_in_reports()\n",
        ),
    ),
    _mutant(
        "worker-of-two",
        "15",
        "a worker goes on with its run though a child of it, an actor now, has its slot",
        (
            "            tell(fate, AttemptEnded(attempt.number, value))\n        return False\n",
            "            tell(fate, AttemptEnded(attempt.number, value))\n        return True\n",
        ),
    ),
    # The allocator
    _mutant(
        "slot-freed-on-success-only",
        "15",
        "a failed execution keeps its slots",
        (
            "        self._free(live)\n        self._counts[live.phase] -= 1",
            "        if message.state is not ExecutionState.FAILED:\n            self._free(live)\n"
            "        self._counts[live.phase] -= 1",
        ),
    ),
    _mutant(
        "cancel-over-a-snapshot",
        "11",
        "a cancel of a group reaches its first kind of queued children only",
        (
            "        for queued in group.queued:\n            batch = queued.payload\n"
            "            self._cancel_rest(",
            "        for queued in group.queued[:1]:\n            batch = queued.payload\n"
            "            self._cancel_rest(",
        ),
    ),
    _mutant(
        "cancel-misses-retries",
        "11",
        "a cancel of a group misses children between two attempts",
        (
            "        for live in tuple(group.live.values()):\n            tell(",
            "        for live in tuple(group.live.values()):\n"
            "            live.phase is not Phase.PENDING and tell(",
        ),
    ),
    _mutant(
        "queued-cancel-uncounted",
        "9",
        "a cancel of one queued child forgets to count it off",
        (
            "        self._counts[Phase.PENDING] -= 1\n"
            "        self._ended[ExecutionState.CANCELLED] += 1\n"
            "        self._publish_cancelled(batch, (index,), reason, now)\n",
            "        self._ended[ExecutionState.CANCELLED] += 1\n"
            "        self._publish_cancelled(batch, (index,), reason, now)\n",
        ),
    ),
    _mutant(
        "settled-stays-queued",
        "15",
        "a retry that was cancelled in the queue takes a slot for good",
        (
            "        if live.queued is not None:\n            live.queued.drop_all()\n",
            "        if live.queued is not None:\n",
        ),
    ),
    _mutant(
        "returns-over-the-limit",
        "15",
        "a waiter that returns takes its slots whether they are free or not",
        (
            "        if self._can_return(returning) and not self._is_behind(slots):\n",
            "        if not self._is_behind(slots):\n",
        ),
    ),
    _mutant(
        "refused-waits-for-itself",
        "12",
        "a refused wait waits for the worker that it has",
        (
            "            return True  # the wait was refused, and has kept them\n",
            "            pass\n",
        ),
    ),
    _mutant(
        "claims-are-kept",
        "16",
        "a refused emit keeps the claims that it has taken",
        (
            "                for claimed in children[:place]:\n                    claimed.unclaim()\n",
            "",
        ),
    ),
    _mutant(
        "ended-waiter-stays-blocked",
        "12",
        "one that has ended stays in the graph of waits",
        (
            "        group = self._entered.pop(waiter, None)  # the execution may be gone already\n"
            "        if group is not None:\n            group.blocked.discard(waiter)\n",
            "        self._entered.pop(waiter, None)\n",
        ),
    ),
    _mutant(
        "self-waits-allowed",
        "12",
        "a wait for oneself is entered like any other",
        (
            "            if name in target.executions and not can_expire:\n",
            "            if name in target.executions and not can_expire and name != waiter:\n",
        ),
        (
            "        if len(reached) == 1 and not self._names_self(waiter):\n",
            "        if len(reached) == 1:\n",
        ),
    ),
    _mutant(
        "forgotten-actors-stay",
        "20",
        "the actors of forgotten groups live on",
        (
            "                tell(entry.ref, _FORGET)\n",
            "                pass\n",
        ),
    ),
    _mutant(
        "closed-without-readers",
        "2",
        "lost wake-up: the end of a group wakes only who has something to read",
        (
            "        self.closed = True\n        self._wake()\n",
            "        self.closed = True\n",
        ),
    ),
    # Futures, mailboxes and workers
    _mutant(
        "mailbox-last-in-first-out",
        "8",
        "messages of one sender overtake each other",
        (
            "                batch = self._batch = messages[::-1]\n",
            "                batch = self._batch = messages[:]\n",
        ),
    ),
    _mutant(
        "mailbox-does-not-look-again",
        "2",
        "lost wake-up: a message put while a run gives up its turn lies for ever",
        (
            "        self._idle.append(None)\n        if self._messages:  # it came before the flag was back\n"
            "            self._schedule()\n",
            "        self._idle.append(None)\n",
        ),
    ),
    _mutant(
        "mailbox-closes-too-late",
        "20",
        "a message put while an actor ends is never answered",
        (
            "        self._closed = True  # before the queue is emptied: who puts later empties it"
            " again\n        self._refuse()\n",
            "        self._refuse()\n        self._closed = True\n",
        ),
    ),
    _mutant(
        "future-check-then-set",
        "1",
        "decides twice: two who resolve a future both succeed",
        (
            '        if self.__dict__.setdefault("_outcome", outcome) is not outcome:\n'
            "            return False\n",
            "        if self._outcome is not None:\n            return False\n"
            "        self._outcome = outcome\n",
        ),
    ),
    _mutant(
        "future-check-then-register",
        "2",
        "lost wake-up: a callback registered while the future is resolved",
        (
            "        callbacks[token] = fn\n        if not self.done():\n            self._watch()\n"
            "        elif callbacks.pop(token, None) is not None:\n            self._run_callback(fn)\n",
            "        if self.done():\n            self._run_callback(fn)\n        else:\n"
            "            callbacks[token] = fn\n            self._watch()\n",
        ),
    ),
    _mutant(
        "future-tells-twice",
        "8",
        "double resume: whoever is told is taken off the list only afterwards",
        (
            "                fn = callbacks.pop(token, None)  # whoever takes it out runs it\n"
            "                if fn is not None:\n                    self._run_callback(fn)\n",
            "                fn = callbacks.get(token)\n                if fn is not None:\n"
            "                    self._run_callback(fn)\n                callbacks.pop(token, None)\n",
        ),
    ),
    _mutant(
        "future-keeps-waiters",
        "6",
        "a waiter that gave up stays registered",
        (
            "        if self._callbacks and self._callbacks.pop(token, None) is not None:\n"
            "            self._stop_watching()\n",
            "        if self._callbacks and token in self._callbacks:\n"
            "            self._stop_watching()\n",
        ),
    ),
    _mutant(
        "dispatcher-does-not-look-again",
        "2",
        "lost wake-up: a job added while a worker gives its permit back lies for ever",
        (
            "            if self._queue and self._take_permit():  # it came while we still had the"
            " permit\n                worker.has_permit = True\n                continue\n",
            "",
        ),
    ),
    _mutant(
        "dispatcher-wakes-too-early",
        "12",
        "a worker is woken before it is given its permit",
        (
            "        worker.has_permit = True\n        worker.parker.unpark()\n        return True\n",
            "        worker.parker.unpark()\n        worker.has_permit = True\n        return True\n",
        ),
    ),
    _mutant(
        "dispatcher-keeps-a-job",
        "12",
        "a worker that waits keeps the job that was left to it",
        (
            "        put_back = worker is not None and self._put_back(worker)\n",
            "        put_back = False\n",
        ),
    ),
    _mutant(
        "permits-forget-debts",
        "15",
        "a worker too many after every wait",
        (
            "        while self._debts and self.take():\n            try:\n"
            "                self._debts.pop()\n",
            "        while self._debts:\n            try:\n                self._debts.pop()\n",
        ),
    ),
)
