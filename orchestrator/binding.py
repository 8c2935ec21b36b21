"""How an execution's input becomes the arguments of its action.

A mapping becomes keyword arguments, ``None`` no argument, anything else one positional argument.
A parameter annotated `ExecutionContext` is given the context; one annotated with an attrs or
dataclass class is structured from a mapping by cattrs.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from orchestrator.context import ExecutionContext
from orchestrator.errors import InvalidInputError
from orchestrator.texts import excerpt, function_name

__all__ = ["Binder"]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_PLACE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)


class Binder:
    """Binds inputs to one function's parameters; immutable, made once per action."""

    def __init__(self, function: Callable[..., Any], action: str) -> None:
        self.action = action
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            # A builtin that tells no signature: whatever comes is passed on.
            self._signature = inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )
            if not callable(function):
                message = f"an action must be callable, not {excerpt(function)}"
                raise TypeError(message) from error
        annotations = _annotations(function)
        self._context_name: str | None = None
        self._structured: dict[str, Any] = {}
        names: list[inspect.Parameter] = []
        for parameter in self._signature.parameters.values():
            annotation = annotations.get(parameter.name, parameter.annotation)
            if _is_context(annotation):
                if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                    message = (
                        f"{function_name(function)}: the ExecutionContext parameter"
                        f" {parameter.name!r} must not be positional-only"
                    )
                    raise TypeError(message)
                self._context_name = parameter.name
                continue
            names.append(parameter)
            kind = _record_class(annotation)
            if kind is not None:
                self._structured[parameter.name] = annotation
        self._free = self._signature.replace(parameters=names)
        self._simple = all(parameter.kind in _BY_NAME for parameter in names)
        self._allowed = frozenset(parameter.name for parameter in names)
        self._required = frozenset(
            parameter.name for parameter in names if parameter.default is parameter.empty
        )
        self._placed = frozenset(  # a mapping can't give these, whatever inspect makes of it
            parameter.name
            for parameter in names
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in self._required
        )
        self._first = names[0].name if names and names[0].kind in _BY_PLACE else None
        self._one_fits = self._first is not None and self._required <= {self._first}
        self._plain = self._context_name is None and not self._structured

    @property
    def wants_context(self) -> bool:
        """Whether a parameter is annotated `ExecutionContext`."""
        return self._context_name is not None

    def check(self, given: Any) -> None:
        """Refuse input that the signature can't bind; runs no user code.

        Raises:
            InvalidInputError: naming the action, the parameter, what was expected and what came.
        """
        if self._simple:
            if given is None:
                if not self._required:
                    return
            elif self._one_fits and given.__class__ in _NO_MAPPINGS:
                return
            elif _is_mapping(given):
                keys = given.keys()
                if self._required <= keys <= self._allowed:
                    return
            elif self._one_fits:
                return
        args, kwargs = self._spread(given)
        if self._placed and not args:
            raise self._misfit(given, f"{sorted(self._placed)} can only be given by position")
        try:
            self._free.bind(*args, **kwargs)
        except TypeError as error:
            raise self._misfit(given, str(error)) from None

    def check_each(self, inputs: Iterable[Any]) -> None:
        """`check` each of *inputs*, which are mostly alike."""
        if self._simple and self._one_fits:
            for given in inputs:
                if given.__class__ not in _NO_MAPPINGS:
                    self.check(given)
        else:
            for given in inputs:
                self.check(given)

    def direct(self, given: Any) -> bool:
        """Whether the call is ``function(given)`` and nothing more."""
        return self._plain and given.__class__ in _NO_MAPPINGS

    def _spread(self, given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if given is None:
            return (), {}
        if not _is_mapping(given):
            return (given,), {}
        if not all(isinstance(key, str) for key in given):
            raise self._misfit(given, "keyword arguments must have string keys")
        if self._context_name in given:
            raise self._misfit(
                given, f"{self._context_name!r} is the context, which the runtime passes"
            )
        return (), dict(given)

    def _misfit(self, given: Any, problem: str) -> InvalidInputError:
        parameter = ""
        if isinstance(given, Mapping):
            lacking = self._required - set(given)
            missing = [name for name in self._free.parameters if name in lacking]
            unknown = [name for name in given if name not in self._allowed]
            parameter = ", ".join(map(str, missing or unknown))
        elif given is None:
            parameter = ", ".join(name for name in self._free.parameters if name in self._required)
        return InvalidInputError(
            problem,
            action=self.action,
            parameter=parameter,
            expected=f"input for {self._free}",
            got=excerpt(given),
        )

    def arguments(
        self, given: Any, context: ExecutionContext | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call, records structured; for input that passed `check`.

        Raises:
            InvalidInputError: a value can't be structured into its parameter's class.
        """
        args, kwargs = self._spread(given)
        if self._plain:
            return args, kwargs
        if self._structured:
            if args and self._first in self._structured:
                args = (self._structure(self._first, args[0]),)
            for name in self._structured.keys() & kwargs.keys():
                kwargs[name] = self._structure(name, kwargs[name])
        if self._context_name is not None:
            if args and self._first is not None:
                # By name, so that the context may stand before it in the signature.
                kwargs[self._first], args = args[0], ()
            kwargs[self._context_name] = context
        return args, kwargs

    def _structure(self, name: str, value: Any) -> Any:
        annotation = self._structured[name]
        kind = _record_class(annotation)
        if value is None or (kind is not None and isinstance(value, kind)):
            return value
        try:
            return _converter().structure(value, annotation)
        except Exception as error:
            raise InvalidInputError(
                "the input can't be structured",
                action=self.action,
                parameter=name,
                expected=getattr(annotation, "__name__", str(annotation)),
                got=f"{excerpt(value)} ({_reasons(error)})",
            ) from error


def _is_mapping(given: Any) -> bool:
    kind = given.__class__  # looked at first: an isinstance of an abstract class is dear
    return kind is dict or (kind not in _NO_MAPPINGS and isinstance(given, Mapping))


_NO_MAPPINGS = frozenset({bool, int, float, str, bytes, list, tuple, set})


def _reasons(error: Exception) -> str:
    if isinstance(error, ExceptionGroup):
        return "; ".join(_reasons(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {excerpt(str(error))}"


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        inner = type(inner).__call__
    try:
        return typing.get_type_hints(inner)
    except Exception:  # noqa: BLE001 - names that exist for type checkers only: read what can be
        hints: dict[str, Any] = {}
        for name, annotation in getattr(inner, "__annotations__", {}).items():
            one = types.SimpleNamespace(__annotations__={name: annotation})
            with contextlib.suppress(Exception):
                hints |= typing.get_type_hints(one, getattr(inner, "__globals__", None))
        return hints


_CONTEXTS = ("ExecutionContext", "ExecutionContext | None", "Optional[ExecutionContext]")


def _is_context(annotation: Any) -> bool:
    """Whether it asks for the context; it may be one that could not be evaluated."""
    if annotation is ExecutionContext:
        return True
    if isinstance(annotation, str) and annotation in _CONTEXTS:
        return True
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return False
    parts = typing.get_args(annotation)
    return len(parts) == 2 and ExecutionContext in parts and types.NoneType in parts  # noqa: PLR2004


def _record_class(annotation: Any) -> type | None:
    """The attrs or dataclass class in *annotation* (``C`` or ``C | None``), or ``None``."""
    parts = typing.get_args(annotation) or (annotation,)
    options = [part for part in parts if part is not type(None)]
    if len(options) != 1 or not isinstance(options[0], type):
        return None
    if typing.get_origin(annotation) not in (None, typing.Union, _UNION):
        return None
    kind = options[0]
    return kind if attrs.has(kind) or hasattr(kind, "__dataclass_fields__") else None


_UNION = type(int | None)


@functools.cache
def _converter() -> Any:
    import cattrs  # noqa: PLC0415 - a third of this package's import time, and not always needed

    return cattrs.Converter(forbid_extra_keys=True)
