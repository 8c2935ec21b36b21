"""Whether a signal handler may raise in the calling thread, between any two of its steps."""

import functools
import signal
import threading
from collections.abc import Callable
from typing import Any

try:  # the C function: the one in signal spends 2 us on making an enum of the answer
    from _signal import getsignal as _getsignal  # type: ignore[import-not-found]
except ImportError:
    _getsignal = signal.getsignal

_SIGINT: int = signal.SIGINT
_raises: Callable[..., object] = signal.default_int_handler


class _Here(threading.local):
    def __init__(self) -> None:
        self.is_main = threading.get_ident() == threading.main_thread().ident


_here = _Here()


def may_be_interrupted() -> bool:
    """Whether a Ctrl-C can raise ``KeyboardInterrupt`` at any moment in the calling thread.

    It can in the main thread, with Python's own handler for SIGINT, or with the one that
    ``asyncio.run`` sets: its first Ctrl-C cancels the main task, and the next one raises.
    """
    if not _here.is_main:
        return False
    handler = _getsignal(_SIGINT)
    return handler is _raises or (handler.__class__ is functools.partial and _raises_now(handler))


def _raises_now(handler: Any) -> bool:
    """Whether asyncio's handler has had its first Ctrl-C, or has no task to cancel any more."""
    runner = getattr(handler.func, "__self__", None)
    task = handler.keywords.get("main_task")
    return bool(getattr(runner, "_interrupt_count", 0)) or (task is not None and task.done())
