"""Finds what an action has bound before the patches were there, and refuses it by name.

A lock in an action's globals or closure, or a ``from time import sleep`` above it, is the real
thing where its module was imported before `runtime.simulation`. In a simulation it would block the
whole thread, or read the real clock. What is looked at: the function, what it closes over, the
globals that its code names, and, inside the application's own modules, what these consist of.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import datetime as dt
import functools
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any
from weakref import WeakSet

from orchestrator.registry import Action
from runtime.simulation.errors import RealTimeWarning, UncontrolledError
from runtime.simulation.patches.install import REAL

__all__ = ["Refusals", "find_real_times", "find_uncontrolled"]

_MOST = 2_000  # objects that are looked at for one action; enough for any, and a bound for all
_ITEMS = 50  # of one container
_OWN = ("actors", "orchestrator", "runtime")
_CLOCK_METHODS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (dt.datetime, ("now", "today", "utcnow")),
    (dt.date, ("today",)),
)

_WAY_OUT = (
    "import runtime.simulation, or load its pytest plugin, before the module that binds it; or"
    " write the module's name in the call, as in time.sleep(1)"
)


class Refusals:
    """Checks each action once."""

    def __init__(self) -> None:
        self._fit: WeakSet[Action] = WeakSet()

    def check(self, action: Action) -> None:
        """Look at an action that is about to run; `RealTimeWarning` tells of a doubtful one.

        Raises:
            UncontrolledError: it reaches something that a simulation can't control.
        """
        if action in self._fit:
            return
        found = find_uncontrolled(action.function)
        if found is not None:
            path, what = found
            message = (
                f"action {action.name!r} can't be simulated: {path} is {what}, bound before"
                f" runtime.simulation could replace it; {_WAY_OUT}"
            )
            raise UncontrolledError(message)
        self._fit.add(action)
        for what in find_real_times(action.function):
            message = (
                f"action {action.name!r}: {what}, which reads the real clock in a simulation too;"
                " if that matters, make it of time.time(), as in"
                " datetime.fromtimestamp(time.time(), tz)"
            )
            warnings.warn(message, RealTimeWarning, stacklevel=2)


def find_uncontrolled(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Where *function* reaches something real, and what it is; ``None`` if it does not."""
    found = ((path, _real(value)) for path, value in _reached(function))
    return next(((path, what) for path, what in found if what is not None), None)


def find_real_times(function: Callable[..., Any]) -> list[str]:
    """Where *function* seems to read the real time in a way that nothing can replace."""
    return [
        f"{path} names {' and '.join(found)}"
        for path, value in _reached(function)
        if isinstance(value, types.FunctionType) and (found := _real_times(value))
    ]


def _real_times(function: types.FunctionType) -> list[str]:
    """``datetime.now`` and its like: methods of C classes, which can't be exchanged."""
    names = set(_names(function.__code__))
    known = {id(function.__globals__.get(name)) for name in names}
    whole_module = id(dt) in known
    return [
        f"{kind.__name__}.{method}"
        for kind, methods in _CLOCK_METHODS
        if id(kind) in known or (whole_module and kind.__name__ in names)
        for method in methods
        if method in names
    ]


def _reached(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """*function*, and what it consists of, each with its name."""
    seen: set[int] = set()
    kept: list[Any] = []  # what was made on the way: an id must not be used twice
    left: list[tuple[str, Any]] = [(_name_of(function), function)]
    while left and len(seen) < _MOST:
        path, value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kept.append(value)
        yield path, value
        left.extend(_parts(path, value))


def _real(value: Any) -> str | None:
    """What a value is, if a simulation can't control it."""
    named = _REAL_VALUES.get(id(value))
    if named is not None:
        return f"the real {named}"
    kind = type(value)
    for real, name in _REAL_KINDS:
        if issubclass(kind, real):
            return f"a real {name}"
    if isinstance(value, concurrent.futures.ThreadPoolExecutor) and getattr(
        value, "_threads", None
    ):
        return "an executor whose threads have been started outside this simulation"
    return None


# By identity: what can't be hashed or compared may stand in anyone's globals.
_SELDOM_WRONG = {("os", "getpid"), ("sys", "_current_frames"), ("actors.system.parking", "_local")}
_REAL_VALUES = {
    id(value): f"{module}.{name}".replace("threading._CRLock", "threading.RLock").replace(
        "threading._allocate_lock", "threading.Lock"
    )
    for (module, name), value in reversed(REAL.items())  # the public names come first there
    if (module, name) not in _SELDOM_WRONG and callable(value) and module not in _OWN
}
_REAL_KINDS: tuple[tuple[type, str], ...] = (
    (_thread.LockType, "threading.Lock"),
    (_thread.RLock, "threading.RLock"),
    (_thread._local, "threading.local"),  # noqa: SLF001 - the class behind it
    (REAL["queue", "SimpleQueue"], "queue.SimpleQueue"),
)


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What *value* consists of, or reaches, as far as it is the application's own."""
    match value:
        case types.FunctionType():
            yield from _parts_of_function(path, value)
        case types.MethodType():
            yield f"{path}.__self__", value.__self__
            yield path, value.__func__
        case functools.partial():
            yield path, value.func
            yield from ((f"{path}.args[{n}]", each) for n, each in enumerate(value.args))
            yield from ((f"{path}.{name}", each) for name, each in value.keywords.items())
        case list() | tuple() | set() | frozenset() | dict():
            yield from _items(path, value)
        case type():
            if _is_application(value.__module__):
                yield from ((f"{path}.{name}", each) for name, each in vars(value).items())
        case staticmethod() | classmethod():
            yield path, value.__func__
        case property():
            yield path, value.fget
        case types.ModuleType():
            return
        case _:
            yield from _parts_of_object(path, value)


def _parts_of_function(path: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    if not _is_application(function.__module__):
        return
    names = set(_names(function.__code__))
    module = function.__module__
    for name in sorted(names):
        if name not in function.__globals__:
            continue
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            if _is_application(value.__name__):
                attributes = vars(value)
                yield from (
                    (f"{value.__name__}.{each}", attributes[each])
                    for each in sorted(names & attributes.keys())
                )
        else:
            yield f"{module}.{name}", value
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{name} in the closure of {path}", cell.cell_contents
        except ValueError:  # not bound yet
            continue
    yield from ((f"a default of {path}", each) for each in function.__defaults__ or ())
    yield from ((f"{name}= of {path}", v) for name, v in (function.__kwdefaults__ or {}).items())
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        yield path, wrapped


def _names(code: types.CodeType) -> Iterator[str]:
    """The names that a function's code uses, those of the functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _items(path: str, container: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(container, Mapping):
        yield from ((f"{path}[{key!r:.40}]", v) for key, v in islice(container.items(), _ITEMS))
    else:
        yield from ((f"{path}[{n}]", v) for n, v in enumerate(islice(container, _ITEMS)))


def _parts_of_object(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if not (_is_application(kind.__module__) or kind.__module__ in {"threading", "queue"}):
        return
    yield path, kind
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield from ((f"{path}.{name}", each) for name, each in list(attributes.items()))
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            descriptor = base.__dict__.get(name)
            if isinstance(descriptor, types.MemberDescriptorType):
                try:
                    yield f"{path}.{name}", descriptor.__get__(value)
                except AttributeError:  # not set
                    continue


@functools.cache
def _is_application(module: str | None) -> bool:
    """Whether a module is neither the standard library's, nor ours, nor installed."""
    if not isinstance(module, str):
        return False
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in _OWN:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _name_of(function: Any) -> str:
    module = getattr(function, "__module__", None) or "?"
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{module}.{name}"
