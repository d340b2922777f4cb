from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.serving.request import BadRequest
from mainstay.serving.tensors import ELEMENTS_MOST, KINDS, Tensor, from_bytes, from_values, has_bytes, size_of, to_bytes

NUMPY = {
    "BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@pytest.mark.parametrize("kind", NUMPY)
def test_bytes_are_those_of_numpy(kind: str) -> None:
    values = np.array([0, 1, 1, 0], NUMPY[kind])
    tensor = from_bytes("x", kind, [2, 2], values.tobytes(), "x")
    assert list(tensor.data) == values.tolist()
    assert to_bytes(tensor) == values.tobytes()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "INT" in kind])
def test_whole_numbers_at_their_bounds_and_beyond(kind: str) -> None:
    info = np.iinfo(NUMPY[kind].lstrip("<"))
    bounds = [int(info.min), int(info.max)]
    assert list(from_values("x", kind, [2], bounds, "x").data) == bounds
    for beyond in (bounds[0] - 1, bounds[1] + 1):
        with pytest.raises(BadRequest, match=f"wanted {kind}"):
            from_values("x", kind, [1], [beyond], "x")
    assert from_values("x", kind, [1], [7.0], "x").data == [7]
    with pytest.raises(BadRequest, match="a number with a fraction"):
        from_values("x", kind, [1], [7.5], "x")
    with pytest.raises(BadRequest, match="a boolean"):
        from_values("x", kind, [1], [True], "x")


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_texts_come_back(values: list[bytes]) -> None:
    raw = b"".join(struct.pack("<I", len(one)) + one for one in values)
    tensor = from_bytes("x", "BYTES", [len(values)], raw, "x")
    assert list(tensor.data) == values
    assert to_bytes(tensor) == raw


@given(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 4), max_size=3), st.binary(max_size=64))
def test_any_bytes_are_a_tensor_or_a_clear_error(kind: str, shape: list[int], raw: bytes) -> None:
    try:
        tensor = from_bytes("x", kind, shape, raw, "x")
    except BadRequest:
        return
    assert len(tensor.data) == math.prod(shape)
    assert to_bytes(tensor) == raw or any(isinstance(one, float) and math.isnan(one) for one in tensor.data)


def test_data_may_be_nested_or_flat() -> None:
    nested = from_values("x", "FP64", [2, 2], [[1, 2.5], [3, None]], "x")
    assert nested.data == [1, 2.5, 3, None]
    assert from_values("x", "FP64", [2, 2], [1, 2.5, 3, None], "x") == nested
    assert from_values("x", "FP64", [], 7, "x").data == [7]
    assert from_values("x", "FP64", [2], [[1], [2]], "x").data == [1, 2]
    assert from_values("x", "FP64", [2, 1], [1, 2], "x").data == [1, 2]
    assert from_values("x", "FP64", [1, 2, 1], [[1, 2]], "x").data == [1, 2]
    assert from_values("x", "FP64", [0, 3], [], "x").data == []
    assert math.isinf(from_values("x", "FP32", [1], ["-Infinity"], "x").data[0])


@pytest.mark.parametrize(
    ("kind", "shape", "data", "told"),
    [
        ("FP128", [1], [1], "FP128 is not known"),
        (None, [1], [1], "null is not known"),
        ("FP64", None, [1], "wanted a list of whole numbers"),
        ("FP64", [-1], [1], "wanted a list of whole numbers"),
        ("FP64", [True], [1], "wanted a list of whole numbers"),
        ("FP64", [1] * 9, [1], "more than 8 dimensions"),
        ("FP64", [ELEMENTS_MOST, ELEMENTS_MOST], [1], "elements"),
        ("FP64", [2], [1], "has 1 element, its shape says 2"),
        ("FP64", [2, 3], [[1, 2], [3, 4], [5, 6]], r"nested as \[3, 2\], its shape says \[2, 3\]"),
        ("FP64", [4], [[1, 2], [3, 4]], r"nested as \[2, 2\]"),
        ("FP64", [2, 2], [[1, 2], [3]], "different lengths"),
        ("FP64", [2, 2], [[1, 2], 3], "plain values"),
        ("FP64", [3], [1, [2], 3], "plain values"),
        ("FP64", [1], {"a": 1}, "plain values"),
        ("FP64", [1], [{"a": 1}], "plain values"),
        ("FP64", [1], [[[1]]], "nested deeper"),
        ("FP64", [1], [{}], "plain values"),
        ("FP64", [1], ["secret"], "wanted FP64, found a string"),
        ("BYTES", [1], [7], "wanted BYTES, found an integer"),
        ("BOOL", [1], [1], "wanted BOOL, found an integer"),
    ],
)
def test_what_is_wrong_is_told_without_the_value(kind: object, shape: object, data: object, told: str) -> None:
    with pytest.raises(BadRequest, match=told) as raised:
        from_values("x", kind, shape, data, "inputs[0]")  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)
    assert raised.value.where.startswith("inputs[0]")


@pytest.mark.parametrize(
    ("kind", "shape", "raw"),
    [
        ("FP64", [2], b"\0" * 15),
        ("BOOL", [1], b"\x02"),
        ("BYTES", [1], b"\x05\0\0\0abc"),
        ("BYTES", [1], b"\x05\0"),
        ("BYTES", [1], b"\x01\0\0\0aX"),
        ("BYTES", [2], b"\x01\0\0\0a"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(kind: str, shape: list[int], raw: bytes) -> None:
    with pytest.raises(BadRequest):
        from_bytes("x", kind, shape, raw, "x")


def test_null_is_nan_where_there_is_one() -> None:
    assert np.isnan(np.frombuffer(to_bytes(Tensor("x", "FP32", (1,), [None])), "<f4")[0])
    assert has_bytes(None, "FP16")
    assert not any(has_bytes(None, kind) for kind in ("INT64", "BOOL", "BYTES"))
    assert all(has_bytes(value, "BYTES") for value in (b"", b"a"))


def test_a_huge_shape_is_refused_before_anything_is_made_of_it() -> None:
    with pytest.raises(BadRequest):
        size_of("FP64", [2**62, 2**62], "x")
