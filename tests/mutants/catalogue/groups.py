"""Faults in the rules and the actor of a group, and in the log of its ends."""

from __future__ import annotations

from tests.mutants.catalogue.mutant import mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    mutant(
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
    mutant(
        "late-deadline-decides",
        "7",
        "decides twice: a deadline on its way replaces the decision",
        (
            '        """The deadline has passed."""\n        if self.decided:\n            return None\n',
            '        """The deadline has passed."""\n',
        ),
    ),
    mutant(
        "late-cancel-decides",
        "1",
        "decides twice: a cancel replaces the decision",
        (
            '        """The group is cancelled."""\n        if self.decided:\n            return None\n',
            '        """The group is cancelled."""\n',
        ),
    ),
    mutant(
        "shared-snapshots",
        "1",
        "an answer that late reports go on changing",
        (
            "        executions = Snapshots(list(self._ends), self._describe)\n",
            "        executions = Snapshots(self._ends, self._describe)\n",
        ),
    ),
    mutant(
        "settles-with-code-running",
        "10",
        "a group is over while code of its children runs on",
        (
            "        settled = ended and self._unsettled == 0 and not self._source_open\n",
            "        settled = ended and not self._source_open\n",
        ),
    ),
    mutant(
        "late-child-of-a-source",
        "11",
        "a child that was drawn too late is queued all the same",
        (
            "            return  # it was drawn too late, and is never queued\n",
            "            pass\n",
        ),
    ),
    mutant(
        "all-decides-unsealed",
        "5",
        "decides early: when all that were emitted so far have ended",
        (
            "        if self.out or not self.sealed:\n            return None\n        if self._failed:",
            "        if self.out:\n            return None\n        if self._failed:",
        ),
    ),
    mutant(
        "quorum-decides-unsealed",
        "5",
        "decides early: a quorum that a source could still reach",
        (
            "        if not self.sealed or self.emitted - self._failed >= quorum:\n",
            "        if self.emitted - self._failed >= quorum:\n",
        ),
    ),
    mutant(
        "rest-of-decided-group-lives",
        "11",
        "a cancel does not reach what runs on behind a decision",
        (
            "        if already and message.rest_too and self._fan_in.out:\n",
            "        if already and message.rest_too and self._fan_in.out > 1:\n",
        ),
    ),
    mutant(
        "abandoned-rest-lives",
        "7",
        "a deadline leaves what is out running where cancel_rest is off",
        (
            "        if self._fan_in.out and (self._policy.cancel_rest or abandoned):\n",
            "        if self._fan_in.out and self._policy.cancel_rest:\n",
        ),
    ),
    mutant(
        "one-too-many-in-flight",
        "15",
        "counts the room for one child too many once some have ended",
        (
            "        room = 0 if self._fan_in.decided else most - self._fan_in.out\n",
            "        room = 0 if self._fan_in.decided else most - self._fan_in.out"
            " + (self._fan_in.emitted > most)\n",
        ),
    ),
    mutant(
        "reader-not-woken",
        "2",
        "lost wake-up: a reader asks, and what came meanwhile is not looked at",
        (
            "        if self.closed or message.reader.has_more():\n",
            "        if self.closed:\n",
        ),
    ),
    mutant(
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
    mutant(
        "leaves-in-the-order-of-ending",
        "3",
        "the outputs of leaves that come in together are taken for each other's",
        (
            "        for end in completed:\n            if keep:\n                ends[end[0]] = end\n",
            "        completed = list(completed)\n"
            "        places = sorted(end[0] for end in completed)\n"
            "        for place, end in zip(places, completed, strict=True):\n            if keep:\n"
            "                ends[place] = end\n",
        ),
    ),
    mutant(
        "reports-not-looked-at-again",
        "2",
        "lost wake-up: a leaf's end that came before the group said that it wants to hear of each",
        (
            "            if each and reports.ends:  # whoever added them may have looked before\n"
            "                self.take_in_reports()\n",
            "",
        ),
    ),
    mutant(
        "group-timer-stays",
        "20",
        "stale timer: the deadline of a group that has decided is left standing",
        (
            "        if self._timer is not None:\n            self._timer.cancel()\n"
            "        abandoned = isinstance(",
            "        abandoned = isinstance(",
        ),
    ),
)
