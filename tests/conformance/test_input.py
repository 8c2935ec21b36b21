"""DESIGN.md section 3, *Input*: binding, references, structuring."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import pytest

from orchestrator import (
    ActionRegistry,
    Execution,
    ExecutionContext,
    GroupFailedError,
    InvalidInputError,
    Task,
    current_context,
)
from tests.conformance.support import child, children, here

Run = Callable[..., Any]


@attrs.frozen
class Point:
    x: int
    y: int = 0

    @property
    def secret(self) -> str:
        return "computed"

    def method(self) -> str:
        return "called"


@dataclasses.dataclass
class Size:
    width: int
    inner: Point | None = None


class Named(NamedTuple):
    first: str
    second: str


Old = namedtuple("Old", "first")  # noqa: PYI024 - this kind has public fields as well


@pytest.fixture
def resolve(actions: ActionRegistry, runtime: Any) -> Callable[..., Any]:
    """What a template's input becomes for an item, in a parent that has the given data."""

    @actions.register("t:parent")
    def parent(template: Any, item: Any) -> list[Any]:
        orchestrator = here()
        task = Task("t:echo", {"value": template})
        return orchestrator.await_group(orchestrator.emit_for_each([item], "it", task))

    def run(template: Any, item: Any = None, **data: Any) -> Any:
        given = {"template": template, "item": item}
        (value,) = runtime.run(Execution.ad_hoc("t:parent", given, data=data))
        return value

    return run


# How input reaches the action


def test_a_mapping_becomes_keyword_arguments_and_anything_else_one_argument(runtime: Any) -> None:
    def both(first: Any, second: Any = "default") -> tuple[Any, Any]:
        return first, second

    assert runtime.run(both, {"first": 1, "second": 2}) == (1, 2)
    assert runtime.run(both, {"first": 1}) == (1, "default")
    assert runtime.run(both, 7) == (7, "default")
    assert runtime.run(both, [1, 2]) == ([1, 2], "default")
    assert runtime.run(both, "text") == ("text", "default")
    assert runtime.run(both, 0) == (0, "default")


def test_none_becomes_no_argument(runtime: Any) -> None:
    def count(*args: Any, **kwargs: Any) -> int:
        return len(args) + len(kwargs)

    assert runtime.run(count) == 0
    assert runtime.run(count, None) == 0
    assert runtime.run(count, {}) == 0
    assert runtime.run(count, []) == 1
    assert runtime.run(count, {"a": 1, "b": 2}) == 2


def test_with_no_input_in_the_template_the_item_itself_is_the_input(run_body: Run) -> None:
    async def body(orchestrator: Any) -> list[Any]:
        items = [{"value": "by name"}, "by place", None]
        group = await orchestrator.emit_for_each(items, "it", Task("t:echo"))
        return await orchestrator.await_group(group)

    assert run_body(body) == ["by name", "by place", None]


def test_a_parameter_annotated_with_the_context_is_given_it(runtime: Any) -> None:
    def before(context: ExecutionContext, value: int) -> bool:
        return value == 3 and context.execution.id == current_context().execution.id

    async def after(value: int, context: ExecutionContext) -> bool:
        return value == 3 and context.execution.id == current_context().execution.id

    assert runtime.run(before, 3)
    assert runtime.run(before, {"value": 3})
    assert runtime.run(after, 3)


def test_a_mapping_is_structured_into_an_annotated_attrs_or_dataclass_parameter(
    runtime: Any,
) -> None:
    def point(where: Point) -> Any:
        return where

    def size(what: Size) -> Any:
        return what

    assert runtime.run(point, {"where": {"x": 1, "y": 2}}) == Point(1, 2)
    assert runtime.run(point, Point(3)) == Point(3)
    assert runtime.run(size, {"what": {"width": 1, "inner": {"x": 2}}}) == Size(1, Point(2))


def test_what_cannot_be_structured_fails_the_child_and_names_it_all(
    actions: ActionRegistry, run_body: Run
) -> None:
    @actions.register("t:point")
    def point(where: Point) -> Any:
        return where

    async def body(orchestrator: Any) -> None:
        bad = child("t:point", {"where": {"x": "not a number"}})
        group = await orchestrator.emit_children([bad, child("t:echo", 1)])
        with pytest.raises(GroupFailedError) as caught:
            await orchestrator.await_group(group)
        (error,) = caught.value.exceptions
        assert isinstance(error, InvalidInputError)
        for part in ("t:point", "where", "Point", "not a number"):
            assert part in str(error)
        assert caught.value.outputs == [None, 1]

    run_body(body)


@pytest.mark.parametrize(
    ("given", "part"),
    [({"wrong": 1}, "wrong"), (None, "value"), ({"value": 1, "more": 2}, "more")],
)
def test_input_that_the_signature_cannot_bind_is_refused_at_the_emit(
    actions: ActionRegistry, runtime: Any, run_body: Run, given: Any, part: str
) -> None:
    @actions.register("t:strict")
    def strict(value: int) -> int:
        return value

    async def body(orchestrator: Any) -> None:
        before = runtime.stats().emitted
        with pytest.raises(InvalidInputError, match="t:strict") as caught:
            await orchestrator.emit_children([child("t:echo", 1), child("t:strict", given)])
        assert part in str(caught.value)
        with pytest.raises(InvalidInputError, match="t:strict"):
            await orchestrator.call(child("t:strict", given))
        with pytest.raises(InvalidInputError):
            runtime.spawn("t:strict", given)
        assert runtime.stats().emitted == before

    run_body(body)


# References


def test_a_reference_keeps_the_type_of_its_value_where_it_is_the_whole_string(
    resolve: Callable[..., Any],
) -> None:
    marker = object()

    assert resolve("${it}", 5) == 5
    assert resolve("${it}", marker) is marker
    assert resolve("number ${it}, again ${it}", 5) == "number 5, again 5"
    assert resolve(" ${it}", 5) == " 5"


@pytest.mark.parametrize(
    ("template", "item", "value"),
    [
        ("${it.a.b}", {"a": {"b": 1}}, 1),
        ("${it[1]}", [10, 20], 20),
        ("${it.rows[0].x}", {"rows": [Point(7)]}, 7),
        ("${it.width}", Size(4), 4),
        ("${it.inner.y}", Size(4, Point(1, 2)), 2),
        ("${it.second}", Named("a", "b"), "b"),
        ("${it[0]}", Named("a", "b"), "a"),
        ("${it.first}", Old("a"), "a"),
        ("${it}", None, None),
    ],
)
def test_a_reference_walks_through_mappings_sequences_and_public_fields(
    resolve: Callable[..., Any], template: str, item: Any, value: Any
) -> None:
    assert resolve(template, item) == value


def test_references_are_found_anywhere_in_the_input(resolve: Callable[..., Any]) -> None:
    template = {"list": ["${it}", {"deep": ("${it}", "x${it}")}], "plain": 3}

    assert resolve(template, 1) == {"list": [1, {"deep": (1, "x1")}], "plain": 3}


def test_a_reference_is_looked_up_in_the_child_first_and_then_in_its_parent(
    resolve: Callable[..., Any],
) -> None:
    assert resolve("${it} of ${other}", "child", it="parent", other="parent") == "child of parent"


def test_two_dollars_are_a_literal_and_what_was_inserted_is_not_expanded_again(
    resolve: Callable[..., Any],
) -> None:
    assert resolve("$${it}", 5) == "${it}"
    assert resolve("$${it} is ${it}", 5) == "${it} is 5"
    assert resolve("${it}", "${other}") == "${other}"
    assert resolve("<${it}>", "${it}") == "<${it}>"
    assert resolve("costs $5", 1) == "costs $5"


@pytest.mark.parametrize(
    ("template", "item"),
    [
        ("${nobody}", 1),
        ("${it.a.b}", {"a": {}}),
        ("${it.a.b}", {"a": 1}),
        ("${it[5]}", [1]),
        ("${it[0]}", 3),
        ("${it.secret}", Point(1)),  # a property
        ("${it.method}", Point(1)),
        ("${it.__class__}", Point(1)),
        ("${it.__class__.__mro__}", 1),
        ("${it.__dict__}", Size(1)),
        ("${it.real}", 5),
        ("${it.upper}", "text"),
        ("${it.append}", [1]),
        ("${it._fields}", Named("a", "b")),
        ("${it.method()}", Point(1)),
        ("${it.}", 1),
        ("${}", 1),
        ("${it", 1),
    ],
)
def test_a_reference_to_anything_but_data_is_refused_and_queues_nothing(
    runtime: Any, template: str, item: Any
) -> None:
    with runtime.execution() as orchestrator:
        before = runtime.stats().emitted
        with pytest.raises(InvalidInputError) as caught:
            orchestrator.emit_for_each([item], "it", Task("t:echo", {"value": template}))
        assert "${" in str(caught.value)
        assert runtime.stats().emitted == before


def test_the_input_of_an_ad_hoc_execution_is_data_and_holds_no_references(runtime: Any) -> None:
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_children(children("t:echo", ["${nobody}", "$${x}"]))
        assert orchestrator.await_group(group) == ["${nobody}", "$${x}"]


def test_children_of_one_template_share_no_container_of_its_input(
    actions: ActionRegistry, runtime: Any
) -> None:
    @actions.register("t:append")
    def append(rows: list[Any], item: Any) -> list[Any]:
        rows.append(item)
        return rows

    template = Task("t:append", {"rows": [], "item": "${n}"})
    with runtime.execution() as orchestrator:
        group = orchestrator.emit_for_each([1, 2], "n", template)
        assert orchestrator.await_group(group) == [[1], [2]]
