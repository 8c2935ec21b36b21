"""One step of a ReAct agent: act on a plan while it is still being streamed.

The plan comes token by token, as from a language model (here it is scripted: no network). A tool
whose answer the plan needs at once is *called* in the middle of the stream. The others are
*emitted* as one group with a deadline: one of them fails, one comes too late, and the plan is
given what there is.

    python -m examples.react_step
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from orchestrator import (
    ORCHESTRATOR_CONTEXT_KEY,
    ActionRegistry,
    AsyncOrchestrator,
    Execution,
    ExecutionContext,
    ExecutionState,
    GroupTimeoutError,
)
from runtime import LocalRuntime

PATIENCE = 0.6  # seconds that the tools of the plan get together

actions = ActionRegistry()


@dataclass(frozen=True)
class ToolCall:
    """What a plan asks for; *now* where its next words depend on the answer."""

    tool: str
    input: dict[str, Any]
    now: bool = False


@actions.register("tool:locate")
async def locate(place: str) -> str:
    """Answer soon."""
    await asyncio.sleep(0.05)
    return f"{place} is on the Baltic Sea"


@actions.register("tool:weather")
async def weather(city: str) -> str:
    """Answer a little later."""
    await asyncio.sleep(0.1)
    return f"12 degrees and windy in {city}"


@actions.register("tool:trains")
async def trains(city: str) -> str:
    """Fail."""
    await asyncio.sleep(0.05)
    message = f"the timetable of {city} is down"
    raise ConnectionError(message)


@actions.register("tool:hotels")
def hotels(city: str, context: ExecutionContext) -> str:
    """Come too late: a blocking tool, and a wait that the deadline ends."""
    context[ORCHESTRATOR_CONTEXT_KEY].sleep(30)
    return f"the list of all hotels in {city}"


async def streamed_plan() -> AsyncIterator[str | ToolCall]:
    """What a model would send."""
    script: list[str | ToolCall] = [
        *"First I need to know where it is .".split(),  # noqa: SIM905 - it reads like a stream
        ToolCall("tool:locate", {"place": "Rostock"}, now=True),
        *"Then weather , trains and hotels , all at once .".split(),  # noqa: SIM905
        ToolCall("tool:weather", {"city": "Rostock"}),
        ToolCall("tool:trains", {"city": "Rostock"}),
        ToolCall("tool:hotels", {"city": "Rostock"}),
    ]
    for piece in script:
        await asyncio.sleep(0.01)
        yield piece


@actions.register("agent:step")
async def step(context: ExecutionContext) -> list[str]:
    """Read the plan to its end, act on it, and return what the next step is told."""
    orchestrator: AsyncOrchestrator = context[ORCHESTRATOR_CONTEXT_KEY]
    observations: list[str] = []
    later: list[Execution] = []
    print("plan:  ", end="")
    async for piece in streamed_plan():
        match piece:
            case str():
                print("", piece, end="", flush=True)
            case ToolCall(now=True):
                answer = await orchestrator.call(Execution.ad_hoc(piece.tool, piece.input))
                print(f"\n  call {piece.tool} -> {answer}\nplan:  ", end="")
                observations.append(answer)
            case ToolCall():
                print(f"\n  to emit: {piece.tool}", end="")
                later.append(Execution.ad_hoc(piece.tool, piece.input))

    group = await orchestrator.emit_children(later, timeout=PATIENCE)
    print(f"\nemitted {len(later)} tools; they have {PATIENCE} seconds")
    try:
        async for child in orchestrator.as_completed(group):  # in the order in which they end
            match child.state:
                case ExecutionState.COMPLETED:
                    print(f"  {child.action} -> {child.output}")
                    observations.append(child.output)
                case ExecutionState.FAILED:
                    print(f"  {child.action} failed: {child.error}")
                    observations.append(f"{child.action} failed: {child.error}")
    except GroupTimeoutError as error:
        late = [later[index].action for index in error.missing]
        print(f"the deadline has passed; too late: {', '.join(late)}")
        observations += [f"{tool} did not answer in time" for tool in late]
    return observations


async def main() -> None:
    """Run one step and show what came of it."""
    async with LocalRuntime(actions) as runtime:  # on this event loop
        observations = await runtime.run_async("agent:step")
    print("what the plan gets back:", *observations, sep="\n  - ")


if __name__ == "__main__":
    asyncio.run(main())
