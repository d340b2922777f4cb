"""Decoders that are made for a model's inputs: a row comes out in order and typed, without a walk over its values.

They take what the usual road takes as it is. Whatever else comes is left to that road, which fits it or says what is
wrong. Measured for 30 numbers in a caller's own row: 0.9 us in place of 4.9.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from mainstay.core.nouns import ColumnType, Field

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
AS_THEY_ARE: dict[ColumnType, type] = {"number": float, "boolean": bool, "string": str, "json": str}
"""Types of which a value of this very type needs no further look."""
_AS_THEY_COME: dict[ColumnType, Any] = {**AS_THEY_ARE, "integer": _INT64}
"""Types whose JSON is their value; those of the others are made of a text."""


def stored_reader(width: int, numbers: Collection[int]) -> Callable[[bytes], tuple[Any, ...]]:
    """What decodes a stored row: a JSON list of `width` values, those at the places `numbers` numbers or null.

    It raises msgspec.ValidationError for every other row, and where a number is told by a word.
    """
    kinds = tuple([float | None if place in numbers else Any for place in range(width)])
    return msgspec.json.Decoder(tuple.__class_getitem__(kinds)).decode


def own_reader(
    fields: Sequence[Field], needed: Collection[str], width: int
) -> Callable[[bytes], list[Any] | None] | None:
    """What reads a request for one row that its caller sends, `{"rows": [{...}]}`, or gives None.

    Args:
        fields: What a row may carry, the inputs first, each of a type whose JSON is its value; else None is returned.
        needed: Names of those that must be there and not null.
        width: How many of them are inputs. As many values are read, in order.
    """
    named = tuple([(field.name, field.type, field.name in needed) for field in fields])
    if any(kind not in _AS_THEY_COME for _, kind, _ in named):
        return None
    decode = _decoder(named)
    if decode is None:
        return None

    def read(body: bytes) -> list[Any] | None:
        try:
            row = decode(body).rows[0]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return list(msgspec.structs.astuple(row)[:width])

    return read


@lru_cache(maxsize=32)
def _decoder(fields: tuple[tuple[str, ColumnType, bool], ...]) -> Callable[[bytes], Any] | None:
    """By names, types, and whether each must be there; None where a name is none that a record can have."""
    rename, wanted = {}, []
    for place, (name, kind, needed) in enumerate(fields):
        rename[f"f{place}"] = name
        told = _AS_THEY_COME[kind]
        wanted.append((f"f{place}", told) if needed else (f"f{place}", told | None, None))
    try:
        # By keyword, for what must be there may follow what need not.
        row = msgspec.defstruct("OwnRow", wanted, rename=rename, kw_only=True, forbid_unknown_fields=True)
    except ValueError:  # a quote or a backslash in it
        return None
    one = Annotated[list[row], msgspec.Meta(min_length=1, max_length=1)]  # type: ignore[valid-type]
    return msgspec.json.Decoder(msgspec.defstruct("OwnRows", [("rows", one)], forbid_unknown_fields=True)).decode
