"""Rows of several views put together as requests would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.nouns import ColumnType
from mainstay.core.records import FeatureSetState
from mainstay.serving.pairs import combinations


def view(name: str, key: str, kind: ColumnType = "string") -> FeatureSetState:
    return FeatureSetState(digest=name, view=name, key=key, key_type=kind, sql="", mapping={}, columns=())


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_every_row_is_shown_and_no_more_than_wanted(ours: int, theirs: int, least: int) -> None:
    left, right = ({f"{side}{n}": n for n in range(count)} for side, count in (("a", ours), ("b", theirs)))
    found = combinations([(view("a", "a"), left), (view("b", "b"), right)], least)
    assert len(found) == min(ours * theirs, max(ours, theirs, least))
    if ours and theirs:
        assert {one.rows[0] for one in found} == set(left.values())
        assert {one.rows[1] for one in found} == set(right.values())
    assert all(one.key == {"a": f"a{one.rows[0]}", "b": f"b{one.rows[1]}"} for one in found)


def test_a_shared_key_joins() -> None:
    found = combinations([(view("a", "id"), {"1": "x", "2": "y"}), (view("b", "id"), {"2": "z", "3": "w"})])
    assert [(one.key, one.rows) for one in found] == [({"id": "2"}, ("y", "z"))]
