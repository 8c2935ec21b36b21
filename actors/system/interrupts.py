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

    It can in the main thread, where the handler for SIGINT is one that raises.
    """
    return _here.is_main and bool(raises_now(_getsignal(_SIGINT)))


def raises_now(handler: Any) -> bool | None:
    """Whether *handler* raises ``KeyboardInterrupt`` at the next Ctrl-C, wherever that comes.

    Python's own does. The one that ``asyncio.run`` sets cancels the main task at the first Ctrl-C,
    and raises at the next, or where that task is done. ``None``: it is neither of them.
    """
    if handler is _raises:
        return True
    if handler.__class__ is not functools.partial:
        return None
    interrupts = getattr(getattr(handler.func, "__self__", None), "_interrupt_count", None)
    task = handler.keywords.get("main_task")
    if interrupts is None or task is None:
        return None
    return bool(interrupts) or task.done()
