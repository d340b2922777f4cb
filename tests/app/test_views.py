"""One model over several feature views: a request names a row of each, and the worst of them decides."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app.answers import readers, verify, why
from mainstay.app.answers import receipt as receipt_in
from mainstay.app.backup import backup
from mainstay.app.check import check
from mainstay.app.commands import ask
from mainstay.app.models import Wish, add_model, hindrance, shop, use_model
from mainstay.app.place import read_file
from mainstay.app.restore import restore
from mainstay.app.stores import open_state
from mainstay.app.up import apply_at_start
from mainstay.app.wiring import own
from mainstay.cli.main import run as run_command
from mainstay.core.clock import HOUR, SystemClock
from mainstay.core.errors import FileError, MainstayError, Refused
from mainstay.core.keys import joined_key
from mainstay.core.ports import Write
from mainstay.core.records import DatasetState, FeatureSetState, ModelVersion, Response, encode
from mainstay.core.verdicts import Verdict
from mainstay.serving.reply import Answer, Refusal
from mainstay.store.shelf import ShelfReader
from mainstay.testing.clock import FakeClock
from mainstay.testing.postgres import Database
from tests.app.offers import KEY, PRODUCT, Offers, asked

SCORE = 10 + 4.5 / 1000 + 100.75 / 1e6 + 2 / 1e9
"""Of customer C1 and product 7, as they stand at first."""


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Offers:
    """Nobody changes it: each test has a copy."""
    made = Offers(tmp_path_factory.mktemp("begun"))
    made.begin()
    return made


@pytest.fixture
def offers(begun: Offers, tmp_path: Path) -> Offers:
    return begun.moved(tmp_path / "offers")


def score(reply: Answer | Refusal) -> float:
    assert isinstance(reply, Answer), reply
    value: float = reply.output["score"]
    return value


def sets_of(offers: Offers) -> dict[str, FeatureSetState]:
    with closing(open_state(offers.place.home)) as state:
        every = ShelfReader(state, "feature_set", FeatureSetState).all().values()
        return {one.view: one for one in every if not one.retired}


# --- what is asked and what comes ------------------------------------------------------------------------------------


def test_a_key_of_each_view_gives_one_answer_over_http(
    tmp_path: Path, postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", postgres_db.url)
    made = Offers(tmp_path, postgres_db)
    made.begin()
    with made.served() as caller:
        status, body = asked(caller)
        assert (status, body["output"]["score"], body["verdict"]) == (200, pytest.approx(SCORE, abs=1e-12), "PASS")
        said = caller.ask("POST", "/v1/offers/predict", {"keys": [KEY, {"customer_id": "C2", "product_id": 99}]})
        first, second = said.json["results"]
        assert (first["status"], first["key"], first["output"]) == (200, KEY, body["output"])
        assert (second["status"], second["reason"]) == (404, "on_missing")
        rows = [{"tenure": 1, "price": 2.0, "spent": 0.0, "sold": 0}]
        said = caller.ask("POST", "/v1/offers/predict", {"rows": rows})
        assert said.json["results"][0]["output"]["score"] == pytest.approx(1.002)
        assert said.json["results"][0]["verdict"] == "UNKNOWN"


def test_the_text_of_an_integer_names_the_same_row(offers: Offers) -> None:
    for number in ("7", 7.0):  # to JSON, 7.0 is an integer
        assert score(offers.predict({"customer_id": "C1", "product_id": number})) == score(offers.predict())


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("C1", "wanted an object with `customer_id` and `product_id`, found a string"),
        ({"customer_id": "C1"}, "`key.product_id` is missing, wanted an integer"),
        ({"customer_id": None, "product_id": 7}, "`key.customer_id` is null, wanted a string"),
        ({"customer_id": "C1", "product_id": 7, "shop": 1}, "unknown field `shop`"),
        ({"customer_id": "C1", "product_id": "seven"}, "`key.product_id`: wanted an integer, found a string"),
        ({"customer_id": 1, "product_id": 7}, "`key.customer_id`: wanted a string, found an integer"),
        ({"customer_id": "C1", "product_id": 7.5}, "`key.product_id`: wanted a string or an integer"),
        ({"customer_id": "C1", "product_id": True}, "`key.product_id`: wanted a string or an integer, found a boolean"),
        ({}, "`key.customer_id` is missing"),
        ({"customer_id": ["C1"], "product_id": 7}, "found a list"),
    ],
)
def test_a_key_that_does_not_name_each_row_is_told_what_is_wrong(offers: Offers, key: object, told: str) -> None:
    with offers.served() as caller:
        status, body = asked(caller, key)
    assert status == 422
    assert told in body["detail"]


def test_one_view_with_one_key_takes_the_plain_form_and_the_object(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    made.begin(inputs="customer", model='rule: {score: "tenure"}')
    assert [score(made.predict("C2")), score(made.predict({"customer_id": "C2"}))] == [20, 20]
    with made.served() as caller:
        assert asked(caller, {"customer_id": "C2"})[1]["output"] == asked(caller, "C2")[1]["output"]
        status, body = asked(caller, {"customer": "C2"})
        assert (status, "did you mean `customer_id`?" in json.dumps(body)) == (422, True)
    contract = json.loads((tmp_path / "contracts" / "api-1.json").read_bytes())
    assert "keys" not in contract
    assert contract["key"]["name"] == "customer_id"


def test_two_views_over_one_key_ask_for_it_once(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    spent = "SELECT s.customer_id, sum(s.amount) AS spent FROM sales s GROUP BY 1"
    made.write(
        customer="SELECT c.customer_id, c.tenure FROM customers c", model='rule: {score: "tenure + spent"}',
        inputs="[customer, product]", product=spent,
    )  # fmt: skip
    made.file.write_text(made.file.read_text().replace("key: product_id\n    sql", "key: customer_id\n    sql"))
    ask(made.place, "apply", {})
    made.run()
    assert score(made.predict("C1")) == score(made.predict({"customer_id": "C1"})) == 110.75
    refused = made.predict("C5")
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.sentence) == (404, "product: there is no row with this customer_id")


# --- the worst decides -----------------------------------------------------------------------------------------------


def test_one_side_stale_refuses_and_names_its_dataset(offers: Offers) -> None:
    with offers.served(FakeClock(SystemClock().now_us() + HOUR)) as caller:
        status, body = asked(caller)
    assert (status, body["reason"], body["verdict"]) == (503, "on_stale", "FAIL")
    assert "products is " in body["detail"]
    assert "customers" not in body["detail"]


def test_the_least_as_of_stands(offers: Offers) -> None:
    before = offers.predict()
    offers.run("customers", "sales")
    after = offers.predict()
    assert isinstance(before, Answer)
    assert isinstance(after, Answer)
    with readers(offers.place) as found:
        one = receipt_in(found, after.receipt or "")
    instants = {view.view: view.as_of_us for view in one.views}
    assert one.as_of_us == instants["product"]
    assert (instants["product"] or 0) < (instants["customer"] or 0)


def test_one_side_held_refuses_and_names_the_view(offers: Offers) -> None:
    offers.product(7, -1.0)
    offers.run("products")
    refused = offers.predict()
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.reason) == (409, "on_held")
    assert refused.sentence.startswith("product: held: ")
    assert score(offers.predict({"customer_id": "C1", "product_id": 8})) > 0


def test_one_side_deleted_is_gone_and_the_other_is_not(offers: Offers) -> None:
    offers.shop("DELETE FROM products WHERE product_id = 7")
    offers.run("products")
    _released(offers, "products")
    with offers.served() as caller:
        status, body = asked(caller)
        assert (status, body["reason"]) == (410, "on_deleted")
        assert body["detail"].startswith("product: the row with this product_id was deleted in the source")
        assert asked(caller, {"customer_id": "C1", "product_id": 8})[0] == 200


def _released(offers: Offers, dataset: str) -> None:
    with closing(open_state(offers.place.home)) as state:
        found = ShelfReader(state, "dataset", DatasetState).get(dataset)
    if found is not None and found.published < found.read:
        ask(offers.place, "batch.release", {"dataset": dataset, "number": found.read, "reason": "a test"})


def test_one_side_missing_names_which_key(offers: Offers) -> None:
    results = offers.predict_all(
        {"customer_id": "C1", "product_id": 99},
        {"customer_id": "X", "product_id": 7},
        {"customer_id": "X", "product_id": 99},
    )
    assert [one.status for one in results] == [404, 404, 404]
    assert [one.sentence for one in results] == [
        "product: there is no row with this product_id",
        "customer: there is no row with this customer_id",
        "customer: there is no row with this customer_id; product: there is no row with this product_id",
    ]


def test_a_fallback_answers_where_the_file_says_so(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    made.begin(more="answer: {on_missing: fallback}")
    reply = made.predict({"customer_id": "C1", "product_id": 99})
    assert isinstance(reply, Answer)
    assert (reply.output, reply.degraded, reply.reason) == ({"score": 0}, True, "on_missing")
    with readers(made.place) as found:
        assert verify(found, reply.receipt or "").verdict is Verdict.PASS


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("[customer, prodct]", "model.input"),
        ("[customer, customer]", "model.input"),
        ("[]", "model.input"),
    ],
)
def test_a_list_of_views_that_is_none_is_located(offers: Offers, inputs: str, told: str) -> None:
    offers.write(inputs=inputs)
    with pytest.raises(FileError, match=told):
        read_file(offers.file)


@pytest.mark.parametrize(
    ("parts", "told", "mend"),
    [
        (
            {"product": PRODUCT.replace("p.price", "p.price AS tenure")},
            "customer and product both give a column tenure",
            "tenure AS product_tenure",
        ),
        (
            {"product": PRODUCT.replace("p.price", "p.price, max(s.customer_id) AS customer_id")},
            "product gives a column customer_id, which is the key of customer",
            "customer_id AS product_customer_id",
        ),
    ],
)
def test_columns_that_collide_are_refused_with_their_mend(
    offers: Offers, parts: dict[str, str], told: str, mend: str
) -> None:
    offers.write(**parts)
    with pytest.raises(Refused) as refused:
        ask(offers.place, "plan", {})
    assert told in refused.value.sentence
    assert mend in refused.value.mend
    report = check(offers.place, read_file(offers.file), SystemClock())
    found = [one for area in report.areas for one in area.findings if one.check == "model.views"]
    assert [(one.verdict, told in one.sentence) for one in found] == [(Verdict.FAIL, True)]


def test_a_shared_key_has_one_type(offers: Offers) -> None:
    other = "SELECT length(s.customer_id) AS customer_id, sum(s.amount) AS amount FROM sales s GROUP BY 1"
    offers.write(product=other)
    offers.file.write_text(
        offers.file.read_text().replace(
            "key: product_id\n    sql", "key: customer_id\n    from: {sales: length(customer_id)}\n    sql"
        )
    )
    with pytest.raises(Refused, match="the key customer_id is of type string in customer and integer in product"):
        ask(offers.place, "plan", {})


def test_check_tries_the_rule_on_pairs(offers: Offers) -> None:
    report = check(offers.place, read_file(offers.file), SystemClock())
    found = {one.check: one for area in report.areas for one in area.findings}
    assert found["model.views"].sentence == "2 views give 4 columns; a request names customer_id, product_id"
    assert found["model.rule.rows"].sentence == "the rule answers 36 rows of the sample"
    assert found["api.contract"].verdict is Verdict.PASS


def test_check_warns_where_no_rows_meet(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    elsewhere = "SELECT s.sale_id AS id, s.amount FROM sales s"
    made.write(
        customer="SELECT c.tenure AS id, c.tenure FROM customers c", product=elsewhere, model='rule: {score: "tenure"}'
    )
    text = made.file.read_text().replace("key: customer_id\n    sql", "key: id\n    from: {customers: tenure}\n    sql")
    made.file.write_text(text.replace("key: product_id\n    sql", "key: id\n    from: {sales: sale_id}\n    sql"))
    report = check(made.place, read_file(made.file), SystemClock())
    (found,) = (one for area in report.areas for one in area.findings if one.check == "model.views")
    assert (found.verdict, "no rows of the sample meet" in found.sentence) == (Verdict.WARN, True)


def test_a_new_view_breaks_the_api_contract(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    made.begin(inputs="customer", model='rule: {score: "tenure"}')
    made.write(inputs="[customer, product]", model='rule: {score: "tenure"}')
    with pytest.raises(Refused, match="the key column `product_id` is new"):
        ask(made.place, "apply", {})
    made.file.write_text(made.file.read_text().replace("api: 1", "api: 2"))
    ask(made.place, "apply", {})
    made.run()
    assert score(made.predict()) == 10
    contract = json.loads((tmp_path / "contracts" / "api-2.json").read_bytes())
    assert [field["name"] for field in contract["keys"]] == ["customer_id", "product_id"]
    assert [field["name"] for field in contract["columns"]] == ["tenure", "spent", "price", "sold"]


# --- versions and feature sets ---------------------------------------------------------------------------------------


def test_changing_one_view_builds_that_one_beside_the_old_and_keeps_the_other(offers: Offers) -> None:
    before = sets_of(offers)
    offers.write(product=PRODUCT.replace("p.price", "p.price * 2 AS price"))
    steps = ask(offers.place, "plan", {})["steps"]
    assert [one["kind"] for one in steps] == [
        "add_feature_set", "new_version", "store_file", "use_version",
    ]  # fmt: skip
    assert "of product beside" in steps[0]["sentence"]
    ask(offers.place, "apply", {})
    assert score(offers.predict()) == pytest.approx(SCORE + 4.5 / 1000, abs=1e-12)
    with shop(offers.place) as at:
        first, second = at.registry.versions()
        assert first.feature_set == second.feature_set == before["customer"].digest
        assert first.also == (before["product"].digest,) != second.also
        use_model(at, first.number, by="anna")
    assert score(offers.predict()) == pytest.approx(SCORE, abs=1e-12)
    every = ask(offers.place, "features.retire", {})["retired"]
    assert every == [], "the version before pins the old set"


def test_a_version_is_used_when_every_set_is_complete(offers: Offers) -> None:
    with shop(offers.place) as at:
        version = at.registry.get(1)
        sets = ShelfReader(at.state, "feature_set", FeatureSetState)
        (other,) = version.also
        found = sets.get(other)
        assert found is not None
        assert hindrance(at, read_file(offers.file), version) == ""
        broken = msgspec.structs.replace(found, complete=False)
        at.state.commit([Write(space="feature_set", name=other, body=encode(broken))])
        why_not = hindrance(at, read_file(offers.file), version)
    assert why_not == "its feature set of product is not complete yet"


def test_trees_are_proved_on_pairs_of_rows(tmp_path: Path) -> None:
    import numpy as np
    import xgboost

    made = Offers(tmp_path)
    made.begin(model="constant: {score: 0.5}")
    dice = np.random.default_rng(7)
    rows = dice.uniform(0, 100, (200, 3))
    data = xgboost.DMatrix(rows, (rows.sum(axis=1) > 150).astype(float), feature_names=["tenure", "price", "sold"])
    xgboost.train({"objective": "binary:logistic"}, data, 5).save_model(tmp_path / "offer.ubj")
    with shop(made.place) as at:
        version, _ = add_model(at, Wish(file=tmp_path / "offer.ubj", outputs=("score=predict_proba[1]",)), by="anna")
        use_model(at, version.number, by="anna")
    assert version.parity["current"]["rows"] == 36
    assert len(version.feature_sets) == 2
    reply = made.predict()
    assert 0 < score(reply) < 1
    with readers(made.place) as found:
        assert verify(found, reply.receipt or "").verdict is Verdict.PASS


def test_a_column_of_a_key_may_be_an_input(tmp_path: Path) -> None:
    import numpy as np
    import xgboost

    made = Offers(tmp_path)
    made.begin(model="constant: {score: 0.5}")
    rows = np.array([[float(n), float(tenure)] for n in range(5, 11) for tenure in range(10, 70, 10)])
    data = xgboost.DMatrix(rows, rows[:, 0] % 2, feature_names=["product_id", "tenure"])
    booster = xgboost.train({"objective": "binary:logistic", "base_score": 0.5, "min_child_weight": 0}, data, 9)
    booster.save_model(tmp_path / "offer.ubj")
    with shop(made.place) as at:
        version, _ = add_model(at, Wish(file=tmp_path / "offer.ubj", outputs=("score=predict_proba[1]",)), by="anna")
        use_model(at, version.number, by="anna")
    report = check(made.place, read_file(made.file), SystemClock())
    assert not [one for area in report.areas for one in area.findings if one.check.startswith("model.input")]
    odd, even = made.predict(), made.predict({"customer_id": "C1", "product_id": 8})
    assert score(odd) > 0.5 > score(even)
    with readers(made.place) as found:
        one = receipt_in(found, odd.receipt or "")
        assert one.inputs == {"product_id": 7.0, "tenure": 10.0}
        assert verify(found, one.id).verdict is Verdict.PASS


# --- receipts --------------------------------------------------------------------------------------------------------


def test_a_receipt_tells_of_each_row_and_leads_to_its_source(offers: Offers) -> None:
    reply = offers.predict()
    with readers(offers.place) as found:
        one = receipt_in(found, reply.receipt or "")
        assert verify(found, one.id).verdict is Verdict.PASS
        links = why(found, one.id)
    assert one.key == joined_key(["C1", "7"])
    assert one.inputs == {"tenure": 10, "spent": 100.75, "price": 4.5, "sold": 2}
    told = {view.view: view for view in one.views}
    assert {name: (view.key, view.columns, view.verdict) for name, view in told.items()} == {
        "customer": ("C1", ("customer_id",), Verdict.PASS),
        "product": ("7", ("product_id",), Verdict.PASS),
    }
    assert set(told["customer"].positions) == {"customers", "sales"}
    assert set(told["product"].positions) == {"products", "sales"}
    assert told["customer"].positions["sales"][1] == 1
    assert told["product"].positions["sales"][1] == 2
    assert one.positions["sales"] == [1, 2]
    whats = [link.what for link in links]
    assert whats.count("view") == 2
    assert whats.count("source") == 4
    assert whats.index("model") < whats.index("answer")
    (features,) = (link for link in links if link.what == "features")
    assert features.sentence.startswith("feature sets customer ")


def test_a_refusal_is_judged_again_from_its_facts(offers: Offers) -> None:
    reply = offers.predict({"customer_id": "nobody", "product_id": 7})
    with readers(offers.place) as found:
        one = receipt_in(found, reply.receipt or "")
        assert verify(found, one.id).verdict is Verdict.PASS
        assert why(found, one.id)
    assert [(view.view, view.found) for view in one.views] == [("customer", False), ("product", True)]
    assert one.views[0].sentence == "customer: there is no row with this customer_id"
    assert "nobody" not in json.dumps(one.policy)


def test_a_card_is_bound_to_the_whole_key(offers: Offers) -> None:
    with offers.served() as caller:
        said = caller.ask("POST", "/v1/offers/card-tokens", {"key": KEY, "user": "j.doe"})
        assert said.status == 201
        bearer = f"Bearer {said.json['token']}"
        card = caller.ask("POST", "/v1/offers/card", {}, Authorization=bearer)
        assert (card.status, card.json["key"]) == (200, "customer_id=C1,product_id=7")
        decision = {"receipt": card.json["receipt"], "decision": "accepted"}
        assert caller.ask("POST", "/v1/offers/card/decisions", decision, Authorization=bearer).status == 201
        other = asked(caller, {"customer_id": "C2", "product_id": 7})[1]["receipt"]
        decision = {"receipt": other, "decision": "accepted"}
        assert caller.ask("POST", "/v1/offers/card/decisions", decision, Authorization=bearer).status == 404


def test_what_the_document_shows_works_when_pasted(offers: Offers) -> None:
    import jsonschema

    with offers.served() as caller:
        said = caller.ask("GET", "/openapi.json")
        body = said.json["paths"]["/v1/offers/predict"]["post"]["requestBody"]["content"]["application/json"]
        for name in ("key", "keys", "rows"):
            value = body["examples"][name]["value"]
            jsonschema.validate(value, body["schema"])
            again = caller.ask("POST", "/v1/offers/predict", value)
            assert again.status == 200, (name, again.body)
            assert all(one["status"] == 200 for one in again.json.get("results", ()))
        page = caller.ask("GET", "/docs").body.decode()
    assert "Columns of the key" in page


def test_the_command_names_a_key_by_its_columns(offers: Offers, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--file", str(offers.file), "--home", str(offers.place.home.root)]
    assert run_command([*at, "predict", "--key", "customer_id=C1,product_id=7"]) == 0
    assert "customer_id=C1,product_id=7: score = 10.0046" in capsys.readouterr().out
    assert run_command([*at, "predict", "--key", '{"customer_id": "C1", "product_id": 99}']) == 1
    assert run_command([*at, "predict", "--key", "C1"]) != 0


# --- erasing ---------------------------------------------------------------------------------------------------------


def erased(offers: Offers, key: str) -> dict[str, Any]:
    return ask(offers.place, "erase", {"key": key, "reason": "asked on 2026-11-20"})


@pytest.mark.parametrize(
    ("who", "gone", "stays"),
    [
        ("customer_id=C1", {"customer_id": "C1", "product_id": 8}, {"customer_id": "C2", "product_id": 7}),
        ("product_id=7", {"customer_id": "C2", "product_id": 7}, {"customer_id": "C1", "product_id": 8}),
    ],
)
def test_erasing_either_key_clears_the_receipts_that_used_it(
    offers: Offers, who: str, gone: dict[str, Any], stays: dict[str, Any]
) -> None:
    used, other = offers.predict(gone), offers.predict(stays)
    ask(offers.place, "flush", {})
    fresh = offers.predict(gone)
    done = erased(offers, who)
    assert done["clean"], done["traces"]
    offers.run()
    after, kept = offers.predict(gone), offers.predict(stays)
    assert isinstance(after, Refusal)
    assert (after.status, after.reason) == (404, "on_missing")
    assert isinstance(kept, Answer)
    with readers(offers.place) as found:
        for reply in (used, fresh, after):
            one = receipt_in(found, reply.receipt or "")
            assert (one.key, one.inputs) == (None, None)
            assert one.erased_us is not None
        assert [view.key for view in receipt_in(found, used.receipt or "").views] == [None, None]
        assert receipt_in(found, other.receipt or "").inputs is not None
        assert verify(found, used.receipt or "").verdict is Verdict.UNKNOWN
        assert any("erased on" in link.sentence for link in why(found, used.receipt or ""))


def test_a_bare_key_that_may_be_either_is_not_erased(offers: Offers) -> None:
    with pytest.raises(MainstayError, match="this key may be one of customer_id or product_id"):
        erased(offers, "7")
    assert isinstance(offers.predict(), Answer)


def test_an_unfetched_answer_that_names_the_key_goes_too(offers: Offers) -> None:
    ask(offers.place, "quarantine.list", {})
    with own(offers.place, "a test") as works:
        for name, key in (("r-1", "7"), ("r-2", "77")):
            body = encode(Response(id=name, ok=True, body={"rows": [{"key": key}]}, at_us=0))
            works.state.commit([Write(space="response", name=name, body=body)], token=works.lease.token)
    assert ask(offers.place, "erase", {"key": "product_id=7", "reason": "request of 2027-01-17"})["clean"]
    with own(offers.place, "a test") as works:
        assert [item.name for item in works.state.scan("response")] == ["r-2"]
    with pytest.raises(Refused, match="the reason names the person"):
        ask(offers.place, "erase", {"key": "product_id=7", "reason": "no 7 any more"})


def test_a_number_erased_for_one_view_is_not_for_the_other(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    made.customer("7", 70)
    made.begin()
    erased(made, "customer_id=7")
    made.run()
    assert score(made.predict()) == pytest.approx(SCORE, abs=1e-12)
    refused = made.predict({"customer_id": "7", "product_id": 7})
    assert isinstance(refused, Refusal)
    assert refused.sentence == "customer: there is no row with this customer_id"


def test_who_was_erased_before_there_were_two_views_stays_erased(tmp_path: Path) -> None:
    made = Offers(tmp_path)
    made.begin(inputs="customer", model='rule: {score: "tenure"}')
    erased(made, "C1")
    made.write(model='rule: {score: "tenure"}')
    made.file.write_text(made.file.read_text().replace("api: 1", "api: 2"))
    ask(made.place, "apply", {})
    made.customer("C1", 99)
    made.run()
    refused = made.predict()
    assert isinstance(refused, Refusal)
    assert refused.status == 404
    assert [version.also != () for version in _versions(made)] == [False, True]


def _versions(offers: Offers) -> list[ModelVersion]:
    with shop(offers.place) as at:
        return list(at.registry.versions())


def test_a_restored_backup_brings_nobody_back(offers: Offers) -> None:
    clock = SystemClock()
    offers.predict()
    file = offers.folder / "backup.tar"
    backup(offers.place.home.root, file, clock=clock)
    erased(offers, "product_id=7")
    assert restore(file, offers.place.home.root, clock=clock, force=True).erased_since == {"offers": 1}
    said: list[str] = []
    apply_at_start(offers.place, said.append)
    assert said[0].startswith("erased again")
    assert ask(offers.place, "erase.verify", {"key": "product_id=7"})["clean"]
    refused = offers.predict()
    assert isinstance(refused, Refusal)
    assert refused.sentence == "product: there is no row with this product_id"
