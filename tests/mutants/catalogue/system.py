"""Faults in futures, mailboxes and workers."""

from __future__ import annotations

from tests.mutants.catalogue.mutant import mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    mutant(
        "mailbox-last-in-first-out",
        "8",
        "messages of one sender overtake each other",
        (
            "                batch = self._batch = messages[::-1]\n",
            "                batch = self._batch = messages[:]\n",
        ),
    ),
    mutant(
        "mailbox-does-not-look-again",
        "2",
        "lost wake-up: a message put while a run gives up its turn lies for ever",
        (
            "        self._idle.append(None)  # as in `_give_back`, without the call (see benchmarks/latency.py)\n"
            "        if self._messages:\n"
            "            self._schedule()\n",
            "        self._idle.append(None)\n",
        ),
    ),
    mutant(
        "mailbox-closes-too-late",
        "20",
        "a message put while an actor ends is never answered",
        (
            "        self._closed = True  # before the queue is emptied: who puts later empties it"
            " again\n        self._refuse()\n",
            "        self._refuse()\n        self._closed = True\n",
        ),
    ),
    mutant(
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
    mutant(
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
    mutant(
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
    mutant(
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
    mutant(
        "dispatcher-does-not-look-again",
        "2",
        "lost wake-up: a job added while a worker gives its permit back lies for ever",
        (
            "            if self._queue and self._take_permit():  # it came while we still had the"
            " permit\n                worker.has_permit = True\n                continue\n",
            "",
        ),
    ),
    mutant(
        "dispatcher-wakes-too-early",
        "12",
        "a worker is woken before it is given its permit",
        (
            "        worker.has_permit = True\n        worker.parker.unpark()\n        return True\n",
            "        worker.parker.unpark()\n        worker.has_permit = True\n        return True\n",
        ),
    ),
    mutant(
        "dispatcher-keeps-a-job",
        "12",
        "a worker that waits keeps the job that was left to it",
        (
            "        put_back = worker is not None and self._put_back(worker)\n",
            "        put_back = False\n",
        ),
    ),
    mutant(
        "permits-forget-debts",
        "15",
        "a worker too many after every wait",
        (
            "        while self._debts and self.take():\n            try:\n"
            "                self._debts.pop()\n",
            "        while self._debts:\n            try:\n                self._debts.pop()\n",
        ),
    ),
    mutant(
        "late-message-unanswered",
        "20",
        "a message put behind the end of its actor is never answered",
        (
            "            if self._idle:\n                self._schedule()\n            elif self._closed:\n"
            "                self._refuse()\n",
            "            if self._idle:\n                self._schedule()\n",
        ),
    ),
    mutant(
        "paid-by-two",
        "15",
        "a permit is lost where two pay one debt",
        (
            "            except IndexError:\n"
            "                self._free.append(None)  # somebody else has paid it\n",
            "            except IndexError:\n                pass\n",
        ),
    ),
    mutant(
        "permit-that-came-free-missed",
        "2",
        "lost wake-up: a permit that comes free while a job is added is not looked for again",
        (
            "            if self._permits is None or not self._permits.left:\n                return False\n",
            "            return False\n",
        ),
    ),
    mutant(
        "works-on-in-debt",
        "15",
        "a worker goes on to the next job although one too many runs",
        (
            "        while permits is None or not permits.overdrawn:\n",
            "        while True:\n",
        ),
    ),
    mutant(
        "task-woken-twice",
        "8",
        "double resume: a task that two have woken is woken twice",
        (
            "        if not self.future.done():  # the task may have been cancelled\n"
            "            self.future.set_result(None)\n",
            "        self.future.set_result(None)\n",
        ),
    ),
)
