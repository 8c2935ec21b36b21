"""``${name.key[0].field}`` in a template's input, resolved from data and from nothing else.

A reference walks through mapping keys, sequence indexes and the public fields of attrs, dataclass
and named-tuple values. It can't reach attributes, properties, methods or dunder names, so a
template that comes from outside can only see the data it was given. What was inserted is not
looked at again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from orchestrator.errors import InvalidInputError
from orchestrator.texts import excerpt

__all__ = ["compile_input"]

Lookup: TypeAlias = Callable[[str], Any]  # a name's value; KeyError where there is none
Resolver: TypeAlias = Callable[[Lookup], Any]

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d+\])*")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(-?\d+)\]")


def compile_input(template: Any) -> Resolver | None:
    """Compile a template's input to a function of a lookup; ``None`` where nothing varies.

    Dicts, lists and tuples are rebuilt for every call, so that no two children share a container.

    Raises:
        InvalidInputError: a reference that is not of the form ``${name.key[0].field}``.
    """
    if isinstance(template, str):
        return _compile_text(template)
    if isinstance(template, dict):
        items = [(key, _always(value)) for key, value in template.items()]
        return lambda lookup: {key: resolve(lookup) for key, resolve in items}
    if type(template) in (list, tuple):
        make = type(template)
        resolvers = [_always(value) for value in template]
        return lambda lookup: make([resolve(lookup) for resolve in resolvers])
    return None


def _always(template: Any) -> Resolver:
    resolver = compile_input(template)
    return resolver if resolver is not None else lambda _lookup: template


def _compile_text(text: str) -> Resolver | None:
    if "${" not in text:
        return None
    parts: list[str | Resolver] = []
    position = 0
    for match in _TOKEN.finditer(text):
        parts.append(text[position : match.start()])
        position = match.end()
        if match.group() == "$${":
            parts.append("${")
        elif match.group(1) is None:
            message = (
                f"unclosed reference in {excerpt(text)}; write ${{name}}, or $${{ for a plain ${{"
            )
            raise InvalidInputError(message)
        else:
            parts.append(_compile_path(match.group(1).strip()))
    parts.append(text[position:])
    parts = [part for part in parts if part != ""]
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]  # one reference and nothing else: the value keeps its type
    if all(isinstance(part, str) for part in parts):
        literal = "".join(map(str, parts))
        return lambda _lookup: literal

    def resolve(lookup: Lookup) -> str:
        return "".join(
            part if isinstance(part, str) else _as_text(part(lookup), text) for part in parts
        )

    return resolve


def _as_text(value: Any, text: str) -> str:
    try:
        return str(value)
    except Exception as error:
        message = f"the value inserted into {excerpt(text)} can't be written as text"
        raise InvalidInputError(message, got=excerpt(value)) from error


def _compile_path(path: str) -> Resolver:
    reference = f"${{{path}}}"
    if _PATH.fullmatch(path) is None:
        message = f"{reference} is no reference; write ${{name.key[0].field}}"
        raise InvalidInputError(message)
    name = re.match(r"[^.\[\]]+", path).group()  # type: ignore[union-attr]
    steps: list[str | int] = [
        step.group(1) if step.group(1) is not None else int(step.group(2))
        for step in _STEP.finditer(path, len(name))
    ]

    def resolve(lookup: Lookup) -> Any:
        try:
            value = lookup(name)
        except KeyError:
            message = (
                f"{reference} leads nowhere: there is no {name!r} in the data of the child or its"
                " parent"
            )
            raise InvalidInputError(message) from None
        walked = name
        for step in steps:
            value = _walk(value, step, reference, walked)
            walked += f"[{step}]" if isinstance(step, int) else f".{step}"
        return value

    return resolve


def _walk(value: Any, step: str | int, reference: str, walked: str) -> Any:
    if isinstance(value, Mapping):
        try:
            return value[step]
        except KeyError:
            message = f"{reference} leads nowhere: {walked!r} has no key {step!r}"
            raise InvalidInputError(message, got=f"keys {excerpt(list(value))}") from None
    if isinstance(step, int):
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray)):
            message = f"{reference} leads nowhere: {walked!r} is no sequence"
            raise InvalidInputError(message, got=excerpt(value))
        try:
            return value[step]
        except IndexError:
            message = f"{reference} leads nowhere: {walked!r} has {len(value)} items"
            raise InvalidInputError(message) from None
    if step.startswith("_") or step not in _field_names(type(value)):
        message = (
            f"{reference} reaches for {step!r} of {walked!r}, which is no mapping key and no"
            " public field of an attrs, dataclass or named-tuple value"
        )
        raise InvalidInputError(message, got=f"a {type(value).__qualname__}")
    return getattr(value, step)


def _field_names(kind: type) -> frozenset[str]:
    """The names of *kind*'s data fields; a property that shadows one is no data."""
    if attrs.has(kind):
        names = [attribute.name for attribute in attrs.fields(kind)]
    elif hasattr(kind, "__dataclass_fields__"):
        import dataclasses  # noqa: PLC0415 - there is a dataclass, so it is loaded

        names = [item.name for item in dataclasses.fields(kind)]
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        names = list(kind._fields)
        return frozenset(names)
    else:
        names = []
    return frozenset(
        name for name in names if not isinstance(inspect.getattr_static(kind, name, None), property)
    )
