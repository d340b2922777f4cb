"""Order lines named by (order_id, line_no), in SQLite or PostgreSQL, and short words for what tests do with them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mainstay.app.answers import predict
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.core.keys import joined_key
from mainstay.serving.reply import Answer, Batch, Refusal
from mainstay.serving.request import Key, PredictRequest
from mainstay.store.home import Home
from mainstay.testing.postgres import Database

LINE = "SELECT order_id, line_no, qty, qty * price AS total FROM lines"
ORDER = "SELECT order_id, count(*) AS lines, sum(qty) AS pieces FROM lines GROUP BY order_id"
RULE = 'rule: {score: "total + pieces / 1000"}'


def line(order: str, number: int) -> dict[str, Any]:
    """A request's key."""
    return {"order_id": order, "line_no": number}


def k(order: str, number: int) -> str:
    """The same as it is kept."""
    return joined_key([order, str(number)])


def file_of(
    *,
    source: str = "{kind: sqlite, path: shop.db}",
    key: str = "[order_id, line_no]",
    view_key: str = "[order_id, line_no]",
    mapping: str = "",
    sql: str = LINE,
    model: str = RULE,
    inputs: str = "[line, order]",
    checks: str = "",
) -> str:
    return f"""\
integration: orders
sources:
  shop: {source}
datasets:
  lines:
    source: shop
    table: lines
    key: {key}
    cursor: {{column: changed}}
    deletes: {{reconcile: 1ms, max_share: 1.0}}
    freshness: {{fail: 4h}}
    columns:
      order_id: {{type: string, clean: [trim]}}
      line_no: {{type: integer, min: 1}}
      qty: {{type: integer, max: 100}}
      price: {{type: number}}
      changed: {{type: integer}}
    checks: [{checks}]
features:
  line:
    key: {view_key}{mapping}
    sql: "{sql}"
  order:
    key: order_id
    sql: "{ORDER}"
model: {{name: risk, input: {inputs}, {model}}}
fallback: {{score: 0, reason: nothing is known}}
"""


class Orders:
    """A folder with a file, the database that it reads, and its home."""

    def __init__(self, folder: Path, postgres: Database | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "mainstay.yaml"
        self.place = Place(Home(folder / ".mainstay", "orders"), self.file)
        self.postgres = postgres
        self.clicks = 0
        self.sql(
            "CREATE TABLE lines (order_id VARCHAR(20) NOT NULL, line_no INTEGER NOT NULL, qty INTEGER, "
            "price DOUBLE PRECISION, changed INTEGER, PRIMARY KEY (order_id, line_no))"
        )
        for order, number in (("A", 1), ("A", 2), ("B", 1), ("C,1", 1)):
            self.put(order, number, qty=number)

    def sql(self, text: str) -> None:
        if self.postgres is not None:
            self.postgres.exec(text)
            return
        with closing(sqlite3.connect(self.file.parent / "shop.db")) as connection, connection:
            connection.execute(text)

    def put(self, order: str, number: int, *, qty: int, price: float = 2.0, changed: int | None = None) -> None:
        self.clicks += 1
        at = self.clicks if changed is None else changed
        self.drop(order, number)
        self.sql(f"INSERT INTO lines VALUES ('{order}', {number}, {qty}, {price!r}, {at})")

    def drop(self, order: str, number: int) -> None:
        self.sql(f"DELETE FROM lines WHERE order_id = '{order}' AND line_no = {number}")

    def apply(self, **parts: Any) -> list[str]:
        if self.postgres is not None:
            parts.setdefault("source", '{kind: postgres, url: "${SHOP_URL}"}')
        self.file.write_text(file_of(**parts))
        done: list[str] = ask(self.place, "apply", {})["done"]
        return done

    def run(self) -> None:
        ask(self.place, "run", {"datasets": []})

    def begin(self, **parts: Any) -> None:
        self.apply(**parts)
        self.run()

    def predict(self, key: Key) -> Answer | Refusal:
        found = predict(self.place, PredictRequest(key=key))
        assert not isinstance(found, Batch)
        return found

    def score(self, order: str, number: int) -> float | int:
        """What is answered, or the status of what is refused."""
        found = self.predict(line(order, number))
        return found.output["score"] if isinstance(found, Answer) else found.status
