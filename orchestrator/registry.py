"""The actions that can be run, by name, and the limits that each was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from attrs import field, frozen

from orchestrator.binding import Binder
from orchestrator.checks import at_least, checked_timeout
from orchestrator.errors import UnknownActionError
from orchestrator.texts import excerpt, fields_repr, function_name
from orchestrator.values import Rate, Retry, RunsIn

__all__ = ["Action", "ActionRegistry"]

F = TypeVar("F", bound=Callable[..., Any])


@frozen(eq=False)
class Action:
    """One registered function and how it is to be run."""

    name: str
    function: Callable[..., Any] = field(repr=False)
    binder: Binder = field(repr=False)
    is_async: bool
    runs_in: RunsIn = "thread"
    max_concurrency: int | None = None
    rate_limit: Rate | None = None
    retry: Retry | None = None
    timeout: float | None = None  # seconds, each attempt
    is_plain: bool = field(init=False, repr=False)

    @is_plain.default
    def _asks_for_a_worker_alone(self) -> bool:
        """Of its executions, unless they have a timeout of their own."""
        return (
            self.timeout is None
            and self.max_concurrency is None
            and self.rate_limit is None
            and self.runs_in == "thread"
        )

    __repr__ = fields_repr

    @classmethod
    def of(cls, function: Callable[..., Any], name: str, **options: Any) -> Action:
        """Look at *function* once, so that running it is cheap.

        Raises:
            TypeError: *function* is no callable, or an async generator.
        """
        if not callable(function):
            message = f"an action must be callable, not {excerpt(function)}"
            raise TypeError(message)
        called = getattr(function, "func", function)
        if not inspect.isroutine(called) and not inspect.isclass(called):
            called = type(called).__call__
        if inspect.isasyncgenfunction(called):
            message = (
                f"{function_name(function)} is an async generator; an action returns one value:"
                " make it `async def` with a return, or emit its items"
            )
            raise TypeError(message)
        return cls(
            name=name,
            function=function,
            binder=Binder(function, name),
            is_async=inspect.iscoroutinefunction(called),
            **options,
        )


class ActionRegistry:
    """Named actions, shared by any number of runtimes of every kind; safe from any thread."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}

    @overload
    def register(self, name: F, /) -> F: ...

    @overload
    def register(
        self,
        name: str | None = None,
        *,
        max_concurrency: int | None = None,
        rate_limit: Rate | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        runs_in: RunsIn = "thread",
    ) -> Callable[[F], F]: ...

    def register(
        self,
        name: Any = None,
        *,
        max_concurrency: int | None = None,
        rate_limit: Rate | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        runs_in: RunsIn = "thread",
    ) -> Any:
        """Register the decorated function, ordinary or ``async def``, and return it unchanged.

        Args:
            name: ``"service:method"``; by default the function's module and qualified name.
            max_concurrency: At most so many run their code at once, in each runtime.
            rate_limit: At most so many starts in any window, in each runtime.
            retry: How often to attempt it; by default once.
            timeout: Seconds for each attempt; a task's or an execution's own comes first.
            runs_in: ``"thread"``, or ``"process"`` for CPU-bound functions whose input and output
                pickle. ``async def`` functions run on an event loop.

        Raises:
            ValueError: the name is taken, or an option is out of range.
            TypeError: an option of the wrong type, or a function that can't be an action.
        """
        if callable(name) and not isinstance(name, str):
            return self.register()(name)
        if name is not None and not isinstance(name, str):
            message = f"an action's name must be a string, not {excerpt(name)}"
            raise TypeError(message)
        if name == "":
            message = "an action's name must not be empty; write 'service:method'"
            raise ValueError(message)
        if max_concurrency is not None:
            at_least(1, max_concurrency, "max_concurrency")
        if rate_limit is not None and not isinstance(rate_limit, Rate):
            message = f"rate_limit must be a Rate or None, not {excerpt(rate_limit)}"
            raise TypeError(message)
        if retry is not None and not isinstance(retry, Retry):
            message = f"retry must be a Retry or None, not {excerpt(retry)}"
            raise TypeError(message)
        if runs_in not in ("thread", "process"):
            message = f"runs_in must be 'thread' or 'process'; got {excerpt(runs_in)}"
            raise ValueError(message)

        def decorate(function: F) -> F:
            action = Action.of(
                function,
                name or function_name(function),
                runs_in=runs_in,
                max_concurrency=max_concurrency,
                rate_limit=rate_limit,
                retry=retry,
                timeout=checked_timeout(timeout),
            )
            self._add(action)
            return function

        return decorate

    def _add(self, action: Action) -> None:
        if action.runs_in == "process" and (action.is_async or action.binder.wants_context):
            what = "is async" if action.is_async else "takes an ExecutionContext"
            message = (
                f"action {action.name!r} {what}, which a process can't have: there is no loop and"
                " no context in it; register a plain function with runs_in='process'"
            )
            raise TypeError(message)
        if self._actions.setdefault(action.name, action) is not action:
            message = (
                f"an action named {action.name!r} is registered already"
                f" ({function_name(self._actions[action.name].function)}); choose another name"
            )
            raise ValueError(message)

    def get(self, name: str) -> Action:
        """The action of that name.

        Raises:
            UnknownActionError: there is none; it names the nearest ones.
        """
        try:
            return self._actions[name]
        except (KeyError, TypeError):
            import difflib  # noqa: PLC0415 - a tenth of this package's import time

            nearest = difflib.get_close_matches(str(name), self._actions, n=3)
            raise UnknownActionError(name, tuple(nearest)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._actions

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._actions))

    def __len__(self) -> int:
        return len(self._actions)

    def __repr__(self) -> str:
        return f"<ActionRegistry of {len(self)} actions>"
