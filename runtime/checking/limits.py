"""Checks of what bounds the running code: max_concurrency, rate_limit, workers."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import ClassVar

from attrs import define

from orchestrator.registry import Action
from runtime import observing
from runtime.checking.handlers import Handlers
from runtime.checking.violations import Invariant, Report
from runtime.observing import Fact

__all__ = ["LimitChecks"]

_ROUNDING = 1e-9  # seconds by which a sum of times may be off


@define(eq=False)
class _Code:
    """One execution whose code has begun and not ended."""

    action: Action
    is_async: bool
    away: int = 0  # waits in which it is: its slots are free
    aside: int = 0  # blocking() in which it is: its worker is free
    # What returns from a wait because it was cancelled, or with its patience at an end, does not
    # wait for room; it is not counted from then on.
    in_a_hurry: bool = False
    unwinding: bool = False
    cancelling: bool = False  # it is decided: waiters may return to its worker


class LimitChecks:
    """Counts the code that runs, at every start and whenever a waiter returns."""

    def __init__(self, report: Report, workers: int | None) -> None:
        self._report = report
        self._workers = workers
        self._code: dict[str, _Code] = {}
        self._waits: dict[int, tuple[str, bool]] = {}  # by token: who, whether it has a timeout
        self._starts: dict[str, deque[float]] = {}  # by rated action
        self._workers_used: dict[str, None] = {}  # by whom
        # By action, by whom.
        self._slots_used: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def _started(self, fact: Fact) -> None:
        at, execution_id, action = fact[1], fact[4], fact[7]
        code = self._code[execution_id] = _Code(action, fact[9])
        if action.rate_limit is not None:
            self._look_at_rate(action, execution_id, at)
        self._count(execution_id, code, at)

    def _look_at_rate(self, action: Action, execution_id: str, at: float) -> None:
        rate = action.rate_limit
        assert rate is not None  # noqa: S101 - its caller has looked
        starts = self._starts.setdefault(action.name, deque(maxlen=rate.limit))
        if len(starts) == rate.limit and at < starts[0] + rate.per - _ROUNDING:
            self._report(
                Invariant.LIMITS,
                at,
                f"{execution_id} is start {rate.limit + 1} of {action.name} within"
                f" {at - starts[0]:g} s; {rate.limit} may start in {rate.per:g} s",
                execution_id,
            )
        starts.append(at)

    def _returned(self, fact: Fact) -> None:
        code = self._code.pop(fact[4], None)
        if code is not None:
            self._leave(fact[4], code)

    def _cancelling(self, fact: Fact) -> None:
        code = self._code.get(fact[4])
        if code is not None:
            code.cancelling = True
            self._workers_used.pop(fact[4], None)

    def _waits_began(self, fact: Fact) -> None:
        token, who, subject, timeout, frees = fact[4:9]
        code = self._code.get(who)
        if frees and code is not None:
            code.away += 1
            self._leave(who, code)
            self._waits[token] = who, timeout is not None and subject is not None

    def _waited(self, fact: Fact) -> None:
        who, hurries = self._waits.pop(fact[4], ("", False))
        code = self._code.get(who)
        if code is None:
            return
        code.away -= 1
        code.in_a_hurry = code.in_a_hurry or hurries
        code.unwinding = code.unwinding or fact[7] == observing.INTERRUPTED
        self._count(who, code, fact[1])

    def _stood_aside(self, fact: Fact) -> None:
        code = self._code.get(fact[4])
        if code is not None:
            code.aside += 1
            self._workers_used.pop(fact[4], None)

    def _came_back(self, fact: Fact) -> None:
        code = self._code.get(fact[4])
        if code is not None:
            code.aside -= 1
            code.unwinding = code.unwinding or fact[5]
            self._count(fact[4], code, fact[1])

    def _leave(self, execution_id: str, code: _Code) -> None:
        """It holds neither a worker nor a slot of its action."""
        self._workers_used.pop(execution_id, None)
        if code.action.max_concurrency is not None:
            self._slots_used[code.action.name].pop(execution_id, None)

    def _count(self, execution_id: str, code: _Code, at: float) -> None:
        """It runs: see whether there are more now than there may be."""
        if code.away or code.unwinding:
            self._leave(execution_id, code)
            return
        most = code.action.max_concurrency
        if most is not None:
            used = self._slots_used[code.action.name]
            used[execution_id] = None
            if len(used) > most:
                self._blame(used, most, f"of {code.action.name} (max_concurrency)", at)
        if code.is_async or code.aside or code.in_a_hurry or code.cancelling:
            return
        most = self._workers
        if most is not None:
            used = self._workers_used
            used[execution_id] = None
            if len(used) > most:
                self._blame(used, most, "of blocking actions (workers)", at)

    def _blame(self, running: dict[str, None], most: int, what: str, at: float) -> None:
        self._report(Invariant.LIMITS, at, f"{len(running)} run {what}, where {most} may", *running)

    handlers: ClassVar[Handlers] = {
        observing.STARTED: _started,
        observing.RETURNED: _returned,
        observing.CANCELLING: _cancelling,
        observing.WAITS: _waits_began,
        observing.WAITED: _waited,
        observing.STOOD_ASIDE: _stood_aside,
        observing.CAME_BACK: _came_back,
    }
