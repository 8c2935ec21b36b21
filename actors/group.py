"""The actor of one fan-out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, assert_never

from attrs import frozen

from actors.batch import Reports
from actors.drawn import Drawn
from actors.emission import Emission, cancelled_snapshot, snapshot
from actors.ends import EndsLog
from actors.environment import Environment
from actors.fan_in import Cancelled, Completed, FanIn
from actors.messages import (
    AddChild,
    CancelGroup,
    CancelMembers,
    ChildFinished,
    ChildrenCancelled,
    ChildSettled,
    ConfirmEnds,
    Draw,
    EndsConfirmed,
    Forget,
    GroupChanged,
    GroupDeadlinePassed,
    GroupEnded,
    GroupMessage,
    GroupSealed,
    LeaveReaders,
    ReadEnds,
    Reported,
    Seal,
    SourceClosed,
    SubmitGroup,
    SubmitMore,
)
from actors.protocol_actor import ProtocolActor, put_aside, tell
from actors.system import Future
from orchestrator.errors import GroupCancelledError, GroupTimeoutError
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState, GroupPolicy, GroupResult

__all__ = ["CorrelationGroupActor", "OpenedGroup", "open_group"]


@frozen(eq=False)
class OpenedGroup:
    """A group that has just been opened."""

    ref: Any
    emission: Emission  # for its children: it names the group
    decided: Future[GroupResult]
    log: EndsLog
    reports: Reports


def open_group(message: SubmitGroup, environment: Environment) -> OpenedGroup:
    """Make the actor of an emit's group, and what the world is shown of it."""
    policy = message.policy
    emission, now = message.emission, environment.clock.now()
    drawn = Drawn() if message.lazy else None
    children = message.children if drawn is None else drawn
    plain = emission.for_snapshots(now)
    made: dict[int, Execution] | None = {} if policy.keep else None
    describe = functools.partial(_describe, plain, children, made, cancel_rest=policy.cancel_rest)
    expected = None if message.lazy else len(message.children)
    fan_in = FanIn(emission.group_id or "", policy, expected, describe)
    log = EndsLog(describe, keep=policy.keep)
    decided: Future[GroupResult] = Future()
    reports = Reports(each=fan_in.one_by_one)
    group = CorrelationGroupActor(
        environment,
        emission,
        now,
        policy,
        fan_in,
        log,
        drawn,
        message.deadline,
        decided,
        reports,
    )
    environment.system.launch(group)
    return OpenedGroup(group.actor_ref, group.emission, decided, log, reports)


class CorrelationGroupActor(ProtocolActor):
    """Gathers the ends of one fan-out and decides it exactly once.

    It *decides* when its mode can; it has *ended* when no child is out any more, and it has
    *settled* when all of their code is over too. It tells its parent of each.

    Args:
        environment: The runtime's.
        emission: What the children share, this group's id among it.
        emitted_at: When it was opened.
        policy: When it decides.
        fan_in: The rules, with all children in it or open to those of a lazy source.
        log: Where the ends go.
        drawn: Where to keep a lazy source's children.
        deadline: In the clock's seconds.
        decided: Resolved with the result, once.
        reports: Where leaves report.
    """

    def __init__(
        self,
        environment: Environment,
        emission: Emission,
        emitted_at: float,
        policy: GroupPolicy,
        fan_in: FanIn,
        log: EndsLog,
        drawn: Drawn | None,
        deadline: float | None,
        decided: Future[GroupResult],
        reports: Reports | None = None,
    ) -> None:
        super().__init__()
        self._environment = environment
        ref = self._actor_ref
        self.emission = emission.opened(emitted_at, ref, emission.parent)
        self._policy = policy
        self._deadline = deadline
        self._decided = decided
        self.group_id = emission.group_id or ""
        self.drawn = drawn  # by a lazy source so far
        self._fan_in = fan_in
        self._log = log
        self._unsettled = 0  # children that have ended with code still running
        self._draws: list[Draw] = []
        self._lazy = self._source_open = not fan_in.sealed
        self._timer: Any = None
        self._told: tuple[bool, bool] | None = None  # what the parent knows: ended, settled
        self._forgotten = False
        self._to_confirm = 0  # ends that the allocator knows of, until it is told that these came
        self._reports = reports or Reports(each=fan_in.one_by_one)
        self._reports.group = ref
        # Most have nothing to do before their first message, and need no turn for it.
        self._actor_has_begin = (
            deadline is not None or not fan_in.emitted or policy.quorum is not None
        )

    def on_start(self) -> None:
        """Set the deadline; decide an empty group. Called where one of them may have to be done."""
        if self._deadline is not None:
            self._timer = self._environment.clock.call_at(
                self._deadline, tell, self.actor_ref, GroupDeadlinePassed()
            )
        if not self._lazy or self._policy.quorum == 0:
            self._decide(self._fan_in.seal())
            self._progress()

    def on_receive(self, message: GroupMessage) -> None:  # noqa: C901, PLR0912 - an index
        """The group's protocol."""
        if self._reports.ends:
            self.take_in_reports()  # they came before
        match message:
            case ChildFinished():
                self._on_child_finished(message)
            case Reported():
                pass
            case ChildSettled():
                self._unsettled -= 1
            case ChildrenCancelled():
                self._on_children_cancelled(message)
            case Draw():
                self._draws.append(message)
                self._draw()
            case AddChild():
                self._on_add_child(message.child, message.action)
            case Seal():
                self._on_seal(message)
            case SourceClosed():
                self._source_open = False
            case GroupDeadlinePassed():
                self._decide(self._fan_in.expire(self._policy.timeout or 0.0))
            case CancelGroup():
                self._on_cancel(message)
            case ReadEnds():
                self._log.wait(message)
            case LeaveReaders():
                self._log.leave(message.reader)
            case ConfirmEnds():
                self._to_confirm = message.count
            case Forget():
                self._forgotten = True
            case _:
                assert_never(message)
        self._watch_reports()
        if self._to_confirm:
            self._confirm()
        if self._fan_in.result is not None:
            self._progress()

    @property
    def reports(self) -> Reports:
        """Where its leaves report."""
        return self._reports

    @property
    def result(self) -> GroupResult | None:
        """What it has decided, once it has; for whoever watches its turns."""
        return self._fan_in.result

    # Leaves

    def take_in_reports(self) -> None:
        """Take in what leaves have come to; the first thing in each turn."""
        ends = self._reports.ends
        fan_in, log = self._fan_in, self._log
        came: list[Completed] = []
        one_by_one = fan_in.one_by_one
        while ends:
            end = ends.popleft()
            if not fan_in.is_out(end[0]):
                continue
            if one_by_one:
                log.append(end)
                self._let_go((end[0],))
                self._decide(fan_in.record(end[0], end))
                one_by_one = fan_in.one_by_one
            else:
                came.append(end)
        if came:
            log.extend(came)
            if self.drawn is not None:
                self._let_go([end[0] for end in came])
            self._decide(fan_in.record_all(came))
        if self._draws:
            self._draw()

    def _watch_reports(self) -> None:
        """Be told of each end where that may matter to somebody."""
        reports = self._reports
        each = self._fan_in.one_by_one or self._log.awaited or bool(self._draws)
        if each != reports.each:
            reports.each = each
            if each and reports.ends:  # whoever added them may have looked before
                self.take_in_reports()

    def _on_child_finished(self, message: ChildFinished) -> None:
        if not self._fan_in.is_out(message.index):
            return  # a second report changes nothing
        if not message.settled:
            self._unsettled += 1
        result = self._fan_in.record(message.index, message.child)
        self._log.append(message.child)
        self._let_go((message.index,))
        if result is not None:
            self._decide(result)
        if self._draws:
            self._draw()

    def _on_children_cancelled(self, message: ChildrenCancelled) -> None:
        cancelled = Cancelled(message.reason, message.at)
        fresh = self._fan_in.record_cancelled(message.indexes, cancelled)
        for index in fresh:
            self._log.append((index, cancelled))
        self._let_go(fresh)

    def _let_go(self, indexes: Sequence[int]) -> None:
        """Of children that have ended, a lazy source's without `keep` are needed no more."""
        if self.drawn is not None and not self._policy.keep:
            self.drawn.forget(indexes)

    def _on_add_child(self, child: Execution, action: Action) -> None:
        if self._fan_in.decided:
            return  # it was drawn too late, and is never queued
        index = self._fan_in.add()
        now = self._environment.clock.now()
        if self.drawn is not None:
            self.drawn.add(index, child, now)
        tell(self._environment.allocator, SubmitMore(self.emission, index, child, action, now))

    def _on_seal(self, message: Seal) -> None:
        tell(self._environment.allocator, GroupSealed(self.group_id))
        if message.error is None:
            self._decide(self._fan_in.seal())
        else:
            self._decide(self._fan_in.fail(message.error))

    def _on_cancel(self, message: CancelGroup) -> None:
        already = self._fan_in.decided
        self._decide(self._fan_in.cancel(message.reason))
        if already and message.rest_too and self._fan_in.out:
            self._cancel_rest(message.reason)

    def _draw(self) -> None:
        """Tell the feeder how many children there is room for."""
        if not self._draws:
            return
        most = self._policy.max_in_flight or 1
        room = 0 if self._fan_in.decided else most - self._fan_in.out
        if room > 0 or self._fan_in.decided:
            draws, self._draws = self._draws, []
            for draw in draws:
                draw.reply.set(room)

    def _confirm(self) -> None:
        count, fan_in = self._to_confirm, self._fan_in
        if fan_in.emitted - fan_in.out >= count:
            self._to_confirm = 0
            tell(self._environment.allocator, EndsConfirmed(self.group_id, count))

    def _decide(self, result: GroupResult | None) -> None:
        if result is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        abandoned = isinstance(result.error, GroupTimeoutError | GroupCancelledError)
        if self._fan_in.out and (self._policy.cancel_rest or abandoned):
            self._cancel_rest(_why(result))
        if self._lazy:
            self._fan_in.seal()
            self._draw()
        self._progress()
        self._decided.set(result)

    def _cancel_rest(self, reason: str) -> None:
        tell(self._environment.allocator, CancelMembers(self.group_id, reason))

    def _progress(self) -> None:
        """Tell the parent, once, of each step that the group has taken."""
        result = self._fan_in.result
        if result is None:
            return
        ended = self._fan_in.ended
        settled = ended and self._unsettled == 0 and not self._source_open
        if self._told != (ended, settled):
            if ended and not (self._told or (False, False))[0]:
                self._log.close()
                put_aside(self._environment.allocator, GroupEnded(self.group_id))
            self._told = (ended, settled)
            tell(self.emission.parent, GroupChanged(self.group_id, result, ended, settled))
        if settled and self._forgotten:
            self.finish()


def _why(result: GroupResult) -> str:
    if result.error is None:
        return "its group has decided without it"
    return f"its group ended with {type(result.error).__name__}"


def _describe(
    emission: Emission,
    children: Sequence[Execution] | Drawn,
    made: dict[int, Execution] | None,
    index: int,
    end: Cancelled | Completed | None,
    *,
    cancel_rest: bool,
) -> Execution:
    """The snapshot of a child that completed as a leaf, was cancelled in the queue, or is out."""
    given = children[index]
    if isinstance(end, tuple):
        known = None if made is None else made.get(index)
        if known is None:
            at = children.at(index) if isinstance(children, Drawn) else emission.emitted_at
            known = _completed(emission, given, end, at)
            if made is not None:
                known = made.setdefault(index, known)
        return known
    if end is not None:
        return cancelled_snapshot(emission, given, index, end.reason, end.at)
    if cancel_rest:
        return cancelled_snapshot(emission, given, index, "its group decided without it", None)
    return snapshot(emission, given, index, ExecutionState.RUNNING)


def _completed(
    emission: Emission, given: Execution, end: Completed, scheduled_at: float | None
) -> Execution:
    index, output, started_at, completed_at = end
    return snapshot(
        emission,
        given,
        index,
        ExecutionState.COMPLETED,
        output=output,
        attempts=1,
        scheduled_at=scheduled_at,
        started_at=started_at,
        completed_at=completed_at,
    )
