"""pandera on pandas or polars, told every check; all failing rows' identifiers. Run by the peer's Python."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from peak import peak_mib


def schema(pa: Any, checks: list[dict[str, Any]], order: Any) -> Any:
    columns: dict[str, list[Any]] = {}
    required, whole = set(), []
    for check in checks:
        name, kind, column = check["name"], check["kind"], columns.setdefault(check["column"], [])
        if kind == "required":
            required.add(check["column"])
        elif kind == "pattern":
            column.append(pa.Check.str_matches(f"^{check['regex']}$", name=name, error=name))
        elif kind == "min":
            column.append(pa.Check.ge(check["value"], name=name, error=name))
        elif kind == "max":
            column.append(pa.Check.le(check["value"], name=name, error=name))
        elif kind == "values":
            column.append(pa.Check.isin(check["values"], name=name, error=name))
        else:
            whole.append(pa.Check(order(check["column"], check["other"]), name=name, error=name))
    typed = {name: pa.Column(checks=asked, nullable=name not in required) for name, asked in columns.items()}
    return pa.DataFrameSchema(typed, checks=whole)


def on_pandas(folder: Path, checks: list[dict[str, Any]]) -> dict[str, Any]:
    import pandas as pd
    import pandera.pandas as pa

    frame = pd.read_parquet(folder / "table.parquet")
    asked = schema(pa, checks, lambda first, second: lambda rows: rows[first] <= rows[second])
    with contextlib.suppress(pa.errors.SchemaErrors):
        asked.validate(frame.head(1000), lazy=True)  # whatever it loads when first asked is loaded now
    began, cpu = time.perf_counter(), time.process_time()
    try:
        asked.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.drop_duplicates(["check", "column", "index"])
        names = cases["check"].where(cases["check"] != "not_nullable", cases["column"] + ".required")
        # A row's place is its identifier in this table.
        found = {name: rows.tolist() for name, rows in cases["index"].groupby(names)}
    return {**spent(began, cpu), "findings": found}


def on_polars(folder: Path, checks: list[dict[str, Any]]) -> dict[str, Any]:
    import pandera.polars as pa
    import polars as pl

    frame = pl.read_parquet(folder / "table.parquet")

    def order(first: str, second: str) -> Any:
        return lambda data: data.lazyframe.select(pl.col(first) <= pl.col(second))

    asked = schema(pa, checks, order)
    with contextlib.suppress(pa.errors.SchemaErrors):
        asked.validate(frame.head(1000), lazy=True)  # whatever it loads when first asked is loaded now
    began, cpu = time.perf_counter(), time.process_time()
    try:
        asked.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        required = pl.col("check") == "not_nullable"
        names = pl.when(required).then(pl.col("column") + ".required").otherwise(pl.col("check"))
        grouped = errors.failure_cases.group_by(names.alias("name")).agg(pl.col("index"))
        found = dict(grouped.iter_rows())
    return {**spent(began, cpu), "findings": found}


def on_nothing(folder: Path, checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The conditions written by hand in polars, all in one pass, and what fails each: what there is to do at least."""
    import polars as pl

    frame = pl.read_parquet(folder / "table.parquet")

    def passes(check: dict[str, Any]) -> Any:
        column = pl.col(check["column"])
        told = {
            "required": column.is_not_null,
            "pattern": lambda: column.str.contains(f"^{check['regex']}$"),
            "min": lambda: column >= check["value"],
            "max": lambda: column <= check["value"],
            "values": lambda: column.is_in(check["values"]),
            "order": lambda: column <= pl.col(check["other"]),
        }
        return told[check["kind"]]()

    failed = [(~passes(check)).alias(check["name"]) for check in checks]

    def find(rows: Any) -> dict[str, list[int]]:
        marks = rows.lazy().select("id", *failed).collect()
        return {check["name"]: marks.filter(pl.col(check["name"]))["id"].to_list() for check in checks}

    find(frame.head(1000))
    began, cpu = time.perf_counter(), time.process_time()
    found = find(frame)
    return {**spent(began, cpu), "findings": found}


def spent(began: float, cpu: float) -> dict[str, float]:
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "peak_mib": peak_mib()}


ENGINES = {"pandas": on_pandas, "polars": on_polars, "bare": on_nothing}


def main(engine: str, folder: str) -> None:
    checks = json.loads(Path(folder, "checks.json").read_text())
    told = ENGINES[engine](Path(folder), checks)
    findings = {name: sorted({int(one) for one in rows}) for name, rows in told["findings"].items()}
    print(json.dumps({**told, "findings": findings}))


if __name__ == "__main__":
    main(*sys.argv[1:])
