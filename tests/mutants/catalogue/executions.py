"""Faults in the actor of an execution: its attempts, its end, and what is below it."""

from __future__ import annotations

from tests.mutants.catalogue.mutant import mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    mutant(
        "stale-attempt-timeout",
        "13",
        "stale timer: the timeout of one attempt ends the next",
        (
            "            or number != attempt.number\n            or self._phase not in",
            "            or self._phase not in",
        ),
    ),
    mutant(
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
    mutant(
        "worker-ignores-start-token",
        "13",
        "blocking code starts although a cancel took its start token",
        (
            "        if not attempt.take():\n            return\n        attempt.thread_id = get_ident()",
            "        attempt.take()\n        attempt.thread_id = get_ident()",
        ),
    ),
    mutant(
        "loop-ignores-start-token",
        "13",
        "async code starts although a cancel took its start token",
        (
            "        if not attempt.take():\n            return\n        attempt.task = task",
            "        attempt.take()\n        attempt.task = task",
        ),
    ),
    mutant(
        "cancelled-start-counts",
        "13",
        "an attempt whose start a cancel took is counted",
        (
            "                self._attempts -= 1  # so it was none\n",
            "",
        ),
    ),
    mutant(
        "wake-ups-stop",
        "11",
        "of many who wait, a cancel wakes the first few: those that wake have no other one woken",
        (
            "        if self.on_their_way.pop(wait, self) is None:\n            self._go_on()\n",
            "        self.on_their_way.pop(wait, None)\n",
        ),
    ),
    mutant(
        "cancel-decides-again",
        "11",
        "decides twice: a cancel of what is decided, while its code runs on",
        (
            "    def _on_cancel(self, reason: str) -> None:\n        if self._final is not None:\n"
            "            return\n",
            "    def _on_cancel(self, reason: str) -> None:\n",
        ),
    ),
    mutant(
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
    mutant(
        "retries-over-running-code",
        "13",
        "the next attempt starts while code below the last one runs on",
        (
            "                    if (below is None or below.all_settled) and not merging:\n",
            "                    if (below is None or below.all_ended) and not merging:\n",
        ),
    ),
    mutant(
        "failed-attempt-leaves-children",
        "11",
        "the groups of a failed attempt are waited for instead of cancelled",
        (
            '        self._end_below("its parent\'s attempt has failed")\n',
            "",
        ),
    ),
    mutant(
        "ends-before-the-rest",
        "10",
        "a parent ends when its groups have decided, not when they have ended",
        (
            "                elif below.all_ended:\n                    self._merge_rest()\n",
            "                elif not below.any_open:\n                    self._merge_rest()\n",
        ),
    ),
    mutant(
        "decided-and-not-told",
        "12",
        "of an execution that is cancelled while only its groups are out the allocator knows nothing",
        (
            "        tell(allocator, CodeOver(name, ()) if self._code_over else Decided(name))\n",
            "        if not self._code_over:\n            tell(allocator, Decided(name))\n",
        ),
        (
            " or group.is_behind or group.has_decided:\n            return True\n",
            " or group.is_behind:\n            return True\n",
        ),
    ),
    mutant(
        "late-admission-lives",
        "11",
        "a group admitted behind the end of its emitter is not cancelled",
        (
            '            tell(message.group, CancelGroup("its parent has ended", rest_too=True))\n',
            "            pass\n",
        ),
    ),
    mutant(
        "late-admission-stays-known",
        "20",
        "a group admitted behind the end of its emitter is never forgotten",
        (
            "        if self._final is not None:  # it has forgotten the others already\n"
            "            below.forget_groups()\n",
            "",
        ),
    ),
    mutant(
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
    mutant(
        "resume-not-withdrawn",
        "8",
        "stale resume: a wait that timed out still consumes the groups, and their errors",
        (
            "                ended = self._withdraw(future, error).get()\n"
            "                self._check_attempt()\n                return ended\n",
            "                raise\n",
        ),
    ),
    mutant(
        "withdrawn-twice",
        "8",
        "double resume: a wait that is answered is withdrawn too",
        (
            "        if not message.reply.done():\n            message.reply.set_error(message.error)",
            "        message.reply.set_error(message.error)",
        ),
    ),
    mutant(
        "merges-twice",
        "4",
        "a group that was merged is merged again",
        (
            "        for group in groups:\n            group.consumed = True\n        return groups",
            "        return groups",
        ),
    ),
    mutant(
        "childs-deadline-replaces",
        "17",
        "a group's deadline replaces its parent's instead of narrowing it",
        (
            "        deadline = above if deadline is None else min(deadline, above)\n",
            "        deadline = above if deadline is None else deadline\n",
        ),
    ),
    mutant(
        "attempts-deadline-replaces",
        "17",
        "an attempt's timeout replaces the deadline above it",
        (
            "            attempt.context.deadline = deadline if above is None else"
            " min(above, deadline)\n",
            "            attempt.context.deadline = deadline\n",
        ),
    ),
    mutant(
        "merges-in-the-order-of-deciding",
        "4",
        "groups are merged in the order in which they decided",
        (
            "            group.result = message.result\n            self._undecided -= 1\n",
            "            group.result = message.result\n            self._undecided -= 1\n"
            "            self.groups[message.group_id] = self.groups.pop(message.group_id)\n",
        ),
    ),
    mutant(
        "resumes-over-a-merge",
        "4",
        "a wait to resume is answered while a reducer still runs",
        (
            "        if pending is None or not pending.awaited or pending.merging:\n",
            "        if pending is None or not pending.awaited:\n",
        ),
    ),
    mutant(
        "retries-over-a-merge",
        "4",
        "the next attempt starts while a reducer of the last one runs",
        (
            "                    if (below is None or below.all_settled) and not merging:\n",
            "                    if below is None or below.all_settled:\n",
        ),
    ),
    mutant(
        "ends-over-a-merge",
        "10",
        "an execution that was cancelled is over while a reducer of it still runs",
        (
            "            and (self._pending is None or not self._pending.merging)\n",
            "",
        ),
    ),
    mutant(
        "starts-after-its-end",
        "9",
        "stale message: the start of an attempt is told behind the end of its execution",
        (
            "        if attempt is None or message.number != attempt.number"
            " or self._final is not None:\n",
            "        if attempt is None or message.number != attempt.number:\n",
        ),
    ),
    mutant(
        "called-child-forgotten",
        "10",
        "a called child that was cancelled is forgotten while its code runs on",
        (
            "        if settled:\n            self._calls.pop(child_id, None)\n"
            "        elif child_id in self._calls:\n            self._calls[child_id] = True\n",
            "        self._calls.pop(child_id, None)\n",
        ),
    ),
    mutant(
        "execution-timer-stays",
        "20",
        "stale timer: the deadline of an execution that has ended is left standing",
        (
            "        if self._deadline_timer is not None:\n"
            "            self._deadline_timer.cancel()\n",
            "",
        ),
    ),
    mutant(
        "attempt-timer-stays",
        "20",
        "stale timer: the timeout of an attempt that has ended is left standing",
        (
            "        if self._timer is not None:\n            self._cancel_timer()\n"
            "        if self._deadline_timer",
            "        if self._deadline_timer",
        ),
    ),
    mutant(
        "refused-emit-counts-on",
        "16",
        "a refused emit is waited for like one that is under way",
        (
            '        """A group was not opened."""\n        self.emitting -= 1\n',
            '        """A group was not opened."""\n',
        ),
    ),
)
