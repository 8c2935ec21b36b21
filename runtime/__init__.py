"""What puts the actors together and runs executions: the local runtime, its events, the command.

``LocalRuntime`` is what an application embeds; ``orchestrate`` (`runtime.cli`) runs an action from
the command line.
"""

from actors.stats import Stats
from runtime.handle import Handle
from runtime.local import LocalRuntime
from runtime.scope import Scope
from runtime.subscriptions import EventsLost, ExecutionEvent, Subscription

__all__ = [
    "EventsLost",
    "ExecutionEvent",
    "Handle",
    "LocalRuntime",
    "Scope",
    "Stats",
    "Subscription",
]
