"""From a feature row or a caller's row to what the model eats, compiled once per snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from mainstay.core.keys import parted_key, stamp_text
from mainstay.core.nouns import ColumnType, Field, ImageInput, Signature
from mainstay.serving import blobs
from mainstay.serving.bounds import bound_of
from mainstay.serving.request import BadRequest, PredictRequest, came, read_predict, unknown_field, whole
from mainstay.serving.row_readers import AS_THEY_ARE, own_reader, stored_reader

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""Microseconds since 1970 of the first and the last instant that has a date: years 1 to 9999."""
_KEY_VALUES: dict[ColumnType, Callable[[str], Any]] = {
    "integer": int, "number": float, "boolean": lambda text: text == "true",
}  # fmt: skip
"""How a model is given a key's text; every other type is the text."""
_values = msgspec.json.Decoder(list[Any])
_ROWS = b'{"rows"'


class InputPlan:
    """How model inputs are found, in the signature's order, in a feature row and among request-time inputs.

    Args:
        signature: The model's.
        columns: The feature set's columns in SQL order.
        request_inputs: What the file lets a caller send beside the key.
        keys: The key columns, which a model may take as inputs too.
        images: Inputs that are pictures.
    """

    def __init__(
        self,
        signature: Signature,
        columns: Sequence[tuple[str, ColumnType]],
        request_inputs: Sequence[Field] = (),
        keys: Sequence[Field] = (),
        images: Mapping[str, ImageInput] | None = None,
    ) -> None:
        self.images = images or {}
        self.names = tuple(field.name for field in signature.inputs)
        self.request = {field.name: field for field in request_inputs}
        self._bounds = {name: bound for name, field in self.request.items() if (bound := bound_of(field)) is not None}
        # Rows may carry whatever the API contract names, also what this version does not eat: models change beneath it.
        self.fields = {name: Field(name=name, type=kind) for name, kind in columns} | self.request
        self.fields |= {field.name: field for field in signature.inputs}
        places = {name: place for place, (name, _) in enumerate(columns)}
        # Absent columns point one past the end, where `row` puts a null.
        self._absent = len(columns)
        order = [places.get(name, self._absent) for name in self.names]
        self._gaps = self._absent in order
        named = {field.name: place for place, field in enumerate(keys)}
        self.keyed = tuple(
            (at, named[field.name], field.type)
            for at, field in enumerate(signature.inputs)
            if field.name in named and field.name not in places and field.name not in self.request
        )
        """Inputs that are columns of the key: place of each, of its column, and its type."""
        self._key_columns = len(keys)
        self._pick = itemgetter(*order) if len(order) > 1 else None
        self._order = order
        self._numbers = tuple(
            place
            for place, field in zip(order, signature.inputs, strict=True)
            if field.type == "number" and place < self._absent
        )
        """Places in a stored row of what the model takes as numbers."""
        self._stored = stored_reader(len(columns), self._numbers)
        self._required = tuple(place for place, field in enumerate(signature.inputs) if field.required)
        self._as_they_are = {
            name: AS_THEY_ARE[one.type]
            for name, one in self.fields.items()
            if one.type in AS_THEY_ARE and name not in self._bounds
        }
        """Fields whose values of this very type need no further look."""
        self._wanted = tuple(name for name, field in self.request.items() if field.required)
        self._own = None if self._bounds else self._own_reader(signature)
        self._laid_out = None if self.images else _struct_of(self.names)
        self._sent = tuple((place, name) for place, name in enumerate(self.names) if name in self.request)

    def _own_reader(self, signature: Signature) -> Callable[[bytes], list[Any] | None] | None:
        rest = [field for name, field in self.fields.items() if name not in self.names]
        needed = {field.name for field in signature.inputs if field.required}.union(self._wanted)
        return own_reader([*signature.inputs, *rest], needed, len(self.names))

    @property
    def row_fields(self) -> tuple[Field, ...]:
        """What a caller's own row may carry, each with what it must keep to: the file sets limits to its own inputs."""
        return tuple(
            msgspec.structs.replace(field, minimum=None, maximum=None, meaning=_expected(field))
            if (asked := self.request.get(name)) is None
            else msgspec.structs.replace(
                asked, type=field.type, required=asked.required or field.required, categories=field.categories
            )
            for name, field in self.fields.items()
        )

    def row(self, values: bytes, sent: Mapping[str, Any] | None = None) -> list[Any]:
        """The model's inputs out of an online row's JSON values and the (checked) request-time inputs."""
        decoded: Sequence[Any]
        try:
            decoded = self._stored(values)
        except msgspec.ValidationError:
            decoded = self._numbered(_values.decode(values))
        if self._gaps:
            decoded = (*decoded, None)
        picked = [decoded[place] for place in self._order] if self._pick is None else list(self._pick(decoded))
        if self._sent:
            given = sent or {}
            for place, name in self._sent:
                if name in given:
                    picked[place] = given[name]
        return picked

    def _numbered(self, decoded: list[Any]) -> list[Any]:
        """The same row, with numbers for the words that stand for some."""
        for place in self._numbers:
            decoded[place] = _number(decoded[place])
        return decoded

    def fill(self, row: list[Any], key: str) -> None:
        """Puts the columns of the key, in its canonical text, where the model takes them."""
        texts = parted_key(key, self._key_columns)
        for at, place, kind in self.keyed:
            text = texts[place]
            row[at] = _KEY_VALUES.get(kind, str)(text)

    def absent(self, row: Sequence[Any]) -> str:
        """The first required input that is null; empty when none is."""
        for place in self._required:
            if row[place] is None:
                return self.names[place]
        return ""

    def check_sent(self, sent: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The request-time inputs, typed. Raises BadRequest for what the file does not allow or does not fit."""
        given = sent or {}
        for name in given:
            if name not in self.request:
                raise unknown_field(name, self.request, "inputs.")
        checked = {name: self._typed(value, self.request[name], f"inputs.{name}") for name, value in given.items()}
        for name, bound in self._bounds.items():
            if name in checked:
                bound(checked[name], f"inputs.{name}")
        for name, field in self.request.items():
            if field.required and checked.get(name) is None:
                raise BadRequest(f"`inputs.{name}` is missing, wanted {WANTED[field.type]}", where=f"inputs.{name}")
        return checked or None

    def given(self, row: Mapping[str, Any], where: str) -> list[Any]:
        """A caller's own row as model inputs. Raises BadRequest naming `where` and the field."""
        fitted: dict[str, Any] = {}
        as_they_are = self._as_they_are
        for name, value in row.items():
            if type(value) is as_they_are.get(name):
                fitted[name] = value
                continue
            field = self.fields.get(name)
            if field is None:
                raise unknown_field(name, self.fields, f"{where}.")
            fitted[name] = self._typed(value, field, f"{where}.{name}")
        for name, bound in self._bounds.items():
            if name in fitted:
                bound(fitted[name], f"{where}.{name}")
        for name in self._wanted:
            if fitted.get(name) is None:
                wanted = WANTED[self.request[name].type]
                raise BadRequest(f"`{where}.{name}` is missing, wanted {wanted}", where=f"{where}.{name}")
        laid_out = [fitted.get(name) for name in self.names]
        absent = self.absent(laid_out)
        if absent:
            wanted = WANTED[self.fields[absent].type]
            raise BadRequest(f"`{where}.{absent}`: wanted {wanted}, found null", where=f"{where}.{absent}")
        return laid_out

    def one_row(self, body: bytes) -> OneRow | None:
        """The request in `body`, where it is one for a caller's own row that fits as it is; None for every other."""
        if self._own is None or not body.startswith(_ROWS):
            return None
        inputs = self._own(body)
        return None if inputs is None else OneRow(self, inputs, body)

    def _typed(self, value: Any, field: Field, where: str) -> Any:
        fitted = typed(value, field, where)
        if field.type == "bytes" and fitted is not None:
            blobs.check(fitted, self.images.get(field.name), where)
        return fitted

    def packed(self, values: Sequence[Any]) -> Any:
        """What `recorded` gives, to be encoded: names that are known before take a third of the time."""
        return self.recorded(values) if self._laid_out is None else self._laid_out(*values)

    def recorded(self, values: Sequence[Any]) -> dict[str, Any]:
        """The model's inputs as a receipt holds them."""
        if self.images:
            return blobs.recorded(self.images, self.names, values)
        return dict(zip(self.names, values, strict=True))


class OneRow(NamedTuple):
    """A request for one row that its caller sends, laid out as it was read."""

    plan: InputPlan
    """By which it was laid out. For another, it is read again."""
    inputs: list[Any]
    body: bytes

    def again(self) -> PredictRequest:
        """The same request, as every other is read."""
        return read_predict(self.body)


@lru_cache(maxsize=32)
def _struct_of(names: tuple[str, ...]) -> Callable[..., Any] | None:
    """A record with these fields; None where a name is none that it can have."""
    fields = [f"f{place}" for place in range(len(names))]
    try:
        return msgspec.defstruct("Inputs", [(one, Any) for one in fields], rename=dict(zip(fields, names, strict=True)))
    except ValueError:  # a quote or a backslash in it
        return None


def _expected(field: Field) -> str:
    """The meaning with the range, where there is one: it is what is to be expected, and nothing outside is refused."""
    parts = [
        f"{word} {bound:g}" for word, bound in (("from", field.minimum), ("to", field.maximum)) if bound is not None
    ]
    return ", ".join(part for part in (field.meaning, "usually " + " ".join(parts) if parts else "") if part)


def _number(value: Any) -> Any:
    """A number column's JSON value as float: integers and the words for what is not finite; null stays."""
    if value is None:
        return None
    return _NON_FINITE[value] if isinstance(value, str) else float(value)


WANTED: dict[str, str] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date as YYYY-MM-DD",
    "timestamp": "an instant as ISO 8601 with its offset, or microseconds since 1970",
    "json": "JSON in a string",
    "bytes": "bytes in a string (base64)",
}


def typed(value: Any, field: Field, where: str) -> Any:
    """`value` as the field's type; null stays null. Raises BadRequest, which never repeats the value."""
    if value is None:
        return None
    try:
        fitted = _fit(value, field.type)
    except (ValueError, KeyError, OverflowError):
        fitted = None
    if fitted is None:
        too_large = field.type in ("integer", "number") and type(whole(value)) is int
        found = "one of more than 64 bits" if too_large else came(value)
        raise BadRequest(f"`{where}`: wanted {WANTED[field.type]}, found {found}", where=where)
    return fitted


def _fit(value: Any, kind: ColumnType) -> Any:
    """The fitted value, or None when its JSON type is another."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "integer":
            value = whole(value)
            return value if isinstance(value, int) and is_number and -(2**63) <= value < 2**63 else None
        case "number":
            return float(value) if is_number else _NON_FINITE[value] if isinstance(value, str) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return date.fromisoformat(value).isoformat() if isinstance(value, str) else None
        case "timestamp":
            return _instant(value)
        case _:
            return value if isinstance(value, str) else None


def _instant(value: Any) -> int | None:
    value = whole(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if INSTANTS[0] <= value <= INSTANTS[1] else None
    if not isinstance(value, str):
        return None
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        return None
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def key_text(key: str | int | bool, kind: ColumnType, where: str = "key") -> str:
    """The business key as the canonical text that stores use. Raises BadRequest when its type is another."""
    if kind == "integer":
        if isinstance(key, str):
            digits = key.removeprefix("-")
            if not (digits.isascii() and digits.isdigit()):
                raise BadRequest(f"`{where}`: wanted an integer, found a string", where=where)
            return str(int(key)) if len(digits) < 20 else key
        return str(key)
    if kind in {"boolean", "date", "timestamp"}:
        return _named_text(key, kind, where)
    if not isinstance(key, str):
        raise BadRequest(f"`{where}`: wanted a string, found an integer", mend="put it in quotes", where=where)
    return key


def _named_text(key: str | int, kind: ColumnType, where: str) -> str:
    """A key that is true or false, a date or an instant, as DuckDB writes it. An instant without an offset is UTC."""
    try:
        if kind == "boolean":
            return {"true": "true", "false": "false"}[str(key).lower()]
        if kind == "date" and isinstance(key, str):
            return date.fromisoformat(key).isoformat()
        if kind == "timestamp" and not isinstance(key, bool):
            moment = datetime.fromisoformat(key) if isinstance(key, str) else _EPOCH + timedelta(microseconds=key)
            return stamp_text(moment)
    except (ValueError, KeyError, OverflowError):
        pass
    raise BadRequest(f"`{where}`: wanted {WANTED[kind]}, found {came(key)}", where=where)
