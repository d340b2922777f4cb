"""One text for a business key, of one column or of several.

What names a row is one text wherever it is kept. So is what names the key's columns, in files' records and in reads: of
one column its name, of several `joined_key` of their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

_ESCAPE = re.compile(r"\\(u[0-9a-f]{4}|.)")


def joined_key(parts: Sequence[str]) -> str:
    """The canonical text of a key of several columns: a compact JSON array of each column's text, as declared.

    A key of one column is that column's text as it is. The array holds text only, so that 7 and "7" of one column
    cannot differ, and no part runs into its neighbour. Equal to DuckDB's `to_json([a::VARCHAR, b::VARCHAR])::VARCHAR`.
    """
    if len(parts) == 1:
        return parts[0]
    text = json.dumps(list(parts), ensure_ascii=False, separators=(",", ":"))
    return _ESCAPE.sub(_upper, text) if "\\u00" in text else text


def parted_key(text: str, columns: int) -> tuple[str, ...]:
    """The texts of a key's columns out of its canonical text.

    Raises:
        ValueError: it is not a key of so many columns.
    """
    if columns == 1:
        return (text,)
    parts = json.loads(text)
    if not isinstance(parts, list) or len(parts) != columns or not all(isinstance(one, str) for one in parts):
        raise ValueError(f"wanted a JSON array of {columns} texts")
    return tuple(parts)


def key_names(key: str) -> tuple[str, ...]:
    """The columns of a key, out of the text by which a record holds them."""
    if not key.startswith('["'):
        return (key,)
    return tuple(json.loads(key))


def shown_names(key: str) -> str:
    """A key's columns for people: `customer_id`, or `(customer_id, product_id)`."""
    names = key_names(key)
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def shown_key(names: Sequence[str], text: str) -> str:
    """A row's key for people: the text of one column, or `customer_id=7,product_id=P1`.

    A value that would blur where the next column begins makes a JSON object of it, which commands take as well. What
    is no key of these columns is shown as it is.
    """
    try:
        parts = parted_key(text, len(names))
    except ValueError:
        return text
    if len(names) == 1:
        return text
    if any("," in part or part != part.strip() or "=" in name for name, part in zip(names, parts, strict=True)):
        return json.dumps(dict(zip(names, parts, strict=True)), ensure_ascii=False)
    return ",".join(f"{name}={part}" for name, part in zip(names, parts, strict=True))


def typed_key(names: Sequence[str], typed: str) -> str:
    """The canonical text of a key as a person types it: by its columns, as a JSON object, or the canonical text itself.

    For a key of one column it is the text as it is, or `column=text`. Values are
    taken as they are kept: nothing is cleaned.

    Raises:
        ValueError: a column of the key is missing, or there is one too many. The sentence says which.
    """
    if len(names) == 1:
        return typed.removeprefix(f"{names[0]}=")
    if typed.startswith("["):
        return joined_key(parted_key(typed, len(names)))
    given = typed_columns(typed)
    lacking = [name for name in names if name not in given]
    if lacking or len(given) > len(names):
        wanted = ",".join(f"{name}=..." for name in names)
        came = f"without {' and '.join(lacking)}" if lacking else "with a column too many"
        raise ValueError(f"wanted {wanted}, found a key {came}")
    return joined_key([given[name] for name in names])


def typed_columns(typed: str) -> dict[str, str]:
    """`customer_id=7,product_id=P1`, or a JSON object where a value has a comma, as texts by column.

    Raises:
        ValueError: it is neither.
    """
    if typed.startswith("{"):
        given = json.loads(typed)
        if not isinstance(given, dict):
            raise ValueError("wanted a JSON object")
        return {name: _plain(value) for name, value in given.items()}
    parts = [part.partition("=") for part in typed.split(",")]
    if not all(name.strip() and equals for name, equals, _ in parts):
        raise ValueError("wanted column=value for each column of the key, with commas between")
    return {name.strip(): value for name, _, value in parts}


def joined_sql(parts: Sequence[str]) -> str:
    """DuckDB's SQL for `joined_key`, over expressions of type VARCHAR. NULL where a part is: that row has no key."""
    if len(parts) == 1:
        return parts[0]
    there = " AND ".join(f"({part}) IS NOT NULL" for part in parts)
    return f"CASE WHEN {there} THEN CAST(to_json([{', '.join(parts)}]) AS VARCHAR) END"


def stamp_text(moment: datetime) -> str:
    """An instant as DuckDB writes a TIMESTAMP in UTC: the fraction without trailing zeros. Without a zone it is UTC."""
    utc = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    whole, _, fraction = utc.isoformat(" ").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _plain(value: object) -> str:
    """A value of a JSON object as a key's text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("wanted texts, whole numbers, true or false as a key's values")


def _upper(escape: re.Match[str]) -> str:
    """DuckDB writes control characters with upper-case digits."""
    found = escape[1]
    return "\\u" + found[1:].upper() if len(found) == 5 else escape[0]
