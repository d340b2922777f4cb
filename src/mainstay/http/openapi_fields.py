"""The JSON Schema of what goes in and comes out: no narrower than what is taken, no wider than what is given."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mainstay.core.nouns import Field, Limits
from mainstay.serving.bounds import bounded
from mainstay.serving.inputs import INSTANTS

Schema = dict[str, Any]

INTEGERS: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
MICROSECONDS: Schema = {
    "type": "integer",
    "minimum": INSTANTS[0],
    "maximum": INSTANTS[1],
    "description": "Microseconds since 1970",
}
_DATE: Schema = {"type": "string", "format": "date"}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_BYTES: Schema = {"type": "string", "contentEncoding": "base64"}
_WORDS: Schema = {"enum": ["NaN", "Infinity", "-Infinity"], "description": "What is no finite number"}

_GIVEN: dict[str, Schema] = {
    "string": {"type": "string"},
    "integer": INTEGERS,
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": _DATE,
    "timestamp": {"anyOf": [_INSTANT, MICROSECONDS]},
    "json": {"type": "string"},
    "bytes": _BYTES,
}
_TAKEN: dict[str, Schema] = _GIVEN | {"number": {"anyOf": [{"type": "number"}, _WORDS]}}


def sample(field: Field) -> Any:
    """A value that the field takes."""
    limits = field.limits or Limits()
    if limits.example is not None:
        return limits.example
    if limits.values or field.categories:
        return (limits.values or field.categories)[0]
    least = field.minimum if field.minimum is not None else min(1, field.maximum if field.maximum is not None else 1)
    values: dict[str, Any] = {
        "integer": math.ceil(least),
        "number": float(least),
        "boolean": True,
        "date": "2026-01-31",
        "timestamp": "2026-01-31T12:00:00Z",
        "json": "{}",
        "bytes": "",
    }
    text = "text".ljust(limits.shortest or 0, "t")
    return values.get(field.type, text if limits.longest is None else text[: limits.longest])


def taken(field: Field) -> Schema:
    """An input: a request-time input with its limits, any other with what is known of it."""
    limits = field.limits or Limits()
    ranged = field.type in ("integer", "number") and bounded(field)
    if limits.values:
        schema: Schema = {"enum": list(limits.values)}
    elif ranged:
        schema = {**_GIVEN[field.type], **_range(field)}
    elif field.categories and field.type == "string":
        # Models are asked about values they never saw, too: these are the known ones, and any other is taken.
        schema = {"anyOf": [{"enum": list(field.categories)}, {"type": "string"}]}
    else:
        schema = dict(_TAKEN[field.type])
    words = {"minLength": limits.shortest, "maxLength": limits.longest}
    if "type" in schema:
        schema |= {word: bound for word, bound in words.items() if bound is not None}
        schema |= {"pattern": f"^(?:{limits.pattern})$"} if limits.pattern else {}
    if limits.example is not None:
        schema["examples"] = [limits.example]
    return _told(field, schema if field.required else _or_null(schema))


def given(field: Field) -> Schema:
    """An output; null where the model gives none."""
    schema: Schema = {"enum": list(field.categories)} if field.categories else dict(_GIVEN[field.type])
    if field.type in ("integer", "number"):
        schema |= _range(field)
    return _told(field, _or_null(schema))


def inputs(fields: Iterable[Field]) -> Schema:
    """An object with inputs by name."""
    every = tuple(fields)
    schema: Schema = {"type": "object", "properties": {field.name: taken(field) for field in every}}
    required = [field.name for field in every if field.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def outputs(fields: Iterable[Field]) -> Schema:
    """An object with outputs by name, every one of them there."""
    every = tuple(fields)
    properties = {field.name: given(field) for field in every}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _range(field: Field) -> Schema:
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    return {
        word: int(bound) if float(bound).is_integer() else bound
        for word, bound in bounds.items()
        if bound is not None and math.isfinite(bound)
    }


def _or_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}


def _told(field: Field, schema: Schema) -> Schema:
    about = ", ".join(part for part in (field.meaning, f"in {field.unit}" if field.unit else "") if part)
    return {"description": about, **schema} if about else schema
