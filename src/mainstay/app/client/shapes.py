"""What a client holds of an API contract, before a language writes it: its types, and a key to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from mainstay.core.nouns import Field
from mainstay.serving.contract import ApiContract


class Property(NamedTuple):
    """A field as a shape has it."""

    field: Field
    values: Sequence[Any] = ()
    """The only ones that there are; empty: any of its type."""
    optional: bool = False
    """Whether it may be left out, or null."""


class Shape(NamedTuple):
    """An object with named fields."""

    name: str
    about: str
    kind: Literal["given", "taken", "key"]
    """Whether a client gets it, sends it, or names a row by it. What it gets may always be null."""
    properties: tuple[Property, ...]


class Shapes(NamedTuple):
    """All that a contract has."""

    objects: tuple[Shape, ...]
    """`Output`, `Inputs` where there are request-time inputs, `Row`, and `Key` of several columns."""
    key: Field | None
    """Of a key of one column: that column, whose values go as they are."""
    key_about: str
    inputs: Literal["none", "some", "needed"]
    """Whether a prediction by key takes request-time inputs, and whether it must have some."""
    example: Any
    """A key: a value, or a mapping of its columns to values."""


def shapes(contract: ApiContract) -> Shapes:
    """The shapes of a contract, in the order in which they are written."""
    found = [Shape("Output", "What the model gives.", "given", tuple(map(_given, contract.outputs)))]
    if contract.inputs:
        found.append(Shape("Inputs", "Request-time inputs, beside a key.", "taken", _taken(contract.inputs)))
    rows = {field.name: field for field in (*contract.columns, *contract.inputs)}
    found.append(Shape("Row", "A row of your own: the model's inputs.", "taken", _taken(rows.values())))
    columns = contract.key_columns
    if len(columns) > 1:
        parts = tuple(Property(Field(name=one.name, type=one.type, required=True)) for one in columns)
        found.append(Shape("Key", "A business key: a value for each of its columns.", "key", parts))
    needed = any(field.required for field in contract.inputs)
    return Shapes(
        objects=tuple(found),
        key=contract.key if len(columns) == 1 else None,
        key_about=f"A business key: a value of `{contract.key.name}`.",
        inputs="needed" if needed else "some" if contract.inputs else "none",
        example=_example(columns),
    )


def _given(field: Field) -> Property:
    return Property(field, field.categories)


def _taken(fields: Iterable[Field]) -> tuple[Property, ...]:
    return tuple(Property(one, one.limits.values if one.limits else (), not one.required) for one in fields)


def _example(columns: Sequence[Field]) -> Any:
    values = [1 if one.type == "integer" else True if one.type == "boolean" else "KEY" for one in columns]
    if len(columns) == 1:
        return "true" if values[0] is True else values[0]  # a truth alone goes as its word
    return {one.name: value for one, value in zip(columns, values, strict=True)}
