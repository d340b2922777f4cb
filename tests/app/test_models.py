"""A trained model takes the place of the constant: imported with proof, used, and answering with a receipt."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mainstay.app.answers import readers, receipt, verify, why
from mainstay.app.check_model import ModelFacts, judge_model
from mainstay.app.commands import ask
from mainstay.app.models import Wish, add_model, shop, use_model
from mainstay.app.place import read_file
from mainstay.core.errors import ModelRefused, Refused
from mainstay.core.records import ModelVersion
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.post import with_post
from mainstay.models.registry import load
from mainstay.models.verify import reproduce
from mainstay.serving.reply import Answer
from mainstay.store.shelf import ShelfReader
from tests.app.shop import CONSTANT, RULE, Shop, file_of

OUTPUT = "churn_probability=predict_proba[1]"


def trained(file: Path) -> Path:
    """Tenures over 30 stay, in the words of either library."""
    import lightgbm
    import numpy as np
    import xgboost

    rows = np.array([[float(n)] for n in range(1, 200)])
    stays = [float(n % 70 > 30) for n in range(1, 200)]
    if file.suffix == ".ubj":
        data = xgboost.DMatrix(rows, stays, feature_names=["tenure"])
        xgboost.train({"objective": "binary:logistic"}, data, 5).save_model(file)
    else:
        made = lightgbm.Dataset(rows, stays, feature_name=["tenure"])
        lightgbm.train({"objective": "binary", "verbose": -1}, made, 5).save_model(file)
    return file


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.begin()
    return made


def added(world: Shop, file: Path, *outputs: str) -> tuple[ModelVersion, tuple[str, ...]]:
    with shop(world.place) as at:
        version, told = add_model(at, Wish(file=file, outputs=outputs or (OUTPUT,)), by="anna")
        use_model(at, version.number, by="anna")
    return version, told


@pytest.mark.parametrize("name", ["churn.ubj", "churn.txt"])
def test_a_file_of_trees_is_proved_on_the_current_rows_and_answers(name: str, world: Shop) -> None:
    version, told = added(world, trained(world.folder / name))
    assert version.parity["current"]["rows"] == 6
    assert any("to the last bit on 6 rows" in line for line in told)
    assert [one.rows for one in version.cost] == [2**power for power in range(11)]
    assert any(line.startswith("costs ") for line in told)
    few, many = world.outputs("person-0001"), world.outputs("person-0006")
    assert few["churn_probability"] < 0.5 < many["churn_probability"]


def test_one_that_does_not_fit_the_api_contract_is_refused(world: Shop) -> None:
    with pytest.raises(ModelRefused, match="the API promises churn_probability"), shop(world.place) as at:
        add_model(at, Wish(file=trained(world.folder / "churn.ubj"), outputs=("risk=predict_proba[1]",)), by="anna")
    assert world.outputs() == {"churn_probability": 0.26}


POST = "post: [{threshold: {of: churn_probability, as: risk, at: 0.5, above: high, below: low}}]"
"""Of the constant as of the trained model: the one takes the other's place."""


@pytest.fixture
def posted(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    text = file_of(model=f"{CONSTANT}, {POST}").replace("reason: base rate", "risk: low, reason: base rate")
    made.file.write_text(text)
    ask(made.place, "apply", {})
    made.run()
    return made


def test_a_business_value_leaves_and_the_receipt_holds_both(posted: Shop) -> None:
    contract = json.loads((posted.folder / "contracts" / "api-1.json").read_text())
    assert [one["name"] for one in contract["outputs"]] == ["churn_probability", "risk"]
    assert posted.outputs() == {"churn_probability": 0.26, "risk": "low"}
    added(posted, trained(posted.folder / "churn.ubj"))
    (answer,) = posted.predict("person-0006")
    assert isinstance(answer, Answer)
    assert answer.output["risk"] == "high"
    with readers(posted.place) as found:
        one = receipt(found, answer.receipt or "")
        assert one.raw == {"churn_probability": answer.output["churn_probability"]}
        assert one.output == answer.output
        finding = verify(found, one.id)
        assert finding.verdict is Verdict.PASS
        assert "the 1 step of `model.post` gives the same answer" in finding.sentence
        (link,) = [link for link in why(found, one.id) if link.what == "answer"]
        assert ("model gave churn_probability", str(one.raw["churn_probability"])) in link.details


def test_an_answer_that_the_steps_do_not_give_is_found(posted: Shop) -> None:
    (answer,) = posted.predict("person-0006")
    assert isinstance(answer, Answer)
    with readers(posted.place) as found:
        one = receipt(found, answer.receipt or "")
        version = ShelfReader(found.state, "model", ModelVersion).get(f"{one.version:06d}")
        wrong = msgspec.structs.replace(one, output={**(one.output or {}), "risk": "high"})
        finding = reproduce(wrong, version, lambda it: load(it, found.artifacts, posted.folder))
        assert finding.verdict is Verdict.FAIL
        assert "another risk" in finding.sentence


def test_changed_steps_are_another_version_that_waits_to_be_used(posted: Shop) -> None:
    before, _ = added(posted, trained(posted.folder / "churn.ubj"))
    posted.file.write_text(posted.file.read_text().replace("at: 0.5", "at: 0.99999"))
    assert [step["kind"] for step in posted.plan()["steps"]] == ["new_post", "new_version", "store_file"]
    posted.apply()
    assert posted.outputs("person-0006")["risk"] == "high", "which version answers is changed by `model use` alone"
    with shop(posted.place) as at:
        made = next(one for one in at.registry.versions() if one.post != before.post and one.runtime == "xgboost")
        assert (made.digest, made.number) == (before.digest, before.number + 1)
        use_model(at, made.number, by="anna")
    assert posted.outputs("person-0006")["risk"] == "low"
    assert posted.kinds() == []


def test_steps_that_change_what_callers_get_break_the_api_contract(posted: Shop) -> None:
    added(posted, trained(posted.folder / "churn.ubj"))
    posted.file.write_text(
        posted.file.read_text().replace("as: risk", "as: danger").replace("risk: low", "danger: low")
    )
    assert [one["sentence"] for one in posted.plan()["breaks"]] == [
        "output `risk` is gone",
        "output `danger` is new",
    ]


def test_a_version_that_gives_other_outputs_than_promised_cannot_be_used(posted: Shop) -> None:
    before, _ = added(posted, trained(posted.folder / "churn.ubj"))
    with shop(posted.place) as at:
        bare = at.registry.add(with_post(before, ()))
        with pytest.raises(Refused, match=r"does not fit contracts/api-1.json: the API promises risk"):
            use_model(at, bare.number, by="anna")
        assert at.registry.answering() == use_model(at, before.number, by="anna")


def test_check_tells_steps_that_the_answering_version_does_not_have(posted: Shop) -> None:
    version, _ = added(posted, trained(posted.folder / "churn.ubj"))

    def found(text: str) -> list[Finding]:
        posted.file.write_text(text)
        findings, _ = judge_model(ModelFacts(read_file(posted.file), None, answering=version))
        return [one for one in findings if one.check == "model.post"]

    text = posted.file.read_text()
    assert found(text) == []
    (other,) = found(text.replace("at: 0.5", "at: 0.7"))
    assert other.verdict is Verdict.WARN
    assert "answers with other steps" in other.sentence
    (wrong,) = found(text.replace("of: churn_probability", "of: nothing"))
    assert wrong.verdict is Verdict.FAIL
    assert "there is no output nothing" in wrong.sentence


def test_steps_that_do_not_fit_the_model_are_told(world: Shop) -> None:
    world.write(model=f"{CONSTANT}, post: [{{scale: {{of: nothing, by: 2}}}}]")
    with pytest.raises(ModelRefused, match="there is no output nothing"):
        world.plan()


def test_a_value_without_a_word_falls_back(world: Shop) -> None:
    words = "post: [{words: {as: word, words: {'0.5': half}}}]"
    text = file_of(model=f"{RULE}, {words}", api=2).replace("reason: base rate", "word: unknown, reason: base rate")
    world.file.write_text(text)
    ask(world.place, "apply", {})
    world.run()
    known, unknown = world.predict("person-0005", "person-0003")
    assert isinstance(known, Answer)
    assert isinstance(unknown, Answer)
    assert known.output == {"churn_probability": 0.5, "word": "half"}
    assert unknown.output == {"churn_probability": 0.26, "word": "unknown"}
    assert unknown.reason == "on_error"
    with readers(world.place) as found:
        assert receipt(found, unknown.receipt or "").raw == {"churn_probability": 0.3}


OWN = """
class Model:
    inputs = {"tenure": "number"}
    outputs = {"churn_probability": "number"}

    def predict(self, frame):
        return {"churn_probability": frame["tenure"] / 100}
"""


def test_a_class_of_ones_own_answers_as_a_version(world: Shop) -> None:
    folder = world.folder / "mymodel"
    folder.mkdir()
    (folder / "model.py").write_text(OWN)
    with shop(world.place) as at:
        version, told = add_model(at, Wish(file=folder, python=sys.executable), by="anna")
        (folder / "model.py").unlink()
        with closing(load(version, at.artifacts, world.folder, start=True)) as model:
            assert model.predict([(30,)]) == [(0.3,)]
    assert version.runtime == "python"
    assert version.parity["reason"] == "no conversion was wanted"
    assert version.cost[0].rows == 1
    assert any("isolation of its process" in line for line in told)
