"""A read request -> the SELECTs that answer it in SQLite, with their parameters. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mainstay.core.errors import SourceRefused
from mainstay.core.keys import key_names, parted_key
from mainstay.core.ports import ReadRequest, SourceColumn

KEYS_AT_ONCE = 500
PARTS_AT_ONCE = 200
"""Of keys of several columns: SQLite reads conditions at most 1,000 deep."""
_STAMP = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?(?P<zone>Z|[+-]\d{2}:\d{2})?$")
_INTEGER = re.compile(r"^-?[0-9]{1,19}$")
_REAL = re.compile(r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$")
_LEAST, _GREATEST = -(2**63), 2**63 - 1


class Statement(msgspec.Struct, frozen=True):
    sql: str
    params: tuple[Any, ...] = ()


def identifier(name: str) -> str:
    """The name quoted."""
    return '"' + name.replace('"', '""') + '"'


def wanted(request: ReadRequest) -> tuple[str, ...]:
    """The columns that the read returns, in order."""
    if request.mode != "keys":
        return request.columns
    return tuple(dict.fromkeys(name for name in (*key_names(request.key), request.cursor) if name))


def statements(table: str, request: ReadRequest, cursor: SourceColumn | None, *, where: str) -> list[Statement]:
    """The SELECTs whose rows together answer the request, but for ranges. `table` is quoted already."""
    select = f"SELECT {', '.join(identifier(name) for name in wanted(request))} FROM {table}"
    if request.mode == "by_keys":
        if len(key_names(request.key)) > 1:
            return _of_parts(select, request)
        key = identifier(request.key)
        found = []
        distinct = list(dict.fromkeys(request.keys))
        for start in range(0, len(distinct), KEYS_AT_ONCE):
            params = tuple(form for text in distinct[start : start + KEYS_AT_ONCE] for form in _forms(text))
            found.append(Statement(f"{select} WHERE {key} IN ({', '.join('?' * len(params))})", params))
        return found
    if request.mode == "increment" and request.since is not None and cursor is not None:
        name = identifier(cursor.name)
        bound = _bound(cursor, request, request.since, where=where)
        # Minus infinity, like NULL, lies before every bound: such rows are read every time.
        endless = f" OR {name} = -9e999" if cursor.kind == "numeric" else ""
        return [Statement(f"{select} WHERE ({name} >= ? OR {name} IS NULL{endless})", (bound,))]
    return [Statement(select)]


def _of_parts(select: str, request: ReadRequest) -> list[Statement]:
    """The rows whose key of several columns is asked for. Row values would lose each column's own way to compare."""
    found = []
    distinct = list(dict.fromkeys(request.keys))
    for start in range(0, len(distinct), PARTS_AT_ONCE):
        params: list[Any] = []
        rows = []
        for text in distinct[start : start + PARTS_AT_ONCE]:
            tests = []
            for name, part in zip(key_names(request.key), parted_key(text, len(key_names(request.key))), strict=True):
                forms = _forms(part)
                params += forms
                tests.append(f"{identifier(name)} IN ({', '.join('?' * len(forms))})")
            rows.append(f"({' AND '.join(tests)})")
        found.append(Statement(f"{select} WHERE {' OR '.join(rows)}", tuple(params)))
    return found


def greatest(table: str, request: ReadRequest, cursor: SourceColumn, *, where: str) -> Statement:
    """At most one row with the greatest cursor value.

    In a column of numbers only finite ones count: text sorts above them all, and as a bound would hide every later row.
    """
    _refuse(cursor, request, where=where)
    name = identifier(cursor.name)
    conditions = [f"typeof({name}) NOT IN ('null', 'blob')"]
    params: tuple[Any, ...] = ()
    if cursor.kind in {"integer", "numeric"}:
        conditions = [f"typeof({name}) IN ('integer', 'real')", f"{name} > -9e999 AND {name} < 9e999"]
    if request.mode == "increment" and request.since is not None:
        conditions.append(f"{name} >= ?")
        params = (_bound(cursor, request, request.since, where=where),)
    return Statement(
        f"SELECT {name} FROM {table} WHERE {' AND '.join(conditions)} ORDER BY {name} DESC LIMIT 1", params
    )


def earlier(stamp: str, lag_us: int) -> str | None:
    """The ISO date or time that lies `lag_us` before `stamp`, written in the same form; None when it is not one.

    The same form matters: SQLite compares such texts letter by letter. Rounded down to the form's precision.
    """
    found = _STAMP.match(stamp)
    if found is None:
        return None
    zone = found["zone"] or ""
    body = stamp.removesuffix(zone) if zone else stamp
    try:
        moment = datetime.fromisoformat(body) - timedelta(microseconds=lag_us)
    except (ValueError, OverflowError):
        return None
    text = moment.strftime("%Y-%m-%d %H:%M:%S.%f").zfill(26)
    if len(body) > 10:
        text = text[:10] + body[10] + text[11:]
    return text[: len(body)] + zone


def _bound(cursor: SourceColumn, request: ReadRequest, since: str, *, where: str) -> Any:
    _refuse(cursor, request, where=where)
    if cursor.kind in {"integer", "numeric"} or request.lag_number:
        number = number_of(since)
        if number is None:
            raise SourceRefused(
                f"cursor {cursor.name!r} is {cursor.native} and holds no numbers",
                mend="give a lag in time, such as 5m, or leave `lag` out",
                where=where,
            )
        return nearest(number - request.lag_number)
    if not request.lag_us:
        return since
    bound = earlier(since, request.lag_us)
    if bound is None:
        raise SourceRefused(
            f"cursor {cursor.name!r} is {cursor.native} and holds no ISO times, so it has no lag in time",
            mend="leave `lag` out; reconciliation finds late commits",
            where=where,
        )
    return bound


def _refuse(cursor: SourceColumn, request: ReadRequest, *, where: str) -> None:
    numbers = cursor.kind in {"integer", "numeric"}
    if not numbers and cursor.kind != "text":
        raise SourceRefused(
            f"column {cursor.name!r} is {cursor.native}, which cannot be a cursor",
            mend="use a column of integers, of numbers or of text",
            where=where,
        )
    if numbers and request.lag_us:
        raise SourceRefused(
            f"cursor {cursor.name!r} is {cursor.native}: its lag cannot be a time",
            mend="give a lag in numbers",
            where=where,
        )


def number_of(text: str) -> int | float | None:
    """The number that the text writes; None when it writes none."""
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _REAL.match(text) else None


def nearest(number: float) -> int | float:
    """The number, or the nearest that SQLite can hold."""
    return min(max(number, _LEAST), _GREATEST) if isinstance(number, int) else number


def _forms(text: str) -> tuple[Any, ...]:
    """The text, and the number that is written just so: a column without a type tells 5 and '5' apart."""
    number = number_of(text)
    exact = number is not None and repr(number) == text and number == nearest(number)
    return (text, number) if exact else (text,)
