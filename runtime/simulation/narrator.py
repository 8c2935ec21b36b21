"""Goes through the facts of a world and says what each of them means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.errors import GroupCancelledError, GroupTimeoutError
from orchestrator.values import AwaitMode, Execution, ExecutionState, GroupPolicy
from runtime import observing
from runtime.observing import Fact
from runtime.simulation import facts as kinds
from runtime.simulation.marks import Line, Marks
from runtime.simulation.naming import KnownGroup, Names, seconds, spot_text

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["Narrator"]

_OWN_WAITS = ("the end of the runtime's workers",)
_SLEEP = "the end of a sleep at "
_NAMED = 3  # children by name; of more, the number


class Narrator:
    """Goes through the facts once, and knows by then what everything was."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = Names(world.facts)
        self._bare = world.runtimes == 0
        self._marks = Marks(world.facts, world.path)
        self._lines: list[Line] = []

    def tell(self) -> list[Line]:
        for fact in self._world.facts:
            self._lines += self._marks.before(fact, self._names)
            self._lines += self._marks.choices(fact, self._names)
            handler = _HANDLERS.get(fact[0])
            if handler is not None:
                text = handler(self, fact)
                if text:
                    self._lines.append(Line(fact[1], text))
        self._lines += self._marks.rest(self._world.now, self._names)
        return self._lines

    # Executions

    def submitted(self, fact: Fact) -> str:
        given: Execution = fact[4]
        parent, deadline, own, scope = fact[5:9]
        known = self._names.execution(given.id)
        if scope:
            return f"{known} began{_until(deadline, own)}"
        if parent is not None:
            what = "" if known.label == known.action else f" ({known.action})"
            return f"{self._names.execution(parent)} calls {known.label}{what}"
        limit = "" if own is None else f", to end within {seconds(own)}"
        return f"{known} submitted{limit}{_alias(known.id)}"

    def started(self, fact: Fact) -> str:
        execution_id, number, task, _action, _deadline, is_async = fact[4:10]
        known = self._names.execution(execution_id)
        known.attempts = number
        known.pausing = False
        self._names.runs(task, execution_id)
        on = f"on the event loop of {task}" if is_async else f"on {task}"
        if number > 1:
            return f"{known} started again, attempt {number}, {on}"
        return f"{known} started, {on}"

    def returned(self, fact: Fact) -> str:
        known = self._names.execution(fact[4])
        self._names.returns(fact[6], fact[4])
        if known.ended:
            return f"{known}'s code ended, after it was {known.ended}"
        return ""

    def code_ended(self, fact: Fact) -> str:
        known = self._names.execution(fact[4])
        known.error, known.value = fact[6:8]
        self._names.has_reported(fact[4])
        return ""

    def paused(self, fact: Fact) -> str:
        known = self._names.execution(fact[4])
        if not fact[5]:
            return ""
        known.pausing = True
        why = "" if known.error is None else f" ({self._names.error(known.error)})"
        return f"{known}: attempt {known.attempts} failed{why}, another follows"

    def requeued(self, fact: Fact) -> str:
        return f"{self._names.execution(fact[4])} is queued for its next attempt"

    def cancelling(self, fact: Fact) -> str:
        known = self._names.execution(fact[4])
        known.ended = known.ended or "decided"
        return ""

    def settled(self, fact: Fact) -> str:
        known = self._names.execution(fact[4])
        state: ExecutionState = fact[5]
        was, known.ended = known.ended, str(state)
        if known.noun == "child":
            return ""
        why = ""
        if state is ExecutionState.FAILED and known.error is not None:
            why = f": {self._names.error(known.error)}"
        elif state is ExecutionState.COMPLETED and known.value is not None:
            why = f" -> {self._names.value(known.value)}"
        if was:
            return f"{known} is over ({state}), with all below it"
        return f"{known} {state}{why}"

    def cancelled(self, fact: Fact) -> str:
        execution_id, reason, state = fact[4:7]
        known = self._names.execution(execution_id)
        because = f": {self._reason(reason)}" if reason else ""
        if state.ended:
            return f"cancel came to {known}, which was {state} already"
        known.ended = "cancelled"
        match state:
            case _ if known.pausing:
                where = "between two attempts"
            case ExecutionState.SCHEDULED:
                where = "before its code began"
            case _ if self._names.is_reporting(execution_id):
                where = "when its code had just ended"
            case ExecutionState.WAIT_ASYNC:
                where = "while what it emitted was out"
            case _:
                where = "while its code ran"
        return f"cancel came to {known} {where}{because}"

    def _reason(self, reason: str) -> str:
        return reason

    def deadline(self, fact: Fact) -> str:
        known = self._names.execution(fact[4])
        if fact[5]:
            return f"deadline of {known} passed, after its end"
        known.ended = "failed"
        return f"deadline of {known} passed"

    def timed_out(self, fact: Fact) -> str:
        return f"attempt {fact[5]} of {self._names.execution(fact[4])} ran out of time"

    # Groups

    def emitted(self, fact: Fact) -> str:
        group_id, parent, _base, children, actions, policy, deadline = fact[4:11]
        lazy = fact[12]
        group = self._names.groups[group_id]
        what = (
            "children drawn from a source" if lazy else _count(len(children), "child", "children")
        )
        if len(actions) == 1 and not lazy:
            what += f" of {actions[0].name}"
        limit = "" if deadline is None else f", deadline at {deadline:.3f} s"
        return (
            f"{self._names.execution(parent)} emitted {group}: {what},"
            f" {_mode(policy)}{limit}{_alias(group_id)}"
        )

    def refused(self, fact: Fact) -> str:
        return (
            f"an emit of {self._names.execution(fact[4])} was refused: {self._names.error(fact[6])}"
        )

    def drawn(self, fact: Fact) -> str:
        return f"{self._names.member(fact[4], fact[5])} was drawn"

    def sealed(self, fact: Fact) -> str:
        group = self._names.groups[fact[4]]
        if fact[5] is not None:
            return f"the source of {group} raised {self._names.error(fact[5])}"
        return f"the source of {group} is at its end"

    def reported(self, fact: Fact) -> str:
        group = self._names.groups.get(fact[4])
        child: observing.End = fact[6]
        known = self._names.member(fact[4], fact[5])
        again = "" if not known.ended or known.ended == str(child.state) else f" ({known.ended})"
        known.ended = str(child.state)
        text = f"{known} {child.state}{again}"
        if child.state is ExecutionState.COMPLETED:
            text += f" -> {self._names.value(child.output)}"
        elif child.state is ExecutionState.FAILED and child.error is not None:
            text += f": {self._names.error(child.error)}"
        if group is not None and group.decided:
            text += " (late)"
        return text

    def dropped(self, fact: Fact) -> str:
        indexes = fact[5]
        labels = [self._names.member(fact[4], index) for index in indexes]
        for known in labels:
            known.ended = "cancelled"
        names = ", ".join(known.label for known in labels[:_NAMED])
        more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
        noun = "child" if len(labels) == 1 else "children"
        return f"{noun} {names}{more} cancelled in the queue"

    def group_deadline(self, fact: Fact) -> str:
        group = self._names.groups[fact[4]]
        late = ""
        if group.deadline is not None and fact[1] > group.deadline:
            late = f" (it was {group.deadline:.3f} s)"
        return f"{group} deadline passed{late}" + (", after its decision" if group.decided else "")

    def group_cancelled(self, fact: Fact) -> str:
        group = self._names.groups[fact[4]]
        if group.decided:
            return ""
        return f"{group} is cancelled: {fact[5] or 'no reason given'}"

    def rest_cancelled(self, fact: Fact) -> str:
        return f"what is still out of {self._names.groups[fact[4]]} is cancelled"

    def decided(self, fact: Fact) -> str:
        group = self._names.groups.get(fact[4])
        if group is None:
            return ""
        result, outputs = fact[5], fact[6]
        again = "once more, " if group.decided else ""
        group.decided = True
        return f"{group} decided {again}{self._outcome(group, result.error, outputs)}"

    def _outcome(self, group: KnownGroup, error: Any, outputs: tuple[Any, ...]) -> str:
        if error is None:
            return f"-> {self._names.value(list(outputs))}"
        if isinstance(error, GroupTimeoutError):
            out = [self._names.member(group.id, index).label for index in error.missing[:_NAMED]]
            more = f" and {len(error.missing) - _NAMED} more" if len(error.missing) > _NAMED else ""
            return f"as timed out, still out: {', '.join(out)}{more}"
        if isinstance(error, GroupCancelledError):
            return "as cancelled"
        return f"as failed: {self._names.error(error)}"

    # Waits

    def waits(self, fact: Fact) -> str:
        _token, who, subject, timeout, _frees = fact[4:9]
        if subject is None or who not in self._names.executions or subject.kind == "emit":
            return ""
        limit = "" if timeout is None else f", for at most {seconds(timeout)}"
        return f"{self._names.who(who)} waits for {self._subject(subject)}{limit}"

    def waited(self, fact: Fact) -> str:
        _token, who, subject, outcome = fact[4:8]
        name = self._names.who(who)
        if subject is None or subject.kind == "emit":
            if outcome == observing.INTERRUPTED:
                return f"{name} was interrupted in its sleep"
            return ""
        what = self._subject(subject)
        match outcome:
            case observing.EXPIRED:
                text = f"{name} gave up waiting for {what}"
            case observing.HOPELESS:
                text = f"{name} may not wait for {what}: that could never end (a deadlock)"
            case observing.INTERRUPTED:
                text = f"{name} was interrupted in its wait for {what}"
            case _ if who not in self._names.executions:
                text = ""  # the test's own code: what it does next shows it
            case _ if subject.kind == "resume":
                text = f"{name} resumed"
            case _:
                text = f"{name} has the answer of {what}"
        return text

    def _subject(self, subject: Any) -> str:
        match subject.kind:
            case "group":
                return str(self._names.groups.get(subject.id, f"group {subject.id}"))
            case "ends":
                return f"the next end in {self._names.groups.get(subject.id, subject.id)}"
            case "resume":
                return "all of its groups"
            case "execution":
                return self._names.who(subject.id)
            case _:
                return str(subject)

    def draining(self, fact: Fact) -> str:
        what = ", and cancels what runs" if fact[4] else ""
        which = f" {fact[3]}" if self._world.runtimes > 1 else ""
        return f"the runtime{which} closes{what}"

    # Tasks

    def spawned(self, fact: Fact) -> str:
        name = fact[3]
        if not self._bare and not name.startswith("thread-"):
            return ""
        return f"{name} was made"

    def over(self, fact: Fact) -> str:
        return f"{fact[3]} is over" if self._bare else ""

    def blocked(self, fact: Fact) -> str:
        task, waiting_for, spot = fact[3:6]
        if not self._bare and (spot is None or waiting_for in _OWN_WAITS):
            return ""
        text = self._names.waited_for(waiting_for)
        if text.startswith(_SLEEP):
            until = text.removeprefix(_SLEEP)
            return f"{self._names.task(task)} sleeps until {until},{spot_text(spot)}".rstrip(",")
        return f"{self._names.task(task)} waits for {text}{spot_text(spot)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _alias(name: str) -> str:
    return f"  [id {name}]"


def _until(deadline: float | None, own: float | None) -> str:
    if own is not None:
        return f", to end within {seconds(own)}"
    return "" if deadline is None else f", deadline at {deadline:.3f} s"


def _mode(policy: GroupPolicy) -> str:
    text = f"mode {policy.mode.value}"
    if policy.mode is AwaitMode.QUORUM:
        text += f" of {policy.quorum}"
    if not policy.cancel_rest:
        text += ", the rest runs on"
    return text


_HANDLERS: dict[str, Callable[[Narrator, Fact], str]] = {
    observing.SUBMITTED: Narrator.submitted,
    observing.EMITTED: Narrator.emitted,
    observing.DRAWN: Narrator.drawn,
    observing.REQUEUED: Narrator.requeued,
    observing.PAUSED: Narrator.paused,
    observing.CANCELLING: Narrator.cancelling,
    observing.SETTLED: Narrator.settled,
    observing.REST_CANCELLED: Narrator.rest_cancelled,
    observing.DRAINING: Narrator.draining,
    observing.REFUSED: Narrator.refused,
    observing.CODE_ENDED: Narrator.code_ended,
    observing.CANCELLED: Narrator.cancelled,
    observing.DEADLINE: Narrator.deadline,
    observing.TIMED_OUT: Narrator.timed_out,
    observing.REPORTED: Narrator.reported,
    observing.DROPPED: Narrator.dropped,
    observing.GROUP_DEADLINE: Narrator.group_deadline,
    observing.GROUP_CANCELLED: Narrator.group_cancelled,
    observing.SEALED: Narrator.sealed,
    observing.DECIDED: Narrator.decided,
    observing.STARTED: Narrator.started,
    observing.RETURNED: Narrator.returned,
    observing.WAITS: Narrator.waits,
    observing.WAITED: Narrator.waited,
    kinds.SPAWNED: Narrator.spawned,
    kinds.OVER: Narrator.over,
    kinds.BLOCKED: Narrator.blocked,
}
