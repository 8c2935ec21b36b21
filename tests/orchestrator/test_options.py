"""The keywords of an emit."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import AwaitMode, GroupOptions, GroupPolicy
from orchestrator.options import policy_of


def test_the_options_are_the_fields_of_a_policy() -> None:
    assert list(GroupOptions.__annotations__) == [field.name for field in attrs.fields(GroupPolicy)]


def test_without_options_there_is_one_policy_for_all() -> None:
    assert policy_of({}) is policy_of({})
    assert attrs.asdict(policy_of({})) == attrs.asdict(GroupPolicy())


def test_options_make_a_policy() -> None:
    policy = policy_of({"mode": "quorum", "quorum": 2})
    assert (policy.mode, policy.quorum) == (AwaitMode.QUORUM, 2)


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"tiemout": 3}, ["no option tiemout=", "did you mean timeout=?"]),
        ({"zzz": 3}, ["no option zzz=", "mode, merge, timeout"]),
        ({"keep": 3}, ["keep must be True or False", "3"]),
    ],
)
def test_an_option_that_is_none_is_told_with_the_nearest(
    options: dict[str, object], texts: list[str]
) -> None:
    with pytest.raises(TypeError) as caught:
        policy_of(options)
    for text in texts:
        assert text in str(caught.value)
