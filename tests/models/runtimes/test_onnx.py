"""ONNX graphs: what feeds them and what is taken out of them."""

from __future__ import annotations

import math
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, Signature
from mainstay.models.importing import examine
from mainstay.models.runtimes.onnx import OnnxRuntime

TWO = (Field(name="a", type="number"), Field(name="b", type="number"))
OUT = (Field(name="y", type="number"),)


def graph(folder: Path, inputs: list[tuple[str, int, list[Any]]], node: tuple[str, list[str]], out: list[Any]) -> Path:
    """A graph of one node, its output called y."""
    from onnx import TensorProto, helper, save

    made = helper.make_graph(
        [helper.make_node(node[0], node[1], ["y"])],
        "one",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info("y", inputs[0][1] if node[0] != "IsNaN" else TensorProto.BOOL, out)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, folder / "g.onnx")
    return folder / "g.onnx"


FLOAT, DOUBLE, INT64, STRING, BOOL = 1, 11, 7, 8, 9


def load(file: Path, inputs: tuple[Field, ...] = TWO, **options: Any) -> Any:
    return closing(OnnxRuntime().load(file, Signature(inputs=inputs, outputs=OUT), options))


def test_inputs_are_fed_by_name_not_by_place(tmp_path: Path) -> None:
    file = graph(tmp_path, [("b", DOUBLE, [None, 1]), ("a", DOUBLE, [None, 1])], ("Sub", ["a", "b"]), [None, 1])
    with load(file) as model:
        assert model.predict([(5.0, 3.0), (1.0, 4.0)]) == [(2.0,), (-3.0,)]
        assert model.predict([(5, 3)]) == [(2.0,)]


def test_one_matrix_takes_the_row_and_a_column_is_taken_out(tmp_path: Path) -> None:
    file = graph(tmp_path, [("X", FLOAT, [None, 2])], ("Neg", ["X"]), [None, 2])
    with pytest.raises(ModelRefused, match="does not say which"):
        load(file)
    with load(file, outputs=[{"name": "y", "tensor": "y", "column": 1}]) as model:
        assert model.predict([(1.0, 2.0)]) == [(-2.0,)]
        assert np.isnan(model.predict([(1.0, 2.0), (3.0, None)])[1][0])
        assert np.isnan(model.predict([(3.0, None)])[0][0]), "the row before leaves nothing behind"
        assert model.predict([(1.0, 2.0)]) == [(-2.0,)]


ODD = (1.0, 0.1, -0.0, 3, 2**80, 10**400, 1e300, math.inf, -math.inf, math.nan, None, "NaN", "-Infinity", True, "x")


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_a_row_by_itself_is_answered_to_the_bit_as_among_others(tmp_path: Path, kind: int) -> None:
    """By itself it goes through memory that is bound to the graph; see `_Bound`."""

    def told(model: Any, *rows: tuple[Any, ...]) -> Any:
        try:
            return struct.pack("d", model.predict(rows)[0][0])
        except ModelRefused as error:
            return error.sentence

    file = graph(tmp_path, [("X", kind, [None, 2])], ("Neg", ["X"]), [None, 2])
    with load(file, outputs=[{"name": "y", "tensor": "y", "column": 1}]) as model, np.errstate(over="ignore"):
        for first in (1.0, None, "x"):
            for odd in ODD:
                assert told(model, (first, odd)) == told(model, (first, odd), (first, odd)), (first, odd)
        assert hasattr(model._local, "bound")
        with ThreadPoolExecutor(4) as threads:
            rows = [(0.5, float(number)) for number in range(2_000)]
            assert list(threads.map(lambda row: model.predict([row])[0][0], rows)) == [-row[1] for row in rows]


def test_nulls_of_texts_are_what_the_signature_says(tmp_path: Path) -> None:
    file = graph(tmp_path, [("a", STRING, [None, 1])], ("Identity", ["a"]), [None, 1])
    text = (Field(name="a", type="string"),)
    for options, wanted in (({}, ""), ({"null_string": "nan"}, "nan")):
        with load(file, text, **options) as model:
            assert model.predict([(None,)]) == [(wanted,)]
            assert model.predict([("x",), (None,)]) == [("x",), (wanted,)]


@pytest.mark.parametrize("kind", [INT64, BOOL])
def test_a_null_where_a_tensor_has_no_room_is_refused_by_name(tmp_path: Path, kind: int) -> None:
    file = graph(tmp_path, [("a", kind, [None, 1])], ("Identity", ["a"]), [None, 1])
    with (
        load(file, (Field(name="a", type="integer"),)) as model,
        pytest.raises(ModelRefused, match="a value of a is not"),
    ):
        model.predict([(None,)])


def test_whole_numbers_only_into_whole_numbers(tmp_path: Path) -> None:
    file = graph(tmp_path, [("a", INT64, [None])], ("Identity", ["a"]), [None])
    with load(file, (Field(name="a", type="integer"),)) as model:
        assert model.predict([(3.0,)]) == [(3,)]
        assert model.predict([(2**53 + 1,), (4,)]) == [(2**53 + 1,), (4,)]
        with pytest.raises(ModelRefused):
            model.predict([(3.5,)])


def test_what_does_not_fit_the_graph_is_said_at_load(tmp_path: Path) -> None:
    file = graph(tmp_path, [("a", DOUBLE, [None, 1]), ("b", DOUBLE, [None, 1])], ("Sub", ["a", "b"]), [None, 1])
    with pytest.raises(ModelRefused, match="the graph wants b"):
        load(file, TWO[:1])
    with pytest.raises(ModelRefused, match="no output 'z'"):
        load(file, outputs=[{"name": "y", "tensor": "z"}])
    with pytest.raises(ModelRefused, match="nothing feeds"):
        OnnxRuntime().load(file, Signature(inputs=TWO, outputs=OUT), {"inputs": [{"name": "a", "columns": ["a"]}]})
    file.write_bytes(b"not a model")
    with pytest.raises(ModelRefused, match="cannot load"):
        load(file)


def test_a_graph_says_its_own_signature(tmp_path: Path) -> None:
    file = graph(tmp_path, [("a", DOUBLE, [None, 1]), ("b", DOUBLE, [None, 1])], ("Sub", ["a", "b"]), [None, 1])
    with pytest.raises(ModelRefused, match=r"--output NAME=y:UNIT"):
        examine(file)
    found = examine(file, outputs=("risk=y[0]:probability",))
    assert [(field.name, field.type) for field in found.signature.inputs] == [("a", "number"), ("b", "number")]
    assert found.signature.outputs[0].unit == "probability"
    with closing(OnnxRuntime().load(file, found.signature, found.options)) as model:
        assert model.predict([(5.0, 3.0)]) == [(2.0,)]


def test_a_matrix_takes_the_feature_sets_columns_when_they_are_as_many(tmp_path: Path) -> None:
    file = graph(tmp_path, [("X", FLOAT, [None, 2])], ("Neg", ["X"]), [None, 2])
    with pytest.raises(ModelRefused, match="2 columns without names"):
        examine(file, outputs=("risk=y[0]",), feature_columns=(("a", "number"),))
    found = examine(file, outputs=("risk=y[0]",), feature_columns=(("a", "number"), ("b", "number")))
    assert [field.name for field in found.signature.inputs] == ["a", "b"]
