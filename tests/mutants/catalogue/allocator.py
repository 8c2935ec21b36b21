"""Faults in the allocator: the queue, the slots, the rates, cancels and the graph of waits."""

from __future__ import annotations

from tests.mutants.catalogue.mutant import mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    mutant(
        "slot-freed-on-success-only",
        "15",
        "a failed execution keeps its slots",
        (
            "        self._free(live)\n        self._counts[live.phase] -= 1",
            "        if message.state is not ExecutionState.FAILED:\n            self._free(live)\n"
            "        self._counts[live.phase] -= 1",
        ),
    ),
    mutant(
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
    mutant(
        "cancel-misses-retries",
        "11",
        "a cancel of a group misses children between two attempts",
        (
            "        for live in tuple(group.live.values()):\n            tell(",
            "        for live in tuple(group.live.values()):\n"
            "            live.phase is not Phase.PENDING and tell(",
        ),
    ),
    mutant(
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
    mutant(
        "settled-stays-queued",
        "15",
        "a retry that was cancelled in the queue takes a slot for good",
        (
            "        if live.queued is not None:\n            live.queued.drop_all()\n",
            "        if live.queued is not None:\n",
        ),
    ),
    mutant(
        "returns-over-the-limit",
        "15",
        "a waiter that returns takes its slots whether they are free or not",
        (
            "        if self._can_return(returning) and not self._is_behind(slots):\n",
            "        if not self._is_behind(slots):\n",
        ),
    ),
    mutant(
        "refused-waits-for-itself",
        "12",
        "a refused wait waits for the worker that it has",
        (
            "            return True  # the wait was refused, and has kept them\n",
            "            pass\n",
        ),
    ),
    mutant(
        "claims-are-kept",
        "16",
        "a refused emit keeps the claims that it has taken",
        (
            "                for claimed in children[:place]:\n                    claimed.unclaim()\n",
            "",
        ),
    ),
    mutant(
        "ended-waiter-stays-blocked",
        "12",
        "one that has ended stays in the graph of waits",
        (
            "        group = self._entered.pop(waiter, None)  # the execution may be gone already\n"
            "        if group is not None:\n            group.blocked.discard(waiter)\n",
            "        self._entered.pop(waiter, None)\n",
        ),
    ),
    mutant(
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
    mutant(
        "forgotten-actors-stay",
        "20",
        "the actors of forgotten groups live on",
        (
            "                tell(entry.ref, _FORGET)\n",
            "                pass\n",
        ),
    ),
    mutant(
        "closed-without-readers",
        "2",
        "lost wake-up: the end of a group wakes only who has something to read",
        (
            "        self.closed = True\n        self._wake()\n",
            "        self.closed = True\n",
        ),
    ),
    mutant(
        "cancels-a-running-leaf-as-queued",
        "11",
        "a cancel takes a leaf that runs for one of its siblings in the queue",
        (
            "                if place is not None and queued.has(place):\n",
            "                if place is not None:\n",
        ),
    ),
    mutant(
        "cancelled-call-unanswered",
        "11",
        "a caller is never told that its child was cancelled before it started",
        (
            "        if batch.call is not None:\n            batch.call.set(cancelled_snapshot(",
            "        if batch.call is not None and batch.call.is_over:\n"
            "            batch.call.set(cancelled_snapshot(",
        ),
    ),
    mutant(
        "cancelling-for-ever",
        "15",
        "a slot of code that was told to end is lent out for ever",
        (
            "            self.busy -= 1\n            if slots.cancelling:\n"
            "                self.cancelling -= 1\n",
            "            self.busy -= 1\n",
        ),
    ),
    mutant(
        "hurried-after-it-was-let-go",
        "6",
        "stale timer: a waiter's patience ends behind the return of its slots",
        (
            "        if returning not in self._returning:\n            return False  # let go already\n",
            "",
        ),
    ),
    mutant(
        "decided-waiter-stays-blocked",
        "12",
        "a waiter that was cancelled stays in the graph of waits while its code runs on",
        (
            "            self._graph.unblock(live.execution_id)\n"
            "            self._admission.mark_cancelling(live)\n",
            "            self._admission.mark_cancelling(live)\n",
        ),
    ),
    mutant(
        "unheard-ends",
        "12",
        "a group that has not heard of the end that decides it is on a cycle of waits",
        (
            " or group.is_behind or group.has_decided:\n            return True\n",
            ":\n            return True\n",
        ),
        (
            "        if node.is_behind:\n            self._ask(node)\n            return\n",
            "",
        ),
    ),
    mutant(
        "confirmed-to-nobody",
        "12",
        "a group that was asked whether the ends so far decide it never answers",
        (
            "            tell(self._environment.allocator, EndsConfirmed(self.group_id, count))\n",
            "",
        ),
    ),
    mutant(
        "timeouts-end-no-cycle",
        "12",
        "a cycle of waits that the timeout of an attempt will end is an error",
        (
            "            or emission.own_timeout is not None\n"
            "            or (timeout is not None and timeout != math.inf),\n",
            "            or emission.own_timeout is not None,\n",
        ),
    ),
    mutant(
        "waits-behind-its-decision",
        "12",
        "a wait that arrives behind the decision of its execution enters the graph of waits",
        (
            "            and live.phase is not Phase.CANCELLING  # the wait has been told to end,"
            " or is about to\n",
            "",
        ),
    ),
    mutant(
        "kept-wait-hides-a-cycle",
        "12",
        "who waits for its own group and keeps its worker is not known where others wait for it",
        (
            "        self._begin_kept_groups()\n        self._begin_wait(message)\n",
            "        self._begin_wait(message)\n",
        ),
    ),
    mutant(
        "kept-worker-not-taken",
        "12",
        "who waits for its own group keeps its worker though others need one",
        (
            "            if caller is not None and loans.take_kept(wait):\n",
            "            own_group = isinstance(wait, GroupWait)\n"
            "            if caller is not None and not own_group and loans.take_kept(wait):\n",
        ),
    ),
    mutant(
        "permit-of-no-start-lost",
        "15",
        "the permit of a rate whose start a cancel took is lost for ever",
        (
            "        if live.rate_reserved:\n            live.rate_reserved = False\n"
            "            self._admission.give_back_rate(live.action)\n",
            "",
        ),
    ),
    mutant(
        "rate-of-admissions",
        "15",
        "a rate counts when a start was admitted, not when it happened",
        (
            "        self._reserved += 1\n        return True\n",
            "        self._stamps.append(now)\n        return True\n",
        ),
        (
            '        """A reserved permit was used at *at*."""\n        self._reserved -= 1\n',
            '        """A reserved permit was used at *at*."""\n        return\n',
        ),
        (
            '        """A reserved permit was never used."""\n        self._reserved -= 1\n',
            '        """A reserved permit was never used."""\n',
        ),
    ),
    mutant(
        "rate-of-ends",
        "15",
        "a rate counts when attempts ended, not when they started",
        (
            "        if live is not None and live.rate_reserved:\n"
            "            live.rate_reserved = False\n"
            "            self._admission.stamp(live.action, message.at)\n",
            "        if live is not None:\n            live.stamped = True\n",
        ),
        (
            "            live.rate_reserved = False\n"
            "            self._admission.give_back_rate(live.action)\n",
            "            live.rate_reserved = False\n"
            '            if getattr(live, "stamped", False):\n'
            "                self._admission.stamp(live.action, self._environment.clock.now())\n"
            "                live.stamped = False\n"
            "            else:\n"
            "                self._admission.give_back_rate(live.action)\n",
        ),
    ),
    mutant(
        "cancels-in-no-order",
        "19",
        "the order of a set decides whom a cancel reaches first",
        (
            "        for live in tuple(group.live.values()):\n"
            "            tell(live.ref, Cancel(message.reason))\n",
            "        for live in set(group.live.values()):\n"
            "            tell(live.ref, Cancel(message.reason))\n",
        ),
    ),
)
