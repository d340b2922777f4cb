"""Rows that were read while a column was gone carry WARN: a check of the gate that every one of them fails."""

from __future__ import annotations

from collections.abc import Mapping

from mainstay.core.nouns import Check
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines.fit import declared
from mainstay.pipelines.stage import Shape
from mainstay.quality.checks import RowCheck


def lost_checks(form: Shape) -> tuple[RowCheck, ...]:
    """One for each column that was gone from the source when the batch was read."""
    columns = [column for raw in form.lost if (column := declared(form.dataset, raw)) is not None]
    return tuple(
        RowCheck(Check(name=f"{column.name}.lost", kind="lost", column=column.name, on_fail="warn"), "TRUE")
        for column in columns
    )


def lost_findings(form: Shape, failed: Mapping[str, int], total: int) -> list[Finding]:
    """What they found."""
    return [
        Finding(
            check=one.check.name,
            verdict=Verdict.WARN if total else Verdict.PASS,
            column=one.check.column,
            on_fail="warn",
            failed=failed.get(one.check.name, 0),
            total=total,
            sentence=f"{one.check.column} was gone from the source when they were read, and is NULL",
        )
        for one in lost_checks(form)
    ]
