"""A model that is served elsewhere answers as a version of the file: its secret, its failures, its receipts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.app.answers import predict, readers, receipt, verify
from mainstay.app.check_http import CHECK
from mainstay.app.check_model import ModelFacts, judge_model
from mainstay.app.models import shop
from mainstay.app.place import read_file
from mainstay.core.errors import FileError, ModelRefused
from mainstay.core.inputs import ModelInput
from mainstay.core.records import FeatureSetState
from mainstay.core.verdicts import Verdict
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import PredictRequest
from tests.app.shop import SQL, Shop
from tests.models.runtimes.elsewhere import Elsewhere, elsewhere

SECRET = "s3cret-of-the-scores"


@pytest.fixture
def server() -> Iterator[Elsewhere]:
    with elsewhere() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("SCORES_TOKEN", SECRET)
    return Shop(tmp_path)


def served_at(url: str, more: str = "", outputs: str = "{type: number}") -> str:
    return (
        f"http: {{url: '{url}', protocol: json, inputs: [tenure], "
        "request: {tenure: $tenure, charges: 0}, outputs: {churn_probability: churn}, "
        f"headers: {{Authorization: 'Bearer ${{SCORES_TOKEN}}'}}{more}}}, outputs: {{churn_probability: {outputs}}}"
    )


def test_it_answers_by_key_and_its_secret_is_kept_nowhere(world: Shop, server: Elsewhere) -> None:
    world.begin(model=served_at(server.url("/score")))
    (answer,) = world.predict("person-0003")
    assert isinstance(answer, Answer), answer
    assert answer.output == {"churn_probability": 0.3}
    (asked,) = server.asked
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert asked.body == {"tenure": 30, "charges": 0}, "nothing is sent that the file does not name"
    with readers(world.place) as found:
        one = receipt(found, answer.receipt or "")
        assert (one.inputs, one.runtime) == ({"tenure": 30}, "http")
    files = [file for file in world.home.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]


def test_a_receipt_is_proved_while_the_server_answers_alike(world: Shop, server: Elsewhere) -> None:
    world.begin(model=served_at(server.url("/score")))
    (answer,) = world.predict("person-0003")
    assert isinstance(answer, Answer)
    with readers(world.place) as found:
        assert verify(found, answer.receipt or "").verdict is Verdict.PASS
        server.moods = ['={"churn": 0.9}']
        changed = verify(found, answer.receipt or "")
        assert (changed.verdict, "served elsewhere" in changed.sentence) == (Verdict.UNKNOWN, True)
        server.moods = ["500"]
        assert verify(found, answer.receipt or "").verdict is Verdict.ERROR


def test_its_failure_is_that_of_any_model_and_the_policy_holds(world: Shop, server: Elsewhere) -> None:
    world.begin(model=served_at(server.url("/score")))
    for mood in ("500", "422", "redirect", "=nonsense"):
        server.moods = [mood]
        (answer,) = world.predict("person-0003")
        assert isinstance(answer, Answer)
        assert (answer.output, answer.degraded, answer.reason) == ({"churn_probability": 0.26}, True, "on_error")
    world.apply(model=served_at(server.url("/score")), more="answer: {on_error: refuse}")
    server.moods = ["500"]
    (refusal,) = world.predict("person-0003")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.reason) == (503, "on_error")


def test_a_row_that_waits_in_vain_takes_no_time_of_the_next(world: Shop, server: Elsewhere) -> None:
    world.begin(model=served_at(server.url("/score")) + ", timeout: 1s")
    server.moods = ["wait"]
    reply = predict(world.place, PredictRequest(keys=["person-0003", "person-0002"]))
    assert isinstance(reply, Batch)
    given = [(one.output, one.reason) for one in reply.results]
    assert given == [({"churn_probability": 0.26}, "on_error"), ({"churn_probability": 0.2}, "")]


def test_a_changed_address_is_another_version_and_a_changed_secret_is_not(
    world: Shop, server: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin(model=served_at(server.url("/score")))
    monkeypatch.setenv("SCORES_TOKEN", "another")
    assert world.plan()["steps"] == ()
    assert world.outputs() == {"churn_probability": 0.3}
    assert server.asked[-1].headers["authorization"] == "Bearer another"
    world.apply(model=served_at(server.url("/rest")))
    with shop(world.place) as at:
        assert [one.number for one in at.registry.versions()] == [1, 2]
    assert world.outputs() == {"churn_probability": 0.3}
    assert server.asked[-1].path == "/rest"


def test_it_may_be_sent_the_key_and_what_the_request_brings(world: Shop, server: Elsewhere) -> None:
    model = (
        f"http: {{url: '{server.url()}', protocol: mlflow, inputs: [customer_id, tenure, charges]}}, "
        "outputs: {churn_probability: {type: number}}, request_inputs: {charges: {type: number, required: true}}"
    )
    world.begin(model=model, sql="SELECT c.customer_id, c.tenure FROM customers c")
    reply = predict(world.place, PredictRequest(keys=["person-0001", "person-0002"], inputs={"charges": 100}))
    assert isinstance(reply, Batch)
    assert [one.output for one in reply.results] == [{"churn_probability": 0.2}, {"churn_probability": 0.1 + 0.2}]
    sent = [asked.body["dataframe_split"]["data"] for asked in server.asked]
    assert sent == [[["person-0001", 10, 100.0]], [["person-0002", 20, 100.0]]]


def test_check_asks_it_about_three_rows_of_the_sample(world: Shop, server: Elsewhere) -> None:
    world.write(model=served_at(server.url("/score")))
    integration = read_file(world.file)
    state = FeatureSetState(
        digest="d", view="customer", key="customer_id", key_type="string", sql=SQL, mapping={},
        columns=(("tenure", "integer"), ("city", "string")),
    )  # fmt: skip
    rows = [(n, "Bonn") for n in range(10)]

    def told(*moods: str) -> tuple[Verdict, str]:
        server.moods = list(moods)
        found, _ = judge_model(ModelFacts(integration, ModelInput(sets=(state,)), rows=rows))
        (one,) = [one for one in found if one.check == CHECK]
        return one.verdict, one.sentence

    assert told()[0] is Verdict.PASS
    assert len(server.asked) == 3
    assert told("500")[0] is Verdict.WARN
    assert told("400")[0] is Verdict.FAIL


def test_a_file_that_names_what_is_not_there_is_refused_when_it_is_applied(world: Shop) -> None:
    with pytest.raises(ModelRefused, match="names plan, which nothing gives"):
        world.begin(
            model="http: {url: 'http://scores', protocol: mlflow, inputs: [plan]}, "
            "outputs: {churn_probability: {type: number}}"
        )


def test_a_secret_without_a_value_is_told_with_its_line(world: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCORES_TOKEN")
    with pytest.raises(FileError, match=r"model\.http\.headers\.Authorization.*SCORES_TOKEN"):
        world.begin(model=served_at("http://scores"))
