"""What an emit can be told of its group, by keyword."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from orchestrator.values import AwaitMode, GroupPolicy, Merge

__all__ = ["GroupOptions", "policy_of"]


class GroupOptions(TypedDict, total=False):
    """The keywords of `emit_for_each`, `emit_children` and `emit_one`; see the second of these."""

    mode: AwaitMode | Literal["all", "first", "any", "anyError", "quorum"]
    merge: Merge | Literal["append", "replace"] | Callable[[list[Any]], Any]
    timeout: float | None
    quorum: int | None
    until: Callable[[Any], Any] | None
    cancel_rest: bool
    max_in_flight: int | None
    keep: bool


_DEFAULT = GroupPolicy()


def policy_of(options: Mapping[str, Any]) -> GroupPolicy:
    """The policy of these options; without any there is one for all.

    Raises:
        TypeError: there is no such option, or it has a value of the wrong type.
        ValueError: a value out of range, or two that don't go together.
    """
    if not options:
        return _DEFAULT
    try:
        return GroupPolicy(**options)
    except TypeError:
        known = GroupOptions.__annotations__
        for name in options:
            if name not in known:
                raise TypeError(_unknown(name, known)) from None
        raise


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    import difflib  # noqa: PLC0415 - for an error only

    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}=?" if nearest else f"there are {', '.join(known)}"
    return f"an emit has no option {name}=; {hint}"
