"""Faults in the simulation: in what moves its time, and in what makes it repeat itself."""

from __future__ import annotations

from tests.mutants.catalogue.mutant import mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    mutant(
        "strict-time-moves",
        "18",
        "in strict time, a timer may fire while somebody can run",
        (
            "            clock = alarm is not None and not self.jump and alarm.when - self.now"
            " <= self.lag\n",
            "            clock = alarm is not None and alarm.when - self.now <= self.lag\n",
        ),
    ),
    mutant(
        "time-goes-back",
        "18",
        "a timer that is set for a time that has passed sets the clock back",
        (
            "        self.now = max(self.now, alarm.when)\n",
            "        self.now = alarm.when\n",
        ),
    ),
    mutant(
        "slow-for-ever",
        "18",
        "time moves without a limit while somebody can run",
        (
            "                self.lag -= self.now - before\n",
            "",
        ),
    ),
    mutant(
        "ids-of-the-process",
        "19",
        "ids go on from one simulation to the next",
        (
            "from orchestrator.ids import replace_id_source\n",
            "from orchestrator.ids import replace_id_source\n\n_ALL_IDS = count(1)\n",
        ),
        (
            "        self._ids = count(1)\n",
            "        self._ids = _ALL_IDS\n",
        ),
    ),
    mutant(
        "jitter-is-no-choice",
        "19",
        "the jitter of a retry is random, and no schedule's to say",
        (
            '    return world.decide("jitter", _JITTER) / _JITTER\n',
            "    import random\n\n    return random.SystemRandom().random()\n",
        ),
    ),
    mutant(
        "visits-not-counted",
        "19",
        "of several choices at one step, a token keeps one",
        (
            "            self.preemptions += runnable and choice < len(options)\n"
            "        task.visits += 1\n",
            "            self.preemptions += runnable and choice < len(options)\n",
        ),
    ),
    mutant(
        "faults-not-recorded",
        "19",
        "what was decided beside the order of tasks is not in the token",
        (
            "        self.deviations.append((task.name, task.step, task.visits,"
            ' f"{what}={choice}"))\n',
            "",
        ),
    ),
)
