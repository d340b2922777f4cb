"""A fifteen-year-old CRM in miniature: customers, subscriptions, tickets, and why customers leave.

`generate` is pure: the same seed, size and instant give the same rows. `fill` puts them into a real PostgreSQL,
`tick` keeps it alive, and the rest are the blows that real systems deal: garbage, a dropped column, a deleted customer.

What is wrong with it, on purpose: blanks and padded words, the sentinels -1, 9999-12-31 and 'N/A', three date formats
in one text column, customers that stand there twice, subscriptions and tickets of customers that are not there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

CONTRACTS = ("Month-to-month", "One year", "Two year")
PAYMENTS = ("Electronic check", "Mailed check", "Bank transfer", "Credit card")
REGIONS = ("North", "East", "South", "West")
DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y")
OPEN_END = date(9999, 12, 31)

SCHEMA = """
CREATE TABLE customers (
    row_id bigserial PRIMARY KEY,
    customer_id text NOT NULL,
    name text, email text, region text,
    signed_up text,
    tenure_months integer,
    updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON customers (updated_at);
CREATE INDEX ON customers (customer_id);
CREATE TABLE subscriptions (
    subscription_id text PRIMARY KEY,
    customer_id text NOT NULL,
    contract text, payment_method text,
    monthly_charges numeric(10, 2),
    ends_on date,
    updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON subscriptions (updated_at);
CREATE INDEX ON subscriptions (customer_id);
CREATE TABLE tickets (
    ticket_id bigint PRIMARY KEY,
    customer_id text NOT NULL,
    severity integer, satisfaction integer, status text,
    opened_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz);
CREATE INDEX ON tickets (updated_at);
CREATE TABLE churn_history (customer_id text PRIMARY KEY, recorded_on date NOT NULL, churned text NOT NULL);
"""

COLUMNS = {
    "customers": ("customer_id", "name", "email", "region", "signed_up", "tenure_months", "updated_at"),
    "subscriptions": (
        "subscription_id", "customer_id", "contract", "payment_method", "monthly_charges", "ends_on", "updated_at",
    ),
    "tickets": (
        "ticket_id", "customer_id", "severity", "satisfaction", "status", "opened_at", "updated_at", "deleted_at",
    ),
    "churn_history": ("customer_id", "recorded_on", "churned"),
}  # fmt: skip

_FIRST = (
    "Ada",
    "Ben",
    "Chloe",
    "Dmitri",
    "Elif",
    "Femi",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Kaya",
    "Lena",
    "Mats",
    "Nora",
)
_LAST = ("Abel", "Brandt", "Costa", "Demir", "Eriksen", "Fischer", "Garcia", "Haas", "Ito", "Jansen", "Keller", "Lang")


@dataclass(frozen=True)
class Crm:
    """Rows by table, each in the order of COLUMNS."""

    tables: dict[str, list[tuple[Any, ...]]]

    @property
    def customer_ids(self) -> tuple[str, ...]:
        """Every customer once, in order."""
        return tuple(dict.fromkeys(row[0] for row in self.tables["customers"]))


@dataclass
class _Person:
    """A customer as life made them, before the CRM wrote it down badly."""

    customer_id: str
    tenure: int
    contract: str
    payment: str
    monthly: float
    satisfactions: list[int] = field(default_factory=list)
    severities: list[int] = field(default_factory=list)

    def churn_probability(self) -> float:
        """The mechanism: short contracts, high charges, bad tickets and a short history make people leave."""
        score = {"Month-to-month": 0.3, "One year": -1.6, "Two year": -2.9}[self.contract]
        score += 0.035 * (self.monthly - 65)
        score += 0.9 if self.payment == "Electronic check" else 0.0
        score -= 0.045 * (min(self.tenure, 60) - 20)
        score += 0.8 * sum(severity >= 3 for severity in self.severities)
        if self.satisfactions:
            score -= 0.6 * (sum(self.satisfactions) / len(self.satisfactions) - 3)
        return 1 / (1 + math.exp(-score + 0.6))


def generate(*, seed: int, customers: int = 2_000, now: datetime) -> Crm:
    """Every row of a CRM of so many customers, as it stands at `now` (aware)."""
    rng = random.Random(seed)  # noqa: S311 - a toy world, repeatable
    people = [_person(rng, number) for number in range(customers)]
    tables: dict[str, list[tuple[Any, ...]]] = {name: [] for name in COLUMNS}
    for person in people:
        tables["customers"] += _customer_rows(rng, person, now)
        tables["subscriptions"].append(_subscription_row(rng, person, now))
        for felt in zip(person.severities, person.satisfactions, strict=True):
            tables["tickets"].append(_ticket_row(rng, len(tables["tickets"]) + 1, person.customer_id, felt, now))
        churned = "Yes" if rng.random() < person.churn_probability() else "No"
        tables["churn_history"].append((person.customer_id, (now - timedelta(days=90)).date(), churned))
    for number in range(max(1, customers // 100)):
        orphan = _person(rng, number)
        orphan.customer_id = f"X-{number:05d}"
        tables["subscriptions"].append(_subscription_row(rng, orphan, now))
        tables["tickets"].append(_ticket_row(rng, len(tables["tickets"]) + 1, orphan.customer_id, (1, 3), now))
    return Crm(tables)


def fill(connection: Connection, crm: Crm) -> None:
    """Creates the tables and loads the rows; committed. Needs an empty database."""
    connection.execute(SCHEMA)
    for table, rows in crm.tables.items():
        with connection.cursor().copy(f"COPY {table} ({', '.join(COLUMNS[table])}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)
    connection.execute("ANALYZE")
    connection.commit()


@dataclass(frozen=True)
class Ticked:
    """What one tick did to the CRM: keys of customers that changed, and those whose rows became dirty."""

    changed: tuple[str, ...]
    dirty: tuple[str, ...] = ()


def tick(
    connection: Connection, rng: random.Random, *, changes: int = 5, dirty: float = 0.1, spare: Collection[str] = ()
) -> Ticked:
    """A moment in the CRM's life, committed. With probability `dirty` one further row goes wrong.

    Customers in `spare` are left alone.
    """
    ids = [row[0] for row in connection.execute("SELECT DISTINCT customer_id FROM customers ORDER BY 1").fetchall()]
    free = [customer for customer in ids if customer not in spare]
    changed = rng.sample(free, min(changes, len(free)))
    for customer in changed:
        rng.choice(_CHANGES)(connection, rng, customer)
    spoiled: tuple[str, ...] = ()
    if free and rng.random() < dirty:
        spoiled = (rng.choice(free),)
        garbage(connection, spoiled)
    connection.commit()
    return Ticked(tuple(changed), spoiled)


def garbage(connection: Connection, customers: Sequence[str] = (), *, share: float = 0.01) -> tuple[str, ...]:
    """An upstream job writes nonsense into rows: a tenure of 9999 months; committed.

    Hits `customers`, or without any the first `share` of them by key. Returns whom it hit.
    """
    if not customers:
        ids = connection.execute("SELECT DISTINCT customer_id FROM customers ORDER BY 1").fetchall()
        customers = [row[0] for row in ids[: max(1, int(len(ids) * share))]]
    keys = list(customers)
    # What stood there is kept aside, as a DBA's backup would have it, so that `mend_garbage` can put it back.
    connection.execute("CREATE TABLE IF NOT EXISTS backup_customers (row_id bigint PRIMARY KEY, tenure_months integer)")
    connection.execute(
        "INSERT INTO backup_customers SELECT row_id, tenure_months FROM customers WHERE customer_id = ANY(%s) "
        "ON CONFLICT DO NOTHING",
        (keys,),
    )
    connection.execute(
        "UPDATE customers SET tenure_months = 9999, updated_at = clock_timestamp() WHERE customer_id = ANY(%s)", (keys,)
    )
    connection.commit()
    return tuple(keys)


def mend_garbage(connection: Connection) -> int:
    """Puts back what `garbage` overwrote; committed. Returns the number of rows."""
    if not _exists(connection, "backup_customers"):
        return 0
    mended = connection.execute(
        "UPDATE customers c SET tenure_months = b.tenure_months, updated_at = clock_timestamp() "
        "FROM backup_customers b WHERE b.row_id = c.row_id AND c.tenure_months = 9999"
    ).rowcount
    connection.execute("DROP TABLE backup_customers")
    connection.commit()
    return mended


def drop_column(connection: Connection, table: str = "subscriptions", column: str = "monthly_charges") -> None:
    """A migration that nobody announced; committed. The values stay in a side table for `restore_column`."""
    key = {"customers": "row_id", "subscriptions": "subscription_id", "tickets": "ticket_id"}[table]
    connection.execute(f"CREATE TABLE dropped_{column} AS SELECT {key}, {column} FROM {table}".encode())
    connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}".encode())
    connection.commit()


def restore_column(connection: Connection, table: str = "subscriptions", column: str = "monthly_charges") -> None:
    """The column comes back with its type and its values; committed. Rows that came meanwhile have NULL."""
    kept = f"dropped_{column}"
    key = {"customers": "row_id", "subscriptions": "subscription_id", "tickets": "ticket_id"}[table]
    (kind,) = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
        (kept, column),
    ).fetchone() or ("text",)
    connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}".encode())
    connection.execute(
        f"UPDATE {table} t SET {column} = k.{column}, updated_at = clock_timestamp() "
        f"FROM {kept} k WHERE k.{key} = t.{key} AND k.{column} IS NOT NULL".encode()
    )
    connection.execute(f"DROP TABLE {kept}".encode())
    connection.commit()


def delete_customer(connection: Connection, customer: str) -> int:
    """Deletes a customer and everything of theirs, as an old CRM does: the rows are gone; committed.

    Returns how many rows went.
    """
    gone = 0
    for table in ("tickets", "subscriptions", "customers"):
        gone += connection.execute(f"DELETE FROM {table} WHERE customer_id = %s".encode(), (customer,)).rowcount
    connection.commit()
    return gone


def _person(rng: random.Random, number: int) -> _Person:
    contract = rng.choices(CONTRACTS, (55, 25, 20))[0]
    person = _Person(
        customer_id=f"C-{number:05d}",
        tenure=min(118, int(rng.expovariate(1 / 26)) + (0 if contract == CONTRACTS[0] else 8)),
        contract=contract,
        payment=rng.choices(PAYMENTS, (35, 20, 22, 23))[0],
        monthly=round(rng.triangular(18, 118, 72), 2),
    )
    for _ in range(rng.choices((0, 1, 2, 3, 4), (45, 28, 15, 8, 4))[0]):
        person.severities.append(rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0])
        person.satisfactions.append(rng.choices((1, 2, 3, 4, 5), (12, 18, 25, 28, 17))[0])
    return person


def _customer_rows(rng: random.Random, person: _Person, now: datetime) -> list[tuple[Any, ...]]:
    name = f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
    region = rng.choice(REGIONS)
    written = rng.choices((region, region.upper(), f" {region.lower()} ", "", "N/A"), (70, 10, 8, 7, 5))[0]
    signed = (now - timedelta(days=30 * person.tenure + rng.randrange(30))).strftime(rng.choice(DATE_FORMATS))
    tenure = -1 if rng.random() < 0.02 else person.tenure
    email = (
        None if rng.random() < 0.05 else f"{name.lower().replace(' ', '.')}.{person.customer_id.lower()}@example.com"
    )
    row = (person.customer_id, name, email, written, signed, tenure, _past(rng, now))
    if rng.random() >= 0.01:
        return [row]
    # The same customer once more, as a merge of two systems left them: older, and with less known.
    return [
        (person.customer_id, name.upper(), None, "", signed, max(0, person.tenure - 1), row[-1] - timedelta(days=40)),
        row,
    ]


def _subscription_row(rng: random.Random, person: _Person, now: datetime) -> tuple[Any, ...]:
    contract = rng.choices((person.contract, person.contract.upper(), f" {person.contract} "), (88, 7, 5))[0]
    payment = rng.choices((person.payment, "N/A", ""), (94, 3, 3))[0]
    ends = OPEN_END if person.contract == CONTRACTS[0] else (now + timedelta(days=rng.randrange(1, 720))).date()
    monthly = -1 if rng.random() < 0.01 else person.monthly
    return (f"S-{person.customer_id}", person.customer_id, contract, payment, monthly, ends, _past(rng, now))


def _ticket_row(
    rng: random.Random, number: int, customer: str, felt: tuple[int, int], now: datetime
) -> tuple[Any, ...]:
    severity, satisfaction = felt
    opened = now - timedelta(days=rng.uniform(1, 300))
    said = -1 if rng.random() < 0.05 else satisfaction
    status = rng.choice(("closed", "Closed", "CLOSED ", "open"))
    updated = opened + timedelta(hours=rng.uniform(1, 20))
    deleted = updated if rng.random() < 0.01 else None
    return (number, customer, severity, said, status, opened, updated, deleted)


def _past(rng: random.Random, now: datetime) -> datetime:
    return (now - timedelta(days=rng.uniform(1, 2_000))).astimezone(UTC)


def _price_changes(connection: Connection, rng: random.Random, customer: str) -> None:
    if _exists(connection, "dropped_monthly_charges"):
        return
    connection.execute(
        "UPDATE subscriptions SET monthly_charges = GREATEST(18, monthly_charges + %s), updated_at = clock_timestamp() "
        "WHERE customer_id = %s",
        (round(rng.uniform(-5, 8), 2), customer),
    )


def _contract_changes(connection: Connection, rng: random.Random, customer: str) -> None:
    connection.execute(
        "UPDATE subscriptions SET contract = %s, updated_at = clock_timestamp() WHERE customer_id = %s",
        (rng.choice(CONTRACTS), customer),
    )


def _ticket_opens(connection: Connection, rng: random.Random, customer: str) -> None:
    connection.execute(
        "INSERT INTO tickets (ticket_id, customer_id, severity, satisfaction, status, opened_at, updated_at) "
        "SELECT COALESCE(max(ticket_id), 0) + 1, %s, %s, -1, 'open', clock_timestamp(), clock_timestamp() FROM tickets",
        (customer, rng.randint(1, 4)),
    )


def _ticket_closes(connection: Connection, rng: random.Random, customer: str) -> None:
    connection.execute(
        "UPDATE tickets SET status = 'closed', satisfaction = %s, updated_at = clock_timestamp() "
        "WHERE customer_id = %s",
        (rng.randint(1, 5), customer),
    )


_CHANGES = (_price_changes, _contract_changes, _ticket_opens, _ticket_closes)


def _exists(connection: Connection, table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return bool(row and row[0])
