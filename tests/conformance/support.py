"""What every conformance test shares: gates to meet at, small actions, and the places code runs.

A test waits for things with a `Gate`, a future or an execution's end, never with a sleep; `LIMIT`
is how long it waits for what must happen before it fails, `FOREVER` what a child sleeps that only a
cancel can end, and `SOON` a timeout that is meant to pass.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from orchestrator import ActionRegistry, AsyncOrchestrator, Execution, Orchestrator

LIMIT = 30.0
FOREVER = 3600.0
SOON = 0.02

T = TypeVar("T")
Body = Callable[[Any], Awaitable[T]]


class Boom(Exception):  # noqa: N818 - what failing children raise; compared by its text
    """What failing children raise."""


class Gate:
    """Closed, then open for good. Threads `wait`, tasks ``await``; both may be anywhere."""

    def __init__(self) -> None:
        self._opened: Future[None] = Future()
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            if not self._opened.done():
                self._opened.set_result(None)

    @property
    def is_open(self) -> bool:
        return self._opened.done()

    def wait(self) -> None:
        try:
            self._opened.result(LIMIT)
        except TimeoutError:
            raise AssertionError("nobody opened the gate") from None

    def __await__(self) -> Generator[Any, None, None]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.wait()
            return
        waiter = asyncio.shield(asyncio.wrap_future(self._opened))
        yield from asyncio.wait_for(waiter, LIMIT).__await__()


class Meter:
    """Counts how many are inside it at once: ``with meter:``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = self.highest = self.total = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.total += 1
            self.highest = max(self.highest, self.inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1


def child(action: str, given: Any = None, **fields: Any) -> Execution:
    """An execution to emit or call."""
    return Execution.ad_hoc(action, given, **fields)


def children(action: str, inputs: Any, **fields: Any) -> list[Execution]:
    """One execution for each of *inputs*."""
    return [Execution.ad_hoc(action, given, **fields) for given in inputs]


def here() -> Orchestrator:
    """The running blocking action's orchestrator."""
    orchestrator = Orchestrator.from_context()
    assert orchestrator is not None
    return orchestrator


def here_async() -> AsyncOrchestrator:
    """The running async action's orchestrator."""
    orchestrator = AsyncOrchestrator.from_context()
    assert orchestrator is not None
    return orchestrator


def standard_actions() -> ActionRegistry:  # noqa: C901 - a list of small functions
    """The actions that most tests emit; blocking and ``async`` twins of each."""
    actions = ActionRegistry()

    @actions.register("t:echo")
    def echo(value: Any = None) -> Any:
        return value

    @actions.register("t:echo_async")
    async def echo_async(value: Any = None) -> Any:
        return value

    @actions.register("t:fail")
    def fail(text: str = "boom") -> None:
        raise Boom(text)

    @actions.register("t:fail_async")
    async def fail_async(text: str = "boom") -> None:
        raise Boom(text)

    @actions.register("t:forever")
    def forever(started: Gate | None = None) -> None:
        if started is not None:
            started.open()
        here().sleep(FOREVER)

    @actions.register("t:forever_async")
    async def forever_async(started: Gate | None = None) -> None:
        if started is not None:
            started.open()
        await here_async().sleep(FOREVER)

    @actions.register("t:gated")
    def gated(gate: Gate, value: Any = None, error: Exception | None = None) -> Any:
        with here().blocking():
            gate.wait()
        if error is not None:
            raise error
        return value

    @actions.register("t:gated_async")
    async def gated_async(gate: Gate, value: Any = None, error: Exception | None = None) -> Any:
        await gate
        if error is not None:
            raise error
        return value

    return actions


class BlockingFace:
    """An `Orchestrator` with awaitable methods, so that one test body runs on both faces."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.plain = orchestrator

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self.plain, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call

    def as_completed(self, *args: Any, **kwargs: Any) -> AsyncIterator[Execution]:
        return _Awaited(self.plain.as_completed(*args, **kwargs))


class _Awaited(AsyncIterator[Execution]):
    def __init__(self, iterator: Iterator[Execution]) -> None:
        self._iterator = iterator

    async def __anext__(self) -> Execution:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._iterator.close()  # type: ignore[attr-defined]


def drive(body: Awaitable[T]) -> T:
    """Run a coroutine that never suspends: one over a `BlockingFace`."""
    steps = body.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise AssertionError("a blocking body suspended")


PLACES = ("blocking scope", "async scope", "blocking action", "async action")


def run_in(place: str, runtime: Any, body: Body[T], **options: Any) -> T:
    """Run ``await body(orchestrator)`` in an execution of *runtime*, with its outcome."""
    outcome: list[T] = []

    async def async_action() -> None:
        outcome.append(await body(here_async()))

    def blocking_action() -> None:
        outcome.append(drive(body(BlockingFace(here()))))

    async def async_scope() -> None:
        async with runtime.execution(**options) as orchestrator:
            outcome.append(await body(orchestrator))

    match place:
        case "blocking scope":
            with runtime.execution(**options) as orchestrator:
                outcome.append(drive(body(BlockingFace(orchestrator))))
        case "async scope":
            asyncio.run(async_scope())
        case "blocking action":
            runtime.run(blocking_action, **options)
        case "async action":
            runtime.run(async_action, **options)
    return outcome[0]


async def ends_of(orchestrator: Any, group: str) -> list[Execution]:
    """Every end of a group, in order, without the error that follows the last."""
    ends: list[Execution] = []
    try:
        async for end in orchestrator.as_completed(group, LIMIT):
            ends.append(end)  # noqa: PERF401 - what came before the error counts
    except Exception:  # noqa: BLE001 - the group's own; the tests of as_completed look at it
        pass
    return ends


def quiet(stats: Any) -> bool:
    """Whether nothing of a runtime is under way."""
    return (stats.pending, stats.running, stats.waiting, stats.cancelling) == (0, 0, 0, 0)


class Running(Future[T]):
    """What a thread of a test's own comes to: ``.result(LIMIT)``, or awaited."""

    def __await__(self) -> Generator[Any, None, T]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.result(LIMIT)
        return (yield from asyncio.wait_for(asyncio.wrap_future(self), LIMIT).__await__())


def in_thread(function: Callable[[], T]) -> Running[T]:
    """Run *function* on a daemon thread of its own."""
    future: Running[T] = Running()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is the answer
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
