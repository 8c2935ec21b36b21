"""`Loans` as an object: who has a worker that is kept in a wait; and what is counted of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.loans import Ledger, Loans
from actors.ready import NOBODY
from actors.system.parking import Parker
from actors.wait import CallWait


@pytest.mark.parametrize("keep", [Loans.keep, Loans.keep_for_group])
@pytest.mark.parametrize("others", ["nobody", "queue", "queue and take it"])
def test_a_worker_is_kept_unless_somebody_might_need_it_who_has_not_seen_it(
    keep: Callable[[Any, Any], bool], others: str
) -> None:
    wait: Any = object()
    took = []

    class Watched(Loans):
        __slots__ = ()

        @property
        def front(self) -> Any:  # type: ignore[override]
            assert wait in self.kept, "looked before it could be found"
            if others == "queue and take it":
                took.append(self.take_kept(wait))
            return None if others == "nobody" else NOBODY

        @front.setter
        def front(self, _front: Any) -> None:
            """What is queued is the test's to say."""

    loans = Watched()
    kept = keep(loans, wait)
    assert kept is (others != "queue")  # where others have it, they know of the wait
    assert took == ([True] if others == "queue and take it" else [])
    assert loans.take_kept(wait) is (others == "nobody")  # by whoever wants it
    assert not loans.take_kept(wait)


@pytest.mark.parametrize("sideways", [False, True])
def test_a_wait_for_a_group_is_known_where_somebody_waits_sideways(sideways: bool) -> None:
    wait: Any = object()

    class Watched(Loans):
        __slots__ = ()

        @property
        def sideways(self) -> Any:  # type: ignore[override]
            assert wait in self.kept, "looked before it could be found"
            return sideways

        @sideways.setter
        def sideways(self, _sideways: bool) -> None:
            """Who waits is the test's to say."""

    loans = Watched()
    loans.front = None
    assert loans.keep_for_group(wait) is not sideways
    assert loans.take_kept(wait) is not sideways


def test_who_sees_the_end_of_a_call_finds_it_counted() -> None:
    """Or the next call's end might be counted at the same time."""
    counted: list[int] = []

    class Watched(CallWait):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "ended" and value is not None:
                counted.append(ledger.completed)
            super().__setattr__(name, value)

    ledger, nobody = Ledger(), Parker()
    attempt: Any = object()
    wait = Watched(attempt, nobody, can_expire=False)
    wait.ledger = ledger
    wait.add((0, "output", 1.0, 2.0))
    assert counted == [1]
    assert wait.ended == ("output",)
