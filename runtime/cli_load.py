"""What a command line names, found or refused: the registry, the action and its input.

Everything is checked before anything is started; what is wrong is a `UsageError`.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from orchestrator.errors import InvalidInputError, UnknownActionError
from orchestrator.registry import Action, ActionRegistry
from orchestrator.texts import excerpt
from runtime.cli_streams import described

__all__ = ["UsageError", "find_action", "load_registry", "read_input"]

_SHOWN = 20  # names in one message, at most


class UsageError(Exception):
    """The command line asks for something that can't be run. Nothing was started."""


def load_registry(target: str) -> ActionRegistry:
    """The registry that ``MODULE:REGISTRY`` names, its module imported.

    The working directory is put first among the places where modules are looked for.

    Raises:
        UsageError: it is not written like that, the module can't be found or raises on import,
            or it has no such registry.
    """
    module_name, colon, path = target.partition(":")
    parts = path.split(".")
    if not (colon and module_name and all(part.isidentifier() for part in parts)):
        message = f"{target!r} is not MODULE:REGISTRY, such as examples.index_sources:actions"
        raise UsageError(message)
    with contextlib.suppress(OSError):  # the working directory was removed: it has no modules
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a string is what sys.path holds
    found: Any = _import(module_name)
    for place, part in enumerate(parts):
        try:
            found = getattr(found, part)
        except AttributeError:
            owner = ".".join([module_name, *parts[:place]])
            message = f"{owner!r} has no attribute {part!r}; {_hint(found, part)}"
            raise UsageError(message) from None
        except Exception as error:
            message = f"reading {part!r} of {module_name!r} raised {described(error)}"
            raise UsageError(message) from error
    if not isinstance(found, ActionRegistry):
        kind = "the class, not an instance" if found is ActionRegistry else _kind(found)
        message = f"{target!r} must be an ActionRegistry, but it is {kind}"
        raise UsageError(message)
    return found


def find_action(registry: ActionRegistry, name: str, target: str) -> Action:
    """The action of that name; *target* is what the registry was called.

    Raises:
        UsageError: there is none; it names the nearest ones, or else those that there are.
    """
    try:
        return registry.get(name)
    except UnknownActionError as error:
        names = sorted(registry)
        if error.nearest:
            hint = f"did you mean {' or '.join(map(repr, error.nearest))}?"
        elif names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            hint = f"it has {', '.join(map(repr, names[:_SHOWN]))}{more}"
        else:
            hint = "it is empty: register actions with its register() when the module is imported"
        message = f"no action in {target} is named {name!r}; {hint}"
        raise UsageError(message) from None


def read_input(text: str | None, action: Action) -> Any:
    """The value of ``--input``, which *action* can take.

    Args:
        text: JSON, or ``@`` and the name of a file of JSON; ``None`` is no input.
        action: What will be given it.

    Raises:
        UsageError: the file can't be read, it is no JSON, or the action can't take it.
    """
    given = None if text is None else _parsed(text)
    try:
        action.binder.check(given)
        action.binder.arguments(given, None)  # structures records, which the run does once more
    except InvalidInputError as error:
        message = f"--input does not fit: {error}"
        raise UsageError(message) from error
    return given


def _parsed(text: str) -> Any:
    source: str | bytes = text
    name = excerpt(text)
    if text.startswith("@"):
        name = text[1:]
        try:
            source = Path(name).read_bytes()
        except (OSError, ValueError) as error:  # a NUL in its name is a ValueError
            message = f"--input {text}: the file can't be read: {_reason(error)}"
            raise UsageError(message) from error
    try:
        return json.loads(source, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        message = f"--input {name} is no JSON: {_reason(error)}"
        if not text.startswith("@"):
            message += '; quote it for the shell, as in --input \'{"root": "."}\', or name @FILE'
        raise UsageError(message) from error


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON value"
    raise ValueError(message)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            message = (
                f"there is no module {missing!r} in the working directory or where Python looks"
                " for modules"
            )
            raise UsageError(message) from None
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> UsageError:
    own = traceback.format_exception(type(error), error, _frames_of_the_module(error.__traceback__))
    return UsageError(f"module {name!r} raised {described(error)} on import:\n{''.join(own)}")


def _frames_of_the_module(trace: TracebackType | None) -> TracebackType | None:
    """What remains below the import system."""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename not in (__file__, importlib.__file__) and not filename.startswith("<frozen "):
            break
        trace = trace.tb_next
    return trace


def _hint(owner: Any, wanted: str) -> str:
    """Where to look instead of an attribute that *owner* does not have."""
    try:
        members = vars(owner)
    except TypeError:
        return "name an ActionRegistry"
    registries = sorted(name for name, value in members.items() if _is_registry(value))
    if registries:
        return f"its registries: {', '.join(registries)}"
    nearest = difflib.get_close_matches(wanted, members, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else "it has no ActionRegistry at all"


def _is_registry(value: object) -> bool:
    return issubclass(type(value), ActionRegistry)  # isinstance would ask the value's __class__


def _kind(value: object) -> str:
    return f"of type {type(value).__qualname__}: {excerpt(value)}"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
