"""Rows packed many at once are the rows that msgspec would pack one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.ports import OnlineRow
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.packed import packed_rows

Line = tuple[str, str, int | None, int, str | None, str | None]
"""key, values, event, landed, warning, filled."""

TEXT = st.text(max_size=300)
INT64 = st.integers(-(2**63), 2**63 - 1)
SOME = st.none() | st.sampled_from("ab")
LINES = st.lists(st.tuples(TEXT, TEXT, st.none() | INT64, INT64, SOME, SOME), max_size=20)
FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string()) for name in ("k", "v", "warn", "positions", "filled")),
    *(pa.field(name, pa.int64()) for name in ("event", "landed")),
]
SCHEMA = pa.schema(FIELDS)


def a_row(line: Line, plan: int, evaluated_us: int | None) -> OnlineRow:
    key, values, event_us, landed_us, warn, filled = line
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
        filled=(filled or "").encode(),
    )


@given(LINES, st.integers(1, 2**40), st.none() | INT64)
def test_packed_rows_are_the_rows(lines: list[Line], plan: int, evaluated_us: int | None) -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            {"k": key, "v": values, "warn": warn, "positions": key, "event": event, "landed": landed, "filled": fill}
            for key, values, event, landed, warn, fill in lines
        ],
        schema=SCHEMA,
    )
    found = packed_rows(batch, plan=plan, evaluated_us=evaluated_us)
    decoded = [msgspec.msgpack.decode(row, type=OnlineRow) for _, _, row in found]
    assert sorted(decoded, key=repr) == sorted((a_row(line, plan, evaluated_us) for line in lines), key=repr)
    assert [(key, number) for key, number, _ in found] == [(row.key, plan) for row in decoded]
