"""A cache that pays twice for one answer, once in many thousand runs: found, explained, mended.

The steps of a plan ask a weather service that is paid for by the call, and that refuses whoever
calls it too often. So there is a cache before it, and of steps that ask the same at the same time
only one calls. Its author has thought of locks. Still, once in a very long while, a plan fails
because the service was called once too often: 54,000 runs of the plan below on real threads, with
a service that answers in a millisecond, all passed.

    python -m examples.flaky_cache

runs its test, at the end of this file, under schedules in virtual time until it fails; prints the
smallest schedule found that makes it fail, as a story; and then runs it with the mended cache.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from orchestrator import ActionRegistry, GroupFailedError, Orchestrator, Task
from runtime.simulation import Schedule, SimulatedRuntime, simulate

# The application


class TooManyCallsError(Exception):
    """The service refuses a call, as it does with HTTP status 429."""


class WeatherService:
    """Stands for the real one: every call takes a while, and is paid for.

    Args:
        limit: How many calls it takes in a minute.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.called: list[str] = []

    def ask(self, city: str) -> str:
        """What the weather is like in *city*."""
        self.called.append(city)
        if len(self.called) > self.limit:
            message = f"{city}: call {len(self.called)} of {self.limit} in this minute"
            raise TooManyCallsError(message)
        time.sleep(0.2)  # the network
        return f"windy in {city}"


class ToolCache:
    """Answers of a tool, each paid for once: who asks what is being asked waits for that call.

    Args:
        tool: Answers a question.
        keep: Seconds for which an answer is good.
    """

    def __init__(self, tool: Callable[[str], str], keep: float = 300.0) -> None:
        self._tool = tool
        self._keep = keep
        self._lock = threading.Lock()  # guards both
        self._answers: dict[str, tuple[str, float]] = {}  # and until when they are good
        self._calls: dict[str, Future[str]] = {}  # that are under way

    def get(self, question: str) -> str:
        """The answer, from the cache or from the tool; raises what the tool raises."""
        with self._lock:
            answer = self._kept(question)
        if answer is not None:
            return answer
        with self._lock:
            call = self._calls.get(question)
            if call is None:
                mine = self._calls[question] = Future()
        return self._make(mine, question) if call is None else call.result()

    def _kept(self, question: str) -> str | None:
        """With the lock: the answer, if there is one that is still good."""
        answer, until = self._answers.get(question, ("", 0.0))
        return answer if time.monotonic() < until else None

    def _make(self, call: Future[str], question: str) -> str:
        """Make the call that others may be waiting for."""
        try:
            call.set_result(self._tool(question))
        except Exception as error:  # noqa: BLE001 - it is raised in all who wait
            call.set_exception(error)
        with self._lock:
            if call.exception() is None:
                self._answers[question] = call.result(), time.monotonic() + self._keep
            del self._calls[question]
        return call.result()


class MendedToolCache(ToolCache):
    """The same with one look under one lock: what was not kept can't have been stored since."""

    def get(self, question: str) -> str:
        """As `ToolCache.get`."""
        with self._lock:
            answer = self._kept(question)
            if answer is not None:
                return answer
            call = self._calls.get(question)
            if call is None:
                mine = self._calls[question] = Future()
        return self._make(mine, question) if call is None else call.result()


def make_actions(cache: ToolCache) -> ActionRegistry:
    """What the agent can do."""
    actions = ActionRegistry()

    @actions.register("tool:weather")
    def weather(city: str) -> str:
        return cache.get(city)

    @actions.register("agent:plan")
    def plan(cities: Sequence[str]) -> list[str]:
        orchestrator = Orchestrator.from_context()
        assert orchestrator is not None
        group = orchestrator.emit_for_each(cities, "city", Task("tool:weather"), timeout=30)
        return orchestrator.await_group(group)

    return actions


# Its test


def check_that_no_city_is_paid_for_twice(
    schedule: Schedule, make_cache: Callable[[Callable[[str], str]], ToolCache]
) -> None:
    """One plan, with three steps about two cities; the service takes two calls in a minute."""
    service = WeatherService(limit=2)
    actions = make_actions(make_cache(service.ask))
    with SimulatedRuntime(actions, schedule) as runtime:
        answers = runtime.run("agent:plan", {"cities": ["Rostock", "Oslo", "Rostock"]})
    assert answers == ["windy in Rostock", "windy in Oslo", "windy in Rostock"]
    assert service.called.count("Rostock") == 1


@simulate(schedules=500, seed=1)
def find_the_fault(schedule: Schedule) -> None:
    """Fails: call it `test_...` and pytest runs it."""
    check_that_no_city_is_paid_for_twice(schedule, ToolCache)


@simulate(schedules=500, seed=1)
def hold_the_mended_one_to_it(schedule: Schedule) -> None:
    """Passes."""
    check_that_no_city_is_paid_for_twice(schedule, MendedToolCache)


def main() -> None:
    """Find, tell, and show that it is mended."""
    try:
        find_the_fault()
    except GroupFailedError as error:
        print("\n".join(["the cache as it was written:", str(error), *error.__notes__]))
    hold_the_mended_one_to_it()
    print("\nthe mended cache: passed under 500 schedules")


if __name__ == "__main__":
    main()
