"""The gate on a large batch: patterns are asked sooner where they can be, and the same rows fail."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from mainstay.core.nouns import Check, Column, Dataset
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.stage import fill, numbered, shape
from mainstay.quality.frequent import WORTH
from mainstay.store.current import Current

CHECKS = {"plan": "[A-Z][A-Za-z -]+", "code": "C[0-9]{8}", "note": "it's.*"}
CUSTOMERS = Dataset(
    name="customers",
    source="crm",
    table="customers",
    key="id",
    columns=(
        Column(name="id", type="integer", source_name="id"),
        *(Column(name=name, type="string", source_name=name) for name in CHECKS),
    ),
    checks=tuple(
        Check(name=f"{name}.pattern", kind="pattern", column=name, args={"regex": regex})
        for name, regex in CHECKS.items()
    ),
)


def judged(table: pa.Table) -> tuple[Gate, dict[str, list[int]], dict[str, int]]:
    """The gate, the identifiers of the failing rows check by check, and what the findings count."""
    current = Current(None)
    current.ensure(CUSTOMERS)
    form = shape(CUSTOMERS, {"id": "integer", **dict.fromkeys(CHECKS, "text")}, "UTC")
    schema, batches = numbered(table.schema, iter(table.to_batches()))
    fill(current, form, pa.RecordBatchReader.from_batches(schema, batches))
    gate = Gate(current, form)
    findings = gate.judge().findings
    found = {
        one.name: [row[0] for row in current.sql(f"SELECT id FROM judged WHERE (_f0 >> {bit}) & 1 = 1 ORDER BY id")]
        for bit, one in enumerate(gate.checks)
        if one.kind == "pattern"
    }
    current.close()
    return gate, found, {one.check: one.failed for one in findings}


def rows(number: int) -> pa.Table:
    """Every hundredth row or so is broken in one column; the note is absent in every tenth."""
    columns: dict[str, list[Any]] = {
        "id": list(range(number)),
        "plan": [
            ("?!", "One year\n", "é", "")[n % 4] if n % 101 == 7 else ("One year", "No", None)[n % 3]
            for n in range(number)
        ],
        "code": [f"C{n:08}" if n % 103 else f"C{n:07}x" for n in range(number)],
        "note": ["its" if n % 107 == 3 else None if n % 10 == 0 else "it's all" for n in range(number)],
    }
    return pa.table(columns)


def test_the_same_rows_fail_in_a_large_batch_as_by_the_regular_expression_itself() -> None:
    table = rows(WORTH)
    gate, found, counted = judged(table)
    for name, regex in CHECKS.items():
        values = zip(table["id"].to_pylist(), table[name].to_pylist(), strict=True)
        failing = [row for row, value in values if value is not None and not re.fullmatch(regex, value)]
        assert failing
        assert found[f"{name}.pattern"] == failing
        assert counted[f"{name}.pattern"] == len(failing)
    asked = {one.check.column: one.failed_sql for one in gate.row_checks}
    assert asked["plan"].startswith("(\"plan\" <> 'One year' AND ") or asked["plan"].startswith(
        "(\"plan\" <> 'No' AND "
    )
    assert asked["note"].startswith("(\"note\" <> 'it''s all' AND ")
    assert " GLOB " in asked["code"]
    assert "<>" not in asked["code"]


def test_a_small_batch_is_not_sampled() -> None:
    gate, _, _ = judged(rows(1000))
    assert not any("<>" in one.failed_sql for one in gate.row_checks)


def test_a_large_batch_of_nothing_frequent_is_judged_as_it_is() -> None:
    table = pa.table({"id": list(range(WORTH)), **{name: [None] * WORTH for name in CHECKS}})
    table = pa.table([table["id"], *(table[name].cast(pa.string()) for name in CHECKS)], names=["id", *CHECKS])
    gate, found, _ = judged(table)
    assert not any("<>" in one.failed_sql for one in gate.row_checks)
    assert not any(found.values())
