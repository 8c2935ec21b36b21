"""What others do in the middle of a garbage collection, which lets them in where no step ends."""

from __future__ import annotations

import gc
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TRIES = 100


@contextmanager
def others_come_in(others: Callable[[], object]) -> Iterator[Iterator[int]]:
    """Give tries, in each of which the garbage is collected, and *others* called, early and often.

    They stand for other threads: a collection runs finalizers, and those take turns with them.
    """

    here = get_ident()

    def come_in(phase: str, _info: Any) -> None:
        if phase == "start" and get_ident() == here:
            others()

    thresholds = gc.get_threshold()
    gc.callbacks.append(come_in)
    try:
        yield _tries()
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(come_in)


def _tries() -> Iterator[int]:
    for number in range(TRIES):
        gc.set_threshold(1 + number % 3)  # a collection at every step sooner or later
        yield number
