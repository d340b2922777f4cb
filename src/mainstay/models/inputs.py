"""What every runtime checks about the rows it is handed, and how rows become columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import Row


def null(value: Any) -> bool:
    """Whether the value stands for nothing: None or a float NaN."""
    return value is None or value != value  # noqa: PLR0124 - only NaN differs from itself


def required_of(signature: Signature, also: Sequence[str] = ()) -> tuple[tuple[int, str], ...]:
    """(index, name) of the inputs in which a null is refused: the signature's, and those named in `also`."""
    names = set(also)
    return tuple(
        (index, field.name) for index, field in enumerate(signature.inputs) if field.required or field.name in names
    )


def check_rows(rows: Sequence[Row], width: int, required: Sequence[tuple[int, str]]) -> None:
    """Raises ModelRefused for a row of another width, or with a null where none is allowed. Names no value."""
    for number, row in enumerate(rows):
        if len(row) != width:
            raise ModelRefused(f"row {number} has {counted(len(row), 'value')} where the model takes {width}")
        for index, name in required:
            if null(row[index]):
                raise ModelRefused(
                    f"{name} is null in row {number}, and this model takes no null there",
                    mend=f"clean it, give it a value in the feature SQL, or make {name} `required` in the dataset",
                )


def wrong_type(field: Field) -> ModelRefused:
    """The refusal of a value that is not of its input's type; names the input, never the value."""
    return ModelRefused(
        f"a value of {field.name} is not of type {field.type}",
        mend=f"the feature SQL must give {field.name} as {field.type}",
    )


def columns_of(rows: Sequence[Row], width: int) -> list[list[Any]]:
    """The rows turned into `width` columns; each empty when there are no rows."""
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]
