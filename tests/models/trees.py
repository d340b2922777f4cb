"""Models as a lab trains them with XGBoost and LightGBM, on made-up customers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mainstay.core.nouns import ColumnType

COLUMNS: tuple[tuple[str, ColumnType], ...] = (
    ("contract", "string"),
    ("tenure", "integer"),
    ("charges", "number"),
    ("paperless", "boolean"),
    ("zone", "integer"),
)
Row = tuple[Any, ...]


def customers(count: int = 400, seed: int = 3) -> list[Row]:
    """Rows in the order of COLUMNS, with nulls in charges and zone."""
    chance = random.Random(seed)
    return [
        (
            chance.choice(("Month-to-month", "One year", "Two year")),
            chance.randint(0, 72),
            round(chance.uniform(18, 120), 2) if chance.random() > 0.1 else None,
            chance.random() > 0.5,
            chance.choice((10, 20, 30)) if chance.random() > 0.1 else None,
        )
        for _ in range(count)
    ]


def frame(rows: list[Row]) -> Any:
    """As in training: contract and zone are categories."""
    import pandas as pd

    made = pd.DataFrame(rows, columns=[name for name, _ in COLUMNS])
    made["charges"] = made["charges"].astype("float64")
    made["contract"] = made["contract"].astype("category")
    made["zone"] = pd.Categorical([row[4] for row in rows], categories=[10, 20, 30])
    return made


def label(rows: list[Row], kind: str) -> list[float]:
    risk = []
    for contract, tenure, charges, paperless, zone in rows:
        dear = paperless and (charges or 0.0) > 35 + tenure
        risk.append((tenure < 20 and contract != "Two year") ^ dear ^ (zone == 20))
    if kind == "binary":
        return [float(one) for one in risk]
    if kind == "classes":
        return [2.0 if one else float(row[3]) for one, row in zip(risk, rows, strict=True)]
    return [row[1] * 2.0 + len(row[0]) + (row[2] or 0.0) for row in rows]


def xgboost_file(file: Path, kind: str, *, rounds: int = 12, early: bool = False, **params: Any) -> Path:
    import xgboost

    rows = customers()
    data = xgboost.DMatrix(frame(rows), label(rows, kind), enable_categorical=True)
    asked: dict[str, Any] = {"nthread": 1, "max_depth": 4, "max_cat_to_onehot": 1, **params}
    if early:
        chance = random.Random(5)
        held = xgboost.DMatrix(frame(rows), [float(chance.random() > 0.5) for _ in rows], enable_categorical=True)
        model = xgboost.train(asked, data, 60, evals=[(held, "held")], early_stopping_rounds=10, verbose_eval=False)
    else:
        model = xgboost.train(asked, data, rounds)
    model.save_model(file)
    return file


def lightgbm_file(file: Path, kind: str, *, change: Callable[[Any], Any] = lambda one: one, **params: Any) -> Path:
    import lightgbm

    rows = customers()
    asked = {"num_threads": 1, "verbose": -1, "min_data_in_leaf": 5, "cat_smooth": 1, "num_leaves": 15, **params}
    table = change(frame(rows))
    lightgbm.train(asked, lightgbm.Dataset(table, label(rows, kind)), 12).save_model(file)
    return file
