"""A local runtime of which a simulation writes down what happens in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import proxy

from actors.attempt import Attempt
from actors.messages import AttemptEnded
from actors.run import Run
from actors.stats import Stats
from orchestrator.errors import AwaitTimeoutError, Cancelled, DeadlockError
from orchestrator.protocols import Subject
from orchestrator.registry import Action
from orchestrator.values import Execution, GroupResult
from runtime import observing
from runtime.invariants import InvariantChecker
from runtime.local import LocalRuntime
from runtime.loops import Loops
from runtime.machinery import Machinery
from runtime.observing import Fact, Observer
from runtime.places import Places
from runtime.simulation.errors import UncontrolledError
from runtime.simulation.faults import FaultInjector
from runtime.simulation.leaves import WatchedLeaves
from runtime.simulation.refusal import Refusals
from runtime.waits import current_attempt

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["WatchedPlaces", "WatchedRuntime"]


_INTERRUPTIONS = (Cancelled, asyncio.CancelledError)


class WatchedPlaces(Places):
    """Notes when an attempt's code begins and ends, and on which task."""

    observer: Observer
    world: World
    injector: FaultInjector | None = None
    refusals = Refusals()  # of this process: an action that is fit stays so
    _fit: Action | None = None  # the last one

    _leaves: WatchedLeaves

    def watch(self, observer: Observer, world: World) -> None:
        """Tell *observer* what happens here."""
        self.observer = self._leaves.observer = observer
        self.world = self._leaves.world = world

    def let_go(self) -> None:
        """Nothing starts here any more."""
        for part in (self, self._leaves):
            vars(part).pop("_blocking", None)  # the runtime's method
        vars(self).pop("_loops", None)  # which know methods of this

    def _make_leaves(self) -> WatchedLeaves:
        return WatchedLeaves(self._clock, self._dispatcher, self._blocking)

    def start(self, attempt: Attempt) -> None:
        """As `Places.start`; what can't be controlled ends the simulation."""
        attempt.action = self._prepared(attempt.action)
        super().start(attempt)

    def start_run(self, run: Run) -> None:
        """As `Places.start_run`."""
        run.batch.action = self._prepared(run.batch.action)
        self._leaves.watch(run)
        if run.ledger is not None:
            self.world.pause()  # what its caller has seen of the allocator may not be so any more
        super().start_run(run)

    def _prepared(self, action: Action) -> Action:
        if action is not self._fit:  # mostly it is, as runs of one batch follow each other
            try:
                self.refusals.check(action)
                self._fit = action
            except UncontrolledError as error:
                self.world.fail(error)
        return action if self.injector is None else self.injector.prepare(action)

    def _note_start(self, attempt: Attempt) -> None:
        deadline = attempt.context.deadline
        if attempt.timeout is not None:
            own = self.world.now + attempt.timeout
            deadline = own if deadline is None else min(own, deadline)
        self.observer.note(
            observing.STARTED,
            attempt.execution_id,
            attempt.number,
            self.world.current.name,
            attempt.action,
            deadline,
            attempt.is_async,
        )
        super()._note_start(attempt)  # which tells others, so they may come first

    def _invoke(self, attempt: Attempt) -> AttemptEnded:
        raised: BaseException | None = None
        try:
            ended = super()._invoke(attempt)
            raised = ended.raised
        finally:
            self._note_return(attempt, raised)
        return ended

    async def _invoke_async(self, attempt: Attempt) -> AttemptEnded:
        raised: BaseException | None = None
        try:
            return await super()._invoke_async(attempt)
        except BaseException as error:
            raised = error
            raise
        finally:
            self._note_return(attempt, raised)

    def abandon(self, attempt: Attempt) -> None:
        """As `Places.abandon`."""
        self._note_return(attempt, Cancelled())
        super().abandon(attempt)

    def _note_return(self, attempt: Attempt, raised: BaseException | None) -> None:
        self.observer.note(
            observing.RETURNED,
            attempt.execution_id,
            attempt.number,
            self.world.current.name,
            isinstance(raised, _INTERRUPTIONS),
        )


class WatchedRuntime(LocalRuntime):
    """Tells an `Observer` of all that happens; call `watch` before the runtime is made."""

    _observer: Observer

    def watch(self, world: World) -> Observer:
        """Write down what happens from now on into the world's facts."""
        self._watched_world = world
        world.runtimes += 1
        self._number = world.runtimes
        self._observer = Observer(world.facts, world, self._number)
        self._tokens = 0
        self._open_waits: dict[_Waiting, None] = {}
        return self._observer

    def inject(self, injector: FaultInjector) -> None:
        """Let actions fail; before any has started."""
        assert isinstance(self._places, WatchedPlaces)  # noqa: S101 - made below
        self._places.injector = injector

    def check_messages(self) -> None:
        """Check what the world's facts show, from the beginning on; no change is published for it.

        `check_invariants` checks what is published too.
        """
        self._checker = self._make_checker()

    def _make_checker(self) -> InvariantChecker:
        facts, number = self._watched_world.facts, self._number
        seen = 0

        def more() -> list[Fact]:
            nonlocal seen
            fresh = [fact for fact in islice(facts, seen, None) if fact[3] == number]
            seen = len(facts)
            return fresh

        return InvariantChecker(workers=self._workers, more=more)

    def _make_places(self, machinery: Machinery, loops: Loops) -> Places:
        places = WatchedPlaces(
            machinery.clock, machinery.dispatcher, loops, machinery.processes, self.wait_as_worker
        )
        places.watch(self._observer, self._watched_world)
        return places

    def wait(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """As `RuntimePort.wait`."""
        with self._waiting(future, timeout, subject) as waiting:
            waiting.value = super().wait(future, timeout, subject)
        return waiting.value

    async def wait_async(self, future: Any, timeout: float | None, subject: Subject) -> Any:
        """As `RuntimePort.wait_async`."""
        with self._waiting(future, timeout, subject) as waiting:
            waiting.loop = asyncio.get_running_loop()
            waiting.value = await super().wait_async(future, timeout, subject)
        return waiting.value

    def call(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        """As `RuntimePort.call`."""
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.on_own_thread() or timeout == 0:
            return super().call(child, timeout)  # which waits as others do
        with self._waiting(None, timeout, Subject("execution", child.id)) as waiting:
            waiting.value = super().call(child, timeout)
        return waiting.value  # type: ignore[no-any-return]

    async def call_async(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        """As `RuntimePort.call_async`."""
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.in_own_task() or timeout == 0:
            return await super().call_async(child, timeout)
        with self._waiting(None, timeout, Subject("execution", child.id)) as waiting:
            waiting.loop = asyncio.get_running_loop()
            waiting.value = await super().call_async(child, timeout)
        return waiting.value  # type: ignore[no-any-return]

    def _end_check(self, stats: Stats | None) -> None:
        for waiting in tuple(self._open_waits):
            if waiting.may_be_open():
                waiting.note_end(observing.INTERRUPTED)
        try:
            super()._end_check(stats)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Nothing runs any more: cut what refers back to this runtime, so that a count frees it.

        The collector would take a tenth of a run's time for the cycles.
        """
        self._environment.runtime = proxy(self)
        assert isinstance(self._places, WatchedPlaces)  # noqa: S101 - made above
        self._places.let_go()

    def sleep(self, seconds: float) -> None:
        """As `RuntimePort.sleep`."""
        with self._waiting(None, seconds, None):
            super().sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """As `RuntimePort.sleep_async`."""
        with self._waiting(None, seconds, None):
            await super().sleep_async(seconds)

    def wait_as_worker(self) -> AbstractContextManager[None]:
        """As `RuntimePort.wait_as_worker`."""
        inner = super().wait_as_worker()
        attempt = current_attempt(self._environment)
        if attempt is None or not attempt.on_own_thread():
            return inner
        return self._aside(inner, attempt)

    @contextmanager
    def _aside(self, inner: AbstractContextManager[None], attempt: Attempt) -> Iterator[None]:
        self._observer.note(observing.STOOD_ASIDE, attempt.execution_id)
        try:
            with inner:
                yield
        finally:
            self._observer.note(observing.CAME_BACK, attempt.execution_id, attempt.cancelled)

    def _waiting(self, future: Any, timeout: float | None, subject: Subject | None) -> _Waiting:
        attempt = current_attempt(self._environment)
        who = self._watched_world.current.name if attempt is None else attempt.execution_id
        token = observing.AT_ONCE
        if future is None or not future.done():
            self._tokens = token = self._tokens + 1
            frees = attempt is not None and (attempt.on_own_thread() or attempt.in_own_task())
            self._observer.note(observing.WAITS, token, who, subject, timeout, frees)
        return _Waiting(self._observer, token, who, subject, future, self._open_waits)


class _Waiting:
    """One wait, from its begin to its end."""

    __slots__ = ("_future", "_observer", "_open", "_subject", "_token", "_who", "loop", "value")

    def __init__(
        self,
        observer: Observer,
        token: int,
        who: str,
        subject: Subject | None,
        future: Any,
        waits: dict[_Waiting, None],
    ) -> None:
        self._observer = observer
        self._token = token
        self._who = who
        self._subject = subject
        self._future = future
        self._open = waits
        self.loop: asyncio.AbstractEventLoop | None = None  # of a wait in a task
        self.value: Any = None  # set by whoever gets it

    def may_be_open(self) -> bool:
        """Whether nobody is to blame that it has not returned when its runtime has closed.

        It has its answer and was not run since, or it was lost with its loop, or it is a sleep.
        """
        future, loop = self._future, self.loop
        if loop is not None and loop.is_closed():
            return True
        return self._subject is None if future is None else bool(future.done())

    def note_end(self, outcome: str, value: Any = None) -> None:
        """Write down that it is over."""
        self._observer.note(observing.WAITED, self._token, self._who, self._subject, outcome, value)

    def __enter__(self) -> Self:
        if self._token != observing.AT_ONCE:
            self._open[self] = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        subject, value = self._subject, self.value
        outcome = observing.ANSWERED
        if isinstance(raised, AwaitTimeoutError):
            outcome = observing.EXPIRED
        elif isinstance(raised, DeadlockError):
            outcome = observing.HOPELESS
        elif isinstance(raised, _INTERRUPTIONS):
            outcome = observing.INTERRUPTED
        if subject is not None and isinstance(value, GroupResult):
            self._observer.saw_result(subject.id, value)  # an empty group tells nobody else so soon
        self._open.pop(self, None)
        self.note_end(outcome, value)
