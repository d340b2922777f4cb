"""Whatever stands in the file, what comes out is an integration or located faults."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mainstay.spec.schema import keys_at
from tests.spec.sample import SAMPLE, problems

_WORDS = st.sampled_from([*keys_at(()), *keys_at(("datasets", "x")), *keys_at(("model",)), "x", "trim", "none", "all"])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=8)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
_QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def _tree() -> Any:
    return YAML(typ="safe", pure=True).load(SAMPLE)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in _places(child, (*path, key)))]


_PLACES = _places(_tree())[1:]


@_QUICK
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
    | st.text(alphabet="a:-[]{}#&*!|>%@`\"'\\\t\n ?,.$~<=0", max_size=30)
)
def test_any_text_is_told_and_never_breaks(text: str) -> None:
    assert problems(text)


@_QUICK
@given(st.sampled_from(_PLACES), _TREES)
def test_any_value_anywhere_is_taken_or_told(place: tuple[Any, ...], value: Any) -> None:
    tree = _tree()
    node = tree
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(tree, text)
    for problem in problems(text.getvalue()):
        assert problem.line >= 1
        assert problem.wanted


@_QUICK
@given(st.integers(min_value=0, max_value=len(SAMPLE)), st.integers(min_value=0, max_value=30), st.text(max_size=3))
def test_any_edit_is_taken_or_told(at: int, length: int, put: str) -> None:
    problems(SAMPLE[:at] + put + SAMPLE[at + length :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "a: &x [*x]",
        "c0: &c0 [1, 1]\n" + "\n".join(f"c{n}: &c{n} [*c{n - 1}, *c{n - 1}]" for n in range(1, 80)),
        "[" * 500,
        "a: " + "9" * 5000,
        "a: 0x" + "f" * 100,
        "? [1]\n: 2",
        "a: \x07",
        "%YAML 9.9\n---\na: 1",
        "a: 1\n---\nb: 2",
        "a: !!int x",
        "a: !!binary x",
        "a: .nan",
        "a: &x 1\nb: &x 2",
        "\ufeffa: 1",
    ],
)  # fmt: skip
def test_what_yaml_allows_and_a_file_should_not_say(text: str) -> None:
    assert problems(text)
