"""One key over two feature views: the rows are judged each by its own terms, and together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.errors import StoreError
from mainstay.core.nouns import Column, Dataset, FeatureView, Freshness, ModelConfig
from mainstay.core.ports import Write
from mainstay.core.records import DatasetState, FeatureSetState, ModelVersion
from mainstay.core.verdicts import Verdict
from mainstay.http.front import Front
from mainstay.serving import infer
from mainstay.serving.answer import NotReady
from mainstay.serving.judge_views import rejudge_views
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import BadRequest, PredictRequest
from tests.serving.toy import CALL, NOW, SIGNATURE, Toy, online_row

PRODUCT = "sha256:product"
KEY: dict[str, Any] = {"customer_id": "A", "product_id": 7}


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    """`contract` comes from the product's row, the rest from the customer's."""
    made = Toy(tmp_path, model=ModelConfig(name="churn", input="customer", also=("product",)))
    column = Column(name="product_id", type="integer", source_name="product_id", required=True)
    made.file = msgspec.structs.replace(
        made.file,
        datasets=made.file.datasets
        | {
            "products": Dataset(
                name="products", source="crm", table="products", key="product_id", columns=(column,),
                freshness=Freshness(warn_us=MINUTE, fail_us=10 * MINUTE),
            )
        },
        features=made.file.features | {"product": FeatureView(name="product", key="product_id", sql="SELECT 1")},
    )  # fmt: skip
    made.put(
        "feature_set",
        made.feature_set().digest,
        made.feature_set(columns=(("tenure", "integer"), ("charges", "number"))),
    )
    made.put("feature_set", PRODUCT, product_set())
    made.put("dataset", "products", DatasetState(as_of_us=NOW - 30 * SECOND))
    version = ModelVersion(
        number=1, name="churn", digest="sha256:1", runtime="linear", signature=SIGNATURE, feature_set="sha256:set",
        also=(PRODUCT,), origin="imported", created_us=NOW,
    )  # fmt: skip
    made.put("model", "000001", version)
    made.rows(online_row("A", values=b"[12,50.0]"), online_row("B", values=b"[1, null]"))
    product(made)
    made.reapply()
    yield made
    made.close()


def product_set(**changes: Any) -> FeatureSetState:
    plain = FeatureSetState(
        digest=PRODUCT, view="product", key="product_id", key_type="integer", sql="SELECT 1",
        mapping={"products": "product_id"}, columns=(("contract", "string"),), complete=True,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def product(toy: Toy, **changes: Any) -> None:
    row = online_row("7", values=b'["Two year"]', positions=b'{"products":[2,1]}', **changes)
    toy.online.put(PRODUCT, [row], token=1)


def ask(toy: Toy, key: Any = None) -> Answer | Refusal:
    assert toy.view.now is not None
    found = toy.desk.answering.predict_now(toy.view.now, PredictRequest(key=key or KEY), CALL)
    assert not isinstance(found, Batch)
    return found


def test_both_rows_are_one_input(toy: Toy) -> None:
    reply = ask(toy)
    assert isinstance(reply, Answer)
    assert (reply.output, reply.verdict, reply.age_seconds) == ({"churn": pytest.approx(0.17)}, Verdict.PASS, 30)
    one = toy.receipt(reply.receipt)
    assert one.inputs == {"tenure": 12, "charges": 50.0, "contract": "Two year"}
    assert one.positions == {"customers": [3, 17], "products": [2, 1]}
    assert [(row.view, row.key, row.as_of_us, row.verdict) for row in one.views] == [
        ("customer", "A", NOW - 10 * SECOND, Verdict.PASS),
        ("product", "7", NOW - 30 * SECOND, Verdict.PASS),
    ]


@pytest.mark.parametrize("half", [{"customer_id": ["A"]}, {"product_id": [7]}, {"key": ["A"]}])
def test_half_a_key_is_told_what_it_lacks(toy: Toy, half: dict[str, list[Any]]) -> None:
    assert toy.view.now is not None
    missing = "product_id" if "customer_id" in half else "customer_id"
    told = f"`inputs.{missing}` is missing: the key is `customer_id` and `product_id`"
    with pytest.raises(BadRequest, match=re.escape(told)):
        infer.asked_columns(toy.view.now, half)
    assert infer.asked_columns(toy.view.now, {"customer_id": ["A"], "product_id": [7]}).keys == [KEY]


def test_a_view_without_columns_adds_none(toy: Toy) -> None:
    toy.put("feature_set", PRODUCT, product_set(columns=()))
    toy.online.put(PRODUCT, [online_row("7", values=b"[]", plan=8)], token=1)
    toy.view.refresh()
    reply = ask(toy)
    assert toy.receipt(reply.receipt).inputs == {"tenure": 12, "charges": 50.0, "contract": None}


def test_a_warning_of_either_row_is_flagged_with_its_view(toy: Toy) -> None:
    product(toy, verdict=Verdict.WARN, sentence="price.max warns", plan=8)
    reply = ask(toy)
    assert isinstance(reply, Answer)
    assert (reply.degraded, reply.reason, reply.verdict) == (True, "on_warn", Verdict.WARN)
    assert reply.sentence == "product: price.max warns"
    assert [row.verdict for row in toy.receipt(reply.receipt).views] == [Verdict.PASS, Verdict.WARN]


@pytest.mark.parametrize(
    ("passed_us", "action", "verdict", "told"),
    [
        (0, "answer", Verdict.PASS, ""),
        (2 * MINUTE, "flag", Verdict.WARN, "products is"),
        (20 * MINUTE, "refuse", Verdict.FAIL, "products is"),
        (2 * HOUR, "refuse", Verdict.FAIL, "customers is"),
    ],
)
def test_the_age_is_computed_when_answering(toy: Toy, passed_us: int, action: str, verdict: Verdict, told: str) -> None:
    toy.clock.advance(passed_us)
    reply = ask(toy)
    one = toy.receipt(reply.receipt)
    assert (isinstance(reply, Refusal), reply.verdict) == (action == "refuse", verdict)
    assert told in reply.sentence
    if action == "refuse":
        again = rejudge_views(one.policy)
        assert (again.action, again.reason, again.verdict) == ("refuse", "on_stale", verdict)
        assert again.sentence == reply.sentence


def test_a_deleted_row_counts_more_than_a_missing_one(toy: Toy) -> None:
    product(toy, deleted=True, plan=8)
    toy.online.put(PRODUCT, [online_row("8", values=None, deleted=True)], token=1)
    gone = ask(toy, {"customer_id": "nobody", "product_id": 8})
    assert isinstance(gone, Refusal)
    assert (gone.status, gone.reason) == (410, "on_deleted")
    assert gone.sentence.split("; ") == [
        "product: the row with this product_id was deleted in the source",
        "customer: there is no row with this customer_id",
    ]


def test_a_set_that_is_still_built_is_not_a_missing_row(toy: Toy) -> None:
    toy.put("feature_set", PRODUCT, product_set(complete=False))
    toy.view.refresh()
    reply = ask(toy, {"customer_id": "A", "product_id": 9})
    assert isinstance(reply, Refusal)
    assert (reply.status, reply.sentence) == (503, "product: the feature set is still being built")


def test_a_set_that_is_gone_leaves_nothing_to_answer_from(toy: Toy) -> None:
    toy.state.commit([Write(space="feature_set", name=PRODUCT, body=None)])
    toy.view.refresh()
    assert "no feature set is published for the model" in toy.desk.not_ready()


def test_a_store_that_cannot_be_read_is_an_error_and_no_missing_row(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> NoReturn:
        raise StoreError("damaged")

    real = toy.online.get_many
    monkeypatch.setattr(
        toy.online, "get_many", lambda digest, keys: broken() if digest == PRODUCT else real(digest, keys)
    )
    reply = ask(toy)
    assert isinstance(reply, Refusal)
    assert (reply.status, reply.verdict) == (503, Verdict.ERROR)
    one = toy.receipt(reply.receipt)
    assert [(row.verdict, row.sentence) for row in one.views] == [(Verdict.ERROR, "not looked up")] * 2
    assert rejudge_views(one.policy).reason == "on_stale"


def test_a_model_that_fails_falls_back_by_its_policy(toy: Toy) -> None:
    toy.policy(on_error="fallback")
    toy.model.mood = "late"
    reply = ask(toy)
    assert isinstance(reply, Answer)
    assert (reply.output, reply.reason) == ({"churn": 0.26}, "on_error")
    again = rejudge_views(toy.receipt(reply.receipt).policy)
    assert (again.action, again.reason) == ("fallback", "on_error")


def test_the_short_road_is_for_one_view(toy: Toy) -> None:
    def path() -> bytes:
        async def nothing(*_: object) -> None:
            """Another application."""

        return Front(toy.desk, nothing).turns.predict_url

    assert path() == b""
    one = msgspec.structs.replace(toy.file, model=ModelConfig(name="churn", input="customer"))
    toy.file = one
    toy.models[2] = toy.model
    toy.version(2)
    toy.reapply()
    assert path() == b"/v1/churn/predict"


def test_several_keys_are_looked_up_once_for_each_view(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []
    real = toy.online.get_many

    def watched(digest: str, keys: Any) -> Any:
        asked.append((digest, list(keys)))
        return real(digest, keys)

    monkeypatch.setattr(toy.online, "get_many", watched)
    assert toy.view.now is not None
    keys: list[Any] = [KEY, {"product_id": 7, "customer_id": "B"}]
    reply = asyncio.run(toy.desk.answering.predict(toy.view.now, PredictRequest(keys=keys), CALL))
    assert isinstance(reply, Batch)
    assert [(item.status, item.key) for item in reply.results] == [(200, keys[0]), (200, keys[1])]
    assert asked == [("sha256:set", ["A", "B"]), (PRODUCT, ["7", "7"])]


def test_nothing_answers_before_a_version_does(toy: Toy) -> None:
    assert toy.view.now is not None
    snap = msgspec.structs.replace(toy.view.now, model=None)
    with pytest.raises(NotReady):
        toy.desk.answering.predict_now(snap, PredictRequest(key=KEY), CALL)
