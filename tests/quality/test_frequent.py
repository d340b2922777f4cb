"""Frequent values are compared with before a pattern is asked, and nothing but time depends on which they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.nouns import Check, Column, Dataset
from mainstay.quality.checks import RowCheck, row_checks
from mainstay.quality.frequent import costly, eased, eased_all, sample_sql

PATTERN = Check(name="p", kind="pattern", column="t", args={"regex": "[A-Z][A-Za-z -]+"})
OTHER = Check(name="q", kind="pattern", column="u", args={"regex": "x*"})
LIMIT = Check(name="l", kind="length", column="t", args={"max": 30})
COLUMNS = tuple(Column(name=name, type="string", source_name=name) for name in "tu")


def ready(*checks: Check) -> tuple[RowCheck, ...]:
    return row_checks(Dataset(name="d", source="s", table="d", key="t", columns=COLUMNS, checks=checks))


def failing(check: RowCheck, values: Sequence[str | None]) -> list[bool | None]:
    rows = duckdb.execute(f"SELECT {check.failed_sql} FROM (SELECT unnest($1::VARCHAR[]) AS t)", [values]).fetchall()
    return [row[0] for row in rows]


def sampled(check: RowCheck, values: Sequence[str | None]) -> list[tuple[Any, Any]]:
    return list(zip(values, failing(check, values), strict=True))


VALUES = st.lists(st.one_of(st.none(), st.sampled_from(["One", "Two", "it's", "A-\0", "A" * 200, "a", ""]), st.text()))


@given(VALUES, VALUES)
@settings(max_examples=100, deadline=None)
def test_the_same_rows_fail_whatever_the_sample_holds(sample: list[str | None], values: list[str | None]) -> None:
    (check,) = ready(PATTERN)
    easier = eased(check, sampled(check, sample))
    asked = [*values, *sample, None]
    assert failing(easier, asked) == failing(check, asked)


def test_frequent_values_that_pass_are_compared_with() -> None:
    (check,) = ready(PATTERN)
    easier = eased(check, sampled(check, ["One year", "No"] * 50 + ["?!"] * 60))
    assert easier.failed_sql == f"(\"t\" <> 'One year' AND \"t\" <> 'No' AND {check.failed_sql})"


def test_values_that_are_rare_fail_or_do_not_fit_a_statement_are_not() -> None:
    (check,) = ready(PATTERN)
    rare: list[str | None] = [f"A{'b' * n}" for n in range(100)]
    for values in ([], [None] * 9, ["?!"] * 9, rare, ["A" * 101] * 9, ["A\0"] * 9, [*rare, *["No"] * 90]):
        assert eased(check, sampled(check, values)) is check


def test_a_sample_is_asked_for_patterns_alone_and_goes_to_its_own_check() -> None:
    checks = ready(LIMIT, PATTERN, OTHER)
    assert costly(checks) == checks[1:]
    table = "(SELECT 'One' AS t, 'x' || n AS u FROM range(5000) r(n))"
    rows = duckdb.execute(sample_sql(costly(checks), table)).fetchall()
    assert len(rows) < 5000
    easier = eased_all(checks, rows)
    assert easier[0] is checks[0]
    assert easier[1].failed_sql == f"(\"t\" <> 'One' AND {checks[1].failed_sql})"
    assert easier[2] is checks[2]
