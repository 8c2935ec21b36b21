"""The attempt of a leaf, and how it becomes an actor.

A leaf that emits or waits for others, that fails, or that is told to end, is made an
`ExecutionActor` where it stands, and from then on is as if it had always been one.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from actors.attempt import Attempt
from actors.emission import Emission, snapshot
from actors.execution import ExecutionActor
from actors.loans import Ledger
from actors.messages import CallOut, Lending, Promoted, RunOver
from actors.protocol_actor import send
from actors.system.mailbox import Mailbox
from orchestrator.context import ExecutionContext
from orchestrator.registry import Action
from orchestrator.values import Execution, ExecutionState

if TYPE_CHECKING:
    from actors.environment import Environment
    from actors.fan_in import Completed
    from actors.run import Run

__all__ = ["LEAF", "OVER", "LeafAttempt"]


class LeafAttempt(Attempt):
    """The one attempt of a leaf.

    All that a leaf's attempt has in common with others is made when somebody asks for it, since
    mostly nobody does (see benchmarks/fan_out.py).
    """

    number = 1
    is_leaf = True
    timeout = None
    announced = False
    is_scope = False
    told_running = False  # whether its start was published
    has_context = False
    begun = False  # its start has been told, where somebody listens
    code_over = False  # and it is an actor
    done: Completed | None = None  # what it came to as a leaf

    _view: Callable[[], Execution] | None = None  # the actor's, once it is one
    unborn: list[ExecutionActor] | None = None  # holds the actor until it is launched

    def __init__(self, run: Run, index: int) -> None:
        self.run = run
        self.index = index
        self._waits = []

    def __getattr__(self, name: str) -> Any:
        value: Any
        if name == "context":
            emission, making = self.run.batch.emission, self.run.environment.making
            made = ExecutionContext(
                None, emission.process, emission.entries, emission.deadline, scope=self
            )
            # Threads that its code has started may ask in the same moment: all get the first one.
            made = making.setdefault(self, made)
            if not self.has_context:
                self.context = made
                self.has_context = True
            making.pop(self, None)
            value = self.context
        elif name == "ref":
            value = self.ref = self._promote()
        else:
            raise AttributeError(name)
        return value

    @property
    def environment(self) -> Environment:  # type: ignore[override]  # never written
        return self.run.environment

    @property
    def execution_id(self) -> str:  # type: ignore[override]  # never written
        return self.run.batch.id_of(self.index)

    @property
    def action(self) -> Action:  # type: ignore[override]  # never written
        return self.run.batch.action

    @property
    def is_async(self) -> bool:  # type: ignore[override]  # never written
        return self.run.batch.action.is_async

    @property
    def given(self) -> Any:  # never written
        return self.run.batch.input_of(self.index)

    @property
    def variables(self) -> contextvars.Context:  # type: ignore[override]  # never written
        return self.run.batch.variables

    @property
    def until(self) -> Callable[[Any], Any] | None:  # type: ignore[override]  # never written
        return self.run.batch.emission.until

    @property
    def origin(self) -> tuple[Emission, Execution]:  # type: ignore[override]  # never written
        return (self._emission, self.run.batch.children[self.index])

    @property
    def thread_id(self) -> int | None:  # type: ignore[override]  # never written
        return self.run.thread_id

    def launch(self) -> None:
        """Let the actor begin: its code has begun, and that has been told.

        Of the code and whoever makes it an actor meanwhile, the later one does so: each says what
        it has done, *begun* or *unborn*, before it looks for the other.
        """
        try:
            actor = (self.unborn or []).pop()  # one step: only one of them gets it
        except IndexError:
            return
        actor.take_over(self)
        self.environment.system.launch(actor)

    def publish_start(self) -> None:
        """Tell that it runs."""
        self.told_running = True
        changed = self.run.environment.publisher.changed
        changed(self.leaf_snapshot(), ExecutionState.SCHEDULED, self.started_at or 0.0)

    def publish_end(self) -> None:
        """Tell that it has completed as a leaf."""
        if not self.told_running:  # it started before anybody listened
            self.publish_start()
        final = self.snapshot()
        changed = self.run.environment.publisher.changed
        changed(final, ExecutionState.RUNNING, final.completed_at or 0.0)

    def take(self) -> bool:
        """Take the start token; it is gone when there is an attempt."""
        return False

    @property
    def is_actor(self) -> bool:
        """Whether it is one by now, whoever made it so; asked by its own code."""
        return self.run.fates.get(self.index) is not None

    @property
    def as_parent(self) -> Any:
        """As a leaf, a ref that makes it an actor once there is something to tell."""
        return self.ref if self.is_actor else _Parent(self)

    def open_ledger(self) -> Ledger:
        """As a leaf, one that its run knows."""
        run = self.run
        if run.ledger is not None:  # which the allocator does not know
            self.become_actor()
        if self.is_actor:
            return super().open_ledger()
        ledger = self.ledger = Ledger()
        if not run.ledgers:
            run.ledgers = {}
        run.ledgers[ledger] = None
        if self.is_actor:  # it has just become one: either of the two sees the other
            run.ledgers.pop(ledger, None)
            send(self.environment.allocator, Lending(self.execution_id, ledger))
        return ledger

    def become_actor(self) -> None:
        """See that the execution has an actor, for a wait that the allocator has to know."""
        self.ref  # noqa: B018 - it is made by that

    def snapshot(self) -> Execution:
        """The execution as it is now."""
        view, done = self._view, self.done
        if view is not None:
            return view()
        if done is None:
            return self.leaf_snapshot()
        return self.leaf_snapshot(ExecutionState.COMPLETED, done[1], done[3])

    def leaf_snapshot(
        self,
        state: ExecutionState = ExecutionState.RUNNING,
        output: Any = None,
        completed_at: float | None = None,
    ) -> Execution:
        """The execution while it has no actor."""
        batch, index = self.run.batch, self.index
        return snapshot(
            batch.emission,
            batch.children[index],
            None if batch.group is None else index,
            state,
            output=output,
            attempts=1,
            scheduled_at=batch.scheduled_at if batch.times is None else batch.times[index],
            started_at=self.started_at,
            completed_at=completed_at,
        )

    @property
    def _emission(self) -> Emission:
        """Where it comes from; calls of one attempt share it up to the variables."""
        batch = self.run.batch
        if batch.emission.variables is batch.variables:
            return batch.emission
        return attrs.evolve(batch.emission, variables=batch.variables)

    def _promote(self) -> Any:
        """Make it an actor, unless its code has ended; the ref, of a dead actor where it has."""
        run, index = self.run, self.index
        batch, environment = run.batch, run.environment
        if run.ledger is not None:
            batch.emission.parent.actor_inbox  # noqa: B018 - its caller is one before it is
        actor = ExecutionActor(
            environment,
            self._emission,
            batch.children[index],
            batch.action,
            batch.place_of(index),
            batch.scheduled_at_of(index),
            batch.call,  # type: ignore[arg-type]  # it takes the answer as a future would
            running=self,
        )
        ref: Any = actor.actor_ref
        fate = run.fates.setdefault(index, ref)
        if fate is LEAF:
            return _GONE
        if fate is not ref:  # another thread was at it, and may not have told of it yet
            self._tell_promoted(fate)
            return fate
        self._view = actor.view
        self._tell_promoted(ref)
        self.unborn = [actor]  # not before: it could end, and the allocator hear of that first
        if self.begun:
            self.launch()
        if batch.action.is_async and run.ledger is None and run.is_last():
            send(environment.allocator, RunOver(run))
        return ref

    def _tell_promoted(self, ref: Any) -> None:
        """Let its caller know, which must not end before it, and the allocator."""
        run, index = self.run, self.index
        if run.batch.group is None:
            send(run.batch.emission.parent, CallOut(run.batch.id_of(index), run))
        send(run.environment.allocator, Promoted(run, index, ref))


class _Parent:
    """The ref of a leaf that has called a child in its place; it has no actor until told."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: LeafAttempt) -> None:
        self._attempt = attempt

    @property
    def actor_inbox(self) -> Any:
        """The mailbox of its actor, which is made."""
        return self._attempt.ref.actor_inbox


class _Gone:
    """Stands for the actor of a leaf whose code has ended: it answers as a dead actor does."""

    def __init__(self) -> None:
        self.actor_inbox = Mailbox()
        self.actor_inbox.abandon()


LEAF = object()  # the fate of a child that ends without an actor
OVER = object()  # in place of an attempt whose code has ended
_GONE = _Gone()


def _settle_layout() -> None:
    """Let the class know all attributes of a leaf before there are many.

    CPython keeps attributes that come later in a dict of each object, at three times the memory.
    """
    leaf = LeafAttempt.__new__(LeafAttempt)
    for name in (
        "run",
        "index",
        "_waits",
        "started_at",
        "task",
        "interruption",
        "done",
        "context",
        "ref",
        "has_context",
        "told_running",
        "begun",
        "unborn",
        "code_over",
        "ledger",
        "below",
        "_view",
    ):
        setattr(leaf, name, None)


_settle_layout()
