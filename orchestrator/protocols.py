"""What this package needs of the world below it, as protocols: futures and runtimes.

`Runtime` is the seed's four methods; any object that has them carries the seed's API. What else
an orchestrator can use of a runtime is in `FullRuntime`; where a plain `Runtime` is given,
`orchestrator.adapting` makes one of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from attrs import frozen

from orchestrator.texts import fields_repr
from orchestrator.values import Execution, GroupPolicy, GroupResult

__all__ = ["ChildSource", "EndsReader", "FullRuntime", "Future", "Runtime", "Subject"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Future(Protocol[T_co]):
    """Pykka's interface of a future; one with `add_done_callback` costs no thread to wait for."""

    def get(self, *, timeout: float | None = None) -> T_co:
        """Wait *timeout* seconds for the value, or raise `pykka.Timeout`."""
        ...


class Runtime(Protocol):
    """The seed's four methods. Every wait is a `Future`."""

    def emit_executions(
        self, parent: Execution, children: Sequence[Execution], policy: GroupPolicy
    ) -> Future[str]:
        """Queue *children* as one group of *parent*; the group's id."""
        ...

    def wait_for_unblock(self, execution_id: str) -> Future[Execution]:
        """The execution once none of its groups is open, their outputs merged into its output."""
        ...

    def await_group(self, group_id: str) -> Future[GroupResult]:
        """What the group came to; resolves for a failed group too."""
        ...

    def schedule_execution(self, execution: Execution) -> Future[Execution]:
        """Run one execution outside any group; its last snapshot, of a failed one too."""
        ...


@frozen
class Subject:
    """What a wait is for: the wording of its timeout and the edge in the graph of waits."""

    kind: str  # "group", "execution", "resume", "ends"
    id: str

    __repr__ = fields_repr

    def __str__(self) -> str:
        match self.kind:
            case "resume":
                return f"the groups of execution {self.id!r}"
            case "ends":
                return f"the next end in group {self.id!r}"
            case _:
                return f"{self.kind} {self.id!r}"


class ChildSource(Protocol):
    """Children drawn one by one, as `max_in_flight` has room for them."""

    iterator: Iterator[Any] | AsyncIterator[Any]
    in_task: bool  # draw in a task of the emitting loop, not on a thread

    def child(self, index: int, item: Any) -> Execution:
        """Make the child of the *index*-th item; raises what is wrong with it."""
        ...


class EndsReader(Protocol):
    """One reader of a group's ends, from the first one on."""

    def next(self) -> Future[list[Execution] | None]:
        """The ends since the last call, in their order, one or more; ``None`` after the last."""
        ...

    def close(self) -> None:
        """Leave early; what this reader has not read is not consumed."""
        ...


class FullRuntime(Runtime, Protocol):
    """All that an orchestrator uses of a runtime that offers everything."""

    def emit_lazily(
        self, parent: Execution, source: ChildSource, policy: GroupPolicy
    ) -> Future[str]:
        """Open a group and draw its children from *source* as there is room."""
        ...

    def read_ends(self, group_id: str) -> EndsReader:
        """A new reader of the group's ends."""
        ...

    def consume(self, group_id: str) -> None:
        """The current execution's own code has been given the group's decision."""
        ...

    def cancel_group(self, group_id: str, reason: str) -> None:
        """Decide the group as cancelled."""
        ...

    def cancel(self, execution_id: str, reason: str) -> None:
        """Cancel one execution and everything below it."""
        ...

    def release_group(self, group_id: str) -> None:
        """Forget a decided group."""
        ...

    def now(self) -> float:
        """Monotonic seconds of the runtime's clock."""
        ...

    def wait(self, future: Future[T], timeout: float | None, subject: Subject) -> T:
        """Block this thread for *future*; `AwaitTimeoutError` after *timeout* seconds."""
        ...

    async def wait_async(self, future: Future[T], timeout: float | None, subject: Subject) -> T:
        """The same in a task."""
        ...

    def call(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        """Run one child outside any group and block for it; its output, or its last snapshot."""
        ...

    async def call_async(self, child: Execution, timeout: float | None) -> Execution | tuple[Any]:
        """The same in a task."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds* of the runtime's clock; a cancel ends it."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """The same in a task."""
        ...

    def blocking(self) -> AbstractContextManager[None]:
        """Give this thread's worker to others while the caller waits for something of its own."""
        ...
