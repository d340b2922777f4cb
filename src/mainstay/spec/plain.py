"""Looking into the plain tree without trusting its shape."""

from __future__ import annotations

from typing import Any, get_args

from mainstay.core.nouns import ColumnType
from mainstay.spec.values import is_date, is_timestamp


def mapping(value: object) -> dict[str, Any]:
    """The value when it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """The value when it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def key_of(part: object) -> list[str]:
    """The columns that a dataset's or feature view's `key:` names; none where it has a wrong shape."""
    said = mapping(part).get("key")
    names = [text(one) for one in (said if isinstance(said, list) else [said])]
    return names if all(names) else []


def type_of(columns: dict[str, Any], name: str) -> str:
    """The type that a column says; empty when there is none, or none that there is."""
    said = text(mapping(columns.get(name)).get("type"))
    return said if said in get_args(ColumnType) else ""


def fits(value: object, kind: str) -> bool:
    """Whether a value of the file is one of the column type `kind`. Unknown kinds fit everything."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return number and isinstance(value, int)
        case "number":
            return number
        case "boolean":
            return isinstance(value, bool)
        case "date":
            return is_date(value)
        case "timestamp":
            return is_timestamp(value)
    return True
