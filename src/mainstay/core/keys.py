"""One text for a business key, of one column or of several."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

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


def _upper(escape: re.Match[str]) -> str:
    """DuckDB writes control characters with upper-case digits."""
    found = escape[1]
    return "\\u" + found[1:].upper() if len(found) == 5 else escape[0]
