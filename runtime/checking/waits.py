"""Checks of waits: each ends once, and none too early."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from runtime import observing
from runtime.checking.groups import GroupChecks
from runtime.checking.handlers import Handlers
from runtime.checking.violations import Invariant, Report
from runtime.observing import Fact

__all__ = ["WaitChecks"]

_ROUNDING = 1e-9  # seconds by which a sum of times may be off


@frozen(eq=False)
class _Wait:
    who: str
    what: str
    timeout: float | None
    began: float
    groups: tuple[str, ...]  # that the waiter had emitted


class WaitChecks:
    """Follows each wait from its begin to its end."""

    def __init__(self, report: Report, groups: GroupChecks) -> None:
        self._report = report
        self._groups = groups
        self._open: dict[int, _Wait] = {}
        self._seen: set[int] = set()

    def _waits(self, fact: Fact) -> None:
        token, who, subject, timeout = fact[4:8]
        what = "the end of a sleep" if subject is None else f"{subject.kind} {subject.id}"
        self._open[token] = _Wait(who, what, timeout, fact[1], self._emitted_by(subject))
        self._seen.add(token)

    def _waited(self, fact: Fact) -> None:
        at, token, outcome = fact[1], fact[4], fact[7]
        if token == observing.AT_ONCE:
            if outcome == observing.ANSWERED:
                self._check_resumed(fact[5], self._emitted_by(fact[6]), at)
            return
        wait = self._open.pop(token, None)
        if wait is None:
            if token in self._seen:
                self._report(
                    Invariant.RESUMED_ONCE, at, f"{fact[5]} returned twice from one wait", fact[5]
                )
            return
        if (
            outcome == observing.EXPIRED
            and wait.timeout is not None
            and at < wait.began + wait.timeout - _ROUNDING
        ):
            self._report(
                Invariant.PATIENCE,
                at,
                f"{wait.who} gave up waiting for {wait.what} after {at - wait.began:g} s, and had"
                f" patience for {wait.timeout:g} s",
                wait.who,
            )
        if outcome == observing.ANSWERED:
            self._check_resumed(wait.who, wait.groups, at)

    def _check_resumed(self, who: str, groups: tuple[str, ...], at: float) -> None:
        for group_id in groups:
            group = self._groups.groups[group_id]
            if group.result is None and not group.refused:
                self._report(
                    Invariant.RESUMED_ONCE,
                    at,
                    f"{who} resumed while its group {group_id} was open",
                    who,
                    group_id,
                )

    def _emitted_by(self, subject: Any) -> tuple[str, ...]:
        if subject is None or subject.kind != "resume":
            return ()
        return tuple(group.id for group in self._groups.by_parent.get(subject.id, ()))

    def verify(self, *, drained: bool) -> None:
        """Whoever still waits at the end was never woken."""
        if drained:
            for wait in self._open.values():
                self._report(
                    Invariant.NO_LOST_WAKE_UP,
                    None,
                    f"{wait.who} still waits for {wait.what}, since {wait.began:.3f} s",
                    wait.who,
                )

    handlers: ClassVar[Handlers] = {
        observing.WAITS: _waits,
        observing.WAITED: _waited,
    }
