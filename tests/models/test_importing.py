"""Reading a model file: what it does not say is asked with the line to type."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.errors import ModelRefused, NotFound
from mainstay.core.nouns import Field
from mainstay.models.importing import Examined, _inputs, _outputs, examine
from mainstay.models.outputs import parse_outputs
from mainstay.models.side import install_command, side_folder
from tests.models.conftest import CATEGORIES, OUTPUT, Trained


def told(**more: Any) -> dict[str, Any]:
    """What a host says of a binary classifier on two columns."""
    return {
        "names": ["contract", "tenure"],
        "width": 2,
        "container": "dataframe",
        "classes": ["No", "Yes"],
        "methods": ["predict", "predict_proba", "decision_function"],
        "columns": {"contract": {"dtype": "object", "kinds": ["str"], "missing": "none"}, "tenure": {"dtype": "int64"}},
        "categories": {"contract": ["a", "b"]},
        "native": [],
        **more,
    }


def test_names_types_and_categories_come_from_artifact_and_example(churn_examined: Examined) -> None:
    by_name = {field.name: field for field in churn_examined.signature.inputs}
    assert list(by_name) == ["contract", "tenure", "charges", "gender"]
    assert by_name["contract"].categories == CATEGORIES["contract"]
    assert by_name["tenure"] == Field(name="tenure", type="integer", required=True)
    assert by_name["charges"] == Field(name="charges", type="number")
    assert churn_examined.signature.outputs == (
        Field(
            name="churn",
            type="number",
            unit="probability",
            meaning="predict_proba of class Yes",
            minimum=0.0,
            maximum=1.0,
        ),
    )
    assert "own process group" in churn_examined.isolation


def test_the_feature_set_says_the_types_where_there_is_no_example() -> None:
    fields, frame = _inputs(told(columns={}), (("contract", "string"), ("tenure", "integer")), None)
    assert [(field.name, field.type) for field in fields] == [("contract", "string"), ("tenure", "integer")]
    assert [column["dtype"] for column in frame["columns"]] == ["object", "int64"]
    with pytest.raises(ModelRefused, match="type of contract, tenure") as refused:
        _inputs(told(columns={}), (), None)
    assert "--example FILE" in refused.value.mend


def test_a_classifier_without_an_output_lists_each_flag() -> None:
    with pytest.raises(ModelRefused, match="No, Yes") as refused:
        _outputs(told(), ())
    assert "--output NAME=predict_proba[No]:probability" in refused.value.mend
    assert "--output NAME=predict_proba[Yes]:probability" in refused.value.mend
    with pytest.raises(ModelRefused, match="which one"):
        _outputs(told(), parse_outputs(("churn=predict_proba",)))


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("churn=predict_proba[Maybe]", "no class Maybe"),
        ("churn=transform", "no transform"),
        ("churn=predict[Yes]", "no classes to choose from"),
        ("churn=decision_function[No]", "speaks for Yes only"),
    ],
)
def test_outputs_that_the_model_does_not_have(output: str, sentence: str) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        _outputs(told(), parse_outputs((output,)))


def test_an_output_of_labels_has_their_type() -> None:
    assert _outputs(told(), parse_outputs(("label=predict",)))[0][0].type == "string"
    assert _outputs(told(classes=[0, 1]), parse_outputs(("label=predict",)))[0][0].type == "integer"
    assert _outputs(told(classes=None), parse_outputs(("days=predict:d",)))[0][0].type == "number"


def test_null_is_what_it_was_in_training() -> None:
    fields, frame = _inputs(told(), (), None)
    assert frame["columns"][0] == {"name": "contract", "dtype": "object", "missing": "none"}
    assert [field.required for field in fields] == [False, True], "a whole number of numpy has no null"


def test_native_categories_come_from_the_artifact() -> None:
    _, frame = _inputs(told(native=["contract"], columns={}), (("tenure", "number"),), None)
    assert frame["columns"][0]["dtype"] == "category"
    assert frame["columns"][0]["categories"] == ["a", "b"]


@pytest.mark.parametrize(
    ("changed", "features", "sentence"),
    [
        ({"names": None}, (), "does not know its columns"),
        ({"names": None}, (("a", "number"), ("b", "number")), "order cannot be known"),
        ({"width": 3}, (), "takes 3 columns"),
        ({}, (("contract", "number"),), "takes contract as string"),
        ({"columns": {"contract": {"dtype": "object", "kinds": ["int", "str"]}}}, (), "mixes int and str"),
        ({"columns": {"contract": {"dtype": "complex128"}}}, (), "complex128"),
    ],
)
def test_what_cannot_be_known_is_refused(changed: dict[str, Any], features: Any, sentence: str) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        _inputs(told(**changed), features, None)


def test_files_that_nobody_can_open(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file") as gone:
        examine(tmp_path / "gone.onnx")
    assert "check the path" in gone.value.mend
    (tmp_path / "half.onnx").write_bytes(b"x")
    with pytest.raises(ModelRefused, match=r"onnxruntime cannot load half\.onnx") as half:
        examine(tmp_path / "half.onnx")
    assert "export it again" in half.value.mend
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ModelRefused, match="no known kind"):
        examine(tmp_path / "model.h5")
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(ModelRefused, match="--python"):
        examine(tmp_path / "model.pkl")
    with pytest.raises(ModelRefused, match="cannot be opened"):
        examine(tmp_path / "model.pkl", python=sys.executable)


def test_a_skops_file_is_opened_when_each_of_its_types_is_trusted(churn: Trained, tmp_path: Path) -> None:
    import skops.io

    file = tmp_path / "churn.skops"
    skops.io.dump(churn.model, file)
    types = tuple(skops.io.get_untrusted_types(file=file))
    assert types, "the case needs one"
    with pytest.raises(ModelRefused, match="nobody has trusted") as refused:
        examine(file, python=sys.executable, example=churn.example, outputs=(OUTPUT,))
    assert refused.value.mend.endswith("--trust " + " ".join(types))
    found = examine(file, python=sys.executable, example=churn.example, outputs=(OUTPUT,), trusted=types)
    assert found.options["format"] == "skops"


def test_nothing_is_installed_where_nothing_lacks(tmp_path: Path) -> None:
    assert side_folder(sys.executable, ("pyarrow", "json"), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ModelRefused, match="cannot be run"):
        side_folder(str(tmp_path / "python"), ("pyarrow",), tmp_path)


@pytest.mark.parametrize("uv", [None, "/bin/uv"])
def test_the_labs_environment_is_never_written_to(uv: str | None, tmp_path: Path) -> None:
    command = install_command("/lab/bin/python", ("pyarrow",), tmp_path, tmp_path / "pins", uv=uv)
    assert command[command.index("--target") + 1] == str(tmp_path)
    assert command[command.index("--constraint") + 1] == str(tmp_path / "pins")
    assert command[-1] == "pyarrow"


@pytest.fixture(autouse=True)
def _leaves_nothing_running() -> Iterator[None]:
    import psutil

    yield
    mine = [child.cmdline() for child in psutil.Process().children()]
    assert not [line for line in mine if any("python_host.py" in part for part in line) and "sockets" not in str(line)]
