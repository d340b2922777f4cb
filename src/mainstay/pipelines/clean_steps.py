"""The steps of cleaning: each takes a value's expression and gives the next.

A value has a form: the raw form of its column until a step makes text of it. Steps that only mean something for
text (trim, case, blanks) leave integers, floats, booleans and bytes as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.nouns import ColumnType
from mainstay.core.ports import SourceKind
from mainstay.core.sql import WHITESPACE
from mainstay.core.units import conversion
from mainstay.pipelines.clean_forms import FUNCTIONS, knows, refuse_unknown_language, refuse_unknown_region
from mainstay.quality import sql

Form = Literal["integer", "float", "boolean", "bytes", "text", "instant"]
"""How DuckDB holds a value between steps. `instant`: a naive UTC or zoneless TIMESTAMP out of a `date` step."""


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the column being cleaned."""

    kind: SourceKind
    type: ColumnType
    timezone: str | None
    where: str
    """For errors."""
    let: Callable[[str], str]
    """Gives an expression a name, so that it is evaluated once however often it is used; returns the name."""


class Value(msgspec.Struct, frozen=True):
    """An expression, its form, and whether making it may have turned a value into NULL that was not meant to be."""

    sql: str
    form: Form = "text"
    may_lose: bool = False
    worded: bool = False
    """Whether a `map` or `boolean` step ran, so that the texts true and false mean what they say."""
    zoned: bool = False
    """For `instant`: whether it is UTC already."""
    day: bool = False
    """For `instant`: whether its formats have no time of day."""


Step = Callable[[Value, Mapping[str, Any], Raw], Value]


def raw_value(column_sql: str, kind: SourceKind) -> Value:
    """The raw value of a column of this kind."""
    forms: dict[SourceKind, Form] = {"integer": "integer", "float": "float", "boolean": "boolean", "bytes": "bytes"}
    return Value(column_sql, forms.get(kind, "text"))


def as_text(value: Value) -> str:
    """The text form: numbers as DuckDB writes them (12, 12.0), booleans true and false, instants in ISO."""
    if value.form == "text":
        return value.sql
    return f"CAST(CAST({value.sql} AS DATE) AS VARCHAR)" if value.day else f"CAST({value.sql} AS VARCHAR)"


def _on_text(build: Callable[[str, Raw], str]) -> Step:
    def step(value: Value, _args: Mapping[str, Any], raw: Raw) -> Value:
        if value.form != "text":
            return value
        return Value(raw.let(build(value.sql, raw)), worded=value.worded)

    return step


def _trim(text: str, raw: Raw) -> str:
    """DuckDB's trim with a list of characters costs ten times one of blanks alone, so it is asked last."""
    blanks = raw.let(f"trim({text})")
    return f"CASE WHEN {_solid(blanks)} OR {blanks} = '' THEN {blanks} ELSE trim({blanks}, {sql.text(WHITESPACE)}) END"


def _solid(text: str) -> str:
    """Whether the text begins and ends with visible ASCII, so that there is nothing to trim."""
    return f"({text} >= '!' AND {text} < chr(127) AND {text}[-1] BETWEEN '!' AND '~')"


def _title(text: str, _raw: Raw) -> str:
    words = f"string_split(lower({text}), ' ')"
    return f"array_to_string(list_transform({words}, lambda w: upper(w[1]) || w[2:]), ' ')"


def _collapse(text: str, _raw: Raw) -> str:
    unusual = sql.text("[" + WHITESPACE[1:] + "]")
    replaced = f"regexp_replace({text}, {sql.text('[' + WHITESPACE + ']+')}, ' ', 'g')"
    return f"CASE WHEN contains({text}, '  ') OR regexp_matches({text}, {unusual}) THEN {replaced} ELSE {text} END"


def _blank(text: str, _raw: Raw) -> str:
    blank = f"trim(trim({text}), {sql.text(WHITESPACE)}) = ''"
    visible = f"{text} >= '!' AND {text} < chr(127)"
    return f"CASE WHEN {visible} THEN {text} WHEN {blank} THEN NULL ELSE {text} END"


def _equals(value: Value, declared: Any) -> str | None:
    """The condition that `value` is the declared one; None when it never can be.

    A declared number is compared as a number, so that -1 finds -1.0 and '-1.00'; a declared text by its characters.
    """
    if value.form in ("integer", "float"):
        number = _number_of(declared)
        return None if number is None else f"{value.sql} = {sql.literal(number)}"
    if value.form == "boolean":
        word = str(declared).lower()
        return f"{value.sql} = {word.upper()}" if word in ("true", "false") else None
    if value.form == "bytes":
        return None
    text = as_text(value)
    if sql.is_number(declared):
        return f"({text} = {sql.text(str(declared))} OR TRY_CAST({text} AS DOUBLE) = {sql.literal(declared)})"
    word = str(declared).lower() if isinstance(declared, bool) else str(declared)
    return f"{text} = {sql.text(word)}"


def _number_of(declared: Any) -> Any:
    if sql.is_number(declared):
        return declared
    try:
        return float(str(declared)) if not re.fullmatch(r"[+-]?\d+", str(declared)) else int(str(declared))
    except ValueError:
        return None


def _null_if(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    values = _list(args, "values", raw)
    texts = [v for v in values if not sql.is_number(v) and v is not None]
    conditions: list[str] = []
    if value.form == "text" and texts:
        words = ", ".join(sql.text(str(v).lower() if isinstance(v, bool) else str(v)) for v in texts)
        conditions.append(f"{value.sql} IN ({words})")
        values = [v for v in values if sql.is_number(v)]
    conditions += [c for v in values if v is not None and (c := _equals(value, v)) is not None]
    if not conditions:
        return value
    return msgspec.structs.replace(
        value, sql=raw.let(f"CASE WHEN {sql.any_of(conditions)} THEN NULL ELSE {value.sql} END"), may_lose=False
    )


def _map(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    """Values not named stay as they are; a value mapped to null becomes NULL."""
    pairs = args.get("values")
    if not isinstance(pairs, Mapping) or not pairs:
        raise Refused("`map` needs the values to map", mend="write `map: {values: {old: new}}`", where=raw.where)
    whens = [
        f"WHEN {condition} THEN {_text_of(new)}"
        for old, new in pairs.items()
        if (condition := _equals(value, old)) is not None
    ]
    if not whens:
        return msgspec.structs.replace(value, may_lose=False)
    return Value(raw.let(f"CASE {' '.join(whens)} ELSE {as_text(value)} END"), worded=True)


def _text_of(value: Any) -> str:
    if value is None:
        return "NULL"
    return sql.text(str(value).lower() if isinstance(value, bool) else str(value))


def _boolean(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    """Words are compared without case; a word in neither list is lost, and so bad."""
    if value.form == "bytes":
        raise Refused("`boolean` cannot read bytes", mend="declare the column as bytes", where=raw.where)
    words = {answer: _list(args, answer, raw) for answer in ("true", "false")}
    whens = []
    for answer, listed in words.items():
        if value.form == "text":
            lowered = ", ".join(sql.text(_word(word)) for word in listed)
            whens.append(f"WHEN lower({value.sql}) IN ({lowered}) THEN {answer.upper()}")
        else:
            conditions = [c for word in listed if (c := _equals(value, word)) is not None]
            whens += [f"WHEN {sql.any_of(conditions)} THEN {answer.upper()}"] if conditions else []
    body = f"CASE {' '.join(whens)} END" if whens else "CAST(NULL AS BOOLEAN)"
    return Value(raw.let(body), "boolean", may_lose=True)


def _word(word: Any) -> str:
    return str(word).lower()


def _number(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    """The number's text in plain form. Separators must stand where they belong: 12.5 is not 125 in Germany."""
    decimal, thousands = str(args.get("decimal", ".")), str(args.get("thousands") or "")
    if (
        len(decimal) != 1
        or len(thousands) > 1
        or decimal == thousands
        or re.search(r"[^\W_]|[+-]", decimal + thousands)
    ):
        raise Refused(
            "`number` needs two different separators of one character each",
            mend='write `number: {decimal: ",", thousands: "."}`',
            where=raw.where,
        )
    if value.form in ("integer", "float"):
        return value
    if value.form != "text":
        raise Refused(f"`number` cannot read a {value.form} value", where=raw.where, mend="remove the step")
    digits = raw.let(_trim(value.sql, raw))
    if thousands:
        # Printed numbers group by one of several spaces and apostrophes, whichever the writer's locale has.
        variants = {" ": " \xa0\u202f\u2009", "'": "'\u2019"}.get(thousands, thousands)
        group, point = f"[{_class(variants)}]", f"[{_class(decimal)}]"
        grouped = rf"[+-]?\d{{1,3}}({group}\d{{3}})+({point}\d*)?"
        found = sql.any_of([f"contains({digits}, {sql.text(mark)})" for mark in variants])
        removed = f"translate({digits}, {sql.text(variants)}, '')"
        digits = raw.let(
            f"CASE WHEN NOT {found} THEN {digits} "
            f"WHEN regexp_full_match({digits}, {sql.text(grouped)}) THEN {removed} END"
        )
    if decimal != ".":
        foreign = f"contains({digits}, '.')"
        digits = raw.let(f"CASE WHEN NOT {foreign} THEN replace({digits}, {sql.text(decimal)}, '.') END")
    if raw.type in ("number", "integer"):
        return Value(digits, may_lose=True)  # the type's own reading judges it
    return Value(raw.let(f"CASE WHEN {plain_number(digits, raw)} IS NOT NULL THEN {digits} END"), may_lose=True)


def _class(characters: str) -> str:
    return "".join(f"\\x{{{ord(character):X}}}" for character in characters)


def plain_number(text: str, raw: Raw) -> str:
    """The text as DOUBLE, or NULL. Python's 1_000, the words nan and inf and what overflows are no numbers here."""
    number = raw.let(f"TRY_CAST({text} AS DOUBLE)")
    return raw.let(f"CASE WHEN isfinite({number}) AND NOT contains({text}, '_') THEN {number} END")


def _date(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    """The first format that fits, in the order written; years 1000 to 9999, so that 1.2.24 never fits `%Y`."""
    formats = [str(item) for item in _list(args, "formats", raw)]
    if value.form == "bytes":
        raise Refused("`date` cannot read bytes", mend="declare the column as bytes", where=raw.where)
    zoned = {"%z" in item for item in formats}
    if len(zoned) > 1:
        raise Refused(
            "the formats of one `date` step carry all an offset (%z) or none", mend="split the column", where=raw.where
        )
    unknown = [item for item in formats if set(re.findall(r"%-?(.)", item)) - set("aAbBcdDfFgGHIjmMnpSTuUVwWxXyYzZ%")]
    if unknown or not all("%" in item for item in formats):
        raise Refused(
            f"{(unknown or formats)[0]!r} is not a date format",
            mend='write strptime formats, e.g. `date: {formats: ["%d.%m.%Y", "%Y-%m-%d"]}`',
            where=raw.where,
        )
    text = raw.let(as_text(value)) if value.form != "text" else value.sql
    tries = []
    for item in formats:
        instant = f"try_strptime({text}, {sql.text(item)})"
        instant = raw.let(f"timezone('UTC', {instant})" if "%z" in item else instant)
        tries.append(f"CASE WHEN year({instant}) BETWEEN 1000 AND 9999 THEN {instant} END")
    body = tries[0] if len(tries) == 1 else f"COALESCE({', '.join(tries)})"
    return Value(raw.let(body), "instant", may_lose=True, zoned=True in zoned, day=not any(map(_has_time, formats)))


def _has_time(item: str) -> bool:
    return bool(set(re.findall(r"%-?(.)", item)) & set("cfgHIMnpSTXzZ"))


def _list(args: Mapping[str, Any], name: str, raw: Raw) -> list[Any]:
    values = args.get(name)
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise Refused(f"the step needs a list `{name}`", mend=f"write `{name}: [...]`", where=raw.where)
    return list(values)


def _unit(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    """A number in one unit becomes one in another, in whole factors: 1000 m is 1 km, not 1000 * 0.001."""
    if value.form not in ("integer", "float", "text"):
        raise Refused("`unit` needs numbers", mend="put it behind `number`, or remove it", where=raw.where)
    try:
        before, times, by, after = conversion(str(args["from"]), str(args["to"]))
    except KeyError as error:
        mend = "see the units in docs/cleaning.md"
        raise Refused(f"{error} is no unit that is known here", mend=mend, where=raw.where) from None
    number = plain_number(value.sql, raw) if value.form == "text" else f"CAST({value.sql} AS DOUBLE)"
    for sign, operand in (("+", before), ("*", times), ("/", by), ("+", after)):
        if operand != (0 if sign == "+" else 1):
            number = f"({number} {sign} CAST({sql.literal(operand)} AS DOUBLE))"
    return Value(raw.let(number), "float", may_lose=value.form == "text")


def _currency(value: Value, _args: Mapping[str, Any], raw: Raw) -> Value:
    """The amount as a number in its own currency; `currency.converted` does the rest, beside the rates."""
    if value.form not in ("integer", "float", "text"):
        raise Refused("`currency` needs numbers", mend="put it behind `number`, or remove it", where=raw.where)
    number = plain_number(value.sql, raw) if value.form == "text" else f"CAST({value.sql} AS DOUBLE)"
    return Value(raw.let(number), "float", may_lose=value.form == "text")


def _unicode(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    if value.form != "text":
        return value
    if args["form"] == "NFKC":
        return _by_function("nfkc", value, "", raw, may_lose=False)
    return Value(raw.let(f"nfc_normalize({value.sql})"), worded=value.worded)


def _email(value: Value, _args: Mapping[str, Any], raw: Raw) -> Value:
    return _by_function("email", value, "", raw)


def _phone(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    knows(FUNCTIONS["phone"], raw.where)
    refuse_unknown_region(str(args["country"]), raw.where)
    return _by_function("phone", value, str(args["country"]), raw)


def _country(value: Value, args: Mapping[str, Any], raw: Raw) -> Value:
    languages = [str(one) for one in _list(args, "languages", raw)]
    knows(FUNCTIONS["country"], raw.where)
    refuse_unknown_language(languages, raw.where)
    return _by_function("country", value, ",".join(languages), raw)


def _by_function(kind: str, value: Value, argument: str, raw: Raw, *, may_lose: bool = True) -> Value:
    """Through a function of Python. What has no such form is lost, and so bad."""
    function = FUNCTIONS[kind]
    knows(function, raw.where)
    if value.form == "bytes":
        raise Refused(f"`{kind}` cannot read bytes", mend="declare the column as bytes", where=raw.where)
    return Value(raw.let(f"{function.name}({as_text(value)}, {sql.text(argument)})"), may_lose=may_lose)


STEPS: dict[str, Step] = {
    "trim": _on_text(_trim),
    "lower": _on_text(lambda text, _raw: f"lower({text})"),
    "upper": _on_text(lambda text, _raw: f"upper({text})"),
    "title": _on_text(_title),
    "collapse_spaces": _on_text(_collapse),
    "blank_to_null": _on_text(_blank),
    "null_if": _null_if,
    "number": _number,
    "date": _date,
    "boolean": _boolean,
    "map": _map,
    "unit": _unit,
    "currency": _currency,
    "unicode": _unicode,
    "email": _email,
    "phone": _phone,
    "country": _country,
}
"""Step -> the function that adds it. A new step is one function and its line here."""
