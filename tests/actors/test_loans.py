"""`Loans` as an object: who has a worker that is kept in a wait."""

from __future__ import annotations

from typing import Any

import pytest

from actors.loans import Loans
from actors.ready import NOBODY


@pytest.mark.parametrize("others", ["nobody", "queue", "queue and take it"])
def test_a_worker_is_kept_unless_somebody_might_need_it_who_has_not_seen_it(others: str) -> None:
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
    kept = loans.keep(wait)
    assert kept is (others != "queue")  # where others have it, they know of the wait
    assert took == ([True] if others == "queue and take it" else [])
    assert loans.take_kept(wait) is (others == "nobody")  # by whoever wants it
    assert not loans.take_kept(wait)
