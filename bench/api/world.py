"""What every server of bench_api is asked: one table, two models of 200 trees on 30 numbers, the right answers."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

FEATURES = tuple(f"f{number:02d}" for number in range(30))
ROWS = 100_000
ASKED = 5_000
"""Rows that are asked in turn: a fixed row flatters tree models."""
FILE = """
integration: churn
api: 1
purpose:
  problem: Nobody knows who leaves.
  workflow: The score stands on the account page.
  users: {{who: account managers, seats: 3}}
  kpis: [{{name: churn, unit: share, baseline: 0.2, target: 0.1, source: crm}}]
  agreed_by: [{{role: head of sales, on: 2026-11-01}}]
  review: {{after: 90d}}
sources:
  crm: {{kind: sqlite, path: crm.sqlite}}
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    cursor: {{column: changed}}
    every: 1s
    owner: bench@example.com
    freshness: {{warn: 1h, fail: 24h}}
    columns:
      customer_id: {{type: string, required: true}}
      changed: {{type: integer, required: true}}
{columns}
features:
  customer: {{key: customer_id, sql: features/customer.sql}}
model:
  name: churn
  input: customer
  constant: {{p: 0.5}}
  outputs: {{p: {{type: number, unit: probability, min: 0, max: 1}}}}
settings: {{workers: {workers}, port: 0}}
"""


class World(NamedTuple):
    keys: list[str]
    rows: list[list[float]]
    answers: dict[str, list[float]]
    """Model -> the right answer for each row."""


def make(folder: Path, workers: int = 1) -> World:
    """Table, file and models in `folder`: model.txt (LightGBM), lgb.onnx, hgb.onnx, hgb.joblib."""
    random = np.random.default_rng(7)
    table = np.round(random.normal(size=(ROWS, len(FEATURES))), 3)
    score = table[:, 0] + table[:, 1] * table[:, 2] + np.sin(table[:, 3]) + random.normal(0, 0.5, ROWS)
    target = (score > 0).astype(int)
    keys = [f"K{number:06d}" for number in range(ROWS)]
    with sqlite3.connect(folder / "crm.sqlite") as db:
        numbers = ", ".join(f"{name} REAL" for name in FEATURES)
        db.execute(f"CREATE TABLE customers (customer_id TEXT PRIMARY KEY, changed INTEGER, {numbers})")
        db.execute("CREATE INDEX changed ON customers (changed)")
        marks = ", ".join("?" * (len(FEATURES) + 2))
        db.executemany(
            f"INSERT INTO customers VALUES ({marks})",
            ([key, at, *row] for at, (key, row) in enumerate(zip(keys, table.tolist(), strict=True))),
        )
    columns = "\n".join(f"      {name}: {{type: number}}" for name in FEATURES)
    (folder / "mainstay.yaml").write_text(FILE.format(columns=columns, workers=workers))
    (folder / "features").mkdir()
    (folder / "features" / "customer.sql").write_text(f"SELECT customer_id, {', '.join(FEATURES)} FROM customers\n")
    asked = random.permutation(ROWS)[:ASKED]
    answers = train(folder, table, target, asked)
    return World([keys[place] for place in asked], table[asked].tolist(), answers)


def train(folder: Path, table: np.ndarray, target: np.ndarray, asked: np.ndarray) -> dict[str, list[float]]:
    import joblib
    import lightgbm
    import pandas as pd
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import HistGradientBoostingClassifier

    frame = pd.DataFrame(table, columns=list(FEATURES))
    part = slice(0, 20_000)
    light = lightgbm.train(
        {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 2, "seed": 7},
        lightgbm.Dataset(frame[part], target[part]),
        200,
    )
    light.save_model(str(folder / "model.txt"))
    hist = HistGradientBoostingClassifier(max_iter=200, max_leaf_nodes=31, early_stopping=False, random_state=7)
    hist.fit(table[part].astype(np.float32), target[part])
    joblib.dump(hist, folder / "hgb.joblib")
    _take_flags()
    types = [("x", FloatTensorType([None, len(FEATURES)]))]
    graph = convert_sklearn(hist, initial_types=types, options={"zipmap": False}, target_opset=17)
    (folder / "hgb.onnx").write_bytes(graph.SerializeToString())
    rows = table[asked]
    frame[:500].to_csv(folder / "example.csv", index=False)
    (folder / "features.json").write_text(json.dumps(FEATURES))
    return {
        "lightgbm": light.predict(rows).tolist(),
        "hgb": hist.predict_proba(rows.astype(np.float32))[:, 1].tolist(),
        # As it was handed over it is given what the table holds; a value near a split goes another way than rounded.
        "original": hist.predict_proba(rows)[:, 1].tolist(),
    }


def alone_us(folder: Path, made: World) -> float:
    """What the scikit-learn model takes for a row, asked in this process with nothing around it."""
    import joblib

    model = joblib.load(folder / "hgb.joblib")
    rows = np.array(made.rows[:400], dtype=np.float32)
    took = []
    for place in range(len(rows)):
        began = time.perf_counter()
        model.predict_proba(rows[place : place + 1])
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * 1e6


def _take_flags() -> None:
    """skl2onnx hands true and false to onnx where whole numbers are due, which newer ones refuse."""
    from skl2onnx.common import _container

    make = _container.make_node

    def whole(*given: object, **attributes: object) -> object:
        for name, value in attributes.items():
            if isinstance(value, list) and any(isinstance(one, bool | np.integer | np.bool_) for one in value):
                attributes[name] = [int(one) for one in value]
        return make(*given, **attributes)

    _container.make_node = whole
