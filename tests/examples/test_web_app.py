"""The web application: driven as a server would, and once through a real server."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from examples.web_app import Application, Message, app
from orchestrator import ActionRegistry

PATIENCE = 30.0  # seconds; a test that takes longer hangs


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, PATIENCE))


class Children:
    """An action that never ends by itself, and what became of those that ran it."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.actions = ActionRegistry()
        self.actions.register("weather:ask")(self.ask)

    async def ask(self, city: str) -> dict[str, str]:
        self.loops.add(asyncio.get_running_loop())
        self.begun.put_nowait(city)
        if city == "Atlantis":
            message = "there is no such city"
            raise LookupError(message)
        try:
            if city.startswith("slow"):
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(city)
            raise
        return {"city": city}


@asynccontextmanager
async def served(app: Application) -> AsyncIterator[None]:
    """The application between its startup and its shutdown."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    lifespan = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await lifespan


class Request:
    """One request, its client under control."""

    def __init__(self, app: Application, path: str, query: str = "") -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._to_app.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.sent: list[Message] = []
        scope = {"type": "http", "path": path, "query_string": query.encode()}
        self.handled = asyncio.create_task(app(scope, self._to_app.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def disconnect(self) -> None:
        self._to_app.put_nowait({"type": "http.disconnect"})

    async def answer(self) -> tuple[int, Any]:
        await self.handled
        start, body = self.sent
        return start["status"], json.loads(body["body"])


def test_a_request_fans_out_on_the_servers_own_loop_and_answers_in_order() -> None:
    async def test() -> None:
        children = Children()
        app = Application(children.actions)
        async with served(app):
            request = Request(app, "/report", "cities=Rostock,Atlantis&cities=Turku")
            assert await request.answer() == (
                200,
                {
                    "reports": [
                        {"city": "Rostock"},
                        {"error": "there is no such city"},
                        {"city": "Turku"},
                    ]
                },
            )
        assert children.loops == {asyncio.get_running_loop()}

    run(test())


def test_the_children_of_a_client_that_goes_away_are_cancelled_and_no_others() -> None:
    async def test() -> None:
        children = Children()
        app = Application(children.actions)
        async with served(app):
            request = Request(app, "/report", "cities=slow-1,slow-2")
            other = Request(app, "/report", "cities=slow-3")
            assert {await children.begun.get() for _ in range(3)} == {"slow-1", "slow-2", "slow-3"}
            request.disconnect()
            assert {await children.cancelled.get() for _ in range(2)} == {"slow-1", "slow-2"}
            await request.handled
            assert request.sent == []  # nobody is there to read it
            assert not other.handled.done()
            other.disconnect()
            await other.handled
            assert await Request(app, "/report", "cities=Bergen").answer() == (
                200,
                {"reports": [{"city": "Bergen"}]},
            )

    run(test())


def test_a_request_that_its_server_cancels_cancels_its_children() -> None:
    async def test() -> None:
        children = Children()
        app = Application(children.actions)
        async with served(app):
            request = Request(app, "/report", "cities=slow-1,slow-2")
            await children.begun.get()
            await children.begun.get()
            request.handled.cancel()
            assert {await children.cancelled.get() for _ in range(2)} == {"slow-1", "slow-2"}
            with pytest.raises(asyncio.CancelledError):
                await request.handled

    run(test())


def test_other_paths_and_a_server_without_lifespan_are_answered_too() -> None:
    async def test() -> None:
        assert (await Request(app, "/other").answer())[0] == 404
        assert (await Request(app, "/report", "cities=Rostock").answer())[0] == 503

    run(test())


def test_behind_a_real_server_a_client_that_goes_away_cancels_its_children() -> None:
    uvicorn = pytest.importorskip("uvicorn")

    async def get(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return reader, writer

    async def test() -> None:
        children = Children()
        config = uvicorn.Config(
            Application(children.actions), lifespan="on", log_level="warning", http="h11", ws="none"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:  # connections queue from now on
            port = listening.getsockname()[1]
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            _, writer = await get(port, "/report?cities=slow-1,slow-2")
            assert {await children.begun.get() for _ in range(2)} == {"slow-1", "slow-2"}
            writer.close()
            await writer.wait_closed()
            assert {await children.cancelled.get() for _ in range(2)} == {"slow-1", "slow-2"}

            reader, writer = await get(port, "/report?cities=Rostock")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b'{"reports": [{"city": "Rostock"}]}')
            writer.close()
            await writer.wait_closed()
            server.should_exit = True
            await serving
        assert children.loops == {asyncio.get_running_loop()}

    run(test())
