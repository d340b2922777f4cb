"""Great Expectations on pandas, told every check; all failing rows' identifiers. Run by the peer's Python."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as gxe
from peak import peak_mib


def expectation(check: dict[str, Any]) -> Any:
    column = check["column"]
    if check["kind"] == "required":
        return gxe.ExpectColumnValuesToNotBeNull(column=column)
    if check["kind"] == "pattern":
        return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=f"^{check['regex']}$")
    if check["kind"] == "min":
        return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=check["value"])
    if check["kind"] == "max":
        return gxe.ExpectColumnValuesToBeBetween(column=column, max_value=check["value"])
    if check["kind"] == "values":
        return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=check["values"])
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=check["other"], column_B=column, or_equal=True)


def main(folder: str) -> None:
    logging.disable(logging.WARNING)
    checks = json.loads(Path(folder, "checks.json").read_text())
    frame = pd.read_parquet(Path(folder, "table.parquet"))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("table")
    whole = asset.add_batch_definition_whole_dataframe("whole")
    few, batch = (whole.get_batch({"dataframe": one}) for one in (frame.head(1000), frame))
    suite = gx.ExpectationSuite(name="checks", expectations=[expectation(one) for one in checks])
    form = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["id"],
        "return_unexpected_index_query": False,
    }
    few.validate(suite, result_format=form)  # whatever it loads when first asked is loaded now
    began, cpu = time.perf_counter(), time.process_time()
    results = batch.validate(suite, result_format=form).results
    found = []
    for one in results:
        assert not one.exception_info.get("raised_exception"), one.exception_info
        found.append([row["id"] for row in one.result.get("unexpected_index_list") or ()])
    seconds, cpu, peak = time.perf_counter() - began, time.process_time() - cpu, peak_mib()
    named = dict(zip([one["name"] for one in by_result(checks, results)], found, strict=True))
    findings = {name: sorted(int(one) for one in rows) for name, rows in named.items()}
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mib": peak, "findings": findings}))


def by_result(checks: list[dict[str, Any]], results: Any) -> list[dict[str, Any]]:
    """The checks in the order of the results, which Great Expectations does not promise to keep."""
    known = {key(expectation(check).configuration): check for check in checks}
    return [known[key(one.expectation_config)] for one in results]


def key(configuration: Any) -> str:
    kwargs = {name: value for name, value in configuration.kwargs.items() if name != "batch_id" and value is not None}
    return json.dumps([configuration.type, kwargs], sort_keys=True, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
