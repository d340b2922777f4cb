"""Customers x products: two systems, two feature views, one model; and short words for what tests do with them."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mainstay.app.answers import predict
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.app.stores import open_state
from mainstay.app.supervisor import listen
from mainstay.app.worker import open_worker
from mainstay.core.clock import Clock, SystemClock
from mainstay.http.serve import WorkerServer
from mainstay.serving.keys import Role, create_key
from mainstay.serving.reply import Answer, Batch, Item, Refusal
from mainstay.serving.request import Key, PredictRequest
from mainstay.store.home import Home
from mainstay.testing.postgres import Database
from tests.http.serving import Caller

CUSTOMER = (
    "SELECT c.customer_id, c.tenure, sum(s.amount) AS spent FROM customers c LEFT JOIN sales s USING (customer_id) "
    "GROUP BY ALL"
)
PRODUCT = (
    "SELECT p.product_id, p.price, count(s.sale_id) AS sold FROM products p LEFT JOIN sales s USING (product_id) "
    "GROUP BY ALL"
)
RULE = 'rule: {score: "coalesce(tenure, 0) + price / 1000 + coalesce(spent, 0) / 1e6 + sold / 1e9"}'
KEY: dict[str, Any] = {"customer_id": "C1", "product_id": 7}


def file_of(
    *,
    model: str = RULE,
    inputs: str = "[customer, product]",
    customer: str = CUSTOMER,
    product: str = PRODUCT,
    products_from: str = "{kind: sqlite, path: shop.db}",
    more: str = "",
) -> str:
    return f"""\
integration: offers
api: 1
sources:
  crm: {{kind: sqlite, path: crm.db}}
  shop: {products_from}
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    freshness: {{fail: 4h}}
    deletes: {{reconcile: 24h, max_share: 1.0}}
    cursor: {{column: changed}}
    columns:
      customer_id: {{type: string, required: true}}
      tenure: {{type: integer, max: 120}}
      changed: {{type: integer}}
  products:
    source: shop
    table: products
    key: product_id
    freshness: {{fail: 30m}}
    deletes: snapshot
    columns:
      product_id: {{type: integer, required: true}}
      price: {{type: number, min: 0}}
  sales:
    source: crm
    table: sales
    key: sale_id
    freshness: {{fail: 4h}}
    columns:
      sale_id: {{type: integer, required: true}}
      customer_id: {{type: string}}
      product_id: {{type: integer}}
      amount: {{type: number}}
features:
  customer:
    key: customer_id
    sql: "{customer}"
  product:
    key: product_id
    sql: "{product}"
model: {{name: offer, input: {inputs}, {model}}}
fallback: {{score: 0, reason: nothing is known}}
{more}"""


class Offers:
    """A folder with a file, its two databases, and its home."""

    def __init__(self, folder: Path, postgres: Database | None = None) -> None:
        self.folder = folder
        self.file = folder / "mainstay.yaml"
        self.place = Place(Home(folder / ".mainstay", "offers"), self.file)
        self.postgres = postgres
        self.clicks = 0
        self.crm("CREATE TABLE customers (customer_id TEXT PRIMARY KEY, tenure INT, changed INT)")
        self.crm("CREATE TABLE sales (sale_id INT PRIMARY KEY, customer_id TEXT, product_id INT, amount REAL)")
        self.shop("CREATE TABLE products (product_id INT PRIMARY KEY, price DOUBLE PRECISION)")
        for number in range(1, 7):
            self.customer(f"C{number}", number * 10)
            self.product(number + 4, number * 1.5)
        self.crm("INSERT INTO sales VALUES (1, 'C1', 7, 100.5), (2, 'C1', 8, 0.25), (3, 'C2', 7, 30)")

    def moved(self, folder: Path) -> Offers:
        """The same, all of it, in another folder that is not there yet; applied, for that remembers the folder."""
        shutil.copytree(self.folder, folder)
        other = copy.copy(self)
        other.folder, other.file = folder, folder / self.file.name
        other.place = Place(Home(folder / ".mainstay", "offers"), other.file)
        ask(other.place, "apply", {})
        return other

    def crm(self, sql: str) -> None:
        with closing(sqlite3.connect(self.folder / "crm.db")) as connection, connection:
            connection.execute(sql)

    def shop(self, sql: str) -> None:
        if self.postgres is not None:
            self.postgres.exec(sql)
            return
        with closing(sqlite3.connect(self.folder / "shop.db")) as connection, connection:
            connection.execute(sql)

    def customer(self, key: str, tenure: int) -> None:
        self.clicks += 1
        self.crm(f"INSERT OR REPLACE INTO customers VALUES ('{key}', {tenure}, {self.clicks})")

    def product(self, key: int, price: float) -> None:
        self.shop(f"DELETE FROM products WHERE product_id = {key}")
        self.shop(f"INSERT INTO products VALUES ({key}, {price!r})")

    def write(self, **parts: Any) -> None:
        if self.postgres is not None:
            parts.setdefault("products_from", '{kind: postgres, url: "${SHOP_URL}"}')
        self.file.write_text(file_of(**parts))

    def apply(self, **parts: Any) -> list[str]:
        self.write(**parts)
        done: list[str] = ask(self.place, "apply", {})["done"]
        return done

    def run(self, *datasets: str) -> None:
        ask(self.place, "run", {"datasets": list(datasets)})

    def begin(self, **parts: Any) -> None:
        self.apply(**parts)
        self.run()

    def predict(self, key: Key | None = None) -> Answer | Refusal:
        found = predict(self.place, PredictRequest(key=KEY if key is None else key))
        assert not isinstance(found, Batch)
        return found

    def predict_all(self, *keys: Key) -> list[Item]:
        found = predict(self.place, PredictRequest(keys=list(keys)))
        assert isinstance(found, Batch)
        return found.results

    @contextlib.contextmanager
    def served(self, clock: Clock | None = None, role: Role = "predict") -> Iterator[Caller]:
        """An HTTP server over the home, and a caller with an API key."""
        clock = clock or SystemClock()
        with closing(open_state(self.place.home)) as state:
            token, _ = create_key(state, "a test", role, clock=clock)
        listening = listen("127.0.0.1", 0)
        worker = open_worker(self.place.home.root, "offers", slot="api-1", clock=clock, env=os.environ)
        server = WorkerServer(worker, 256)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        caller = None
        try:
            while not server.started:
                thread.join(0.01)
                assert thread.is_alive()
            caller = Caller(listening.getsockname()[1], token)
            yield caller
        finally:
            if caller is not None:
                caller.close()
            server.should_exit = True
            thread.join(20)
            listening.close()
            assert not thread.is_alive()


def asked(caller: Caller, key: object = None, **more: Any) -> Any:
    """The status and the body of a predict by key."""
    said = caller.ask("POST", "/v1/offers/predict", {"key": KEY if key is None else key, **more})
    return said.status, json.loads(said.body)
