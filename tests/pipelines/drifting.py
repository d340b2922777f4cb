"""A table of a real legacy system that its owner changes, and the desk of the one dataset that is read from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.clock import SECOND
from mainstay.core.nouns import Check, Column, Cursor, Dataset, Deletes, SchemaDrift, SourceConfig
from mainstay.core.records import BatchRecord, DatasetState
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.run import Runner, RunResult
from mainstay.sources import open_source
from mainstay.store.current import schema_of
from mainstay.testing.clock import FakeClock
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.postgres import Database

ROWS = 40
CREATE = "CREATE TABLE kunden (id integer PRIMARY KEY, tarif varchar(20), laufzeit integer NOT NULL, u bigint)"


def dataset(*tarif: str, lost: str = "block", **drift: str) -> Dataset:
    """Customers with a cursor and keys that are compared; `tarif`: the names of that column in the source."""
    names = tarif or ("tarif",)
    said = msgspec.convert({"lost": lost, **drift}, SchemaDrift)
    return Dataset(
        name="customers",
        source="crm",
        table="kunden",
        key="id",
        columns=(
            Column(name="id", type="integer", source_name="id", required=True),
            Column(name="plan", type="string", source_name=names[0], source_names=names if names[1:] else ()),
            Column(name="tenure", type="integer", source_name="laufzeit", required=True),
        ),
        checks=(
            Check(name="tenure.type", kind="type", column="tenure"),
            Check(name="tenure.required", kind="required", column="tenure"),
        ),
        cursor=Cursor(column="u", lag_number=1000),
        deletes=Deletes(kind="reconcile", every_us=0, max_share=1.0),
        schema_drift=said,
    )


class Legacy:
    """`kunden` in PostgreSQL (given a database) or in SQLite, and what Mainstay has of it."""

    def __init__(self, folder: Path, database: Database | None, of: Dataset | None = None) -> None:
        self.folder, self.database = folder, database
        self.clock = FakeClock()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.dataset = of or dataset()
        self.exec(CREATE, *(f"INSERT INTO kunden VALUES ({n}, 'tarif {n % 7}', {n}, {n})" for n in range(1, ROWS + 1)))
        path = {"url": database.url} if database is not None else {"path": str(folder / "crm.db")}
        self.config = SourceConfig(name="crm", kind="postgres" if database is not None else "sqlite", options=path)
        self.source = open_source(self.config, self.clock)
        self.desk = self._open()

    def exec(self, *statements: str) -> None:
        if self.database is not None:
            for statement in statements:
                self.database.exec(statement)
            return
        with closing(sqlite3.connect(self.folder / "crm.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def rename(self, before: str, after: str) -> None:
        self.exec(f"ALTER TABLE kunden RENAME COLUMN {before} TO {after}")

    def again(self, of: Dataset) -> None:
        """The file is applied with this dataset."""
        close_desk(self.desk)
        self.dataset = of
        self.desk = self._open()

    def _open(self) -> Desk:
        integration = msgspec.structs.replace(integration_of({"customers": self.dataset}), sources={"crm": self.config})
        tell: Callable[[str, dict[str, Any]], None] = lambda kind, body: self.events.append((kind, body))  # noqa: E731
        return open_desk(self.folder, integration, {"crm": self.source}, self.clock, tell=tell)

    def runner(self) -> Runner:
        return Runner(self.desk, self.dataset)

    def run(self) -> RunResult:
        self.clock.advance(SECOND)
        runner = self.runner()
        runner.settle()
        return runner.run()

    def close(self) -> None:
        close_desk(self.desk)
        self.source.close()

    # --- what is there -------------------------------------------------------------------------------------------

    @property
    def state(self) -> DatasetState:
        return self.desk.dataset_state("customers")

    def rows(self) -> dict[int, tuple[Any, ...]]:
        found = self.desk.current.sql(f"SELECT id, plan, tenure FROM {schema_of('customers')}.rows WHERE NOT _deleted")
        return {row[0]: row[1:] for row in found}

    def warned(self) -> set[int]:
        found = self.desk.current.sql(f"SELECT id FROM {schema_of('customers')}.rows WHERE _warn IS NOT NULL")
        return {row[0] for row in found}

    def batch(self, number: int) -> BatchRecord:
        found = self.desk.batches.get(f"customers/{number:012d}")
        assert found is not None
        return found

    def told(self, kind: str = "dataset.schema_drift") -> list[tuple[str, str]]:
        return [(body["change"], body["column"]) for name, body in self.events if name == kind]
