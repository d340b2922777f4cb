"""The table and the 20 checks of bench_checks: 1 % of the rows break one check each, in turn, so the truth is known.

`unique` is not among them: pandera and ours name the surplus rows, Great Expectations each row of a group.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VALUES = ["Month-to-month", "One year", "Two year", "Fiber optic", "No"]
CODE = "C[0-9]{8}"
WORD = "[A-Z][A-Za-z -]+"

CHECKS: list[dict[str, Any]] = [
    {"name": "code.required", "kind": "required", "column": "code"},
    {"name": "code.pattern", "kind": "pattern", "column": "code", "regex": CODE},
    *({"name": f"n{n}.min", "kind": "min", "column": f"n{n}", "value": 0} for n in range(5)),
    *({"name": f"n{n}.max", "kind": "max", "column": f"n{n}", "value": 1000} for n in range(5)),
    {"name": "n5.required", "kind": "required", "column": "n5"},
    {"name": "i0.max", "kind": "max", "column": "i0", "value": 120},
    {"name": "i1.min", "kind": "min", "column": "i1", "value": 0},
    *({"name": f"w{n}.values", "kind": "values", "column": f"w{n}", "values": VALUES} for n in range(3)),
    {"name": "w3.pattern", "kind": "pattern", "column": "w3", "regex": WORD},
    {"name": "order", "kind": "order", "column": "created_at", "other": "updated_at"},
]
"""As every tool is told them. NULL fails `required` alone."""

_BROKEN = {"required": None, "pattern": "?!", "min": -1, "max": 5000, "values": "nonsense", "order": None}


def truth(rows: int) -> dict[str, list[int]]:
    """Check -> the identifiers of the rows that fail it."""
    bad = np.arange(7, rows, 100)
    return {one["name"]: bad[number :: len(CHECKS)].tolist() for number, one in enumerate(CHECKS)}


def write(path: Path, rows: int) -> None:
    """20 columns: id, code, 8 numbers, 4 words, 4 whole numbers, 2 times. n1 may be absent, and is in each 50th row."""
    dice = np.random.default_rng(7)
    number = np.arange(rows)
    began = np.datetime64("2026-01-01T00:00:00", "us") + number * np.timedelta64(1, "s")
    columns: dict[str, Any] = {
        "id": number,
        "code": np.array([f"C{one:08}" for one in range(rows)], dtype=object),
        **{f"n{n}": np.round(dice.random(rows) * 1000, 2) for n in range(8)},
        **{f"w{n}": np.array(VALUES, dtype=object)[(number + n) % 5] for n in range(4)},
        **{f"i{n}": number * (n + 3) % 100 for n in range(4)},
        "created_at": began,
        "updated_at": began + np.timedelta64(150, "D"),
    }
    absent: dict[str, np.ndarray] = {"n1": number % 50 == 0}
    for one in CHECKS:
        failing, name = truth(rows)[one["name"]], one["column"]
        if one["kind"] == "order":
            columns["updated_at"][failing] = columns["created_at"][failing] - np.timedelta64(1, "D")
        elif one["kind"] == "required":
            absent[name] = np.isin(number, failing)
        else:
            columns[name][failing] = _BROKEN[one["kind"]]
    table = pa.table({name: pa.array(values, mask=absent.get(name)) for name, values in columns.items()})
    assert table.num_columns == 20
    pq.write_table(table, path)
