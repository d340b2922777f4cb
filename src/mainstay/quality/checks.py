"""Checks as SQL to be run in one pass, and what their counts mean: findings. Pure; the rules are in docs/checks.md."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mainstay.core.clock import MINUTE, span
from mainstay.core.counts import counted
from mainstay.core.keys import joined_sql
from mainstay.core.nouns import Check, Dataset, Freshness
from mainstay.core.verdicts import Finding, Verdict, worst
from mainstay.quality import sql
from mainstay.quality.conditions import (
    CONDITIONS,
    aggregate_condition,
    checked_condition,
    engine_condition,
    literals_for,
    refuse_unknown_pattern,
)
from mainstay.quality.patterns import glob_of

__all__ = [
    "BAD",
    "ROWS",
    "WHOLE",
    "RowCheck",
    "engine_condition",
    "fallen",
    "freshness_finding",
    "judge_aggregate",
    "judge_row_count",
    "judge_rows",
    "judge_share",
    "judge_unique",
    "named_columns",
    "orphans",
    "row_checks",
    "share_name",
    "unique_count",
    "unique_failures",
]

BAD = "__bad"
"""Suffix of the boolean beside a cleaned column: the value could not be read as declared."""

ROWS = ("type", *CONDITIONS, "references", "monotone", "currency")
"""Kinds that every row of a batch is put to, with one finding each."""

WHOLE = ("row_count", "aggregate", "volume", "distribution")
"""Kinds that judge the dataset as a whole: no row fails them, so none can be put aside."""

UNRATED = "__unrated"
"""Suffix of the boolean beside an amount that is converted: there was one, and no rate for it."""

_AHEAD_US = 5 * MINUTE
"""How far the newest event time may lie ahead of our clock before it stops meaning anything: clocks differ a little."""

_WANTED = {
    "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "date": "a date",
    "timestamp": "a timestamp", "json": "JSON", "bytes": "bytes",
}  # fmt: skip


class RowCheck(msgspec.Struct, frozen=True):
    """A row check ready to run."""

    check: Check
    failed_sql: str
    """A condition over the cleaned relation (columns by dataset name, and `<name>__bad`): TRUE fails, NULL does not.

    For WHERE, FILTER and CASE WHEN, which take NULL for FALSE: making it FALSE takes as long as many a check.
    """


def row_checks(dataset: Dataset) -> tuple[RowCheck, ...]:
    """The dataset's row checks, in its order; all others are only proved: they are judged over the whole dataset.

    Raises:
        Refused: a check cannot be asked of this dataset (no such column, a condition that is none, a limit of another
            type); the mend says what to write.
    """
    for check in dataset.checks:
        if check.kind == "aggregate":
            aggregate_condition(dataset, check)
    return tuple(
        RowCheck(check, _failed(dataset, check))
        for check in dataset.checks
        if check.kind in ("type", "currency", *CONDITIONS)
    )


def _failed(dataset: Dataset, check: Check) -> str:
    if check.kind == "type":
        return sql.name(f"{check.column}{BAD}")
    if check.kind == "currency":
        return sql.name(f"{check.column}{UNRATED}")
    if check.kind == "sql":
        return f"NOT ({checked_condition(dataset, check)})"
    column = dataset.column(check.column or "")
    quoted = sql.name(column.name)
    literal = literals_for(column.type, f"dataset {dataset.name}, check {check.name}")
    if check.kind == "pattern":
        regex = str(check.args["regex"])
        refuse_unknown_pattern(regex, f"dataset {dataset.name}, check {check.name}")
        if column.type == "string" and (glob := glob_of(regex)) is not None:
            return f"(NOT ({quoted} GLOB {sql.text(glob)}))"
    condition = CONDITIONS[check.kind](quoted, check.args, literal)
    if check.kind == "required":
        # A value that cannot be read is the business of `type`, one without a rate that of `currency`: not absent.
        marks = [BAD, *(UNRATED for step in column.clean if step.kind == "currency")]
        present = [f"{sql.name(f'{column.name}{mark}')} IS NOT TRUE" for mark in marks]
        return f"({' AND '.join([condition, *present])})"
    if check.kind == "min" and column.type == "number":
        # DuckDB orders NaN above everything, so that only `max` would see it.
        return f"({condition} OR isnan({quoted}))"
    return f"({condition})"


def orphans(check: Check, *, keys_sql: str) -> str:
    """A condition on a row of a `references` check: it names a key that is not among those of the other dataset.

    Args:
        check: The check.
        keys_sql: Query of the other dataset's keys, as text.
    """
    key = joined_sql([f"CAST({column} AS VARCHAR)" for column in named_columns(check)])
    return f"(({key}) IS NOT NULL AND ({key}) NOT IN ({keys_sql}))"


def fallen(check: Check, *, before: str, after: str) -> str:
    """A condition on two versions of a key: the value of a `monotone` check is lower in the later one; NULL is not."""
    column = sql.name(check.column or "")
    return f"({after}.{column} < {before}.{column})"


def unique_failures(check: Check, *, relation_sql: str, key: str, incoming_sql: str) -> str:
    """SQL giving the incoming rows (columns `k`, `_ord`) that repeat a value another row already has.

    The rule: in each group of rows with an equal value, every row beyond the first is surplus and fails. Rows that
    are not incoming come first, then incoming ones in our order of reading. NULL never collides.

    Args:
        check: The `unique` check; its columns are looked at.
        relation_sql: Name or parenthesised query of current *as it would be*: one row per key, the incoming included.
        key: The key column in that relation.
        incoming_sql: Query giving `k` (the key as text) and `_ord` of the incoming rows, one per key.
    """
    columns = named_columns(check)
    value = ", ".join(columns) if len(columns) == 1 else f"row({', '.join(columns)})"
    there = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    return (
        f"WITH _incoming AS ({incoming_sql}), "
        f"_repeated AS (SELECT {value} AS v FROM {relation_sql} AS r WHERE {there} "
        f"GROUP BY ALL HAVING count(*) > 1), "
        f"_placed AS (SELECT CAST(r.{sql.name(key)} AS VARCHAR) AS k, {value} AS v FROM {relation_sql} AS r "
        f"WHERE {value} IN (SELECT v FROM _repeated)), "
        f"_ranked AS (SELECT p.k, i._ord, row_number() OVER (PARTITION BY p.v ORDER BY i._ord NULLS FIRST, p.k) AS n "
        f"FROM _placed AS p LEFT JOIN _incoming AS i ON i.k = p.k) "
        f"SELECT k, _ord FROM _ranked WHERE n > 1 AND _ord IS NOT NULL ORDER BY _ord"
    )


def unique_count(check: Check, *, relation_sql: str) -> str:
    """SQL giving one row (`failed`, `total`): surplus rows of the whole relation, and rows that have a value."""
    columns = named_columns(check)
    there = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    return (
        f"SELECT count(*) - count(DISTINCT row({', '.join(columns)})) AS failed, count(*) AS total "
        f"FROM {relation_sql} AS r WHERE {there}"
    )


def named_columns(check: Check) -> tuple[str, ...]:
    """The columns, quoted, that a check over one or several columns names."""
    return tuple(sql.name(column) for column in check.args.get("columns") or (check.column or "",))


def judge_rows(dataset: Dataset, failed: Mapping[str, int], total: int) -> tuple[Finding, ...]:
    """One finding per row check of the dataset, in its order.

    Args:
        dataset: The dataset contract.
        failed: Check name -> how many rows of the batch failed. A check that is absent was not asked: ERROR.
        total: Rows of the batch.
    """
    checks = [check for check in dataset.checks if check.kind in ROWS]
    return tuple(_judge_row_check(dataset, check, failed.get(check.name), total) for check in checks)


def _judge_row_check(dataset: Dataset, check: Check, failed: int | None, total: int) -> Finding:
    if failed is None:
        return _finding(check, Verdict.ERROR, "the check was not run", 0, total)
    if total == 0:
        return _finding(check, Verdict.PASS, "there were no rows to check", 0, 0)
    if failed == 0:
        return _finding(
            check, Verdict.PASS, "the only row passes" if total == 1 else f"all {total:,} rows pass", 0, total
        )
    verdict = Verdict.WARN if check.on_fail == "warn" else Verdict.FAIL
    sentence = f"{failed:,} of {counted(total, 'row')} {_what_failed(dataset, check)}"
    return _finding(check, verdict, sentence, failed, total)


def _what_failed(dataset: Dataset, check: Check) -> str:
    column = check.column or " and ".join(check.args.get("columns", ()))
    if check.kind == "type":
        return f"have a {column} that is not {_WANTED[dataset.column(column or '').type]}"
    if check.kind == "required":
        return f"have no {column}"
    if check.kind == "min":
        return f"have {column} below {check.args['value']}"
    if check.kind == "max":
        return f"have {column} above {check.args['value']}"
    if check.kind == "length":
        return f"have a {column} {_lengths(check)}"
    if check.kind == "pattern":
        return f"have a {column} that does not match {check.args['regex']}"
    if check.kind == "values":
        return f"have a {column} outside the {counted(len(check.args['values']), 'declared value')}"
    if check.kind == "references":
        return f"have a {column} that {check.args['dataset']} does not have"
    if check.kind == "monotone":
        return f"have a {column} below that of the version before"
    if check.kind == "currency":
        return f"have no rate in {check.args['rates']} for {column}"
    return f"do not satisfy {check.args['condition']}"


def _lengths(check: Check) -> str:
    least, most = check.args.get("min"), check.args.get("max")
    shorter, longer = f"shorter than {least} characters", f"longer than {most} characters"
    if least is None or most is None:
        return longer if least is None else shorter
    return f"{shorter} or {longer}"


def judge_unique(check: Check, failed: int, total: int) -> Finding:
    """The finding of a `unique` check: `failed` surplus rows among `total` rows of current as it would be."""
    what = " and ".join(check.args.get("columns") or (check.column or "",))
    if failed == 0:
        return _finding(check, Verdict.PASS, f"no {what} is repeated in {counted(total, 'row')}", 0, total)
    verdict = Verdict.WARN if check.on_fail == "warn" else Verdict.FAIL
    sentence = f"{failed:,} of {counted(total, 'row')} repeat a {what} that another row has"
    return _finding(check, verdict, sentence, failed, total)


def share_name(check: Check) -> str:
    """What the finding on a check's `max_share` is called; a person releases a batch from it by this name."""
    return f"{check.name}.max_share"


def judge_share(check: Check, failing: int, keys: int, *, coming: int) -> Finding:
    """The finding on a check's `max_share`, on current as it would be.

    Args:
        check: The check.
        failing: How many keys fail it.
        keys: How many there are.
        coming: How many of `failing` the batch brings. Without any it is not what is wrong: it passes, with WARN.
    """
    most = check.max_share or 0.0
    share = failing / keys if keys else 0.0
    above = share > most
    sentence = (
        f"{failing:,} of {counted(keys, 'key')} fail {check.name}, {_percent(share)}; the most is {_percent(most)}"
    )
    return Finding(
        check=share_name(check),
        verdict=(Verdict.FAIL if coming else Verdict.WARN) if above else Verdict.PASS,
        sentence=sentence,
        column=check.column,
        on_fail="block",
        failed=failing,
        total=keys,
        mend="mend them in the source or add `clean:`; if it is right so, mainstay batch release ID --reason ..."
        if above
        else "",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def judge_row_count(check: Check, count: int) -> Finding:
    """The finding of a `row_count` check over `count` rows of current as it would be. Limits are inclusive."""
    least, most = check.args.get("min"), check.args.get("max")
    verdict = Verdict.WARN if check.on_fail == "warn" else Verdict.FAIL
    rows = counted(count, "row")
    if least is not None and count < least:
        return _finding(check, verdict, f"{rows}, fewer than the {least:,} promised", 1, count)
    if most is not None and count > most:
        return _finding(check, verdict, f"{rows}, more than the {most:,} promised", 1, count)
    return _finding(check, Verdict.PASS, rows, 0, count)


def judge_aggregate(check: Check, answer: bool | None, rows: int) -> Finding:
    """The finding of an `aggregate` check, given what its condition says over `rows` rows of current as it would be."""
    condition = " ".join(str(check.args["condition"]).split())
    if answer is None:
        sentence = f"{condition} is neither true nor false over {counted(rows, 'row')}"
        return _finding(check, Verdict.UNKNOWN, sentence, 0, rows)
    if answer:
        return _finding(check, Verdict.PASS, f"{condition}, over {counted(rows, 'row')}", 0, rows)
    verdict = Verdict.WARN if check.on_fail == "warn" else Verdict.FAIL
    return _finding(check, verdict, f"not {condition}, over {counted(rows, 'row')}", 1, rows)


def _finding(check: Check, verdict: Verdict, sentence: str, failed: int, total: int) -> Finding:
    return Finding(
        check=check.name,
        verdict=verdict,
        sentence=sentence,
        column=check.column,
        on_fail=check.on_fail,
        failed=failed,
        total=total,
    )


def freshness_finding(freshness: Freshness, age_us: int | None, newest_age_us: int | None) -> Finding:
    """The dataset's age against its promise. The worse of the two promises stands.

    Args:
        freshness: What was promised; parts that are None are not.
        age_us: Now minus as-of by our own clock; None when nothing was ever published. Negative: our clock went back.
        newest_age_us: Now minus the greatest event time; None when no row has one. Only asked where `newest` is
            promised. Up to five minutes ahead of our clock counts as now; further ahead says nothing.
    """
    verdict, sentence = _age(freshness, age_us)
    if freshness.newest_us is not None and age_us is not None:
        newest, newest_sentence = _newest(freshness.newest_us, newest_age_us)
        if newest.rank > verdict.rank:
            verdict, sentence = worst((verdict, newest)), newest_sentence
    return Finding(check="freshness", verdict=verdict, sentence=sentence)


def _age(freshness: Freshness, age_us: int | None) -> tuple[Verdict, str]:
    if age_us is None:
        return Verdict.UNKNOWN, "nothing has been published yet"
    if age_us < 0:
        return Verdict.UNKNOWN, f"as of lies {span(-age_us)} ahead of our clock, which went back"
    if freshness.fail_us is not None and age_us > freshness.fail_us:
        return Verdict.FAIL, f"data {span(age_us)} old, promise {span(freshness.fail_us)}"
    if freshness.warn_us is not None and age_us > freshness.warn_us:
        return Verdict.WARN, f"data {span(age_us)} old, warned past {span(freshness.warn_us)}"
    promise = freshness.warn_us if freshness.warn_us is not None else freshness.fail_us
    if promise is None:
        return Verdict.PASS, f"data {span(age_us)} old, no age promised"
    return Verdict.PASS, f"data {span(age_us)} old, within {span(promise)}"


def _newest(promise_us: int, newest_age_us: int | None) -> tuple[Verdict, str]:
    if newest_age_us is None:
        return Verdict.UNKNOWN, "no row has an event time, so the newest cannot be told"
    if newest_age_us < -_AHEAD_US:
        return Verdict.UNKNOWN, f"the newest event time lies {span(-newest_age_us)} in the future"
    if newest_age_us > promise_us:
        return Verdict.FAIL, f"newest event {span(newest_age_us)} old, promise {span(promise_us)}"
    return Verdict.PASS, f"newest event {span(max(newest_age_us, 0))} old, within {span(promise_us)}"
