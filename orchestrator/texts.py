"""How values, functions and children are named in messages, whatever their ``__repr__`` does."""

from __future__ import annotations

import reprlib
from typing import Any

import attrs

__all__ = ["excerpt", "fields_repr", "function_name"]

_reprs = reprlib.Repr()
_reprs.maxstring = _reprs.maxother = 60
_reprs.maxlevel = 2


def excerpt(value: object) -> str:
    """A short ``repr`` of *value* that never raises and never grows long."""
    try:
        return _reprs.repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"


def fields_repr(value: Any) -> str:
    """What attrs would make the ``__repr__`` of *value*.

    As one function for all classes it saves half of what each adds to the import.
    """
    kind = type(value)
    shown = [
        f"{one.name}={(one.repr if callable(one.repr) else repr)(getattr(value, one.name, ...))}"
        for one in attrs.fields(kind)
        if one.repr
    ]
    return f"{kind.__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def function_name(function: Any) -> str:
    """``module:qualified_name`` of a callable, or a name of its type."""
    function = getattr(function, "func", function)  # functools.partial
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', None) or '?'}:{name}"
