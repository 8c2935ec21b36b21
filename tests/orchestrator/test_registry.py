"""The registry: names, options, what can be an action and what can't."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import ActionRegistry, ExecutionContext, Rate, Retry, UnknownActionError


def plain(value: Any = None) -> Any:
    return value


async def awaiting(value: Any = None) -> Any:
    return value


class Service:
    def method(self, value: Any = None) -> Any:
        return value

    async def async_method(self, value: Any = None) -> Any:
        return value

    async def __call__(self, value: Any = None) -> Any:
        return value


def test_register_returns_the_function_unchanged_under_its_name_or_its_own() -> None:
    actions = ActionRegistry()
    assert actions.register("text:index")(plain) is plain
    assert actions.register()(plain) is plain
    assert actions.register(awaiting) is awaiting
    own = f"{plain.__module__}:plain"
    assert list(actions) == ["text:index", own, f"{plain.__module__}:awaiting"]
    assert own in actions
    assert "nothing" not in actions
    assert len(actions) == 3
    assert actions.get(own).function is plain


def test_the_same_function_may_have_several_names_and_registries() -> None:
    one, other = ActionRegistry(), ActionRegistry()
    for actions in (one, other):
        for name in ("a", "b"):
            actions.register(name)(plain)
    assert one.get("a") is not other.get("a")


def test_a_name_that_is_taken_is_refused_and_the_first_one_stays() -> None:
    actions = ActionRegistry()
    actions.register("text:index")(plain)
    with pytest.raises(ValueError, match=r"'text:index'.*plain"):
        actions.register("text:index")(awaiting)
    assert actions.get("text:index").function is plain


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    actions = ActionRegistry()
    for name in ("text:index", "text:indent", "image:scale"):
        actions.register(name)(plain)
    with pytest.raises(UnknownActionError, match="did you mean 'text:index'") as caught:
        actions.get("text:idnex")
    assert caught.value.action == "text:idnex"
    assert "image:scale" not in caught.value.nearest
    with pytest.raises(UnknownActionError, match="register"):
        actions.get("zzz")
    for odd in (None, ["text:index"], 5):
        with pytest.raises(UnknownActionError):
            actions.get(odd)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"max_concurrency": 0}, ValueError, "max_concurrency"),
        ({"max_concurrency": 1.5}, TypeError, "max_concurrency"),
        ({"max_concurrency": True}, TypeError, "max_concurrency"),
        ({"rate_limit": 5}, TypeError, "rate_limit"),
        ({"retry": 3}, TypeError, "retry"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": math.nan}, ValueError, "timeout"),
        ({"timeout": "5"}, TypeError, "timeout"),
        ({"runs_in": "fiber"}, ValueError, "runs_in"),
        ({"name": ""}, ValueError, "name"),
        ({"name": 5}, TypeError, "name"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name_and_nothing_is_registered(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    actions = ActionRegistry()
    with pytest.raises(kind, match=text):
        actions.register(**options)(plain)
    assert len(actions) == 0


def test_options_are_kept_with_the_action() -> None:
    actions = ActionRegistry()
    retry, rate = Retry(2), Rate(5)
    actions.register("a", max_concurrency=3, rate_limit=rate, retry=retry, timeout=math.inf)(plain)
    action = actions.get("a")
    assert (action.max_concurrency, action.rate_limit, action.retry) == (3, rate, retry)
    assert action.timeout is None
    assert action.runs_in == "thread"


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (plain, False),
        (awaiting, True),
        (Service().method, False),
        (Service().async_method, True),
        (Service(), True),
        (Service, False),
        (functools.partial(plain, 1), False),
        (functools.partial(awaiting, 1), True),
        (functools.partial(Service(), 1), True),
        (len, False),
    ],
)
def test_whether_an_action_is_async_is_seen_through_methods_callables_and_partials(
    function: Callable[..., Any], is_async: bool
) -> None:
    actions = ActionRegistry()
    actions.register("a")(function)
    assert actions.get("a").is_async is is_async


def test_what_is_no_action_is_refused() -> None:
    async def generator() -> Any:
        yield 1

    for bad in (generator, functools.partial(generator), 5, None):
        with pytest.raises(TypeError):
            ActionRegistry().register("a")(bad)  # type: ignore[type-var]


def test_a_process_has_no_loop_and_no_context() -> None:
    def with_context(context: ExecutionContext) -> None: ...

    for function, text in ((awaiting, "async"), (with_context, "ExecutionContext")):
        with pytest.raises(TypeError, match=text):
            ActionRegistry().register("a", runs_in="process")(function)
    actions = ActionRegistry()
    actions.register("a", runs_in="process")(plain)
    assert actions.get("a").runs_in == "process"


def test_threads_that_register_one_name_at_once_register_it_once() -> None:
    actions = ActionRegistry()
    barrier = threading.Barrier(4)
    refused: list[str] = []

    def register() -> None:
        barrier.wait()
        for number in range(50):
            try:
                actions.register(f"a{number}")(plain)
            except ValueError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(actions) == 50
    assert len(refused) == 150
