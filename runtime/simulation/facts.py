"""What a simulation writes down about itself while it runs, for stories and for counting.

A fact is a plain tuple: a kind, the virtual time, and how many switches there had been, then what
the kind says. Nothing is formatted before somebody asks. `runtime.observing` is the same for what
the actors of a runtime are told; both go into one list, in the order in which they happened.
"""

from __future__ import annotations

from types import FrameType

from runtime.simulation.stacks import is_users

__all__ = ["BLOCKED", "CHOICE", "FAULT", "OVER", "SPAWNED", "WAKE_UP", "Spot", "spot"]

# After kind, time and switches:
CHOICE = (
    "choice"  # task, what was chosen instead of the plain order, whether task could go on, spot
)
FAULT = "fault"  # task, what was asked, the answer, spot
SPAWNED = "spawned"  # task
WAKE_UP = "a wake-up"  # what a task waits for where other facts tell it better; not written down
BLOCKED = "blocked"  # task, what it waits for, spot
OVER = "over"  # task

Spot = tuple[str, int, str]  # a line of user code: its file, its number, its function

_users: dict[str, bool] = {}  # by file: whether it is neither this library's nor a standard one


def spot(frame: FrameType | None) -> Spot | None:
    """The innermost line of user code; cheap enough for every choice."""
    while frame is not None:
        code = frame.f_code
        name = code.co_filename
        known = _users.get(name)
        if known is None:
            known = _users[name] = is_users(name)
        if known:
            return name, frame.f_lineno, code.co_name
        frame = frame.f_back
    return None
