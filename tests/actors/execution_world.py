"""An execution's actor by hand, with everybody else played by a driver that keeps the rules."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from attrs import define, field

from actors.attempt import Attempt, Interruption
from actors.messages import (
    Admitted,
    AttemptEnded,
    AttemptStarted,
    AttemptTimedOut,
    AwaitUnblock,
    Call,
    Cancel,
    CancelExecution,
    ChildEnded,
    ChildFinished,
    ChildSettled,
    CodeOver,
    DeadlinePassed,
    Decided,
    Emit,
    GroupChanged,
    ReadSnapshot,
    Refused,
    Requeue,
    RetryDue,
    Settled,
    Start,
    SubmitGroup,
    SubmitOne,
)
from actors.system import Future
from orchestrator.errors import GroupCancelledError, GroupFailedError
from orchestrator.values import Execution, ExecutionState, GroupPolicy, GroupResult, Retry
from tests.actors.fakes import ExecutionByHand, Target, World, action, emission, open_log, pump


@define(eq=False)
class Code:
    """An attempt's code, as the worker runs it."""

    attempt: Attempt
    running: bool = False
    over: bool = False
    resumes: list[Future[Execution]] = field(factory=list)


@define(eq=False)
class FakeGroup:
    """A group below, which decides, ends and settles when told to."""

    group_id: str
    ref: Target
    steps: int = 0
    result: GroupResult | None = None


class Driver:
    """Everybody that an execution deals with."""

    def __init__(
        self,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        own_timeout: float | None = None,
        listened_to: bool = False,
        in_group: bool = True,
        **fields: Any,
    ) -> None:
        self.world = World(listened_to=listened_to)
        self.above = Target("group")
        self.reply: Future[Execution] = Future()
        self.over: Future[None] = Future()
        above = {"group_id": "g", "group": self.above} if in_group else {"parent": self.above}
        self.actor = ExecutionByHand(
            self.world.environment,
            emission(self.world, own_timeout=own_timeout, **above),
            Execution("t:t", id="e", retry=retry, timeout=timeout, **fields),
            action(),
            3 if in_group else None,
            50.0,
            self.reply,
            None,
            self.over,
        )
        self.actor.on_start()
        self.queued = True
        self.codes: list[Code] = []
        self.groups: list[FakeGroup] = []
        self.calls: dict[str, int] = {}  # steps taken: decided, settled
        self.submitted: list[SubmitGroup] = []
        self.seen: list[Any] = []  # by the allocator

    @property
    def code(self) -> Code | None:
        """The code that runs, or is about to."""
        codes = [code for code in self.codes if not code.over]
        assert len(codes) <= 1, "attempts overlap"
        return codes[0] if codes else None

    @property
    def ended(self) -> bool:
        return self.actor.actor_stopped.is_set()

    def hand(self, message: Any) -> None:
        """Hand over one message, unless it is a dead letter."""
        if not self.ended:
            self.actor.on_receive(message)
        self.catch_up()

    def catch_up(self) -> None:
        if not self.ended:
            pump(self.actor)
        for message in self.world.allocator.take():
            self.seen.append(message)
            match message:
                case Requeue():
                    assert not self.queued
                    self.queued = True
                case SubmitGroup():
                    self.submitted.append(message)
                case SubmitOne():
                    self.calls[message.child.id] = 0
                case _:
                    pass
        for attempt in self.world.place.attempts[len(self.codes) :]:
            assert self.code is None, "attempts overlap"
            assert not self.reply.done(), "an attempt starts after the decision"
            self.codes.append(Code(attempt))

    # What others do

    def start(self) -> None:
        self.queued = False
        self.hand(Start())

    def begin(self) -> bool:
        """The worker takes the token and calls the action; ``False`` where it was taken."""
        code = self.code
        assert code is not None
        if not code.attempt.take():
            code.over = True
            return False
        assert code.attempt.interruption is None
        code.running = True
        code.attempt.started_at = self.world.clock.now()
        if code.attempt.announced:
            self.hand(AttemptStarted(code.attempt.number, self.world.clock.now()))
        return True

    def finish(self, value: Any = None, error: Exception | None = None) -> None:
        code = self.code
        assert code is not None
        assert code.running
        code.over = True
        number = code.attempt.number
        self.hand(AttemptEnded(number, value=value, error=error, raised=error))

    def emit(self, **policy: Any) -> Future[str]:
        code = self.code
        assert code is not None
        reply: Future[str] = Future()
        rules = GroupPolicy(**policy)
        variables = contextvars.copy_context()
        self.hand(Emit(code.attempt.number, [], [], rules, variables, False, reply))
        return reply

    def admit(self) -> FakeGroup:
        submit = self.submitted.pop(0)
        group_id = submit.emission.group_id
        assert group_id is not None
        group = FakeGroup(group_id, Target(group_id))
        self.groups.append(group)
        self.hand(Admitted(group_id, group.ref, open_log(), submit.policy.merge, submit.reply))
        return group

    def refuse(self) -> None:
        submit = self.submitted.pop(0)
        self.hand(Refused(submit.reply, ValueError("refused")))

    def call(self, name: str) -> Future[Execution]:
        code = self.code
        assert code is not None
        reply: Future[Execution] = Future()
        child = Execution("t:t", id=name)
        variables = contextvars.copy_context()
        self.hand(Call(code.attempt.number, child, action(), variables, reply))
        return reply

    def step_group(self, group: FakeGroup, outputs: list[Any], *, fails: bool = False) -> None:
        """The group decides, ends or settles."""
        if group.steps == 3:
            return
        group.steps += 1
        if group.result is None:
            error: Exception | None = None
            if group.ref.told:
                error = GroupCancelledError(group.group_id)
            elif fails:
                error = GroupFailedError("failed", [ValueError(group.group_id)], group.group_id)
            group.result = GroupResult(outputs, [], error)
        steps = group.steps
        self.hand(GroupChanged(group.group_id, group.result, steps > 1, steps > 2))

    def step_call(self, name: str) -> None:
        self.calls[name] += 1
        settled = self.calls[name] == 2
        if settled:
            del self.calls[name]
        self.hand(ChildEnded(name, settled))

    def resume(self) -> Future[Execution]:
        reply: Future[Execution] = Future()
        self.hand(AwaitUnblock(reply))
        return reply

    def cancel(self, reason: str = "asked to") -> None:
        self.hand(Cancel(reason))

    def advance(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.catch_up()

    def repeat_old_news(self, number: int) -> None:
        """Messages that come late, or twice; a past attempt's never mean the current one."""
        past = [code.attempt.number for code in self.codes if code.over]
        for attempt in past:
            self.hand(AttemptEnded(attempt, value="late"))
            self.hand(AttemptTimedOut(attempt)) if attempt != len(self.codes) else None
            self.hand(RetryDue(attempt)) if attempt < len(self.codes) else None
            self.hand(AttemptStarted(attempt, 0.0)) if attempt < len(self.codes) else None
        self.hand(RetryDue(number + 100))
        self.hand(AttemptTimedOut(number + 100))
        self.hand(AttemptEnded(number + 100, value="never"))

    def drain(self) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(1000):
            if self.ended:
                return
            code = self.code
            group = next((group for group in self.groups if group.steps < 3), None)
            if code is not None:
                if code.running or self.begin():
                    self.finish("drained")
            elif self.submitted:
                self.admit()
            elif group is not None:
                self.step_group(group, [])
            elif self.calls:
                self.step_call(next(iter(self.calls)))
            elif self.world.dispatcher.jobs:
                self.world.dispatcher.run()
                self.catch_up()
            elif self.queued:
                self.start()
            else:
                self.advance(1.0)
        raise AssertionError("it never ends")

    # What it says

    def view(self) -> Execution:
        reply: Future[Execution] = Future()
        self.hand(ReadSnapshot(reply))
        return reply.get(timeout=0)

    def final(self) -> Execution:
        return self.reply.get(timeout=0)

    def told(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    def check(self) -> None:
        """What holds after every message."""
        finished = self.above.told_of(ChildFinished)
        settled = self.above.told_of(ChildSettled)
        over = self.told(Settled)
        assert len(finished) == int(self.reply.done())
        assert len(over) == int(self.ended)
        waiting = [told for told in self.told(CodeOver) if not told.pausing]
        assert len(waiting) <= len(self.codes) + bool(finished)
        if not finished:
            assert not settled
            assert not over
            assert not self.view().state.ended
            return
        (end,) = finished
        assert end.index == 3
        assert end.child is self.final()
        assert end.child.state.ended
        assert len(settled) == int(not end.settled and self.ended)
        assert len(self.told(Decided)) <= 1
        if self.ended:
            assert self.code is None or not self.code.running
            assert not self.calls
            assert all(group.steps == 3 for group in self.groups)
            assert not self.submitted
            assert self.over.done()
            assert over[0].state is end.child.state
            assert not self.world.clock.pending

    def check_cancelled_below(self) -> None:
        """What was below a decided execution has been told to end."""
        for group in self.groups:
            assert group.steps >= 2 or group.ref.told
        cancelled = {one.execution_id for one in self.told(CancelExecution)}
        for name, steps in self.calls.items():
            assert steps or name in cancelled
        code = self.code
        if code is not None and code.running:
            assert code.attempt.interruption is Interruption.CANCELLED


__all__ = ["Callable", "DeadlinePassed", "Driver", "ExecutionState"]
