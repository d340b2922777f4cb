"""Rows packed many at once are the rows that msgspec would pack one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.ports import OnlineRow
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.packed import ahead, packed_rows

Line = tuple[str, str, int | None, int, str | None]
"""key, values, event, landed, warning."""

TEXT = st.text(max_size=300)
INT64 = st.integers(-(2**63), 2**63 - 1)
LINES = st.lists(st.tuples(TEXT, TEXT, st.none() | INT64, INT64, st.none() | st.sampled_from("ab")), max_size=20)
FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string()) for name in ("k", "v", "warn", "positions")),
    *(pa.field(name, pa.int64()) for name in ("event", "landed")),
]
SCHEMA = pa.schema(FIELDS)


def a_row(line: Line, plan: int, evaluated_us: int | None) -> OnlineRow:
    key, values, event_us, landed_us, warn = line
    return OnlineRow(
        key=key,
        plan=plan,
        values=values.encode(),
        event_us=event_us,
        landed_us=landed_us,
        verdict=Verdict.WARN if warn else Verdict.PASS,
        sentence=warn or "",
        held=False,
        held_as_of_us=None,
        deleted=False,
        evaluated_us=evaluated_us,
        positions=key.encode(),
    )


@settings(deadline=None)
@given(LINES, st.integers(1, 2**40), st.none() | INT64)
def test_packed_rows_are_the_rows(lines: list[Line], plan: int, evaluated_us: int | None) -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            {"k": key, "v": values, "warn": warn, "positions": key, "event": event, "landed": landed}
            for key, values, event, landed, warn in lines
        ],
        schema=SCHEMA,
    )
    found = packed_rows(batch, plan=plan, evaluated_us=evaluated_us)
    decoded = [msgspec.msgpack.decode(row, type=OnlineRow) for _, _, row in found]
    assert sorted(decoded, key=repr) == sorted((a_row(line, plan, evaluated_us) for line in lines), key=repr)
    assert [(key, number) for key, number, _ in found] == [(row.key, plan) for row in decoded]


def test_working_ahead_changes_neither_order_nor_end() -> None:
    with closing(ahead(iter(range(100)))) as chunks:
        assert list(chunks) == list(range(100))
    with closing(ahead(iter(()))) as none:
        assert list(none) == []


def test_working_ahead_tells_what_went_wrong() -> None:
    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with closing(ahead(breaks())) as chunks:
        assert next(chunks) == 1
        with pytest.raises(ValueError, match="broken"):
            next(chunks)
