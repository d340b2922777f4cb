"""Programs of torch.export in the lab's interpreter: what reaches PyTorch, and what it answers.

PyTorch is no dependency of ours: these tests need an interpreter that has it. Archives that are refused need none.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.errors import ModelRefused
from mainstay.models.importing import Examined, examine
from mainstay.models.runtimes import runtime_of
from mainstay.models.runtimes.python_torch import judged
from mainstay.testing.runtime_suite import RUNTIME_SUITE, RuntimeCase

SIZE = "Symbol('s17', positive=True, integer=True)"
NODE = {"target": "torch.ops.aten.relu.default", "metadata": {"stack": "x"}}


def archive(*, node: dict[str, Any] = NODE, size: str = SIZE, **more: Any) -> bytes:
    told = {"graph_module": {"graph": {"nodes": [node], "sizes": [{"expr_str": size}]}}, "guards_code": ["evil()"]}
    files = {
        "models/model.json": json.dumps(told),
        "data/sample_inputs/model.pt": b"a pickle",
        "data/weights/weight_0": b"1234",
        "data/weights/model_weights_config.json": json.dumps({"config": {"w": {"path_name": "weight_0"}}}),
        **more,
    }
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as made:
        for name, content in files.items():
            made.writestr(f"m/{name}", content)
    return into.getvalue()


def test_what_reaches_pytorch_holds_no_pickle_no_guard_and_no_remark() -> None:
    _, safe = judged(archive())
    with zipfile.ZipFile(io.BytesIO(safe)) as made:
        assert made.read("m/data/sample_inputs/model.pt") == b""
        told = json.loads(made.read("m/models/model.json"))
        assert made.read("m/data/weights/weight_0") == b"1234"
    assert told["guards_code"] == []
    assert told["graph_module"]["graph"]["nodes"] == [{"target": "torch.ops.aten.relu.default", "metadata": {}}]


CONFIG = "data/weights/model_weights_config.json"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"node": {"target": "torch.os.system"}}, "torch.os.system, which is no operator"),
    ({"node": {"target": "torch.ops.aten.from_file.default"}}, "no operator of a model"),
    ({"node": {"target": "torch.ops.mylib.evil.default"}}, "no operator of a model"),
    ({"node": {"inputs": [{"as_graph": {"nodes": [{"target": "torch.load"}]}}]}}, "torch.load"),
    ({"size": "__import__('os').system('true')"}, "no arithmetic"),
    ({"size": "Symbol('s1').func"}, "no arithmetic"),
    ({CONFIG: json.dumps({"config": {"w": {"path_name": "weight_0", "use_pickle": True}}})}, "is pickled"),
    ({CONFIG: json.dumps({"config": {"w": {"path_name": "opaque_obj_0"}}})}, "is pickled"),
    ({"data/constants/opaque_obj_0": b"x"}, "neither weights nor a program"),
    ({"data/weights/model.pt": b"x"}, "neither weights nor a program"),
    ({"data/aotinductor/model/m.so": b"x"}, "neither weights nor a program"),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_whatever_could_run_a_program_of_its_own_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        judged(archive(**changes))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch", reason="PyTorch is not in this interpreter")

    class Churn(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, tenure: Any, charges: Any) -> Any:
            both = torch.cat([tenure.to(torch.float32), charges], 1)
            risk = torch.softmax(self.layer(both / 100), 1)
            return risk, risk.argmax(1)

    rows = torch.export.Dim("rows", min=1, max=4096)
    given = (torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 1))
    made = torch.export.export(Churn().eval(), given, dynamic_shapes={"tenure": {0: rows}, "charges": {0: rows}})
    file = tmp_path_factory.mktemp("torch") / "churn.pt2"
    torch.export.save(made, file)
    return file


@pytest.fixture(scope="module")
def found(program: Path) -> Examined:
    outputs = ("churn=predict[softmax.1]:probability", "class=predict[argmax]")
    return examine(program, python=sys.executable, outputs=outputs)


ROWS = [(12, 50.0), (60, 20.0), (1, 100.0)]


@pytest.mark.parametrize("check", RUNTIME_SUITE, ids=lambda check: check.__name__)
def test_a_program_passes_the_suite(check: Callable[[RuntimeCase], None], program: Path, found: Examined) -> None:
    options = {**found.options, "start": True}
    check(
        RuntimeCase(
            load=lambda: runtime_of("python").load(program, found.signature, options),
            signature=found.signature,
            rows=ROWS,
            refused=[(None, 1.0), ("many", 1.0), (1, "much")],
        )
    )


def test_it_gives_what_pytorch_gives(program: Path, found: Examined) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not in this interpreter")
    assert [(one.name, one.type) for one in found.signature.inputs] == [("tenure", "integer"), ("charges", "number")]
    module = torch.export.load(program).module()
    tenure = torch.tensor([[row[0]] for row in ROWS])
    risk, most = module(tenure, torch.tensor([[row[1]] for row in ROWS]))
    with closing(runtime_of("python").load(program, found.signature, {**found.options, "start": True})) as model:
        answers = model.predict(ROWS)
    assert [answer[0] for answer in answers] == pytest.approx(risk[:, 1].tolist(), abs=1e-6)
    assert [answer[1] for answer in answers] == most.tolist()


def test_an_output_that_is_not_named_is_asked_for(program: Path) -> None:
    with pytest.raises(ModelRefused) as raised:
        examine(program, python=sys.executable, outputs=("churn=predict[softmax]",))
    assert "softmax.0, softmax.1, argmax" in raised.value.sentence


def test_one_matrix_takes_its_columns_from_an_example(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not in this interpreter")
    rows = torch.export.Dim("rows", min=1, max=4096)
    made = torch.export.export(torch.nn.Sigmoid(), (torch.ones(2, 2),), dynamic_shapes={"input": {0: rows}})
    torch.export.save(made, tmp_path / "m.pt2")
    (tmp_path / "example.csv").write_text("a,b\n0.5,1.5\n")
    with pytest.raises(ModelRefused, match="columns' names"):
        examine(tmp_path / "m.pt2", python=sys.executable)
    found = examine(
        tmp_path / "m.pt2", python=sys.executable, example=tmp_path / "example.csv",
        outputs=("low=predict[sigmoid.0]", "high=predict[sigmoid.1]"),
    )  # fmt: skip
    options = {**found.options, "start": True}
    with closing(runtime_of("python").load(tmp_path / "m.pt2", found.signature, options)) as model:
        ((low, high),) = model.predict([(0.0, 100.0)])
    assert (low, high) == (pytest.approx(0.5), pytest.approx(1.0))
