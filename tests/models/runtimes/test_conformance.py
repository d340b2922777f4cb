"""Every runtime of the table passes the suite that is shipped for runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.core.errors import NotFound
from mainstay.core.nouns import Field, Signature
from mainstay.models.importing import Examined, examine
from mainstay.models.runtimes import BUILT_IN, runtime_names, runtime_of
from mainstay.models.runtimes.python_process import PythonHost
from mainstay.testing.runtime_suite import RUNTIME_SUITE, RuntimeCase
from tests.models.conftest import CATEGORIES, Trained
from tests.models.runtimes import elsewhere
from tests.models.runtimes.elsewhere import Elsewhere
from tests.models.trees import COLUMNS, lightgbm_file, xgboost_file

INPUTS = (
    Field(name="contract", type="string", categories=CATEGORIES["contract"]),
    Field(name="tenure", type="integer", required=True),
    Field(name="charges", type="number"),
    Field(name="gender", type="string"),
)
ROWS = (("One year", 3, 29.9, "Male"), ("Month-to-month", 60, None, "Female"), ("Two year", 1, 100.0, "Male"))
REFUSED = (("One year", None, 1.0, "Male"),)
PROBABILITY = (Field(name="churn", type="number"),)


@pytest.fixture(scope="session")
def graph(churn: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    kinds = [(name, StringTensorType if name in CATEGORIES else FloatTensorType) for name in churn.frame]
    made = to_onnx(
        churn.model, initial_types=[(name, kind([None, 1])) for name, kind in kinds], options={"zipmap": False}
    )
    file = tmp_path_factory.mktemp("onnx") / "churn.onnx"
    file.write_bytes(made.SerializeToString())
    return file


@pytest.fixture
def server() -> Iterator[Elsewhere]:
    with elsewhere.elsewhere() as made:
        yield made


def constant(request: pytest.FixtureRequest) -> RuntimeCase:
    signature = Signature(inputs=INPUTS, outputs=PROBABILITY)
    return RuntimeCase(
        load=lambda: runtime_of("constant").load(None, signature, {"values": {"churn": 0.26}}),
        signature=signature,
        rows=ROWS,
        varies=False,
        refused=REFUSED,
    )


def rule(request: pytest.FixtureRequest) -> RuntimeCase:
    outputs = (*PROBABILITY, Field(name="why", type="string"), Field(name="months", type="integer"))
    signature = Signature(inputs=INPUTS, outputs=outputs)
    rules = {
        "churn": "CASE WHEN contract = 'Month-to-month' THEN 0.4 ELSE 0.1 + tenure / 1000 END",
        "why": "coalesce(contract, 'no contract')",
        "months": "tenure",
    }
    refused = (*REFUSED, ("One year", "many months", 1.0, "Male"))
    return RuntimeCase(
        load=lambda: runtime_of("rule").load(None, signature, {"rules": rules}),
        signature=signature,
        rows=ROWS,
        refused=refused,
    )


def onnx(request: pytest.FixtureRequest) -> RuntimeCase:
    graph: Path = request.getfixturevalue("graph")
    signature = Signature(inputs=INPUTS, outputs=PROBABILITY)
    options = {"outputs": [{"name": "churn", "tensor": "probabilities", "column": 1}], "closed": ["contract"]}
    refused = (*REFUSED, ("Forever", 3, 1.0, "Male"), ("One year", 3, "a lot", "Male"), ("One year", 3, 1.0, 5))
    return RuntimeCase(
        load=lambda: runtime_of("onnx").load(graph, signature, options),
        signature=signature,
        rows=ROWS,
        refused=refused,
    )


def python(request: pytest.FixtureRequest) -> RuntimeCase:
    churn: Trained = request.getfixturevalue("churn")
    examined: Examined = request.getfixturevalue("churn_examined")
    host: PythonHost = request.getfixturevalue("churn_host")
    refused = (*REFUSED, ("One year", 3, "a lot", "Male"), ("One year", 3.5, 1.0, "Male"))
    return RuntimeCase(
        load=lambda: runtime_of("python").load(
            churn.file, examined.signature, {**examined.options, "socket": str(host.socket)}
        ),
        signature=examined.signature,
        rows=ROWS,
        refused=refused,
    )


def trees(file: Path) -> RuntimeCase:
    found = examine(file, outputs=("churn=predict_proba[1]", "margin=decision_function"), feature_columns=COLUMNS)
    fine = ("One year", 3, 29.9, True, 10)
    rows = (fine, ("Month-to-month", 60, None, False, None), ("Two year", 1, 100.0, True, 20))
    refused: list[tuple[object, ...]] = [(*fine[:2], "a lot", *fine[3:]), (5, *fine[1:]), (*fine[:4], "ten")]
    if found.runtime == "xgboost":
        refused.append(("Forever", *fine[1:]))
    return RuntimeCase(
        load=lambda: runtime_of(found.runtime).load(file, found.signature, found.options),
        signature=found.signature,
        rows=rows,
        refused=refused,
    )


def xgboost(request: pytest.FixtureRequest) -> RuntimeCase:
    folder: Path = request.getfixturevalue("tmp_path")
    return trees(xgboost_file(folder / "a.ubj", "binary", objective="binary:logistic"))


def lightgbm(request: pytest.FixtureRequest) -> RuntimeCase:
    folder: Path = request.getfixturevalue("tmp_path")
    return trees(lightgbm_file(folder / "a.txt", "binary", objective="binary"))


def http(request: pytest.FixtureRequest) -> RuntimeCase:
    server: Elsewhere = request.getfixturevalue("server")
    signature = elsewhere.SIGNATURE
    options = {"url": server.url(), "protocol": "json", "inputs": elsewhere.INPUTS}
    return RuntimeCase(
        load=lambda: runtime_of("http").load(None, signature, options),
        signature=signature,
        rows=elsewhere.ROWS,
        refused=((None, 1.0, "One year"), (12, "many", "One year")),
    )


CASES: dict[str, Callable[[pytest.FixtureRequest], RuntimeCase]] = {
    "constant": constant,
    "rule": rule,
    "onnx": onnx,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "python": python,
    "http": http,
}


def test_every_runtime_of_the_table_has_a_case() -> None:
    assert CASES.keys() == BUILT_IN.keys()
    assert set(BUILT_IN) <= set(runtime_names())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", RUNTIME_SUITE, ids=lambda check: check.__name__)
def test_runtime(check: Callable[[RuntimeCase], None], name: str, request: pytest.FixtureRequest) -> None:
    check(CASES[name](request))


def test_an_unknown_runtime_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="constant, rule, onnx, xgboost, lightgbm, python, http"):
        runtime_of("fortran")
