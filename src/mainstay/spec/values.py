"""The small kinds of values that the file is made of, each with its sentence and its mend."""

from __future__ import annotations

import re
import zoneinfo
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from mainstay.core.addresses import safe
from mainstay.core.keys import joined_key
from mainstay.core.rate import PATTERN as RATE_PATTERN
from mainstay.core.rate import WANTED as WANTED_RATE
from mainstay.core.rate import Rate, read_rate
from mainstay.core.units import UNITS
from mainstay.spec import durations
from mainstay.spec.faults import close

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
NAME = r"^[a-z][a-z0-9_-]{0,62}$"

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9]) (\S+)")
_LINK = re.compile(r"(?:https?:/)?/[!#-;=?-\[\]-~]+")
_ORIGIN = re.compile(r"(https?)://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_FREE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(%|MB|GB|TB)")
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_NOT_IN_RE2 = re.compile(r"(?<!\\)(?:\\\\)*(\(\?(?:=|!|<=|<!|>|\()|\\[1-9])")


def fault(wanted: str, mend: str = "") -> PydanticCustomError:
    """A fault that says what was wanted and what to type."""
    return PydanticCustomError("mainstay", "{wanted}", {"wanted": wanted, "mend": mend})


def _duration(value: object) -> int:
    try:
        return durations.parse(value)
    except durations.DurationError as error:
        raise fault(str(error), error.mend) from None


def _positive(value: object) -> int:
    duration = _duration(value)
    if duration == 0:
        raise fault("a duration above zero", "write 1s or more")
    return duration


def _lag(value: object) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise fault("a lag of zero or more", f"write {-value}")
        return value
    _duration(value)
    return value


def _text(value: object, wanted: str) -> str:
    if not isinstance(value, str):
        raise fault(wanted, "put it in quotes" if isinstance(value, (bool, int, float)) else "")
    return value


def _identifier(value: object) -> str:
    text = _text(value, "a name for SQL")
    if not re.fullmatch(IDENTIFIER, text):
        mended = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[:60]
        mend = f"write `{mended if mended[:1].isalpha() else '_' + mended}`" if mended else ""
        raise fault("a name for SQL: a letter, then letters, digits and _, at most 63", mend)
    return text


def _identifiers(value: object) -> str | list[str]:
    if not isinstance(value, list):
        return _identifier(value)
    names = [_identifier(each) for each in value]
    if len(names) < 2 or len({name.casefold() for name in names}) < len(names):
        raise fault("a column, or at least two different ones", "write [first, second], or the one without brackets")
    return names


def _source_names(value: object) -> tuple[str, ...]:
    wanted = "a column's name in the source, or a list of the names that it may have there"
    names = [_text(each, wanted) for each in (value if isinstance(value, list) else [value])]
    if not names or not all(names) or len(set(names)) < len(names):
        raise fault(wanted, "write [old_name, new_name], each name once")
    return tuple(names)


def _key(value: object) -> str:
    if not isinstance(value, list):
        return _identifier(value)
    names = [_identifier(each) for each in value]
    if not names or len(set(names)) < len(names):
        raise fault("a column, or several different ones", "write [order_id, line_no], or the one without brackets")
    return joined_key(names)


def _mapped(value: object) -> str:
    if not isinstance(value, list):
        return _text(value, "a column, an expression or `all`")
    parts = [_text(each, "a column or an expression") for each in value]
    if not parts:
        raise fault("a column or an expression for each key column", "write [order_id, line_no], or `all`")
    return joined_key(parts)


def _views(value: object) -> list[str]:
    given = value if isinstance(value, list) else [value]
    names = [_text(each, "a feature view's name, or a list of them") for each in given]
    if not names or len(set(names)) < len(names):
        raise fault("a feature view, or several different ones", "write [first, second], or the one without brackets")
    return names


def _unit(value: object) -> str:
    text = _text(value, "a unit")
    if text not in UNITS:
        raise fault("a unit that is known here", close(text, UNITS, otherwise=f"one of {', '.join(UNITS)}"))
    return text


def _country(value: object) -> str:
    text = _text(value, "a country's two letters")
    if not re.fullmatch("[A-Z]{2}", text):
        raise fault("a country's two letters", "write DE, say")
    return text


def _language(value: object) -> str:
    text = _text(value, "a language")
    if not re.fullmatch("[a-z]{2,3}(_[A-Za-z]{2,4})?", text):
        raise fault("a language", "write de, en or zh_Hant, say")
    return text


def _name(value: object) -> str:
    text = _text(value, "a name")
    if not re.fullmatch(NAME, text):
        mended = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_").lstrip("-_0123456789")[:60]
        raise fault(
            "a name: a small letter, then small letters, digits, _ and -", f"write `{mended}`" if mended else ""
        )
    return text


def _zone(value: object) -> str:
    text = _text(value, "a time zone such as Europe/Berlin")
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        mend = close(text, zoneinfo.available_timezones(), otherwise="write a name of the IANA list, or UTC")
        raise fault("a time zone such as Europe/Berlin", mend) from None
    return text


def _hours(value: object) -> str:
    wanted = "hours such as 20:00-06:00 Europe/Berlin"
    text = _text(value, wanted)
    found = _HOURS.fullmatch(text)
    if found is None:
        raise fault(wanted, 'write "HH:MM-HH:MM Zone" in quotes, hours from 00 to 23, the zone not left out')
    if found.group(1, 2) == found.group(3, 4):
        raise fault("hours that begin and end at different times", "delete the line for: always")
    _zone(found[5])
    return text


def _iso_date(value: object) -> str:
    text = _text(value, "a date such as 2026-11-01")
    if not is_date(text):
        raise fault("a date such as 2026-11-01", "write year-month-day")
    return text


def _scalar(value: object) -> Any:
    if isinstance(value, (list, dict)):
        raise fault("one value: a text, a number, true or false")
    return value


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        raise fault("the text as the source writes it", "put it in quotes: 1.50 and 1.5 are two texts")
    if isinstance(value, (str, int)):
        return str(value)
    raise fault("the text as the source writes it")


def _word_or_null(value: object) -> str | None:
    return None if value is None else _word(value)


def _regex(value: object) -> str:
    text = _text(value, "a regular expression")
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise fault("a regular expression", f"it cannot be read: {error}") from None
    found = _NOT_IN_RE2.search(text)
    if found:
        raise fault(
            "a regular expression in the syntax of RE2", f"write it without `{found[1]}`, which RE2 does not know"
        )
    return text


def _origin(value: object) -> str:
    wanted = "the origin of a page, such as https://crm.example.com"
    found = _ORIGIN.fullmatch(_text(value, wanted).lower().rstrip("/"))
    if found is None:
        raise fault(wanted, "write scheme and host, and the port where it is not the usual one; no path, no *")
    usual = {"http": ":80", "https": ":443"}[found[1]]
    return found[0].removesuffix(usual)


def _link(value: object) -> str:
    wanted = "an address, such as https://api.example.com/v1/churn-2/predict or /v1/churn-2/predict"
    found = _LINK.fullmatch(_text(value, wanted))
    if found is None:
        raise fault(wanted, "write it whole, or from its first /, without spaces and quotes")
    return found[0]


def _web_address(value: object) -> str:
    wanted = "an address such as https://login.example.com"
    text = _text(value, wanted)
    if not safe(text):
        raise fault(wanted, "write it with https:// (http:// to this machine alone), without name, password and #")
    return text


def _free_disk(value: object) -> tuple[float | None, int]:
    wanted = "what must stay free: a share such as 5%, or an amount such as 20GB"
    found = _FREE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise fault(wanted, "write a number and one of %, MB, GB, TB")
    number = float(found[1])
    if found[2] != "%":
        return None, int(number * _BYTES[found[2]])
    if number >= 100:
        raise fault(wanted, "write a share below 100%")
    return number / 100, 0


def _rate(value: object) -> Rate:
    found = read_rate(value) if isinstance(value, str) else None
    if found is None:
        raise fault(WANTED_RATE, "write how many, a slash and one of s, m, h, d")
    return found


def _percent(value: object) -> float:
    wanted = "a share such as 50%"
    found = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) ?%", value.strip()) if isinstance(value, str) else None
    if found is None or float(found[1]) == 0:
        raise fault(wanted, "write a number above zero and %")
    return float(found[1]) / 100


def is_date(value: object) -> bool:
    """Whether it is the text of a day, `2026-11-01`."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_timestamp(value: object) -> bool:
    """Whether it is the text of a moment in ISO 8601; a day alone is its midnight."""
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _schema(kind: str | list[str], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


_EXAMPLES = {"examples": ["10s", "5m", "24h", "90d"]}

Duration = Annotated[int, BeforeValidator(_duration), _schema("string", pattern=durations.PATTERN, **_EXAMPLES)]
"""Microseconds, zero allowed."""
Span = Annotated[int, BeforeValidator(_positive), _schema("string", pattern=durations.PATTERN, **_EXAMPLES)]
"""Microseconds, above zero."""
Lag = Annotated[Any, BeforeValidator(_lag), _schema(["string", "integer"], pattern=durations.PATTERN)]
"""A duration's text, or a whole number for cursors that are numbers."""
Identifier = Annotated[str, BeforeValidator(_identifier), _schema("string", pattern=IDENTIFIER)]
Identifiers = Annotated[
    Any,
    BeforeValidator(_identifiers),
    _schema(["string", "array"], pattern=IDENTIFIER, items={"type": "string", "pattern": IDENTIFIER}, minItems=2),
]
"""One name, or a list of at least two different ones."""
SourceNames = Annotated[
    Any,
    BeforeValidator(_source_names),
    _schema(["string", "array"], minLength=1, items={"type": "string", "minLength": 1}, minItems=1, uniqueItems=True),
]
"""A column's name in the source, or several; always a tuple."""
KeyColumns = Annotated[
    str,
    BeforeValidator(_key),
    _schema(
        ["string", "array"],
        pattern=IDENTIFIER,
        items={"type": "string", "pattern": IDENTIFIER},
        minItems=1,
        uniqueItems=True,
        examples=["customer_id", ["order_id", "line_no"]],
    ),
]
"""One column's name, or a list of different ones, as the one text of `core.keys.joined_key`."""
Mapped = Annotated[
    str,
    BeforeValidator(_mapped),
    _schema(["string", "array"], items={"type": "string"}, minItems=1, examples=["customer_id"]),
]
"""What rows map to: one text, or a list with one for each key column, as `core.keys.joined_key` writes it."""
Views = Annotated[
    list[str],
    BeforeValidator(_views),
    _schema(["string", "array"], items={"type": "string"}, minItems=1, examples=["customer"]),
]
"""One feature view's name, or a list of different ones."""
UnitName = Annotated[str, BeforeValidator(_unit), _schema("string", enum=list(UNITS))]
Country = Annotated[str, BeforeValidator(_country), _schema("string", pattern="^[A-Z]{2}$")]
Language = Annotated[str, BeforeValidator(_language), _schema("string")]
Name = Annotated[str, BeforeValidator(_name), _schema("string", pattern=NAME)]
Zone = Annotated[str, BeforeValidator(_zone), _schema("string", examples=["Europe/Berlin"])]
Hours = Annotated[str, BeforeValidator(_hours), _schema("string", examples=["20:00-06:00 Europe/Berlin"])]
IsoDate = Annotated[str, BeforeValidator(_iso_date), _schema("string", format="date", examples=["2026-11-01"])]
Origin = Annotated[str, BeforeValidator(_origin), _schema("string", examples=["https://crm.example.com"])]
Link = Annotated[
    str, BeforeValidator(_link), _schema("string", examples=["https://api.example.com/v1/churn-2/predict"])
]
WebAddress = Annotated[str, BeforeValidator(_web_address), _schema("string", examples=["https://login.example.com"])]
Scalar = Annotated[Any, BeforeValidator(_scalar), _schema(["string", "number", "boolean"])]
Word = Annotated[str, BeforeValidator(_word), _schema(["string", "integer", "boolean"])]
WordOrNull = Annotated[str | None, BeforeValidator(_word_or_null), _schema(["string", "integer", "boolean", "null"])]
Regex = Annotated[str, BeforeValidator(_regex), _schema("string", format="regex")]
Percent = Annotated[
    float, BeforeValidator(_percent), _schema("string", pattern=r"^[0-9]{1,4}(\.[0-9]{1,3})? ?%$", examples=["50%"])
]
FreeDisk = Annotated[
    tuple[float | None, int],
    BeforeValidator(_free_disk),
    _schema("string", pattern=f"^{_FREE.pattern}$", examples=["5%", "20GB"]),
]
"""A share and None, or None and bytes."""
RateOf = Annotated[Any, BeforeValidator(_rate), _schema("string", pattern=RATE_PATTERN, examples=["100/s"])]
