"""Train/serve skew is zero for a model over several views too: each joined point in time, to the last bit."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mainstay.app.answers import readers
from mainstay.app.answers import receipt as receipt_in
from mainstay.app.commands import ask
from mainstay.app.training_set import Wanted, training_set
from mainstay.core.clock import SystemClock, iso
from mainstay.core.errors import Refused
from mainstay.core.keys import parted_key
from mainstay.core.records import Receipt
from mainstay.serving.request import Key
from tests.app.offers import CUSTOMER, Offers
from tests.app.test_training_set import bits
from tests.retraining.past import write_labels

FEATURES = {"tenure", "spent", "root", "price", "sold"}
RULE = (
    'rule: {score: "coalesce(tenure, 0) + coalesce(price, 0) / 1000 + 0 * coalesce(spent, 0) + 0 * sold '
    '+ 0 * coalesce(root, 0)"}'
)


@pytest.fixture
def offers(tmp_path: Path) -> Offers:
    made = Offers(tmp_path)
    made.begin(
        model=RULE, more="answer: {on_held: flag}",
        customer=CUSTOMER.replace("sum(s.amount)", "sqrt(abs(sum(s.amount))) / 3 AS root, sum(s.amount)"),
    )  # fmt: skip
    return made


def change(offers: Offers, dice: random.Random, sale: int) -> None:
    """Rows of both systems come, change and go bad."""
    way = dice.random()
    if way < 0.4:
        offers.customer(f"C{dice.randint(1, 8)}", 999 if way < 0.08 else dice.randint(0, 120))
    elif way < 0.7:
        offers.product(dice.randint(5, 12), -1.0 if way < 0.45 else dice.uniform(0, 1e6))
    else:
        offers.crm(
            f"INSERT INTO sales VALUES ({sale}, 'C{dice.randint(1, 8)}', {dice.randint(5, 12)}, "
            f"{dice.uniform(-1e3, 1e3)!r})"
        )


def serve(offers: Offers, rounds: int) -> list[Receipt]:
    dice, ids = random.Random(11), []
    for number in range(rounds):
        for more in range(3):
            change(offers, dice, 10 + number * 3 + more)
        offers.run(*dice.sample(["customers", "products", "sales"], dice.randint(1, 3)))
        if number % 3 == 2:
            ask(offers.place, "flush", {})
        pairs: list[Key] = [
            {"customer_id": f"C{dice.randint(1, 8)}", "product_id": dice.randint(5, 12)} for _ in range(8)
        ]
        ids += [one.receipt for one in offers.predict_all(*pairs) if one.receipt is not None]
    with readers(offers.place) as found:
        return [receipt_in(found, one) for one in ids]


def labels_of(receipts: list[Receipt], folder: Path) -> Path:
    rows = [(*parted_key(one.key or "", 2), iso(one.at_us), one.id) for one in receipts]
    return write_labels(folder / "labels.csv", rows, ("customer_id", "product_id", "served", "receipt"))


def test_receipts_and_training_set_agree_to_the_last_bit(offers: Offers, tmp_path: Path) -> None:
    receipts = serve(offers, 10)
    labels = labels_of(receipts, tmp_path)
    made = training_set(offers.place, Wanted(labels=labels, at="served", out=tmp_path / "set.parquet"))
    table = pq.read_table(tmp_path / "set.parquet")
    rows = {row["receipt"]: row for row in table.to_pylist()}
    assert table.column_names[:4] == ["customer_id", "product_id", "served", "receipt"]
    assert made.labels == len(receipts) == made.rows + sum(made.left_out.values())
    told = [one for one in receipts if one.inputs is not None]
    assert {one.id for one in told} == set(rows)
    assert len(told) > 40
    assert made.left_out
    for one in told:
        row = rows[one.id]
        assert set(one.inputs or {}) == FEATURES
        assert (row["customer_id"], str(row["product_id"])) == parted_key(one.key or "", 2)
        for name, value in (one.inputs or {}).items():
            assert bits(row[name]) == bits(value), (one.id, name)
        assert json.loads(row["_positions"]) == one.positions
    assert {view.key for one in told for view in one.views} >= {"C1", "7"}


def test_a_label_without_one_of_its_rows_says_why(offers: Offers, tmp_path: Path) -> None:
    now = iso(SystemClock().now_us())
    labels = write_labels(
        tmp_path / "labels.csv",
        [("C1", 7, now, 1), ("C1", 99, now, 0), ("X", 7, now, 1), ("X", 99, "2020-01-01T00:00:00Z", 0)],
        ("customer_id", "product_id", "at", "bought"),
    )
    planned = training_set(offers.place, Wanted(labels=labels, at="at"))
    assert (planned.labels, planned.rows) == (4, 4)
    made = training_set(offers.place, Wanted(labels=labels, at="at", out=tmp_path / "set.csv"))
    assert (made.rows, made.left_out) == (1, {"never_known": 2, "past_retention": 1})
    assert len({made.feature_set, *made.also}) == 2
    with (tmp_path / "set.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["customer_id"], row["product_id"], row["bought"], row["price"]) == ("C1", "7", "1", "4.5")
    left = [line.split(",")[0] for line in (tmp_path / "set.left-out.csv").read_text().splitlines()[1:]]
    assert sorted(left) == ["3", "4", "5"]
    assert not [one for one in made.findings if "product_id" in one.check]


def test_who_was_erased_is_left_out(offers: Offers, tmp_path: Path) -> None:
    receipts = serve(offers, 3)
    ask(offers.place, "erase", {"key": "product_id=7", "reason": "asked"})
    kept = labels_of(receipts, tmp_path)
    made = training_set(offers.place, Wanted(labels=kept, at="served", out=tmp_path / "set.parquet"))
    theirs = sum(1 for one in receipts if parted_key(one.key or "", 2)[1] == "7")
    assert theirs > 0
    assert made.left_out["erased"] == theirs


def test_one_key_column_for_several_keys_is_refused(offers: Offers, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv", [("C1", "2026-01-01T00:00:00Z")], ("customer_id", "at"))
    with pytest.raises(Refused, match="whose keys are customer_id, product_id"):
        training_set(offers.place, Wanted(labels=labels, at="at", key="customer_id", out=tmp_path / "set.csv"))
