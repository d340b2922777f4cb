"""`model.pre`: part of the version, the same for every kind of model, in the receipt, and verified again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.app.answers import predict, readers, receipt, verify, why
from mainstay.app.check_model import ModelFacts, judge_model
from mainstay.app.commands import ask
from mainstay.app.models import Wish, add_model, shop, use_model
from mainstay.app.place import read_file
from mainstay.core.errors import FileError, ModelRefused
from mainstay.core.inputs import ModelInput
from mainstay.core.records import FeatureSetState, ModelVersion
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.registry import host_of, load
from mainstay.models.runtimes.python_process import PythonHost
from mainstay.models.verify import reproduce
from mainstay.serving.reply import Answer, Batch
from mainstay.serving.request import PredictRequest
from mainstay.store.shelf import ShelfReader
from tests.app.shop import CONSTANT, RULE, Shop

RULED = "pre: [{impute: {tenure: 30}}, {clip: {of: tenure, max: 50}}]"
PINNED = "pre: [{impute: {tenure: median}}, {scale: {of: tenure, by: 0.01}}]"


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    """Six people of tenure 10 to 60, and person-0007 of whom nobody knows it."""
    made = Shop(tmp_path)
    made.exec("INSERT INTO customers VALUES ('person-0007', NULL, 'Bonn', 'gold')")
    return made


def model_of(kind: str, folder: Path) -> tuple[Path, str | None, str]:
    """A model whose answer is its input `tenure`: the file, the lab's interpreter, and the output to name."""
    if kind == "onnx":
        from onnx import TensorProto, helper, save

        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("tenure", "y")]
        graph = helper.make_graph([helper.make_node("Identity", ["tenure"], ["y"])], "g", value[:1], value[1:])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        save(made, folder / "m.onnx")
        return folder / "m.onnx", None, "churn_probability=y"
    own = folder / "mymodel"
    own.mkdir()
    (own / "model.py").write_text(
        "class Model:\n"
        "    inputs = {'tenure': 'number'}\n"
        "    outputs = {'churn_probability': 'number'}\n\n"
        "    def predict(self, frame):\n"
        "        return {'churn_probability': frame['tenure']}\n"
    )
    return own, sys.executable, ""


def added(world: Shop, kind: str = "onnx") -> tuple[ModelVersion, tuple[str, ...]]:
    file, python, output = model_of(kind, world.folder)
    with shop(world.place) as at:
        wish = Wish(file=file, python=python, outputs=(output,) if output else (), convert=False)
        version, told = add_model(at, wish, by="anna")
        use_model(at, version.number, by="anna")
    return version, told


def answered(world: Shop, key: str) -> Answer:
    (answer,) = world.predict(key)
    assert isinstance(answer, Answer), answer
    return answer


def test_a_rule_sees_its_columns_after_the_steps_and_the_receipt_says_what_was_imputed(world: Shop) -> None:
    world.begin(model=f"{RULE}, {RULED}")
    known, unknown = answered(world, "person-0006"), answered(world, "person-0007")
    assert known.output == {"churn_probability": 0.5}
    assert known.imputed is msgspec.UNSET
    assert (unknown.output, unknown.imputed, unknown.verdict) == ({"churn_probability": 0.3}, ("tenure",), Verdict.PASS)
    assert "imputed" not in json.loads(msgspec.json.encode(known))
    assert json.loads(msgspec.json.encode(unknown))["imputed"] == ["tenure"]
    with readers(world.place) as found:
        one = receipt(found, unknown.receipt or "")
        assert (one.inputs or {})["tenure"] is None, "the inputs are as the feature row had them"
        assert one.fed == {"tenure": 30, "city": "Bonn"}
        assert one.imputed == {"tenure": 30}
        finding = verify(found, one.id)
        assert finding.verdict is Verdict.PASS
        assert "the 2 steps of `model.pre` give the same inputs" in finding.sentence
        (link,) = [link for link in why(found, one.id) if link.what == "model"]
        assert ("tenure", "30 (imputed: it was null)") in link.details
        plain = receipt(found, known.receipt or "")
        assert (plain.imputed, (plain.fed or {})["tenure"]) == ({}, 50)


def test_several_keys_and_rows_are_prepared_alike(world: Shop) -> None:
    world.begin(model=f"{RULE}, {RULED}")
    for asked in (
        PredictRequest(keys=["person-0006", "person-0007"]),
        PredictRequest(rows=[{"tenure": 60}, {"tenure": None}]),
    ):
        reply = predict(world.place, asked)
        assert isinstance(reply, Batch)
        assert [one.output for one in reply.results] == [{"churn_probability": 0.5}, {"churn_probability": 0.3}]
        assert [one.imputed for one in reply.results] == [msgspec.UNSET, ("tenure",)]


def test_a_constant_reads_nothing_so_its_version_has_no_steps(world: Shop) -> None:
    world.begin(model=f"{CONSTANT}, {RULED}")
    assert answered(world, "person-0007").imputed is msgspec.UNSET
    assert world.kinds() == []
    world.apply(model=CONSTANT)
    with shop(world.place) as at:
        assert [(one.pre, one.number) for one in at.registry.versions()] == [((), 1)]


def test_changed_steps_make_a_rule_another_version(world: Shop) -> None:
    world.begin(model=f"{RULE}, {RULED}")
    world.write(model=f"{RULE}, {RULED.replace('50', '40')}")
    assert "new_version" in world.kinds()
    world.apply()
    assert answered(world, "person-0006").output == {"churn_probability": 0.4}


@pytest.fixture
def hosts() -> Iterator[list[PythonHost]]:
    """What `mainstay up` would keep running."""
    made: list[PythonHost] = []
    yield made
    for host in made:
        host.close()


@pytest.mark.parametrize("kind", ["onnx", "python"])
def test_a_statistic_is_pinned_when_the_model_is_added_and_never_moves(
    world: Shop, kind: str, hosts: list[PythonHost]
) -> None:
    world.begin(model=PINNED, more="answer: {on_error: refuse}")
    version, told = added(world, kind)
    if kind == "python":
        with shop(world.place) as at:
            hosts.append(host_of(version, at.artifacts, world.place.home.sockets))
        hosts[0].start()
    assert [step.pinned for step in version.pre] == [{"value": 30, "rows": 6}, {}]
    assert "median of tenure: 30, of 6 current rows; it stays so" in told
    assert [field.type for field in version.signature.inputs] == ["integer"]
    assert version.cost[0].rows == 1, "what is measured and proved is given rows after the steps"
    world.exec("UPDATE customers SET tenure = tenure + 50 WHERE tenure IS NOT NULL")
    world.run()
    answer = answered(world, "person-0007")
    assert answer.output["churn_probability"] == pytest.approx(0.3)
    assert answer.imputed == ("tenure",)
    with readers(world.place) as found:
        assert verify(found, answer.receipt or "").verdict is Verdict.PASS
    again, _ = added(world, "onnx") if kind == "onnx" else (None, ())
    if again is not None:
        assert again.number == version.number + 1, "adding it again is another version, by its own name"
        assert again.pre[0].pinned["value"] == 80


def test_steps_that_make_other_inputs_than_were_recorded_are_found(world: Shop) -> None:
    world.begin(model=PINNED)
    added(world)
    answer = answered(world, "person-0003")
    with readers(world.place) as found:
        one = receipt(found, answer.receipt or "")
        version = ShelfReader(found.state, "model", ModelVersion).get(f"{one.version:06d}")
        wrong = msgspec.structs.replace(one, fed={"tenure": 0.4})
        finding = reproduce(wrong, version, lambda it: load(it, found.artifacts, world.folder))
    assert finding.verdict is Verdict.FAIL
    assert "makes another tenure" in finding.sentence


def test_a_row_that_a_step_refuses_falls_back_alone(world: Shop) -> None:
    mapped = "pre: [{map: {of: city, as: code, values: {Bonn: 1}}}]"
    world.exec("UPDATE customers SET city = 'Rome' WHERE customer_id = 'person-0002'")
    world.begin(model=f'rule: {{churn_probability: "code / 4"}}, {mapped}')
    reply = predict(world.place, PredictRequest(keys=["person-0001", "person-0002"]))
    assert isinstance(reply, Batch)
    assert [(one.output, one.reason) for one in reply.results] == [
        ({"churn_probability": 0.25}, ""),
        ({"churn_probability": 0.26}, "on_error"),
    ]
    assert "city has a value that `model.pre` does not map" in reply.results[1].sentence
    assert "Rome" not in reply.results[1].sentence


def test_steps_that_do_not_fit_are_told_before_anything_is_made(world: Shop) -> None:
    world.begin()
    world.write(model=f"{RULE}, pre: [{{log1p: {{of: city}}}}]")
    with pytest.raises(ModelRefused, match=r"step 1 of `model.pre` \(log1p of city\): city is of type string"):
        world.plan()
    world.write(model=f"{RULE}, pre: [{{impute: {{tenure: median}}}}]")
    with pytest.raises(FileError, match="a value, for the model stands in the file"):
        world.plan()


def test_a_model_that_takes_another_type_is_refused(world: Shop) -> None:
    world.begin(model="pre: [{bin: {of: tenure, edges: [12], labels: [new, old]}}]")
    with pytest.raises(ModelRefused, match=r"`model.pre` gives tenure as string, and the model takes it as number"):
        added(world)


def test_check_tells_steps_of_the_file_that_the_answering_version_does_not_have(world: Shop) -> None:
    world.begin(model=PINNED)
    version, _ = added(world)
    with readers(world.place) as at:
        features = ShelfReader(at.state, "feature_set", FeatureSetState).get(version.feature_set)
    assert features is not None
    given = ModelInput(sets=(features,))

    def found(text: str) -> list[Finding]:
        world.file.write_text(text)
        rows = [(None, "Bonn")]
        findings, _ = judge_model(ModelFacts(read_file(world.file), given, answering=version, rows=rows))
        return [one for one in findings if one.check.startswith("model.pre") or one.check.endswith(".required")]

    text = world.file.read_text()
    (fine,) = found(text)
    assert (fine.verdict, fine.sentence) == (Verdict.PASS, "the 2 steps of `model.pre` fit the columns")
    (other,) = found(text.replace("by: 0.01", "by: 0.02"))
    assert other.verdict is Verdict.WARN
    assert "mainstay model add FILE" in other.mend
    (gone,) = found(text.replace(PINNED, "timeout: 1s"))
    assert gone.verdict is Verdict.WARN
    (wrong,) = found(text.replace("of: tenure", "of: city"))
    assert wrong.verdict is Verdict.FAIL


def test_check_counts_the_rows_of_the_sample_that_have_no_answer(world: Shop) -> None:
    world.begin(model='rule: {churn_probability: "code / 4"}, pre: [{map: {of: city, as: code, values: {Bonn: 1}}}]')
    with readers(world.place) as at:
        (features,) = ShelfReader(at.state, "feature_set", FeatureSetState).all().values()
    rows = [(1, "Rome"), (2, "Bonn")]
    findings, _ = judge_model(ModelFacts(read_file(world.file), ModelInput(sets=(features,)), rows=rows))
    (found,) = [one for one in findings if one.check == "model.pre.rows"]
    assert found.verdict is Verdict.WARN
    assert "1 of 2 rows get no answer" in found.sentence


def test_what_the_model_ate_is_erased_with_the_inputs(world: Shop) -> None:
    world.begin(model=f"{RULE}, {RULED}")
    answer = answered(world, "person-0007")
    ask(world.place, "erase", {"key": "person-0007", "reason": "asked"})
    with readers(world.place) as found:
        one = receipt(found, answer.receipt or "")
    assert (one.key, one.inputs, one.fed, one.imputed) == (None, None, None, {})
