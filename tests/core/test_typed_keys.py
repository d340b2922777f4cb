"""Keys of several columns as people type and read them."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.keys import joined_key, joined_sql, key_names, shown_key, shown_names, typed_key

NAMES = ("order_id", "line_no")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.tuples(TEXT, TEXT))
def test_what_is_shown_can_be_typed(parts: tuple[str, str]) -> None:
    key = joined_key(parts)
    assert typed_key(NAMES, shown_key(NAMES, key)) == key
    assert typed_key(NAMES, key) == key


def test_the_columns_are_named_unless_there_is_one() -> None:
    assert shown_key(NAMES, '["7","2"]') == "order_id=7,line_no=2"
    assert shown_key(NAMES, '["7,1","2"]') == '{"order_id": "7,1", "line_no": "2"}'
    assert (shown_key(("id",), "7"), shown_key(NAMES, "7")) == ("7", "7")
    assert (shown_names("id"), shown_names(joined_key(NAMES))) == ("id", "(order_id, line_no)")
    assert (key_names("id"), key_names(joined_key(NAMES))) == (("id",), NAMES)


def test_a_typed_key_has_each_column_once() -> None:
    assert typed_key(NAMES, "line_no=2,order_id=a=b") == '["a=b","2"]'
    assert typed_key(NAMES, '{"order_id": 7, "line_no": true}') == '["7","true"]'
    assert (typed_key(("id",), "7,1"), typed_key(("id",), "id=7")) == ("7,1", "7")
    for wrong in ("7", "order_id=7", "order_id=7,line_no=2,shop=1", '["7"]', '{"order_id": 7.5, "line_no": 1}', "{"):
        with pytest.raises(ValueError, match=r"."):
            typed_key(NAMES, wrong)


@given(
    st.lists(
        st.tuples(st.none() | TEXT.filter(lambda t: "\0" not in t), st.none() | TEXT.filter(lambda t: "\0" not in t)),
        max_size=5,
    )
)
def test_duckdb_writes_the_same_key_and_none_where_a_part_is_null(rows: list[tuple[str | None, str | None]]) -> None:
    sql = f"SELECT {joined_sql(['a', 'b'])} FROM (SELECT ?::VARCHAR AS a, ?::VARCHAR AS b)"
    for a, b in rows:
        found = duckdb.execute(sql, [a, b]).fetchone()
        assert found == (joined_key([a, b]) if a is not None and b is not None else None,)
