"""Small models as a lab makes them, trained once per session; the lab's interpreter is the one that runs the tests."""

from __future__ import annotations

import pickle
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.nouns import Field, Signature
from mainstay.models.importing import Examined, examine
from mainstay.models.inputs import null
from mainstay.models.runtimes.python_process import PythonHost

CATEGORIES = {"contract": ("Month-to-month", "One year", "Two year"), "gender": ("Female", "Male")}
NUMBERS = ("tenure", "charges")
OUTPUT = "churn=predict_proba[Yes]:probability"

LAB_MODULE = '''
import os, time

class Adds:
    """Answers the sum of its columns; misbehaves when the first one says so."""

    def predict(self, rows):
        first = rows[0][0] if len(rows) else 0
        if first == -1:
            time.sleep(3600)
        if first == -2:
            os._exit(7)
        if first == -3:
            raise ValueError("the value of this customer is secret-4711")
        if first == -4:
            sum(range(10**12))
        if first == -5:
            time.sleep(0.3)
        return rows.sum(axis=1)

class HangsWhileItLoads(Adds):
    def __setstate__(self, state):
        time.sleep(3600)

class Counts(Adds):
    calls = 0

    def predict(self, rows):
        Counts.calls += 1
        return rows[:, 0] * 0 + Counts.calls

class Snoops(Adds):
    def predict(self, rows):
        print("printed by the model")
        return rows[:, 0] * 0 + len([name for name in os.environ if name not in ("LC_CTYPE",)])
'''


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the module `lab_models` and one pickle for each of its classes."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab_models.py").write_text(LAB_MODULE)
    module = types.ModuleType("lab_models")
    exec(LAB_MODULE, module.__dict__)
    sys.modules["lab_models"] = module
    for name in ("Adds", "Counts", "HangsWhileItLoads", "Snoops"):
        made = getattr(module, name)()
        made.anything = 1
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(made))
    yield folder
    del sys.modules["lab_models"]


SUM = Signature(
    inputs=(Field(name="a", type="number"), Field(name="b", type="number")), outputs=(Field(name="sum", type="number"),)
)


def sum_options(lab: Path, **more: Any) -> dict[str, Any]:
    return {
        "python": sys.executable,
        "format": "pickle",
        "paths": [str(lab)],
        "frame": {"container": "array", "columns": [{"name": "a"}, {"name": "b"}]},
        "outputs": [{"name": "sum", "type": "number", "method": "predict", "index": None}],
        **more,
    }


def churn_rows(count: int, seed: int = 7) -> list[tuple[Any, ...]]:
    chance = random.Random(seed)
    rows: list[tuple[Any, ...]] = []
    for _ in range(count):
        contract, gender = chance.choice(CATEGORIES["contract"]), chance.choice(CATEGORIES["gender"])
        charges = round(chance.uniform(18, 120), 2) if chance.random() > 0.05 else None
        rows.append((contract, chance.randint(0, 72), charges, gender))
    return rows


class Trained:
    """A pipeline that was trained, its file, and the example that says how its input looked."""

    def __init__(self, model: Any, frame: Any, folder: Path, name: str) -> None:
        import joblib

        self.model, self.frame = model, frame
        self.file = folder / f"{name}.joblib"
        joblib.dump(model, self.file)
        self.example = folder / f"{name}.csv"
        frame.to_csv(self.example, index=False)
        self.rows = [
            tuple(None if null(value) else value for value in row) for row in frame.itertuples(index=False, name=None)
        ]

    def examined(self) -> Examined:
        return examine(self.file, python=sys.executable, example=self.example, outputs=(OUTPUT,))


def pipeline(numbers: list[str], texts: list[str], trees: int, *, unknown: str = "ignore") -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepared = ColumnTransformer([("n", scaled, numbers), ("c", OneHotEncoder(handle_unknown=unknown), texts)])
    return Pipeline([("p", prepared), ("m", GradientBoostingClassifier(n_estimators=trees, random_state=0))])


@pytest.fixture(scope="session")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One-hot, scaling and gradient boosting on 300 made-up customers."""
    import pandas as pd

    frame = pd.DataFrame(churn_rows(300), columns=["contract", "tenure", "charges", "gender"])
    label = [
        "Yes" if (tenure < 20) != (contract == "Two year") else "No"
        for contract, tenure in zip(frame["contract"], frame["tenure"], strict=True)
    ]
    model = pipeline(list(NUMBERS), list(CATEGORIES), 10).fit(frame, label)
    return Trained(model, frame, tmp_path_factory.mktemp("churn"), "churn")


@pytest.fixture(scope="session")
def churn_examined(churn: Trained) -> Examined:
    return churn.examined()


@pytest.fixture(scope="session")
def churn_host(
    churn: Trained, churn_examined: Examined, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PythonHost]:
    """One host of the churn model for every test that only asks it."""
    folder = tmp_path_factory.mktemp("sockets")
    host = PythonHost(churn.file, churn_examined.digest, churn_examined.options, folder / "churn.sock")
    host.start()
    yield host
    host.close()
