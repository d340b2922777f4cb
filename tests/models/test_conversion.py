"""Conversion on real customers: taken where it is proved, refused where it is not, right in both cases."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.clock import SystemClock
from mainstay.models.adding import Draft, draft
from mainstay.models.conversion import marked
from mainstay.models.importing import Examined, ask, examine
from mainstay.models.parity import compare, failing
from mainstay.models.registry import Registry, load
from mainstay.models.runtimes.onnx import OnnxRuntime
from mainstay.models.runtimes.python import PythonModel, PythonRuntime
from mainstay.models.runtimes.python_process import PythonHost
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.memory import MemoryState
from tests.models.conftest import CATEGORIES, OUTPUT, Trained, pipeline

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "telco-customer-churn.csv"
NUMBERS = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"]

telco_only = pytest.mark.skipif(
    not DATA.exists(), reason="needs the real customers of ../shared/data, which are not here"
)


@pytest.fixture(scope="module")
def telco() -> tuple[Any, Any]:
    import pandas as pd

    frame = pd.read_csv(DATA)
    frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce")
    return frame.drop(columns=["customerID", "Churn"]), frame["Churn"]


def added(trained: Trained, folder: Path) -> tuple[Draft, LocalArtifacts]:
    artifacts = LocalArtifacts(folder / "artifacts")
    examined = examine(trained.file, python=sys.executable, example=trained.example, outputs=(OUTPUT,))
    made = draft(
        trained.file, examined, name="churn", feature_set="sha256:f", rows=trained.rows, artifacts=artifacts, by="anna"
    )
    return made, artifacts


def largest_difference(made: Draft, artifacts: LocalArtifacts, trained: Trained, folder: Path) -> float:
    version = Registry(MemoryState()).add(made.version)
    lab = trained.model.predict_proba(trained.frame)[:, 1]
    with closing(load(version, artifacts, folder, start=True)) as model:
        return float(
            max(abs(answer[0] - wanted) for answer, wanted in zip(model.predict(trained.rows), lab, strict=True))
        )


@telco_only
def test_one_hot_scaling_and_gradient_boosting_converts_with_proof(telco: tuple[Any, Any], tmp_path: Path) -> None:
    frame, label = telco
    texts = [name for name in frame if name not in NUMBERS]
    trained = Trained(pipeline(NUMBERS, texts, 25, unknown="error").fit(frame, label), frame, tmp_path, "boosted")
    made, artifacts = added(trained, tmp_path)
    parity = made.version.parity
    assert made.version.runtime == "onnx"
    assert made.version.digest != made.version.original_digest
    assert parity["converted"] is True
    assert parity["current"]["rows"] == 7043
    assert parity["current"]["largest"] <= 1e-6
    assert parity["around"]["rows"] > parity["splits"] > 0
    assert parity["band"]["rows"] > 0
    assert 0 <= parity["band_share"] < 1
    assert any("7,043 rows" in line for line in made.told)
    assert largest_difference(made, artifacts, trained, tmp_path) <= 1e-6
    # What the original refuses, the converted refuses too: a category never seen, and a null where it takes none.
    assert set(made.version.options["closed"]) == set(texts)
    required = {field.name for field in made.version.signature.inputs if field.required}
    assert required == {*texts, "SeniorCitizen", "tenure"}


@telco_only
def test_native_categories_are_not_converted_and_are_right_all_the_same(telco: tuple[Any, Any], tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    frame, label = telco
    texts = [name for name in frame if name not in NUMBERS]
    frame = frame.astype(dict.fromkeys(texts, "category"))
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20, random_state=0)
    trained = Trained(model.fit(frame, label), frame, tmp_path, "native")
    made, artifacts = added(trained, tmp_path)
    assert made.version.runtime == "python"
    assert made.version.digest == made.version.original_digest
    assert made.version.parity["converted"] is False
    assert "HistGradientBoostingClassifier with native categories" in made.version.parity["reason"]
    assert any("the original serves as it is" in line for line in made.told)
    assert largest_difference(made, artifacts, trained, tmp_path) == 0.0


def test_a_wrong_graph_is_caught_with_its_numbers(
    churn: Trained, churn_examined: Examined, churn_host: PythonHost, tmp_path: Path
) -> None:
    """The graph of another forest, which answers every row without complaint."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    clock = SystemClock()
    label = churn.model.predict(churn.frame)
    other = pipeline(["tenure", "charges"], list(CATEGORIES), 9).fit(churn.frame, label)
    kinds = [(name, StringTensorType if name in CATEGORIES else FloatTensorType) for name in churn.frame]
    graph = to_onnx(other, initial_types=[(name, kind([None, 1])) for name, kind in kinds], options={"zipmap": False})
    file = tmp_path / "wrong.onnx"
    file.write_bytes(graph.SerializeToString())
    options = {"outputs": [{"name": "churn", "tensor": "probabilities", "column": 1}]}
    place = {**churn_examined.options, "socket": str(churn_host.socket)}
    original = PythonRuntime().load(churn.file, churn_examined.signature, place)
    assert isinstance(original, PythonModel)
    with closing(original):
        told, _ = ask(original, {"op": "splits", "names": list(churn.frame)}, clock)
        splits = {name: [tuple(one) for one in known] for name, known in told["splits"].items()}
        assert set(splits) <= {"tenure", "charges"}
        assert any(abs(split - 19.5) < 1e-3 for split, _ in splits["tenure"]), "in the units of the input"
        with closing(OnnxRuntime().load(file, churn_examined.signature, options)) as converted:
            parity = compare(original, converted, churn_examined.signature, churn.rows, splits, clock=clock)
    assert not parity.equal
    assert "of 300 rows" in failing(parity)


@pytest.mark.parametrize("scaled", [True, False])
def test_columns_whose_names_a_graph_cannot_have_are_converted_all_the_same(tmp_path: Path, *, scaled: bool) -> None:
    """Behind a scaler one tensor a column, bare as one matrix: a bare estimator of skl2onnx takes one tensor only."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(200, 3)), columns=["mean radius", "error (worst)", "plain"])
    bare = GradientBoostingClassifier(n_estimators=5, random_state=0)
    model = make_pipeline(StandardScaler(), bare) if scaled else bare
    model.fit(frame, np.where(frame["mean radius"] > frame["error (worst)"], "Yes", "No"))
    trained = Trained(model, frame, tmp_path, "spaces")
    made, artifacts = added(trained, tmp_path)
    assert made.version.runtime == "onnx", made.told
    assert len(made.version.options["inputs"]) == (3 if scaled else 1)
    assert largest_difference(made, artifacts, trained, tmp_path) < 1e-6


def test_without_rows_nothing_is_proved(churn: Trained, churn_examined: Examined, tmp_path: Path) -> None:
    made = draft(churn.file, churn_examined, name="churn", feature_set="", rows=[], artifacts=LocalArtifacts(tmp_path))
    assert made.version.runtime == "python"
    assert "no current rows" in made.version.parity["reason"]


def test_marking_keeps_what_was_required_before(churn_examined: Examined) -> None:
    signature = churn_examined.signature
    names = {field.name for field in marked(signature, ("charges",)).inputs if field.required}
    assert names == {"tenure", "charges"}
