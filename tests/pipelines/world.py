"""A legacy table in memory and a desk over it: `World` is what the pipeline tests play with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.clock import SECOND
from mainstay.core.nouns import Check, Column, Cursor, Dataset, Deletes, Duplicates, FeatureView
from mainstay.core.ports import OnlineRow
from mainstay.core.records import BatchRecord, DatasetState
from mainstay.pipelines import sets
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.run import Runner, RunResult
from mainstay.testing.clock import FakeClock
from mainstay.testing.desk import close_desk, integration_of, open_desk
from mainstay.testing.memory_source import MemorySource, MemoryTable

Rows = list[dict[str, Any]]

CUSTOMERS = Dataset(
    name="customers",
    source="crm",
    table="customers",
    key="id",
    columns=(
        Column(name="id", type="integer", source_name="id"),
        Column(name="tenure", type="integer", source_name="tenure"),
        Column(name="plan", type="string", source_name="plan"),
    ),
    checks=(
        Check(name="id.type", kind="type", column="id"),
        Check(name="tenure.type", kind="type", column="tenure"),
        Check(name="tenure.max", kind="max", column="tenure", args={"value": 100}),
        Check(name="plan.values", kind="values", column="plan", args={"values": ["a", "b"]}, on_fail="warn"),
    ),
    cursor=Cursor(column="u", lag_number=2),
    deletes=Deletes(kind="reconcile", every_us=0, max_share=1.0),
)

TICKETS = Dataset(
    name="tickets",
    source="crm",
    table="tickets",
    key="ticket",
    columns=(
        Column(name="ticket", type="integer", source_name="ticket"),
        Column(name="customer", type="integer", source_name="customer"),
        Column(name="severity", type="integer", source_name="severity"),
    ),
    checks=(
        Check(name="severity.type", kind="type", column="severity"),
        Check(name="severity.max", kind="max", column="severity", args={"value": 4}),
    ),
    deletes=Deletes(kind="snapshot", max_share=1.0),
)

VIEW = FeatureView(
    name="customer",
    key="id",
    mapping={"customers": "id", "tickets": "customer"},
    sql="SELECT c.id, c.tenure, c.plan, count(t.ticket) AS tickets, sum(t.severity) AS severity "
    "FROM customers c LEFT JOIN tickets t ON t.customer = c.id GROUP BY c.id, c.tenure, c.plan",
)


class World:
    """Two tables, their desk, and short words for what tests do."""

    def __init__(
        self,
        folder: Path,
        *,
        customers: Dataset = CUSTOMERS,
        tickets: Dataset = TICKETS,
        view: FeatureView = VIEW,
        at: Callable[[str], None] = lambda _point: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.clock = FakeClock()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.source = MemorySource(
            {
                "customers": MemoryTable({"id": "integer", "tenure": "text", "plan": "text", "u": "integer"}),
                "tickets": MemoryTable({"ticket": "integer", "customer": "integer", "severity": "text"}),
            },
            self.clock,
        )
        self.integration = integration_of({"customers": customers, "tickets": tickets}, view)
        self.view = view
        self.token = 0
        self.desk = self.open(at)
        self.feature_set = sets.describe_set(view, self.integration.datasets)
        sets.add(self.desk, self.feature_set)

    def open(self, at: Callable[[str], None] = lambda _point: None) -> Desk:
        self.token += 1
        self.desk = open_desk(
            self.folder,
            self.integration,
            {"crm": self.source},
            self.clock,
            token=self.token,
            tell=lambda kind, body: self.events.append((kind, body)),
            at=at,
        )
        return self.desk

    def close(self) -> None:
        close_desk(self.desk)

    @property
    def customers(self) -> Rows:
        return self.source.contents["customers"].rows

    @property
    def tickets(self) -> Rows:
        return self.source.contents["tickets"].rows

    def customer(self, id: int, tenure: object = 1, plan: str | None = "a", u: int | None = 0) -> dict[str, Any]:
        """Inserts or replaces a customer in the legacy table."""
        self.customers[:] = [row for row in self.customers if row["id"] != id]
        row = {"id": id, "tenure": None if tenure is None else str(tenure), "plan": plan, "u": u}
        self.customers.append(row)
        return row

    def ticket(self, ticket: int, customer: int | None, severity: object = 1) -> None:
        self.tickets[:] = [row for row in self.tickets if row["ticket"] != ticket]
        self.tickets.append({"ticket": ticket, "customer": customer, "severity": str(severity)})

    def run(self, name: str = "customers", *, dry: bool = False) -> RunResult:
        self.clock.advance(SECOND)
        runner = Runner(self.desk, self.integration.datasets[name])
        if not dry:
            runner.settle()
        return runner.run(dry=dry)

    def both(self) -> None:
        self.run("customers")
        self.run("tickets")
        for one in self.desk.live_feature_sets():
            if not one.complete:
                sets.build(self.desk, one.digest)

    def state(self, name: str = "customers") -> DatasetState:
        return self.desk.dataset_state(name)

    def batch(self, number: int, name: str = "customers") -> BatchRecord:
        found = self.desk.batches.get(f"{name}/{number:012d}")
        assert found is not None
        return found

    def row(self, key: int) -> OnlineRow | None:
        return self.desk.online.get(self.feature_set.digest, str(key))

    def values(self, key: int) -> list[Any] | None:
        row = self.row(key)
        return None if row is None or row.values is None else json.loads(row.values)

    def online(self) -> dict[str, tuple[Any, ...]]:
        """Everything online that does not name a plan."""
        digest = self.feature_set.digest
        found = {}
        for key in sorted(self.desk.online.keys(digest)):
            row = self.desk.online.get(digest, key)
            assert row is not None
            found[key] = (row.values, row.verdict, row.held, row.held_as_of_us, row.deleted, row.sentence)
        return found

    def adds_up_in_state(self, name: str = "customers") -> dict[str, int]:
        """The same where batches have left landing; returns the counts."""
        counts = self.state(name).counts
        parts = ("published", "superseded", "quarantined", "discarded", "waiting", "erased")
        assert counts["landed"] == sum(counts.get(part, 0) for part in parts)
        return counts

    def adds_up(self, name: str = "customers") -> None:
        """Promise 3: each version is in exactly one state."""
        counts = self.adds_up_in_state(name)
        landed = sum(batch.rows + batch.counts.get("erased", 0) for batch in self.desk.batches.all(f"{name}/").values())
        assert counts["landed"] == landed


def with_checks(dataset: Dataset, *checks: Check) -> Dataset:
    return msgspec.structs.replace(dataset, checks=(*dataset.checks, *checks))


def with_duplicates(dataset: Dataset, duplicates: Duplicates) -> Dataset:
    return msgspec.structs.replace(dataset, duplicates=duplicates)
