"""`currency`: amounts converted by dated rates out of another dataset, as a relation around the cleaned rows.

The rate of a row is the newest one of its currency on or before its date, and no older than `max_age`. `from` and `at`
are cleaned columns of the row. An amount without a rate is NULL and marked, never guessed; the check `AMOUNT.currency`
judges it. The rules are in docs/cleaning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mainstay.core.clock import DAY
from mainstay.core.nouns import Check, Cleaning, Column, Dataset
from mainstay.core.sql import identifier, literal
from mainstay.quality.checks import UNRATED
from mainstay.store.current import schema_of

RATED = "__rated"
"""Suffix of the text beside it: amount, currency, rate and its date; NULL where nothing was converted."""

Rates = Callable[[str], str]
"""Name of a dataset -> bracketed query of its rates: `currency`, `date`, `rate`, each pair once."""


def conversions(dataset: Dataset) -> Iterator[tuple[Column, Cleaning]]:
    """The columns that are converted, each with its step."""
    for column in dataset.columns:
        for step in column.clean:
            if step.kind == "currency":
                yield column, step


def rates_in_current(dataset: str) -> str:
    """The rates that current has, the last landed one of a currency and date; `Rates` of the pipelines."""
    return (
        f"(SELECT currency, date, arg_max(rate, row(_batch, _ord)) AS rate FROM {schema_of(dataset)}.rows "
        "WHERE NOT _deleted AND currency IS NOT NULL AND isfinite(date) AND rate > 0 AND isfinite(rate) "
        "GROUP BY currency, date)"
    )


def converted(dataset: Dataset, cleaned: str, timezone: str | None, rates: Rates) -> str:
    """The cleaned relation with its amounts converted, each followed by its two marks.

    Args:
        dataset: The contract.
        cleaned: A query of the cleaned rows.
        timezone: Where the date of a timestamp is told; None: UTC.
        rates: Where the rates are.
    """
    for column, step in conversions(dataset):
        args, amount = step.args, identifier(column.name)
        given = identifier(str(args["from"]))
        is_known = f"{given} = {literal(args['to'])}"
        value = f"{amount} / _rate" if args["inverse"] else f"{amount} * _rate"
        sign = "/" if args["inverse"] else "*"
        told = f"concat({amount}, ' ', {given}, ' {sign} ', _rate, ' of ', _rate_on)"
        cleaned = (
            f"SELECT c.* EXCLUDE (_rated_at, _rate_from, _rate_on, _rate) "
            f"REPLACE (CASE WHEN {is_known} THEN {amount} ELSE {value} END AS {amount}), "
            f"coalesce({amount} IS NOT NULL AND ({given} IS NULL OR (NOT {is_known} AND _rate IS NULL)), FALSE) "
            f"AS {identifier(column.name + UNRATED)}, "
            f"CASE WHEN NOT {is_known} AND {amount} IS NOT NULL AND _rate IS NOT NULL THEN {told} END "
            f"AS {identifier(column.name + RATED)} FROM ({_beside(dataset, args, cleaned, timezone, rates)}) c"
        )
    return cleaned


def _beside(dataset: Dataset, args: dict[str, Any], rows: str, timezone: str | None, rates: Rates) -> str:
    """The rows with the rate of each: `_rate` and `_rate_on`, NULL where none is young enough."""
    at = date_sql(dataset, args, timezone)
    young = f"c._rated_at - r.date <= {days(args)}"
    return (
        f"SELECT c.*, r.currency AS _rate_from, CASE WHEN {young} THEN r.date END AS _rate_on, "
        f"CASE WHEN {young} THEN r.rate END AS _rate FROM (SELECT *, {at} AS _rated_at FROM ({rows})) c "
        f"ASOF LEFT JOIN {rates(str(args['rates']))} r "
        f"ON c.{identifier(str(args['from']))} = r.currency AND c._rated_at >= r.date"
    )


def date_sql(dataset: Dataset, args: dict[str, Any], timezone: str | None, *, of: str = "") -> str:
    """The date of a cleaned row, where the data lives. `of`: prefix of its columns, `q.`, where others are about."""
    at = of + identifier(str(args["at"]))
    if dataset.column(str(args["at"])).type == "timestamp":
        at = f"CAST(timezone({literal(timezone or 'UTC')}, timezone('UTC', {at})) AS DATE)"
    return f"CASE WHEN isfinite({at}) THEN {at} END"


def days(args: dict[str, Any]) -> int:
    """How old a rate may be."""
    return int(args["max_age_us"]) // DAY


def rated_sql(dataset: Dataset) -> str:
    """An expression over the converted relation: which rates were used, as `AMOUNT: 12.5 USD * 0.92 of 2026-10-30`."""
    told = [f"{literal(column.name + ': ')} || {identifier(column.name + RATED)}" for column, _ in conversions(dataset)]
    return f"nullif(concat_ws('; ', {', '.join(told)}), '')" if told else "NULL::VARCHAR"


def rated_now(dataset: Dataset, check: Check, timezone: str | None) -> str:
    """A condition on a quarantined row `q`, whose amount is NULL: by now there is a rate for it."""
    args, given = check.args, "q." + identifier(str(check.args["from"]))
    at = date_sql(dataset, args, timezone, of="q.")
    return (
        f"EXISTS (SELECT 1 FROM {rates_in_current(str(args['rates']))} _r WHERE _r.currency = {given} "
        f"AND _r.date <= {at} AND {at} - _r.date <= {days(args)})"
    )


def lacking(dataset: Dataset, check: Check, timezone: str | None) -> str:
    """An expression over quarantined rows: what was missing, in words."""
    args = check.args
    given, at = identifier(str(args["from"])), date_sql(dataset, args, timezone)
    nameless, dateless = (
        literal(f"no {what} in {args[name]}") for what, name in (("currency", "from"), ("date", "at"))
    )
    none = f"concat('no rate for ', {given}, ' on or before ', {at}, ', nor older than {days(args)} d')"
    return f"CASE WHEN {given} IS NULL THEN {nameless} WHEN {at} IS NULL THEN {dateless} ELSE {none} END"
