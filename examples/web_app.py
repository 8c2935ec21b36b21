"""A web application that fans out on its server's own event loop. No framework: bare ASGI.

``GET /report?cities=Rostock,Bergen,Turku`` asks one child execution for each city and answers with
all of it. When the client goes away before that, its children are cancelled: nobody needs them.

    python -m examples.web_app [PORT]

The runtime is opened when the server starts (ASGI's *lifespan*), on the server's loop, and closed
when it stops.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from orchestrator import ActionRegistry, AsyncOrchestrator, Task
from runtime import LocalRuntime

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

actions = ActionRegistry()


@actions.register("weather:ask")
async def ask(city: str) -> dict[str, str]:
    """Stand for a slow service; a cancelled child gets `asyncio.CancelledError` here."""
    await asyncio.sleep(0.2)
    return {"city": city, "weather": "windy"}


class Application:
    """The application that a server calls: once for its lifespan, and once for each request."""

    def __init__(self, actions: ActionRegistry) -> None:
        self._actions = actions
        self._runtime: LocalRuntime | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] != "http":
            message = f"this application speaks HTTP, not {scope['type']}"
            raise NotImplementedError(message)
        elif scope["path"] != "/report":
            await respond(send, 404, {"error": "try /report?cities=Rostock,Bergen"})
        else:
            query = parse_qs(scope["query_string"].decode())
            cities = [city for part in query.get("cities", []) for city in part.split(",") if city]
            await self._report(cities, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with LocalRuntime(self._actions) as self._runtime:
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})

    async def _report(self, cities: list[str], receive: Receive, send: Send) -> None:
        if self._runtime is None:
            await respond(send, 503, {"error": "the server has not started this application"})
            return
        async with self._runtime.execution() as orchestrator:  # ends when all its children have
            group = await orchestrator.emit_for_each(cities, "city", Task("weather:ask"))
            answers = await unless_gone(orchestrator, group, receive)
        if answers is not None:
            reports = [
                {"error": str(each)} if isinstance(each, Exception) else each for each in answers
            ]
            await respond(send, 200, {"reports": reports})


async def unless_gone(
    orchestrator: AsyncOrchestrator, group: str, receive: Receive
) -> list[Any] | None:
    """The group's outputs; ``None``, and its children cancelled, if the client goes away first."""
    answers = asyncio.ensure_future(orchestrator.await_group(group, return_exceptions=True))
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answers.done():
            return answers.result()
        await orchestrator.cancel_group(group, "the client went away")
        return None
    finally:
        answers.cancel()
        gone.cancel()
        await asyncio.gather(answers, gone, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone away; what it still sends is of no interest."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, status: int, content: Any) -> None:
    """Answer with *content* as JSON."""
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = Application(actions)


def main() -> None:
    """Serve it on a port of this machine, 8000 by default."""
    import uvicorn  # noqa: PLC0415 - the application itself needs no server

    port = int(next(iter(sys.argv[1:]), "8000"))
    uvicorn.run(app, port=port)


if __name__ == "__main__":
    main()
