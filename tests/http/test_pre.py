"""What was imputed stands in the answer, on each road, and only where something was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.core.nouns import Field, PreStep
from mainstay.core.records import Answering, ModelVersion
from mainstay.models.pre import with_pre
from mainstay.serving import judge
from mainstay.serving.receipts import payload, receipt_of
from mainstay.serving.work import Work
from tests.http.serving import Caller, Served, serving
from tests.serving.toy import CALL, NOW, SET, SIGNATURE, Linear, Toy, online_row

STEPS = (
    PreStep(kind="impute", args={"of": "charges", "with": 100}),
    PreStep(kind="clip", args={"of": "tenure", "max": 10}),
)


def prepared(toy: Toy) -> None:
    """Lets version 2 answer, which is given its rows by the steps."""
    plain = ModelVersion(
        number=2, name="churn", digest="sha256:2", runtime="linear", signature=SIGNATURE, feature_set=SET,
        origin="imported", created_us=NOW,
    )  # fmt: skip
    columns = [Field(name=name, type=kind) for name, kind in toy.feature_set().columns]
    toy.models[2] = Linear(blocking=toy.model.capabilities.blocking)
    toy.put("model", "000002", with_pre(plain, STEPS, columns))
    toy.put("answering", "champion", Answering(version=2, since_us=NOW))
    toy.rows(online_row("C", values=b'[12,null,"Two year"]'))
    toy.view.refresh()


@pytest.fixture(params=[False, True], ids=["in process", "in another process"])
def asked(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Served, Caller]]:
    toy = Toy(tmp_path, blocking=request.param)
    prepared(toy)
    with serving(toy) as made:
        caller = made.caller(toy.key("predict"))
        yield made, caller
        caller.close()
    toy.journal.close()


def test_the_answer_names_what_was_imputed_and_only_that(asked: tuple[Served, Caller]) -> None:
    served, caller = asked
    full, empty = caller.predict(key="A").json, caller.predict(key="C").json
    assert full["output"] == {"churn": pytest.approx(0.1 + 0.05)}
    assert "imputed" not in full
    assert empty["output"] == {"churn": pytest.approx(0.1 + 0.1)}
    assert empty["imputed"] == ["charges"]
    one = served.toy.receipt(empty["receipt"])
    assert one.inputs == {"tenure": 12, "charges": None, "contract": "Two year"}
    assert one.fed == {"tenure": 10, "charges": 100.0, "contract": "Two year"}
    assert one.imputed == {"charges": 100}


def test_of_several_keys_and_rows_each_names_its_own(asked: tuple[Served, Caller]) -> None:
    _, caller = asked
    items = caller.predict(keys=["A", "C"]).json["results"]
    assert [item.get("imputed") for item in items] == [None, ["charges"]]
    rows = caller.predict(rows=[{"tenure": 1, "contract": "x"}, {"tenure": 1, "charges": 5}]).json["results"]
    assert [item.get("imputed") for item in rows] == [["charges"], None]


def test_the_fallback_was_made_of_nothing_that_was_imputed(asked: tuple[Served, Caller]) -> None:
    served, caller = asked
    served.toy.models[2].mood = "broken"
    said = caller.predict(key="C").json
    assert (said["output"], said["reason"]) == ({"churn": 0.26}, "on_error")
    assert "imputed" not in said


def test_the_openapi_document_knows_the_field(asked: tuple[Served, Caller]) -> None:
    _, caller = asked
    answer = caller.ask("GET", "/openapi.json").json["components"]["schemas"]["Answer"]
    assert answer["properties"]["imputed"]["type"] == "array"
    assert "imputed" not in answer["required"]


def test_the_bytes_of_a_receipt_are_those_of_its_record_with_what_the_model_ate(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    prepared(toy)
    snap = toy.view.now
    assert snap is not None
    assert snap.pre is not None
    work = Work("C")
    work.row, work.now_us, work.inputs = online_row("C"), NOW, [12, None, "Two year"]
    work.fed, work.answer = snap.pre(work.inputs), {"churn": 0.5}
    work.judged = judge.judge(work.row, snap.terms, NOW)
    written = msgspec.msgpack.decode(payload("r1", snap, work, CALL, 17))
    record = msgspec.to_builtins(receipt_of("r1", snap, work, CALL, 17))
    assert {name: written[name] for name in ("fed", "imputed", "inputs")} == {
        name: record[name] for name in ("fed", "imputed", "inputs")
    }
    toy.close()
