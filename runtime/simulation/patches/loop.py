"""An event loop that runs in a simulation: asyncio's own, with a wait for what is to do in it."""

from __future__ import annotations

import asyncio
import asyncio.base_events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from runtime.simulation.errors import UncontrolledError
from runtime.simulation.here import current_world
from runtime.simulation.parker import SimParker
from runtime.simulation.patches.times import real_monotonic

if TYPE_CHECKING:
    from runtime.simulation.world import World

__all__ = ["Adoption", "SimLoop", "new_event_loop", "real_new_event_loop"]

real_new_event_loop = asyncio.events.new_event_loop


class _Selector:
    """What the loop waits on: a parker in place of sockets."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.parker = SimParker(world)

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait until woken, or for *timeout* virtual seconds."""
        self._world.pause()
        self.parker.park(timeout)
        return []

    def get_map(self) -> dict[Any, Any]:
        """Nothing is registered."""
        return {}

    def close(self) -> None:
        """Nothing is held."""


class SimLoop(asyncio.base_events.BaseEventLoop):
    """asyncio's loop in virtual time, without sockets, pipes and processes.

    The order of its callbacks is asyncio's; what the schedule chooses is when it comes to run, and
    when what other threads tell it arrives.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__()
        self._selector = _Selector(world)
        self._clock_resolution = 1e-9  # a timer is due within it; virtual time itself is exact

    def time(self) -> float:
        """Virtual seconds."""
        return self._world.now

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        self._selector.parker.unpark()


_OUTSIDE = frozenset(
    {
        "_add_reader",
        "_add_writer",
        "_make_datagram_transport",
        "_make_read_pipe_transport",
        "_make_socket_transport",
        "_make_ssl_transport",
        "_make_subprocess_transport",
        "_make_write_pipe_transport",
        "add_reader",
        "add_signal_handler",
        "add_writer",
        "connect_read_pipe",
        "connect_write_pipe",
        "create_connection",
        "create_datagram_endpoint",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "sock_accept",
        "sock_connect",
        "sock_recv",
        "sock_recv_into",
        "sock_recvfrom",
        "sock_sendall",
        "sock_sendfile",
        "subprocess_exec",
        "subprocess_shell",
    }
)


def _refuse(name: str) -> Callable[..., Any]:
    def refused(*_arguments: Any, **_options: Any) -> Any:
        message = (
            f"loop.{name} is for real sockets, pipes, processes or signals, which a simulation"
            " can't control; let the code under test take what it talks to as a parameter, and"
            " give it a stand-in that sleeps"
        )
        raise UncontrolledError(message)

    return refused


for _name in _OUTSIDE:
    setattr(SimLoop, _name, _refuse(_name))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """As ``asyncio.new_event_loop``; a `SimLoop` inside a simulation."""
    world = current_world()
    return real_new_event_loop() if world is None else SimLoop(world)


class Adoption:
    """Makes a real loop that is running already wait in the simulation, until it is given back.

    For ``async with SimulatedRuntime(...)`` under ``asyncio.run``: the application's loop was there
    before the simulation was.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, world: World) -> None:
        """Take the loop over.

        Raises:
            UncontrolledError: it is none of asyncio's own.
        """
        if not isinstance(loop, asyncio.SelectorEventLoop):
            message = (
                f"a simulation can't take over a {type(loop).__qualname__}: run the test with"
                " asyncio's own event loop, or open the simulation with an ordinary `with`"
            )
            raise UncontrolledError(message)
        self._loop: Any = cast("Any", loop)  # asyncio has no public way to this
        self._real_selector = self._loop._selector  # noqa: SLF001
        selector = _Selector(world)
        base = real_monotonic() - world.now  # the loop's own clock tells virtual time already
        self._loop._selector = selector  # noqa: SLF001
        self._loop._write_to_self = selector.parker.unpark  # noqa: SLF001
        self._loop.time = lambda: base + world.now

    def give_back(self) -> None:
        """Let it wait in the real world again."""
        self._loop._selector = self._real_selector  # noqa: SLF001
        del self._loop._write_to_self  # noqa: SLF001
        del self._loop.time
