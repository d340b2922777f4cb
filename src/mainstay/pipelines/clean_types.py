"""The last step of cleaning: the value in the declared type, or NULL where it cannot be read as declared."""

from __future__ import annotations

from collections.abc import Callable

from mainstay.core.errors import Refused
from mainstay.core.nouns import ColumnType
from mainstay.pipelines.clean_steps import Raw, Value, as_text, plain_number
from mainstay.quality import sql

_EXACT = 2**53
"""Beyond this, not every whole number is a double."""

_NO_OFFSET = ("UTC", "Etc/UTC")
"""Zones whose local time is UTC itself."""

_ISO = r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?"
_OFFSET = r"(Z|[+-]\d\d(:?\d\d)?)"


def _string(value: Value, raw: Raw) -> Value:
    if value.form == "bytes":
        return _lossy(f"TRY(decode({value.sql}))", raw)
    return Value(as_text(value))


def _integer(value: Value, raw: Raw) -> Value:
    """Whole numbers only: 12 and 12.0, never 12.5."""
    if value.form == "integer":
        return Value(value.sql)
    if value.form == "boolean":
        return Value(f"CAST({value.sql} AS BIGINT)")
    if value.form == "float":
        whole = raw.let(f"TRY_CAST({value.sql} AS BIGINT)")
        return _lossy(f"CASE WHEN {whole} = {value.sql} THEN {whole} END", raw)
    if value.form != "text":
        raise _never(value, raw, "an integer")
    whole, number = raw.let(f"TRY_CAST({value.sql} AS BIGINT)"), plain_number(value.sql, raw)
    exact = f"({whole} BETWEEN -{_EXACT} AND {_EXACT} OR NOT contains({value.sql}, '.'))"
    # The double refuses what only BIGINT reads (0x1F, 0b11) and finds the fraction that BIGINT rounds away.
    return _lossy(f"CASE WHEN {number} = CAST({whole} AS DOUBLE) AND {exact} THEN {whole} END", raw)


def _number(value: Value, raw: Raw) -> Value:
    if value.form == "float":
        return Value(value.sql)
    if value.form in ("integer", "boolean"):
        return Value(f"CAST({value.sql} AS DOUBLE)")
    if value.form != "text":
        raise _never(value, raw, "a number")
    if raw.kind == "numeric":
        # PostgreSQL's NUMERIC has NaN and Infinity, and they arrive as these words; digits never overflow unseen.
        words = "'NaN', 'Infinity', '-Infinity'"
        number = raw.let(f"TRY_CAST({value.sql} AS DOUBLE)")
        return _lossy(f"CASE WHEN isfinite({number}) OR {value.sql} IN ({words}) THEN {number} END", raw)
    return _lossy(plain_number(value.sql, raw), raw)


def _boolean(value: Value, raw: Raw) -> Value:
    if value.form == "boolean":
        return Value(value.sql)
    if value.form in ("integer", "float"):
        return _lossy(f"CASE {value.sql} WHEN 1 THEN TRUE WHEN 0 THEN FALSE END", raw)
    if value.form == "text" and (value.worded or raw.kind == "boolean"):
        return _lossy(f"CASE {value.sql} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END", raw)
    raise Refused(
        f"a {raw.kind} column does not say which of its values are true",
        mend="add `clean: [{boolean: {true: [yes], false: [no]}}]` with the words of this column",
        where=raw.where,
    )


def _date(value: Value, raw: Raw) -> Value:
    """A day. A timestamp passes only at midnight (in the source's zone where it declares one): no time is cut off."""
    if value.form == "instant":
        return _lossy(_midnight(value.sql), raw)
    if value.form != "text" or raw.kind in ("time", "interval"):
        raise _never(value, raw, "a date")
    if raw.kind == "date":
        return _lossy(_day(value.sql), raw)
    if raw.kind == "timestamp":
        return _lossy(_midnight(raw.let(_plain(value.sql))), raw)
    if raw.kind == "timestamptz":
        moment = raw.let(_utc(value.sql))
        if raw.timezone and raw.timezone not in _NO_OFFSET:
            moment = raw.let(f"timezone({sql.text(raw.timezone)}, timezone('UTC', {moment}))")
        return _lossy(_midnight(moment), raw)
    longer = _midnight(raw.let(_without_offset(value.sql)))
    return _lossy(f"CASE WHEN length({value.sql}) = 10 THEN {_day(value.sql)} ELSE {longer} END", raw)


def _timestamp(value: Value, raw: Raw) -> Value:
    """An instant in UTC. Without an offset of its own it is local time in the source's declared zone."""
    if value.form == "instant":
        return Value(value.sql) if value.zoned else Value(_local(value.sql, raw, demanded=True))
    if value.form != "text" or raw.kind in ("date", "time", "interval"):
        raise _never(value, raw, "a timestamp")
    if raw.kind == "timestamptz":
        return _lossy(_utc(value.sql), raw)
    if raw.kind == "timestamp":
        return _lossy(_local(raw.let(_plain(value.sql)), raw, demanded=True), raw)
    naive = _local(_without_offset(value.sql), raw, demanded=False)
    return _lossy(f"COALESCE({_with_offset(value.sql)}, {naive})", raw)


def _json(value: Value, raw: Raw) -> Value:
    if value.form in ("bytes", "instant", "float"):
        raise _never(value, raw, "JSON")
    text = as_text(value)
    if value.form in ("integer", "boolean"):
        return Value(text)
    return _lossy(f"CASE WHEN json_valid({text}) THEN {text} END", raw)


def _bytes(value: Value, _raw: Raw) -> Value:
    """Bytes as they are; text as its UTF-8."""
    return Value(value.sql) if value.form == "bytes" else Value(f"encode({as_text(value)})")


def _lossy(expression: str, raw: Raw) -> Value:
    return Value(raw.let(expression), may_lose=True)


def _never(value: Value, raw: Raw, wanted: str) -> Refused:
    shown = raw.kind if value.form in ("text", raw.kind) else value.form
    epoch = value.form in ("integer", "float") and wanted in ("a date", "a timestamp")
    why = " (seconds or milliseconds since 1970 are not guessed)" if epoch else ""
    return Refused(
        f"a value of kind {shown} is not {wanted}{why}",
        mend=f"declare the column as {shown if shown in TYPES else 'string'}, or convert it in a view of the source",
        where=raw.where,
    )


def _day(text: str) -> str:
    return f"CASE WHEN {text} LIKE '____-__-__' THEN TRY_CAST({text} AS DATE) END"


def _plain(text: str) -> str:
    """A source's own timestamp without zone. Its infinity, years past 9999 and before Christ have another shape."""
    shaped = f"{text} LIKE '____-__-__ %' AND NOT contains({text}, 'B')"
    return f"CASE WHEN {shaped} THEN TRY_CAST({text} AS TIMESTAMP) END"


def _utc(text: str) -> str:
    """A source's own timestamp with zone. Our sources write UTC, so that no zone table is asked."""
    shaped = f"{text} LIKE '____-__-__%' AND length({text}) > 15"
    utc = f"TRY_CAST({text} AS TIMESTAMP)"  # which skips the offset; it is zero
    return f"CASE WHEN {shaped} AND ends_with({text}, '+00') THEN {utc} ELSE {_with_offset(text)} END"


def _with_offset(text: str) -> str:
    """ISO text that carries an offset, in UTC. The shape is asked first: DuckDB alone skips what it does not know."""
    matches = f"regexp_full_match({text}, {sql.text(_ISO + _OFFSET)})"
    return f"CASE WHEN {matches} THEN timezone('UTC', TRY_CAST({text} AS TIMESTAMPTZ)) END"


def _without_offset(text: str) -> str:
    """ISO text that carries no offset, as it stands."""
    return f"CASE WHEN regexp_full_match({text}, {sql.text(_ISO)}) THEN TRY_CAST({text} AS TIMESTAMP) END"


def _local(moment: str, raw: Raw, *, demanded: bool) -> str:
    """Local time in the declared zone to UTC.

    A time that the clocks skip in spring is read with the offset before the change (02:30 becomes 03:30 summer time);
    one that occurs twice in autumn is the later of the two. Both are ICU's rule.
    """
    if raw.timezone in _NO_OFFSET:
        return moment  # the same, without a calendar being asked twice for each row
    if raw.timezone is not None:
        return f"timezone('UTC', timezone({sql.text(raw.timezone)}, {moment}))"
    if demanded:
        raise Refused(
            "its timestamps have no time zone, so they name no instant",
            mend="add `timezone:` to the source, e.g. `timezone: Europe/Berlin`",
            where=raw.where,
        )
    return "CAST(NULL AS TIMESTAMP)"


def _midnight(moment: str) -> str:
    return f"CASE WHEN {moment} = date_trunc('day', {moment}) THEN CAST({moment} AS DATE) END"


TYPES: dict[ColumnType, Callable[[Value, Raw], Value]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
    "json": _json,
    "bytes": _bytes,
}
"""Declared type -> how a cleaned value becomes it."""
