"""Which type holds all that another one holds."""

from __future__ import annotations

import pytest

from mainstay.sources.widths import wider

WIDER = [
    ("integer", "bigint"), ("smallint", "integer"), ("INT", "BIGINT"), ("int32", "int64"),
    ("character varying(20)", "text"), ("character varying(20)", "character varying(40)"), ("VARCHAR(20)", "TEXT"),
    ("character varying", "text"), ("real", "double precision"), ("float", "double"), ("integer", "numeric"),
    ("integer", "numeric(12,2)"), ("integer", "double precision"), ("numeric(10,2)", "numeric"),
    ("numeric(10,2)", "numeric(12,4)"), ("decimal128(10, 2)", "decimal128(12, 2)"),
    ("timestamp(3) without time zone", "timestamp without time zone"),
]  # fmt: skip
NOT_WIDER = [
    ("bigint", "integer"), ("text", "character varying(20)"), ("character varying(40)", "character varying(20)"),
    ("double precision", "real"), ("numeric", "numeric(10,2)"), ("numeric(10,2)", "numeric(10,4)"),
    ("numeric(10,2)", "numeric(12,1)"), ("bigint", "double precision"), ("integer", "numeric(10,2)"),
    ("integer", "text"), ("text", "integer"), ("integer[]", "bigint[]"), ("mood", "text"), ("date", "timestamp"),
    ("timestamp without time zone", "timestamp with time zone"), ("character(8)", "text"), ("", "text"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), WIDER)
def test_a_wider_type_holds_all_of_the_narrower_one(before: str, after: str) -> None:
    assert wider(before, after)


@pytest.mark.parametrize(("before", "after"), NOT_WIDER)
def test_whatever_may_lose_or_change_a_value_is_not_wider(before: str, after: str) -> None:
    assert not wider(before, after)
