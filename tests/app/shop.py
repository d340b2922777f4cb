"""An installation over a SQLite file, and short words for what the application's tests do with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mainstay.app import apply as applying
from mainstay.app.answers import predict
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.app.wiring import own
from mainstay.core.records import DatasetState
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import PredictRequest
from mainstay.store.home import Home
from mainstay.store.shelf import ShelfReader
from mainstay.store.state_sqlite import SqliteState

CONSTANT = "constant: {churn_probability: 0.26}"
RULE = 'rule: {churn_probability: "least(1.0, tenure / 100.0)"}'
SQL = "SELECT c.customer_id, c.tenure, c.city FROM customers c"
COLUMNS = """
      customer_id: {type: string, required: true}
      tenure: {type: integer, min: 0, max: 120}
      city: {type: string}
"""


def file_of(
    *,
    model: str = CONSTANT,
    sql: str = SQL,
    columns: str = COLUMNS,
    key: str = "customer_id",
    api: int = 1,
    dataset: str = "customers",
    every: str = "10s",
    more: str = "",
) -> str:
    return f"""\
integration: churn
api: {api}
sources:
  crm: {{kind: sqlite, path: crm.db}}
datasets:
  {dataset}:
    source: crm
    table: customers
    key: {key}
    every: {every}
    freshness: {{warn: 1h, fail: 2h}}
    columns:{columns}
features:
  customer:
    key: customer_id
    sql: {sql}
model: {{name: churn, input: customer, {model}}}
fallback: {{churn_probability: 0.26, reason: base rate}}
{more}"""


class Shop:
    """A folder with a database, a file over it, and its home."""

    def __init__(self, folder: Path, rows: int = 6) -> None:
        self.folder = folder
        self.home = folder / ".mainstay"
        self.file = folder / "mainstay.yaml"
        self.exec("CREATE TABLE customers (customer_id TEXT PRIMARY KEY, tenure INT, city TEXT, plan TEXT)")
        with closing(sqlite3.connect(folder / "crm.db")) as connection, connection:
            given = [(f"person-{n:04}", n * 10, "Bonn", "gold") for n in range(1, rows + 1)]
            connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", given)

    def exec(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / "crm.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def place(self) -> Place:
        return Place(Home(self.home, "churn"), self.file)

    def write(self, **parts: Any) -> None:
        self.file.write_text(file_of(**parts))

    def plan(self) -> dict[str, Any]:
        return ask(self.place, "plan", {})

    def kinds(self) -> list[str]:
        return [step["kind"] for step in self.plan()["steps"]]

    def apply(self, **parts: Any) -> list[str]:
        if parts or not self.file.exists():
            self.write(**parts)
        done: list[str] = ask(self.place, "apply", {})["done"]
        return done

    def run(self) -> dict[str, Any]:
        return ask(self.place, "run", {})

    def begin(self, **parts: Any) -> None:
        self.apply(**parts)
        self.run()

    def predict(self, *keys: str) -> list[Answer | Refusal]:
        found = [predict(self.place, PredictRequest(key=key)) for key in keys]
        return [one for one in found if not isinstance(one, Batch)]

    def outputs(self, key: str = "person-0003") -> dict[str, Any]:
        (one,) = self.predict(key)
        assert isinstance(one, Answer), one
        return one.output

    def dataset(self, name: str = "customers") -> DatasetState:
        state = SqliteState(self.place.home.state)
        try:
            return ShelfReader(state, "dataset", DatasetState).get(name) or DatasetState()
        finally:
            state.close()

    def current(self, statement: str) -> list[tuple[Any, ...]]:
        with own(self.place, "a test") as works:
            return works.desk.current.sql(statement)

    def sets(self) -> dict[str, bool]:
        """Digest -> whether it is retired."""
        with own(self.place, "a test") as works:
            return {name: one.retired for name, one in works.desk.feature_sets.all().items()}

    def retire_sets(self) -> list[str]:
        with own(self.place, "a test") as works:
            return applying.retire_unneeded(works)
