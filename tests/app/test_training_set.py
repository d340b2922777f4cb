"""Train/serve skew is zero: what receipts say the model was given is what the training set gives for their instants."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mainstay.app.answers import predict, readers
from mainstay.app.answers import receipt as receipt_in
from mainstay.app.commands import ask
from mainstay.app.training_set import Wanted, training_set
from mainstay.app.wiring import own
from mainstay.core.clock import SystemClock, iso
from mainstay.core.records import Receipt
from mainstay.pipelines import sets
from mainstay.serving.reply import Batch
from mainstay.serving.request import PredictRequest
from tests.app.shop import Shop
from tests.retraining.past import write_labels

COLUMNS = """
      customer_id: {type: string, required: true}
      tenure: {type: integer, min: 0, max: 120}
      city: {type: string, clean: [trim]}
      charges: {type: number}
      seen: {type: timestamp}
      active: {type: boolean, clean: [{boolean: {true: ['1'], false: ['0']}}]}
"""
SQL = """
      SELECT c.customer_id, c.tenure, c.city, c.charges, sqrt(abs(c.charges)) / 3 AS root, c.seen, c.active,
        CAST(c.seen AS DATE) AS day, {more} FROM customers c
"""
STILL = SQL.format(more="c.charges * 1e300 * 1e300 AS huge")
MOVING = SQL.format(more="date_diff('second', c.seen, $as_of) AS seconds, epoch_us($as_of) AS computed")
RULE = 'rule: {{churn_probability: "least(1.0, tenure / 100.0 + 0 * coalesce(length(city), 0)"}}'
PEOPLE = [f"person-{n:04}" for n in range(1, 7)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.exec(
        "ALTER TABLE customers ADD COLUMN charges REAL",
        "ALTER TABLE customers ADD COLUMN seen TEXT",
        "ALTER TABLE customers ADD COLUMN active INT",
    )
    return shop


def model_of(*features: str) -> str:
    """A rule that reads every feature, so that each is among a receipt's inputs."""
    read = " + ".join(f"0 * (CASE WHEN {name} IS NULL THEN 1 ELSE 2 END)" for name in features)
    return f'rule: {{churn_probability: "least(1.0, coalesce(tenure, 0) / 100.0 + {read})"}}'


def begin(shop: Shop, sql: str, features: tuple[str, ...], **more: Any) -> None:
    text = " ".join(sql.split())
    more.setdefault("more", "answer: {on_held: flag}")
    shop.write(sql=f'"{text}"', columns=COLUMNS, model=model_of(*features), **more)
    text = shop.file.read_text().replace("kind: sqlite,", "kind: sqlite, timezone: UTC,")
    shop.file.write_text(text)
    shop.apply()
    shop.run()


def change(shop: Shop, dice: random.Random) -> None:
    """Rows come, change, go bad and vanish."""
    person = dice.choice(PEOPLE)
    way = dice.random()
    if way < 0.05:
        shop.exec(f"DELETE FROM customers WHERE customer_id = '{person}'")
        return
    if way < 0.15:
        shop.exec(f"UPDATE customers SET tenure = 999 WHERE customer_id = '{person}'")
        return
    charges = dice.choice(["NULL", "9e999", "-0.0", repr(dice.uniform(-1e6, 1e6)), repr(dice.random() * 1e-300)])
    seen = dice.choice(["NULL", f"'2026-0{dice.randint(1, 9)}-11 10:20:30.{dice.randint(0, 999999):06}'"])
    city, active = dice.choice(["Bonn ", "Köln", 'x,"y']), dice.choice(["NULL", "0", "1"])
    shop.exec(
        f"INSERT OR REPLACE INTO customers VALUES ('{person}', {dice.randint(0, 120)}, '{city}', 'gold', {charges}, "
        f"{seen}, {active})"
    )


def ask_for(shop: Shop, people: Sequence[str] = PEOPLE) -> list[str]:
    reply = predict(shop.place, PredictRequest(keys=list(people)))
    assert isinstance(reply, Batch)
    return [one.receipt for one in reply.results if one.receipt is not None]


def release(shop: Shop) -> None:
    state = shop.dataset()
    if state.published < state.read:
        args = {"dataset": "customers", "number": state.published + 1, "through": state.read, "reason": "a test"}
        ask(shop.place, "batch.release", args)


def serve(shop: Shop, rounds: int, *, refresh: bool = False) -> list[Receipt]:
    """Updates arrive; people are asked for, before and after each."""
    dice = random.Random(7)
    ids = []
    for number in range(rounds):
        for _ in range(3):
            change(shop, dice)
        shop.run()
        if number % 2:  # a delete is more than a tenth of so few keys, and blocks: a person lets it through later
            release(shop)
        if refresh and number % 3 == 2:
            with own(shop.place, "a test") as works:
                for one in works.desk.live_feature_sets():
                    sets.refresh(works.desk, one.digest)
        if number % 4 == 3:
            ask(shop.place, "flush", {})
        ids += ask_for(shop)
    with readers(shop.place) as found:
        return [receipt_in(found, one) for one in ids]


def bits(value: Any) -> Any:
    """A value so that equal bits are equal and others are not: -0.0 is not 0.0, NaN is itself."""
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


def as_served(row: dict[str, Any], name: str) -> Any:
    """A value of the training set as the model is given it."""
    value = row[name]
    if name == "seen" and value is not None:
        return int(value.replace(microsecond=0).timestamp()) * 1_000_000 + value.microsecond
    return value.isoformat() if name == "day" and value is not None else value


def no_skew(shop: Shop, receipts: list[Receipt], features: tuple[str, ...], folder: Path) -> int:
    """Compares every receipt with its row; returns how many rows there were."""
    labels = write_labels(
        folder / "labels.csv",
        [(one.key, iso(one.at_us), one.id) for one in receipts],
        ("customer_id", "served", "receipt"),
    )
    made = training_set(shop.place, Wanted(labels=labels, at="served", out=folder / "set.parquet"))
    rows = {row["receipt"]: row for row in pq.read_table(folder / "set.parquet").to_pylist()}
    assert made.rows == len(rows)
    assert made.labels == len(receipts) == made.rows + sum(made.left_out.values())
    told = {one.id for one in receipts if one.inputs is not None}
    assert set(rows) == told
    for one in receipts:
        if one.inputs is None:
            continue
        row = rows[one.id]
        assert set(one.inputs) >= set(features)
        for name, value in one.inputs.items():
            assert bits(as_served(row, name)) == bits(value), (one.id, name)
    return len(rows)


def test_receipts_and_training_set_agree_to_the_last_bit(shop: Shop, tmp_path: Path) -> None:
    features = ("tenure", "city", "charges", "root", "seen", "active", "day", "huge")
    begin(shop, STILL, features)
    receipts = serve(shop, 10)
    assert len({str(one.inputs) for one in receipts}) > 15
    values = [one.inputs["huge"] for one in receipts if one.inputs]
    assert any(value is not None and math.isinf(value) for value in values)
    assert no_skew(shop, receipts, features, tmp_path) > 40


def test_they_agree_where_features_move_with_time(shop: Shop, tmp_path: Path) -> None:
    features = ("tenure", "seconds", "computed")
    begin(shop, MOVING, features)
    shop.file.write_text(
        shop.file.read_text().replace("key: customer_id\n    sql", "key: customer_id\n    refresh: 1h\n    sql")
    )
    shop.apply()
    receipts = serve(shop, 8, refresh=True)
    assert len({one.inputs["computed"] for one in receipts if one.inputs}) > 5
    assert no_skew(shop, receipts, features, tmp_path) > 30


def test_an_erased_person_is_left_out_also_for_instants_before(shop: Shop, tmp_path: Path) -> None:
    begin(shop, STILL, ("tenure", "city"))
    then = iso(SystemClock().now_us())
    rows = [("person-0001", then), ("person-0002", then)]
    labels = write_labels(tmp_path / "labels.csv", rows, ("customer_id", "at"))
    wanted = Wanted(labels=labels, at="at", out=tmp_path / "set.parquet")
    assert training_set(shop.place, wanted).rows == 2
    ask(shop.place, "erase", {"key": "person-0001", "reason": "asked"})
    made = training_set(shop.place, wanted)
    assert (made.rows, made.left_out) == (1, {"erased": 1})
    assert b"person-0001" not in (tmp_path / "set.parquet").read_bytes()
