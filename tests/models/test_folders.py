"""Folders as models: a class of the lab's own, and what MLflow logs."""

from __future__ import annotations

import io
import json
import pickle
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.clock import SystemClock
from mainstay.core.errors import ModelRefused, Refused
from mainstay.core.nouns import ColumnType
from mainstay.models.adding import draft
from mainstay.models.importing import Examined, examine
from mainstay.models.importing_folder import handed, pack
from mainstay.models.proving import prove
from mainstay.models.registry import Registry, load
from mainstay.models.runtimes import python_folder, runtime_of
from mainstay.models.runtimes.python_process import PythonHost
from mainstay.models.template import write_template
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.memory import MemoryState
from mainstay.testing.runtime_suite import RUNTIME_SUITE, RuntimeCase
from tests.models.conftest import OUTPUT, Trained
from tests.models.trees import COLUMNS, customers, lightgbm_file, xgboost_file

TEMPLATE_COLUMNS: tuple[tuple[str, ColumnType], ...] = (("contract", "string"), ("tenure", "number"))
ROWS = [("One year", 10.0), ("Month-to-month", None), (None, 40.0)]


def examined(folder: Path, *outputs: str, columns: Any = (), python: str | None = sys.executable) -> Examined:
    with handed(folder) as given:
        return examine(
            given.file, python=python, example=given.example, outputs=outputs, kind=given.kind, feature_columns=columns
        )


# --- a class of the lab's own ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "mymodel"
    write_template(folder)
    return folder


@pytest.fixture(scope="module")
def own_case(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeCase]:
    found = examined(own, columns=TEMPLATE_COLUMNS)
    place = tmp_path_factory.mktemp("host")
    file = pack(own, place / "model.zip")
    host = PythonHost(file, found.digest, found.options, place / "own.sock")
    host.start()
    options = {**found.options, "socket": str(host.socket)}
    yield RuntimeCase(
        load=lambda: runtime_of("python").load(file, found.signature, options),
        signature=found.signature,
        rows=ROWS,
        refused=[("One year", "many months"), (5, 10.0)],
    )
    host.close()


@pytest.mark.parametrize("check", RUNTIME_SUITE, ids=lambda check: check.__name__)
def test_the_template_passes_the_suite_of_runtimes(check: Callable[[RuntimeCase], None], own_case: RuntimeCase) -> None:
    check(own_case)


def test_the_class_says_its_inputs_and_outputs(own: Path) -> None:
    found = examined(own)
    assert [(one.name, one.type, len(one.categories)) for one in found.signature.inputs] == [
        ("contract", "string", 3),
        ("tenure", "number", 0),
    ]
    (output,) = found.signature.outputs
    assert (output.name, output.type, output.unit) == ("churn_probability", "number", "probability")
    assert examined(own, "risk=predict:percent").signature.outputs[0].unit == "percent"
    with pytest.raises(ModelRefused, match=r"gives churn_probability, and not predict_proba\[1\]"):
        examined(own, "risk=predict_proba[1]")


def test_a_version_of_it_answers_from_the_artifact_alone(own: Path, tmp_path: Path) -> None:
    artifacts = LocalArtifacts(tmp_path / "artifacts")
    with handed(own) as given:
        found = examine(given.file, python=sys.executable, kind=given.kind)
        made = draft(
            given.file, found, name="own", feature_set="", rows=ROWS, artifacts=artifacts, allow_conversion=False
        )
    version = Registry(MemoryState()).add(made.version)
    with closing(load(version, artifacts, tmp_path, start=True)) as model:
        answers = [answer[0] for answer in model.predict(ROWS)]
    assert answers == pytest.approx([0.135, 0.45, 0.156])


def test_the_same_content_is_the_same_artifact(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "copy"
    write_template(other)
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "model.pyc").write_bytes(b"x")
    (other / ".hidden").write_text("x")
    assert pack(own, tmp_path / "a.zip").read_bytes() == pack(other, tmp_path / "b.zip").read_bytes()


def test_a_link_out_of_the_folder_is_refused(own: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "m" / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelRefused, match="data is a link out of the folder"):
        pack(tmp_path / "m", tmp_path / "a.zip")


@pytest.mark.parametrize("how", ["path", "link", "code", "example"])
def test_an_mlmodel_that_names_what_is_outside_of_its_folder_is_refused(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "secret.json").write_text('{"columns": ["a"], "data": [[1]]}')
    (tmp_path / "secret.onnx").write_bytes(b"x")
    (folder / "model.onnx").symlink_to(tmp_path / "secret.onnx")
    data = {"path": "../secret.onnx", "link": "model.onnx"}.get(how, "")
    flavours = {"onnx": {"data": data}} if data else {"python_function": {"loader_module": "x", "code": "../code"}}
    told: dict[str, object] = {"flavors": flavours}
    if how == "example":
        (folder / "it.onnx").write_bytes(b"x")
        told = {
            "flavors": {"onnx": {"data": "it.onnx"}},
            "saved_input_example_info": {"type": "dataframe", "artifact_path": "../secret.json"},
            "signature": {"inputs": '[{"name": "a", "type": "double"}]'},
        }
    (folder / "MLmodel").write_text(json.dumps(told))  # JSON is YAML
    with pytest.raises(ModelRefused, match="leads out of its folder"), handed(folder, None):
        pytest.fail("it was taken")


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/../../x.py", "link"])
def test_an_artifact_that_would_be_unpacked_elsewhere_is_not_opened(tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK if name == "link" else stat.S_IFREG) << 16
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.py", "class Model: ...")
        archive.writestr(member, "x")
    with pytest.raises(ValueError, match="a link in it, or a path that leads out"):
        python_folder.opened(packed.getvalue(), str(tmp_path), "class")
    assert list(tmp_path.iterdir()) == []


def test_the_template_overwrites_nothing(own: Path) -> None:
    with pytest.raises(Refused, match="stands there already"):
        write_template(own)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Other: ...", "has no `class Model`"),
        ("class Model: ...", "has no `predict"),
        ("class Model:\n    inputs = {'a': 'float'}\n    def predict(self, frame): ...", "the input a is declared as"),
        ("class Model:\n    outputs = {'a': 'date'}\n    def predict(self, frame): ...", "the output a is declared as"),
        ("class Model:\n    inputs = {'a': 'number'}\n    def predict(self, frame): ...", "does not say what it gives"),
        ("class Model:\n    outputs = {'a': 'number'}\n    def predict(self, frame): ...", "--example FILE"),
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
    ],
)
def test_a_class_that_cannot_be_used_is_told_why(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(text)
    with pytest.raises(ModelRefused) as caught:
        examined(tmp_path)
    assert sentence in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_folder_of_neither_kind_names_the_template(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="mainstay new model"), handed(tmp_path):
        pass


# --- MLflow, as it writes its folders ----------------------------------------------------------------------------


def signature(*columns: tuple[str | None, str]) -> str:
    named = [{"type": kind, "required": True, **({"name": name} if name else {})} for name, kind in columns]
    return json.dumps(named)


def mlmodel(folder: Path, flavors: dict[str, Any], inputs: str | None = None, outputs: str | None = None) -> Path:
    """MLmodel is YAML, of which JSON is a part."""
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"flavors": flavors, "mlflow_version": "2.20.0", "model_uuid": "0"}
    if inputs:
        told["signature"] = {"inputs": inputs, "outputs": outputs, "params": None}
    (folder / "MLmodel").write_text(json.dumps(told))
    return folder


CUSTOMERS = signature(
    ("contract", "string"), ("tenure", "long"), ("charges", "double"), ("paperless", "boolean"), ("zone", "long")
)


@pytest.mark.parametrize("flavour", ["xgboost", "lightgbm"])
def test_trees_go_to_their_own_runtime(flavour: str, tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "m", {"python_function": {"loader_module": "mlflow." + flavour}}, CUSTOMERS)
    name = "model.ubj" if flavour == "xgboost" else "model.lgb"
    objective = "binary:logistic" if flavour == "xgboost" else "binary"
    (xgboost_file if flavour == "xgboost" else lightgbm_file)(folder / name, "binary", objective=objective)
    told = json.loads((folder / "MLmodel").read_text())
    told["flavors"][flavour] = {"data": name}
    (folder / "MLmodel").write_text(json.dumps(told))
    found = examined(folder, "churn=predict_proba[1]", columns=COLUMNS, python=None)
    assert found.runtime == flavour
    assert prove(folder / name, found, customers(50), SystemClock()).parity["proved"]


def test_a_graph_goes_to_the_onnx_runtime(tmp_path: Path) -> None:
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression

    rows = np.array([[1.0], [2.0]], dtype=np.float32)
    flavors = {"onnx": {"data": "model.onnx"}, "python_function": {"loader_module": "mlflow.onnx"}}
    folder = mlmodel(tmp_path / "m", flavors, signature(("tenure", "float")))
    (folder / "model.onnx").write_bytes(to_onnx(LinearRegression().fit(rows, [3.0, 5.0]), rows).SerializeToString())
    found = examined(folder, "months=variable", columns=(("tenure", "number"),), python=None)
    assert found.runtime == "onnx"


def test_a_pipeline_with_code_of_its_own_keeps_its_folder(tmp_path: Path) -> None:
    folder = pyfunc(tmp_path / "m")
    told = json.loads((folder / "MLmodel").read_text())
    told["flavors"]["sklearn"] = {"pickled_model": "data/weight.json"}
    (folder / "MLmodel").write_text(json.dumps(told))
    with handed(folder) as given:
        assert given.kind == "mlflow"


def test_a_pipeline_is_read_with_the_types_of_the_signature(churn: Trained, tmp_path: Path) -> None:
    inputs = signature(("contract", "string"), ("tenure", "long"), ("charges", "double"), ("gender", "string"))
    flavors = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}
    folder = mlmodel(tmp_path / "m", flavors, inputs)
    (folder / "model.pkl").write_bytes(pickle.dumps(churn.model))
    found = examined(folder, OUTPUT)
    assert (found.runtime, found.options["format"]) == ("python", "pickle")
    wanted = churn.examined().signature
    assert found.signature == wanted, "as with an example of the rows themselves"


@pytest.mark.parametrize("rows", [[["One year", 3, 29.9, None]], [["One year", "three", 29.9, 5]], "no rows"])
def test_an_input_example_is_used_where_it_fits_the_signature(rows: Any, churn: Trained, tmp_path: Path) -> None:
    inputs = signature(("contract", "string"), ("tenure", "long"), ("charges", "double"), ("gender", "string"))
    folder = mlmodel(tmp_path / "m", {"sklearn": {"pickled_model": "model.pkl"}}, inputs)
    (folder / "model.pkl").write_bytes(pickle.dumps(churn.model))
    told = json.loads((folder / "MLmodel").read_text())
    told["saved_input_example_info"] = {"artifact_path": "input_example.json", "type": "dataframe"}
    (folder / "MLmodel").write_text(json.dumps(told))
    shown = {"columns": ["contract", "tenure", "charges", "gender"], "data": rows}
    (folder / "input_example.json").write_text(json.dumps(shown if rows != "no rows" else []))
    assert examined(folder, OUTPUT).signature == churn.examined().signature


PYFUNC = """
import json

class Adds:
    def __init__(self, weight):
        self.weight = weight

    def predict(self, frame):
        return frame.assign(sum=frame["a"] * self.weight + frame["b"].fillna(0))[["sum"]]

def _load_pyfunc(path):
    with open(path) as file:
        return Adds(json.load(file)["weight"])
"""


def pyfunc(folder: Path, **more: Any) -> Path:
    conf = {"loader_module": "adds", "data": "data/weight.json", "code": "code", **more}
    inputs, outputs = signature(("a", "integer"), ("b", "double")), signature(("sum", "double"))
    mlmodel(folder, {"python_function": conf}, inputs, outputs)
    (folder / "code").mkdir()
    (folder / "code" / "adds.py").write_text(PYFUNC)
    (folder / "data").mkdir()
    (folder / "data" / "weight.json").write_text('{"weight": 10}')
    return folder


def test_pyfunc_runs_in_the_labs_interpreter_by_its_signature(tmp_path: Path) -> None:
    folder = pyfunc(tmp_path / "m")
    found = examined(folder)
    assert [(one.name, one.type, one.required) for one in found.signature.inputs] == [
        ("a", "integer", True),
        ("b", "number", False),
    ]
    assert [(one.name, one.type) for one in found.signature.outputs] == [("sum", "number")]
    assert found.options["frame"]["columns"][0]["dtype"] == "int32"
    with handed(folder) as given:
        options = {**found.options, "start": True}
        with closing(runtime_of("python").load(given.file, found.signature, options)) as model:
            assert model.predict([(1, 2.0), (3, None)]) == [(12.0,), (30.0,)]
            with pytest.raises(ModelRefused, match="a is null"):
                model.predict([(None, 2.0)])


def test_an_answer_without_a_name_is_asked_for(tmp_path: Path) -> None:
    folder = pyfunc(tmp_path / "m")
    told = json.loads((folder / "MLmodel").read_text())
    told["signature"]["outputs"] = signature((None, "double"))
    (folder / "MLmodel").write_text(json.dumps(told))
    with pytest.raises(ModelRefused, match="--output NAME=predict:UNIT"):
        examined(folder)
    assert examined(folder, "sum=predict:EUR").options["outputs"][0]["column"] is None


def test_what_needs_mlflow_says_so_where_the_lab_lacks_it(tmp_path: Path) -> None:
    folder = pyfunc(tmp_path / "m", loader_module="mlflow.pyfunc.model")
    with pytest.raises(ModelRefused, match="this model needs MLflow"):
        examined(folder)


def test_an_mlmodel_that_cannot_be_used_is_told_why(tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "m", {"spark": {"data": "x"}})
    with pytest.raises(ModelRefused, match="has the flavours spark, and none that can be run"):
        examined(folder)
    mlmodel(folder, {"python_function": {"loader_module": "x"}}, signature(("a", "binary")))
    with pytest.raises(ModelRefused, match="has a of type binary"):
        examined(folder)
    (folder / "MLmodel").write_text("flavors: [")
    with pytest.raises(ModelRefused, match="is not YAML"):
        examined(folder)
    (folder / "MLmodel").write_text("a poem")
    with pytest.raises(ModelRefused, match="has no flavors"):
        examined(folder)
