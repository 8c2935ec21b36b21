"""What an actor needs around it, all of it by hand: time, threads, other actors."""

from __future__ import annotations

import contextvars
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field

from actors.attempt import Attempt
from actors.emission import Emission
from actors.ends import EndsLog
from actors.environment import Environment
from actors.execution import ExecutionActor
from actors.group import CorrelationGroupActor
from actors.run import Run
from orchestrator.registry import Action, ActionRegistry
from orchestrator.values import Execution, ExecutionState, Process

M = TypeVar("M")


class Inbox:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: deque[Any] = deque()
        self.aside = 0  # of these, those that nobody is to be sent for

    def put(self, message: Any) -> None:
        self.put_aside(message)
        self.look()

    tell = put_whole = put

    def put_aside(self, message: Any) -> None:
        self.messages.append(getattr(message, "message", message))  # an envelope, if asked
        self.aside += 1

    def look(self) -> None:
        self.aside = 0


@define(eq=False)
class Target:
    """Somebody else's ref: an actor that is only told things."""

    name: str
    actor_inbox: Inbox = field(factory=Inbox)
    alive: bool = True

    def is_alive(self) -> bool:
        return self.alive

    @property
    def told(self) -> list[Any]:
        """All that it was told, in order."""
        return list(self.actor_inbox.messages)

    def told_of(self, kind: type[M]) -> list[M]:
        """Of one kind."""
        return [message for message in self.told if isinstance(message, kind)]

    def take(self) -> list[Any]:
        """What it was told since the last time."""
        messages = self.told
        self.actor_inbox.messages.clear()
        return messages


@define(eq=False)
class FakeTimer:
    when: float
    order: int
    function: Callable[..., object]
    args: tuple[Any, ...]
    live: bool = True

    def cancel(self) -> None:
        self.live = False


class FakeClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0
        self.timers: list[FakeTimer] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, function: Callable[..., object], *args: Any) -> FakeTimer:
        timer = FakeTimer(when, next(self._order), function, args)
        self.timers.append(timer)
        return timer

    @property
    def pending(self) -> list[FakeTimer]:
        return [timer for timer in self.timers if timer.live]

    def advance(self, seconds: float) -> None:
        """Move on, firing what is due on the way."""
        end = self.time + seconds
        while due := [timer for timer in self.pending if timer.when <= end]:
            timer = min(due, key=lambda one: (one.when, one.order))
            self.time = max(self.time, timer.when)
            timer.live = False
            timer.function(*timer.args)
        self.time = end


class FakePlace:
    """Where attempts would run."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.runs: list[Run] = []

    def start_run(self, run: Run) -> None:
        self.runs.append(run)

    def start(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


class FakePublisher:
    """Keeps every change."""

    def __init__(self) -> None:
        self.active: list[str] = []
        self.changes: list[tuple[Execution, ExecutionState, float]] = []

    def changed(self, execution: Execution, previous: ExecutionState, at: float) -> None:
        self.changes.append((execution, previous, at))


class FakeDispatcher:
    """Runs its jobs when told."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], object]] = deque()

    def execute(self, job: Callable[[], object]) -> None:
        self.jobs.append(job)

    def run(self) -> None:
        while self.jobs:
            self.jobs.popleft()()


class World:
    """One fake environment, and what was done in it."""

    def __init__(self, *, listened_to: bool = False) -> None:
        self.clock = FakeClock()
        self.place = FakePlace()
        self.publisher = FakePublisher()
        self.dispatcher = FakeDispatcher()
        self.allocator = Target("allocator")
        self.on_loop: list[Callable[..., Any]] = []
        if listened_to:
            self.publisher.active.append("a listener")
        self.environment = Environment(
            clock=self.clock,  # type: ignore[arg-type]
            system=None,  # type: ignore[arg-type]
            dispatcher=self.dispatcher,  # type: ignore[arg-type]
            place=self.place,
            publisher=self.publisher,
            random=lambda: 0.5,
            call_on_loop=lambda _loop, function: self.on_loop.append(function) is None,
            allocator=self.allocator,
        )

    def advance(self, seconds: float, *actors: Any) -> None:
        """Move the time, then let *actors* handle what their timers told them."""
        self.clock.advance(seconds)
        for actor in actors:
            pump(actor)


class _ByHand:
    """An actor without a thread: it handles messages when told to."""

    actor_inbox: Any

    @staticmethod
    def _create_actor_inbox() -> Any:
        return Inbox()


class ExecutionByHand(_ByHand, ExecutionActor):
    """An `ExecutionActor` as a plain object."""


class GroupByHand(_ByHand, CorrelationGroupActor):
    """A `CorrelationGroupActor` as a plain object."""


def pump(actor: Any) -> None:
    """Let *actor* handle what it was told."""
    while actor.actor_inbox.messages:
        actor.on_receive(actor.actor_inbox.messages.popleft())


def open_log() -> EndsLog:
    """The log of a group that has not ended."""
    return EndsLog(lambda index, end: None, keep=True)  # type: ignore[arg-type,return-value]  # noqa: ARG005


def emission(world: World, **fields: Any) -> Emission:
    """Where an execution comes from; by default a root's."""
    del world
    basics: dict[str, Any] = {
        "process": Process("p"),
        "depth": 0,
        "priority": 0,
        "variables": contextvars.copy_context(),
        "entries": {},
    }
    return Emission(**{**basics, **fields})


def action(function: Callable[..., Any] | None = None, **options: Any) -> Action:
    """A registered action."""
    registry = ActionRegistry()
    registry.register("t:t", **options)(function or (lambda value=None: value))
    return registry.get("t:t")
