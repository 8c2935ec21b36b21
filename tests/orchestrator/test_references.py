"""References in a template's input against a naive resolver, and what they must never reach."""

from __future__ import annotations

import dataclasses
import typing
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInputError
from orchestrator.references import compile_input


@attrs.frozen
class Point:
    x: Any
    y: Any = 2
    _hidden: Any = "secret"

    @property
    def total(self) -> Any:
        return self.x + self.y

    def method(self) -> str:
        return "called"


@dataclasses.dataclass
class Record:
    name: Any
    inner: Any = None
    __secret__: str = "dunder"
    constant: typing.ClassVar[str] = "of the class"

    @property
    def loud(self) -> str:
        raise AssertionError("a property was called")


class Pair(typing.NamedTuple):
    left: Any
    right: Any


def resolve(template: Any, data: Mapping[str, Any]) -> Any:
    resolver = compile_input(template)
    return template if resolver is None else resolver(lambda name: data[name])


# The naive model: a document, and the ways through it

keys = st.sampled_from(["a", "b", "key with space", "x-1", "0"])
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["${x}", "$${"])
)
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, max_size=3),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Point, inner, inner),
        st.builds(Record, inner, inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=12,
)


def ways(value: Any, path: str) -> list[tuple[str, Any]]:
    """Every reference into *value*, and what it stands for."""
    found = [(path, value)]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += ways(inner, f"{path}.{key}")
    if isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            found += ways(inner, f"{path}[{index}]")
            found.append((f"{path}[{index - len(value)}]", inner))
    for name in {Point: ("x", "y"), Record: ("name", "inner"), Pair: ("left", "right")}.get(
        type(value), ()
    ):
        found += ways(getattr(value, name), f"{path}.{name}")
    return found


@given(document=documents, data=st.data())
def test_a_lone_reference_is_the_value_itself_and_others_are_written_into_the_text(
    document: Any, data: st.DataObject
) -> None:
    for path, value in ways(document, "item"):
        assert resolve(f"${{{path}}}", {"item": document}) is value
    (one, first), (two, second) = data.draw(
        st.tuples(*[st.sampled_from(ways(document, "item"))] * 2)
    )
    text = f"<${{{one}}}|$${{{one}}}|$|${{ {two} }}>"
    expected = f"<{first}|${{{one}}}|$|{second}>"  # nothing that was inserted is expanded again
    assert resolve(text, {"item": document}) == expected


templates = st.recursive(
    st.sampled_from(["${item}", "${other.k}", "plain", "<${other.k}>", "$${item}", 5, None]),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["p", "q", "${item}"]), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.tuples(inner),
    ),
    max_leaves=8,
)
MEANING = {
    "${item}": "the item",
    "${other.k}": 7,
    "<${other.k}>": "<7>",
    "$${item}": "${item}",
}


def expand(template: Any) -> Any:
    if isinstance(template, dict):
        return {key: expand(value) for key, value in template.items()}
    if isinstance(template, (list, tuple)):
        return type(template)(expand(value) for value in template)
    return MEANING.get(template, template) if isinstance(template, str) else template


@given(template=templates)
def test_references_are_resolved_in_values_at_any_depth_and_never_in_keys(template: Any) -> None:
    assert resolve(template, {"item": "the item", "other": {"k": 7}}) == expand(template)


def containers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [id(value), *(i for inner in value.values() for i in containers(inner))]
    if isinstance(value, list):
        return [id(value), *(i for inner in value for i in containers(inner))]
    return []


@given(template=templates)
def test_no_two_children_share_a_container_of_the_template(template: Any) -> None:
    data = {"item": 1, "other": {"k": 7}}
    resolver = compile_input(template)
    if resolver is None:
        assert not containers(template)
        return
    one, two = resolver(data.__getitem__), resolver(data.__getitem__)
    assert not set(containers(one)) & set(containers(two))
    assert not set(containers(one)) & set(containers(template))


REFUSED = [
    "item.total",  # a property
    "item.method",
    "item._hidden",
    "item.__class__",
    "item.__class__.__mro__",
    "item.x.__class__",
    "item.nothing",
    "record.loud",
    "record.constant",
    "record.__secret__",
    "record.__dict__",
    "pair._fields",
    "pair.count",
    "pair._asdict",
    "plain.attribute",
    "text.upper",
    "text[0]",
    "numbers.append",
    "numbers[3]",
    "numbers[-4]",
    "numbers.0",
    "numbers[a]",
    "mapping.missing",
    "mapping.__len__",
    "mapping.items",
    "mapping[0]",
    "none.x",
    "set[0]",
    "nowhere",
    "nowhere.x",
]
DATA = {
    "item": Point(1),
    "record": Record("n"),
    "pair": Pair(1, 2),
    "plain": SimpleNamespace(attribute=1),
    "text": "abc",
    "numbers": [1, 2, 3],
    "mapping": {"a": 1},
    "none": None,
    "set": {1},
}


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("form", ["{}", "text {}", "deep"])
def test_a_reference_that_leads_nowhere_or_reaches_for_anything_but_data_is_refused_by_name(
    path: str, form: str
) -> None:
    reference = f"${{{path}}}"
    template = {"a": [reference]} if form == "deep" else form.format(reference)
    with pytest.raises(InvalidInputError) as caught:
        resolve(template, DATA)
    assert reference in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["${}", "${ }", "${a", "x ${", "${a..b}", "${.a}", "${a.}", "${a[}", "${a[]}", "${a[0}",
     "${a]}", "${${a}}", "${a[0]b}"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_before_any_item_is_seen(text: str) -> None:
    with pytest.raises(InvalidInputError):
        compile_input(text)


def test_calls_are_no_syntax() -> None:
    with pytest.raises(InvalidInputError):
        resolve("${text.upper()}", DATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$${", "${"),
        ("$${a}", "${a}"),
        ("$$", "$$"),
        ("$", "$"),
        ("{item}", "{item}"),
        ("$ {item}", "$ {item}"),
        ("", ""),
        ("$${${n}}", "${1}"),
        ("${n}${n}", "11"),
    ],
)
def test_only_a_dollar_before_a_brace_means_something_and_two_mean_one(
    text: str, expected: str
) -> None:
    assert resolve(text, {"n": 1}) == expected


def test_every_mapping_is_walked_by_its_keys_and_every_sequence_by_its_indexes() -> None:
    data = {"m": MappingProxyType({"a": OrderedDict(b=range(5, 9))}), "n": {"x": {"items": 1}}}
    assert resolve("${m.a.b[2]}", data) == 7
    assert resolve("${n.x.items}", data) == 1  # a key, not the method


def test_a_value_that_cannot_be_written_as_text_is_refused_only_where_it_must_be() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    data = {"item": Mute()}
    assert resolve("${item}", data) is data["item"]
    with pytest.raises(InvalidInputError) as caught:
        resolve("<${item}>", data)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_template_in_which_nothing_varies_is_used_as_it_is() -> None:
    for template in (None, 5, "plain", b"${x}", {1}, Point(1)):
        assert compile_input(template) is None
