"""Faults on request: what goes wrong in an action, drawn like every other choice."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from actors.attempt import Attempt
from orchestrator.context import current_context
from orchestrator.texts import excerpt

if TYPE_CHECKING:
    from orchestrator.registry import Action
    from runtime.simulation.world import World

__all__ = ["Fault", "FaultInjector", "Faults", "InjectedFaultError"]

FOREVER = 31_536_000.0  # virtual seconds: a year


class InjectedFaultError(RuntimeError):
    """What an action raises that a simulation lets fail; retried like any failure of its own."""


class Fault(enum.Enum):
    """What can go wrong in one attempt of an action."""

    RAISES = "raises"  # an `InjectedFaultError`, in place of its code
    HANGS = "hangs"  # it waits until it is cancelled, or for a year
    SLOW = "slow"  # it sleeps before its code runs
    CANCELLED = "cancelled"  # somebody cancels its execution, at any point from now on


def _delays(delays: Any) -> tuple[float, ...]:
    return (1.0, 60.0) if delays is True else tuple(delays or ())


@frozen
class Faults:
    """Which faults a simulated runtime may inject; the schedule says where, and how often.

    In the plain order there are none. A run's story and token tell which there were.

    Args:
        raises: Let attempts raise `InjectedFaultError`.
        hangs: Let attempts wait until they are cancelled.
        slow: Let attempts sleep first: ``True``, or how many virtual seconds, to choose from.
        cancels: Let executions be cancelled, at any point after their code has begun.
        process_deaths: Let processes of ``runs_in="process"`` die in the middle of a call.
        actions: Patterns of the names of actions that it applies to, such as ``"tools:*"``.

    Raises:
        TypeError: *actions* is a single string.
        ValueError: nothing can go wrong with it.
    """

    raises: bool = False
    hangs: bool = False
    slow: bool | Sequence[float] = field(default=False, converter=_delays)
    cancels: bool = False
    process_deaths: bool = False
    actions: Sequence[str] = ("*",)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.actions, str):
            message = f"actions= is a sequence of patterns; write actions=[{self.actions!r}]"
            raise TypeError(message)
        if not (self.kinds or self.process_deaths):
            message = f"{excerpt(self)} lets nothing go wrong; name a fault, such as raises=True"
            raise ValueError(message)

    @classmethod
    def all(cls, *actions: str) -> Faults:
        """Every kind of fault, in all actions or in those that match one of the patterns."""
        return cls(
            raises=True, hangs=True, slow=True, cancels=True, process_deaths=True,
            actions=actions or ("*",),
        )  # fmt: skip

    @property
    def kinds(self) -> tuple[tuple[Fault, float], ...]:
        """What can go wrong in an attempt, and for how long where it is slow."""
        return (
            *(((Fault.RAISES, 0.0),) if self.raises else ()),
            *(((Fault.HANGS, 0.0),) if self.hangs else ()),
            *((Fault.SLOW, seconds) for seconds in self.slow),  # type: ignore[union-attr]
            *(((Fault.CANCELLED, 0.0),) if self.cancels else ()),
        )

    def apply_to(self, action: str) -> bool:
        """Whether one of the patterns matches the action's name."""
        return any(fnmatchcase(action, pattern) for pattern in self.actions)


class FaultInjector:
    """Lets attempts of one runtime fail.

    Args:
        faults: Which may happen.
        world: Decides which do.
        sleep: Waits in the calling thread's execution; a cancel ends it.
        sleep_async: The same in a task.
        cancel: Cancels an execution by its id.
    """

    def __init__(
        self,
        faults: Faults,
        world: World,
        sleep: Callable[[float], None],
        sleep_async: Callable[[float], Any],
        cancel: Callable[[str, str], None],
    ) -> None:
        self._faults = faults
        self._world = world
        self._sleep = sleep
        self._sleep_async = sleep_async
        self._cancel = cancel
        self._kinds = faults.kinds
        self._told = ("none", *(kind.value for kind, _ in self._kinds))
        self._prepared: dict[Action, Action] = {}

    def prepare(self, attempt: Attempt) -> None:
        """See that what the attempt runs may fail; before it starts."""
        action = attempt.action
        if not self._kinds or attempt.is_scope or not self._faults.apply_to(action.name):
            return
        prepared = self._prepared.get(action)
        if prepared is None:
            faulty = self._faulty_async if attempt.is_async else self._faulty
            if action.runs_in == "process":
                faulty = self._faulty_process
            prepared = self._prepared[action] = attrs.evolve(
                action, function=functools.wraps(action.function)(faulty(action))
            )
        attempt.action = prepared

    def _faulty(self, action: Action) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            seconds = self._inject(action)
            if seconds:
                self._sleep(seconds)
            return action.function(*args, **kwargs)

        return run

    def _faulty_async(self, action: Action) -> Callable[..., Any]:
        async def run(*args: Any, **kwargs: Any) -> Any:
            seconds = self._inject(action)
            if seconds:
                await self._sleep_async(seconds)
            return await action.function(*args, **kwargs)

        return run

    def _faulty_process(self, action: Action) -> Callable[..., Any]:
        return action.function  # it is the process that fails: see `SimProcessHost`

    def _inject(self, action: Action) -> float:
        """Let something happen, or nothing; how long the attempt sleeps first."""
        told = self._told
        choice = self._world.decide(f"fault in {action.name}", len(told), told)
        if choice == 0:
            return 0.0
        fault, seconds = self._kinds[choice - 1]
        match fault:
            case Fault.RAISES:
                message = f"the simulation lets {action.name!r} fail here"
                raise InjectedFaultError(message)
            case Fault.HANGS:
                return FOREVER
            case Fault.SLOW:
                return seconds
            case Fault.CANCELLED:
                self._cancel_soon()
                return 0.0

    def _cancel_soon(self) -> None:
        name = current_context().execution.id
        self._world.spawn("canceller", lambda: self._cancel(name, "the simulation cancels it"))
        self._world.pause()  # it may come before the code, too
