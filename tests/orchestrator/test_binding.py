"""How input becomes arguments: bound, structured, or refused in words that help."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Optional

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.binding import Binder
from orchestrator.context import ExecutionContext
from orchestrator.errors import InvalidInputError
from orchestrator.values import Execution

CONTEXT = ExecutionContext(Execution("t:t"))


@attrs.frozen
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class Size:
    width: float
    corner: Point = Point(0)


def run(function: Callable[..., Any], given_: Any) -> Any:
    """Check, bind and call, as a runtime does."""
    binder = Binder(function, "t:t")
    binder.check(given_)
    args, kwargs = binder.arguments(given_, CONTEXT)
    return function(*args, **kwargs)


# Which inputs fit which signatures


def nothing() -> Any:
    return "nothing"


def one(a: Any) -> Any:
    return a


def two(a: Any, b: Any) -> Any:
    return a, b


def default(a: Any, b: Any = "b") -> Any:
    return a, b


def defaults(a: Any = "a", b: Any = "b") -> Any:
    return a, b


def star(*args: Any) -> Any:
    return args


def kwargs_only(**kwargs: Any) -> Any:
    return kwargs


def both(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def keyword(*, a: Any) -> Any:
    return a


def mixed(a: Any, *, k: Any = "k", **rest: Any) -> Any:
    return a, k, rest


def positional(a: Any, /) -> Any:
    return a


def positional_kwargs(a: Any, /, **kwargs: Any) -> Any:
    return a, kwargs


FUNCTIONS = [
    *(nothing, one, two, default, defaults, star, kwargs_only, both, keyword, mixed, positional),
    *(positional_kwargs, functools.partial(two, 1), functools.partial(two, b=1)),
]
inputs = st.one_of(
    st.none(),
    st.integers(),
    st.just("text"),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["a", "b", "k", "z"]), st.integers(), max_size=3),
    st.builds(lambda a: MappingProxyType({"a": a}), st.integers()),
    st.builds(lambda a: OrderedDict(a=a), st.integers()),
)


def naively(function: Callable[..., Any], given_: Any) -> Any:
    """A mapping becomes keyword arguments, ``None`` none, anything else one positional one."""
    if given_ is None:
        return function()
    if isinstance(given_, Mapping):
        return function(**given_)
    return function(given_)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: getattr(f, "__name__", "partial"))
@given(given_=inputs)
def test_input_is_bound_exactly_where_a_plain_call_would_take_it(
    function: Callable[..., Any], given_: Any
) -> None:
    try:
        expected = naively(function, given_)
    except TypeError:
        with pytest.raises(InvalidInputError) as caught:
            Binder(function, "t:t").check(given_)
        assert "'t:t'" in str(caught.value)
        assert caught.value.got
        assert caught.value.expected
    else:
        assert run(function, given_) == expected


def test_a_misfit_names_the_action_the_parameter_what_was_expected_and_what_came() -> None:
    for given_, parameter in [
        ({"a": 1}, "b"),
        ({"a": 1, "b": 2, "c": 3}, "c"),
        (None, "a, b"),
        ({"a": 1, "x": 2}, "b"),
    ]:
        with pytest.raises(InvalidInputError) as caught:
            Binder(two, "text:index").check(given_)
        error = caught.value
        assert error.action == "text:index"
        assert error.parameter == parameter
        assert "(a" in error.expected
        assert error.got == repr(given_)
        for part in (error.action, error.parameter, error.expected, error.got):
            assert part in str(error)


def test_keys_that_are_no_strings_are_refused() -> None:
    for function in (one, kwargs_only, both):
        with pytest.raises(InvalidInputError, match="string keys"):
            Binder(function, "t:t").check({1: 2})


def test_checking_runs_no_user_code_and_survives_what_cannot_be_printed() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(InvalidInputError):
        Binder(two, "t:t").check({"a": Unprintable()})
    Binder(one, "t:t").check(Unprintable())


# The context


def context_first(context: ExecutionContext, a: Any) -> Any:
    return context, a


def context_last(a: Any, context: ExecutionContext) -> Any:
    return context, a


def context_between(a: Any, here: "ExecutionContext", b: Any = "b") -> Any:  # noqa: UP037
    return here, a, b


def context_keyword(a: Any = "a", *, context: ExecutionContext) -> Any:
    return context, a


def context_optional(a: Any, context: ExecutionContext | None = None) -> Any:
    return context, a


def context_optional_text(a: Any, context: "ExecutionContext | None" = None) -> Any:  # noqa: UP037
    return context, a


def context_alone(context: ExecutionContext) -> Any:
    return (context,)


@pytest.mark.parametrize(
    "function",
    [
        context_first,
        context_last,
        context_between,
        context_keyword,
        context_optional,
        context_optional_text,
    ],
)
@pytest.mark.parametrize("given_", [5, {"a": 5}, [1, 2]])
def test_a_parameter_annotated_with_the_context_receives_it_wherever_it_stands(
    function: Callable[..., Any], given_: Any
) -> None:
    context, value, *_rest = run(function, given_)
    assert context is CONTEXT
    assert value == (given_["a"] if isinstance(given_, dict) else given_)
    assert Binder(function, "t:t").wants_context


def test_what_only_holds_contexts_is_input() -> None:
    def several(contexts: list[ExecutionContext], other: ExecutionContext | int = 0) -> Any:
        return contexts, other

    assert not Binder(several, "t:t").wants_context


def test_the_context_is_no_input() -> None:
    assert run(context_alone, None) == (CONTEXT,)
    assert not Binder(one, "t:t").wants_context
    for given_ in (5, {"context": 5}):
        with pytest.raises(InvalidInputError):
            Binder(context_alone, "t:t").check(given_)


def test_a_positional_only_context_is_refused_when_the_action_is_made() -> None:
    def bad(context: ExecutionContext, /) -> None: ...

    with pytest.raises(TypeError, match="positional-only"):
        Binder(bad, "t:t")


# Records


def point(p: Point) -> Any:
    return p


def optional(p: Point | None = None) -> Any:
    return p


def old_optional(p: Optional[Point]) -> Any:  # noqa: UP045
    return p


def size(s: Size, n: int = 0) -> Any:
    return s, n


def with_context(context: ExecutionContext, p: Point) -> Any:
    assert context is CONTEXT
    return p


@pytest.mark.parametrize("function", [point, optional, old_optional, with_context])
def test_a_record_parameter_is_structured_from_a_mapping_and_taken_as_it_is_from_a_record(
    function: Callable[..., Any],
) -> None:
    assert run(function, {"p": {"x": 1, "y": 2}}) == Point(1, 2)
    ready = Point(3)
    assert run(function, {"p": ready}) is ready
    assert run(function, ready) is ready


def test_records_are_structured_inside_records_and_dataclasses_too() -> None:
    assert run(size, {"s": {"width": 1.5, "corner": {"x": 1}}}) == (Size(1.5, Point(1)), 0)


@pytest.mark.parametrize("function", [optional, old_optional])
def test_an_optional_record_may_be_none(function: Callable[..., Any]) -> None:
    assert run(function, {"p": None}) is None


@pytest.mark.parametrize("bad", [{"x": "one"}, {}, {"x": 1, "z": 2}, [1, 2], 5])
def test_what_cannot_be_structured_is_refused_with_the_names_and_the_reason(bad: Any) -> None:
    binder = Binder(point, "geo:draw")
    binder.check({"p": bad})  # only the running child finds out
    with pytest.raises(InvalidInputError) as caught:
        binder.arguments({"p": bad}, CONTEXT)
    error = caught.value
    assert (error.action, error.parameter, error.expected) == ("geo:draw", "p", "Point")
    assert error.__cause__ is not None
    assert error.got


def test_plain_annotations_convert_nothing() -> None:
    def plain(a: int, b: list[int], c: Point | int) -> Any:
        return a, b, c

    assert run(plain, {"a": "1", "b": ("x",), "c": {"x": 1}}) == ("1", ("x",), {"x": 1})


def test_annotations_that_only_a_type_checker_knows_do_no_harm_to_the_others() -> None:
    def lazy(a: NoSuchName, p: Point, context: ExecutionContext) -> Any:  # type: ignore[name-defined] # noqa: F821
        return a, p, context

    assert run(lazy, {"a": 5, "p": {"x": 1}}) == (5, Point(1), CONTEXT)


# Whatever can be called


class Callables:
    def method(self, a: Any, context: ExecutionContext) -> Any:
        return a, context

    @classmethod
    def of_class(cls, a: Any) -> Any:
        return a

    @staticmethod
    def static(p: Point) -> Any:
        return p

    def __call__(self, p: Point) -> Any:
        return p


def test_methods_partials_callables_and_classes_are_bound_like_functions() -> None:
    thing = Callables()
    assert run(thing.method, 5) == (5, CONTEXT)
    assert run(Callables.of_class, {"a": 5}) == 5
    assert run(Callables.static, {"p": {"x": 1}}) == Point(1)
    assert run(thing, {"p": {"x": 1}}) == Point(1)
    assert run(functools.partial(thing.method, a=3), None) == (3, CONTEXT)
    assert run(functools.partial(size, n=4), {"s": {"width": 1}})[1] == 4
    assert run(Point, {"x": 1}) == Point(1)


@pytest.mark.parametrize(
    ("function", "given_", "expected"),
    [
        (len, [1, 2], 2),
        (sorted, (3, 1), [1, 3]),
        (dict, {"a": 1}, {"a": 1}),
        (max, [1, 5], 5),
        (int, "7", 7),
    ],
)
def test_builtins_are_called_with_what_comes(
    function: Callable[..., Any], given_: Any, expected: Any
) -> None:
    assert run(function, given_) == expected


def test_what_cannot_be_called_is_no_action() -> None:
    with pytest.raises(TypeError, match="callable"):
        Binder(5, "t:t")  # type: ignore[arg-type]


def test_a_binder_keeps_no_input() -> None:
    given_ = {"a": 1}
    _args, kwargs = Binder(both, "t:t").arguments(given_, None)
    kwargs["a"] = 2
    assert given_ == {"a": 1}
    assert inspect.signature(both).parameters
