"""How the outputs of groups enter their parent's pending output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.values import Merge, MergeRule

__all__ = ["merged", "runs_user_code"]


def merged(pending: Any, outputs: list[Any], rule: MergeRule) -> Any:
    """*pending* with *outputs* merged in; a function of these alone.

    ``append`` gives ``[*pending, *outputs]`` (``None`` counts as ``[]``, anything but a list as one
    element), ``replace`` the last output (*pending* where there is none), a callable what it
    returns for the outputs.
    """
    match rule:
        case Merge.APPEND:
            if pending is None:
                return list(outputs)
            return [*(pending if isinstance(pending, list) else [pending]), *outputs]
        case Merge.REPLACE:
            return outputs[-1] if outputs else pending
        case _:
            return rule(list(outputs))


def runs_user_code(rules: Sequence[MergeRule]) -> bool:
    """Whether merging by *rules* calls reducers, which must not run in an actor's turn."""
    return any(not isinstance(rule, Merge) for rule in rules)
