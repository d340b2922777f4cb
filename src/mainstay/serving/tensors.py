"""Tensors of the Open Inference Protocol v2: data types, shapes, and their bytes.

Sources: kserve/open-inference-protocol, `inference_rest.md` (types, row-major order), and the binary tensor data
extension (`binary_tensor_data`): little-endian elements without padding, BOOL as one byte, each BYTES element behind
its length as an unsigned 32-bit integer.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from mainstay.core.counts import counted
from mainstay.serving.request import BadRequest, came

ELEMENTS_MOST = 1_000_000
"""Elements of one tensor."""
DIMENSIONS_MOST = 8


class _Kind(NamedTuple):
    """A data type: bytes of an element, its code for `struct`, and the whole numbers that fit."""

    size: int
    code: str
    least: int = 0
    most: int = 0


KINDS: dict[str, _Kind] = {
    "BOOL": _Kind(1, "?"),
    **{f"INT{8 * size}": _Kind(size, code, -(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
       for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))},
    **{f"UINT{8 * size}": _Kind(size, code, 0, 2 ** (8 * size) - 1)
       for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))},
    "FP16": _Kind(2, "e"),
    "FP32": _Kind(4, "f"),
    "FP64": _Kind(8, "d"),
    "BYTES": _Kind(0, ""),
}  # fmt: skip
"""Every data type that is understood."""

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Tensor(msgspec.Struct, frozen=True):
    """A named tensor; `data` is flat and row-major: bool, int, float, or bytes for BYTES. None stands for null."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]


def size_of(datatype: object, shape: object, where: str) -> int:
    """How many elements a tensor has. Raises BadRequest for a data type or shape that nobody can serve."""
    if not isinstance(datatype, str) or datatype not in KINDS:
        wanted = ", ".join(KINDS)
        shown = str(datatype)[:20] if isinstance(datatype, str) else came(datatype)
        raise BadRequest(
            f"`{where}.datatype`: {shown} is not known", mend=f"one of {wanted}", where=f"{where}.datatype"
        )
    if not isinstance(shape, list | tuple) or not all(type(one) is int and one >= 0 for one in shape):
        raise BadRequest(f"`{where}.shape`: wanted a list of whole numbers", where=f"{where}.shape")
    if len(shape) > DIMENSIONS_MOST:
        raise BadRequest(f"`{where}.shape` has more than {DIMENSIONS_MOST} dimensions", where=f"{where}.shape")
    count = 1
    for one in shape:
        count *= one
        if count > ELEMENTS_MOST:
            raise BadRequest(f"`{where}.shape`: more than {ELEMENTS_MOST} elements", where=f"{where}.shape")
    return count


def from_values(name: str, datatype: str, shape: Sequence[int], values: object, where: str) -> Tensor:
    """A tensor out of JSON data, nested or flat. Raises BadRequest, which never repeats a value."""
    count = size_of(datatype, shape, where)
    flat = _flat(values, shape, where)
    if len(flat) != count:
        raise BadRequest(
            f"`{where}.data` has {counted(len(flat), 'element')}, its shape says {count:,}", where=f"{where}.data"
        )
    fitted = _fitted(datatype, flat)
    if fitted is None:
        bad = next(one for one in flat if _fitted(datatype, [one]) is None)
        raise BadRequest(f"`{where}.data`: wanted {datatype}, found {came(bad)}", where=f"{where}.data")
    return Tensor(name, datatype, tuple(shape), fitted)


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview, where: str) -> Tensor:
    """A tensor out of its bytes. Raises BadRequest where they are not what data type and shape say."""
    count = size_of(datatype, shape, where)
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _texts(bytes(raw), count, where))
    size, code, *_ = KINDS[datatype]
    if len(raw) != count * size:
        raise BadRequest(f"`{where}`: {len(raw)} bytes came, {datatype} of this shape has {count * size}", where=where)
    if datatype == "BOOL":
        if any(one > 1 for one in raw):
            raise BadRequest(f"`{where}`: a BOOL is a byte of 0 or 1", where=where)
        return Tensor(name, datatype, tuple(shape), [bool(one) for one in raw])
    return Tensor(name, datatype, tuple(shape), struct.unpack(f"<{count}{code}", raw))


def has_bytes(value: object, datatype: str) -> bool:
    """Whether bytes can say this element: a null has some among floating-point numbers alone, as NaN."""
    return value is not None or datatype.startswith("FP")


def to_bytes(tensor: Tensor) -> bytes:
    """The tensor's bytes, whose every element has some (`has_bytes`). A null is NaN."""
    data = tensor.data
    if tensor.datatype.startswith("FP"):
        data = [math.nan if one is None else one for one in data]
    if tensor.datatype == "BYTES":
        return b"".join(len(one).to_bytes(4, "little") + one for one in data)
    return struct.pack(f"<{len(data)}{KINDS[tensor.datatype].code}", *data)


def _texts(raw: bytes, count: int, where: str) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(raw) and len(found) < count:
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            raise BadRequest(f"`{where}`: element {len(found)} of BYTES is cut off", where=where)
        found.append(raw[start:at])
    if len(found) != count or at != len(raw):
        raise BadRequest(f"`{where}`: BYTES of this shape has {count} elements, other bytes came", where=where)
    return found


def _flat(values: object, shape: Sequence[int], where: str) -> list[Any]:
    """The elements of data that is flat, or nested as its shape says; dimensions of 1 may be left out or added."""
    if isinstance(values, dict):
        raise BadRequest(f"`{where}.data`: wanted a list of plain values", where=f"{where}.data")
    if not isinstance(values, list | tuple):
        return [values]
    nested, inner = [len(values)], values
    while inner and isinstance(inner[0], list | tuple):
        inner = inner[0]
        nested.append(len(inner))
    if len(nested) > len(shape) + 1:
        raise BadRequest(f"`{where}.data` is nested deeper than its shape", where=f"{where}.data")
    if len(nested) > 1 and [one for one in nested if one != 1] != [one for one in shape if one != 1]:
        sentence = f"`{where}.data` is nested as {nested}, its shape says {list(shape)}"
        raise BadRequest(sentence, where=f"{where}.data", mend="nest it as its shape says, or send it flat")
    return list(_elements(values, nested, where))


def _elements(values: Sequence[Any], nested: Sequence[int], where: str) -> Iterable[Any]:
    """Every one of them, in order; each list must have the length and the depth of the first."""
    if len(values) != nested[0]:
        raise BadRequest(f"`{where}.data` has lists of different lengths", where=f"{where}.data")
    for one in values:
        if isinstance(one, dict) or isinstance(one, list | tuple) != (len(nested) > 1):
            raise BadRequest(f"`{where}.data`: wanted a list of plain values", where=f"{where}.data")
        if len(nested) > 1:
            yield from _elements(one, nested[1:], where)
        else:
            yield one


def _bools(flat: list[Any]) -> list[Any] | None:
    return flat if all(one is None or isinstance(one, bool) for one in flat) else None


def _wholes(flat: list[Any], kind: _Kind) -> list[Any] | None:
    found: list[Any] = []
    for one in flat:
        # Some clients write every number with a fraction.
        value = int(one) if isinstance(one, float) and one.is_integer() else one
        if value is not None and (type(value) is not int or not kind.least <= value <= kind.most):
            return None
        found.append(value)
    return found


def _floats(flat: list[Any]) -> list[Any] | None:
    found: list[Any] = []
    for one in flat:
        if isinstance(one, str) and one in _NON_FINITE:
            found.append(_NON_FINITE[one])
        elif one is None or (isinstance(one, int | float) and not isinstance(one, bool)):
            found.append(one)
        else:
            return None
    return found


def _bytes(flat: list[Any]) -> list[Any] | None:
    found: list[Any] = []
    for one in flat:
        if one is not None and not isinstance(one, str):
            return None
        found.append(None if one is None else one.encode())
    return found


def _fitted(datatype: str, flat: list[Any]) -> list[Any] | None:
    """JSON values as this data type has them; None where one does not fit."""
    match datatype:
        case "BOOL":
            return _bools(flat)
        case "BYTES":
            return _bytes(flat)
        case "FP16" | "FP32" | "FP64":
            return _floats(flat)
        case _:
            return _wholes(flat, KINDS[datatype])
