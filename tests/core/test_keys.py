"""A key of several columns has one text, in Python as in DuckDB."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.keys import joined_key, parted_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
"""PostgreSQL has no NUL in texts, nor has DuckDB's JSON."""


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_a_key_comes_apart_as_it_was_joined(parts: list[str]) -> None:
    assert parted_key(joined_key(parts), len(parts)) == tuple(parts)


@given(st.lists(TEXTS, min_size=2, max_size=3))
def test_duckdb_joins_to_the_same_text(parts: list[str]) -> None:
    places = ", ".join("?::VARCHAR" for _ in parts)
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT to_json([{places}])::VARCHAR", parts).fetchall() == [(joined_key(parts),)]


def test_a_key_of_one_column_is_its_text() -> None:
    assert joined_key(["7590-VHVEG"]) == "7590-VHVEG"
    assert parted_key('["a"]', 1) == ('["a"]',)


@pytest.mark.parametrize("text", ['["a"]', '["a","b","c"]', '["a",7]', '{"a":1}', "7"])
def test_another_number_of_columns_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="array of 2 texts"):
        parted_key(text, 2)
