"""Faults in leaves, in how they become actors, and in calls that lend their place."""

from __future__ import annotations

from tests.mutants.catalogue.mutant import mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    mutant(
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
    mutant(
        "launched-untold",
        "9",
        "a leaf that others make an actor tells what follows before its start is told",
        (
            "        if self.begun:\n            self.launch()\n",
            "        self.launch()\n",
        ),
    ),
    mutant(
        "token-not-asked",
        "13",
        "a worker starts a child whose start token a cancel has taken",
        (
            "            if owner_of(index, attempt) is attempt and not copy().run(",
            "            owner_of(index, attempt)\n            if not copy().run(",
        ),
    ),
    mutant(
        "about-to-start-missed",
        "11",
        "a cancel of a group misses the child that a worker is about to start",
        (
            "            indexes += [index for index in run.indexes if run.take(index)]"
            "  # about to start\n",
            "",
        ),
    ),
    mutant(
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
    mutant(
        "reports-come-last",
        "5",
        "a group takes in what leaves have come to when it is told of that, and not before",
        (
            "        if self._reports.ends:\n            self.take_in_reports()  # they came before\n",
            "        if self._reports.ends and isinstance(message, Reported):\n"
            "            self.take_in_reports()\n",
        ),
    ),
    mutant(
        "worker-of-two",
        "15",
        "a worker goes on with its run though a child of it, an actor now, has its slot",
        (
            "            tell(fate, AttemptEnded(attempt.number, value))\n        return False\n",
            "            tell(fate, AttemptEnded(attempt.number, value))\n        return True\n",
        ),
    ),
    mutant(
        "promotion-told-by-one",
        "11",
        "of two who make a leaf an actor, the slower goes on before the allocator knows of it",
        (
            "            self._tell_promoted(fate)\n            return fate\n",
            "            return fate\n",
        ),
    ),
    mutant(
        "promotion-told-to-one",
        "10",
        "of two who make a called leaf an actor, the slower goes on before the caller's knows of it",
        (
            "            self._tell_promoted(fate)\n            return fate\n",
            "            send(environment.allocator, Promoted(run, index, fate))\n"
            "            return fate\n",
        ),
    ),
    mutant(
        "called-out-twice",
        "10",
        "stale message: a caller waits for ever for an ended child of which it is told once more",
        (
            "            if message.run.called_out:\n"
            "                return  # two have made it an actor, and by now it may have ended\n",
            "",
        ),
    ),
    mutant(
        "adopted-twice",
        "9",
        "counts messages: a leaf of which two have told that it is an actor is live twice",
        (
            "        elif message.index in run.adopted:\n            return\n",
            "",
        ),
    ),
    mutant(
        "withdraws-what-was-taken",
        "11",
        "a child that was cancelled after it was handed out is queued again",
        (
            "            if self.take(index):\n                taken.append(index)\n",
            "            self.take(index)\n            taken.append(index)\n",
        ),
    ),
    mutant(
        "given-up-call-uncounted",
        "9",
        "a called child whose caller gave up before it started is counted nowhere",
        (
            "                if run.ledger is not None:\n"
            "                    run.ledger.cancelled += 1\n                if environment.pub",
            "                if environment.pub",
        ),
    ),
    mutant(
        "lent-child-not-waited-for",
        "8",
        "a caller goes on between the end of its child's code and the child's answer",
        (
            "            elif run.fates.get(0) is LEAF:\n"
            "                while not wait.answered:  # its worker has yet to say what it ended with\n"
            "                    parker.park()\n",
            "",
        ),
    ),
    mutant(
        "lent-run-stays-known",
        "20",
        "a called child that ran in its caller's place stays known for ever",
        (
            "        environment.loans.runs.pop(batch.children[0].id, None)\n"
            "        return run.fates",
            "        return run.fates",
        ),
    ),
    mutant(
        "loan-without-a-worker",
        "15",
        "a called child that becomes an actor gives its caller's worker up, and takes none",
        (
            "            self._note_blocked(wait, live.execution_id)\n        self._admission.take(live)\n",
            "            self._note_blocked(wait, live.execution_id)\n",
        ),
    ),
    mutant(
        "old-ledger-uncounted",
        "9",
        "what an attempt has called is forgotten when the next one calls",
        (
            "            self._count_loans(live)\n            live.ledger = message.ledger\n",
            "            live.ledger = message.ledger\n",
        ),
    ),
    mutant(
        "never-taken-back",
        "15",
        "who was handed out behind a child that has become an actor waits for its code",
        (
            "            if known:\n                self._give_back(batch, run.withdraw())\n"
            "                self._end_run(run)\n",
            "            if known:\n                self._end_run(run)\n",
        ),
    ),
    mutant(
        "nobody-sent-for",
        "15",
        "lost wake-up: the end of a run is put aside although others wait for its worker",
        (
            "            (loans.front is not None and loans.only is not self)\n            or group",
            "            group",
        ),
    ),
    mutant(
        "kept-for-good",
        "15",
        "a worker that is kept by code that waits for an async child is never taken for others",
        (
            "            if self._environment.loans.kept and self._take_kept():",
            "            if False and self._take_kept():",
        ),
    ),
    mutant(
        "kept-by-two",
        "15",
        "a worker that others have taken is taken for its keeper's own as well",
        (
            "        return self.kept.pop(wait, wait) is None",
            "        self.kept.pop(wait, wait)\n        return True",
        ),
    ),
)
