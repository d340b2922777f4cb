"""Amounts converted by dated rates out of another dataset: which rate, what is put aside, what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.clock import DAY
from mainstay.core.nouns import Check, Cleaning, Column, Dataset, Deletes, FeatureView
from mainstay.core.ports import SourceKind
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import history, quarantine, rebuild, sets
from mainstay.pipelines.currency import converted
from mainstay.pipelines.orphans import adopt_orphans
from mainstay.pipelines.quarantine import ReplayResult
from mainstay.pipelines.run import Runner
from mainstay.store.current import Current
from tests.pipelines.world import World

RATES = Dataset(
    name="customers",
    source="crm",
    table="customers",
    key="id",
    columns=(
        Column(name="id", type="integer", source_name="id"),
        Column(name="currency", type="string", source_name="currency"),
        Column(name="date", type="date", source_name="date"),
        Column(name="rate", type="number", source_name="rate"),
    ),
    checks=(Check(name="rate.type", kind="type", column="rate"),),
    deletes=Deletes(kind="snapshot", max_share=1.0),
)
VIEW = FeatureView(
    name="payment", key="ticket", mapping={"tickets": "ticket"}, sql="SELECT ticket, amount FROM tickets"
)
STEP = {"from": "code", "to": "EUR", "rates": "customers", "at": "day", "max_age_us": 7 * DAY, "inverse": False}


def payments(*, day: str = "date", on_fail: Any = "quarantine", least: float = 0, **args: Any) -> Dataset:
    step = {**STEP, **args}
    return Dataset(
        name="tickets",
        source="crm",
        table="tickets",
        key="ticket",
        columns=(
            Column(name="ticket", type="integer", source_name="ticket"),
            Column(name="amount", type="number", source_name="amount", clean=(Cleaning(kind="currency", args=step),)),
            Column(name="code", type="string", source_name="code", clean=(Cleaning(kind="upper"),)),
            Column(name="day", type=day, source_name="day"),  # type: ignore[arg-type]
        ),
        checks=(
            Check(name="amount.type", kind="type", column="amount"),
            Check(name="amount.required", kind="required", column="amount"),
            Check(name="amount.min", kind="min", column="amount", args={"value": least}),
            Check(name="amount.currency", kind="currency", column="amount", args=step, on_fail=on_fail),
        ),
        deletes=Deletes(kind="snapshot", max_share=1.0),
    )


def world_of(folder: Path, dataset: Dataset) -> World:
    world = World(folder, customers=RATES, tickets=dataset, view=VIEW)
    tables = world.source.contents
    tables["customers"].kinds.clear()
    tables["customers"].kinds.update({"id": "integer", "currency": "text", "date": "date", "rate": "float"})
    tables["tickets"].kinds.clear()
    day: SourceKind = "date" if dataset.column("day").type == "date" else "timestamptz"
    tables["tickets"].kinds.update({"ticket": "integer", "amount": "text", "code": "text", "day": day})
    return world


def rate(world: World, id: int, currency: str, date: str, value: float | None) -> None:
    world.customers[:] = [row for row in world.customers if row["id"] != id]
    world.customers.append({"id": id, "currency": currency, "date": date, "rate": value})


def pay(world: World, ticket: int, amount: object, code: str | None, day: str | None) -> None:
    world.tickets[:] = [row for row in world.tickets if row["ticket"] != ticket]
    text = None if amount is None else str(amount)
    world.tickets.append({"ticket": ticket, "amount": text, "code": code, "day": day})


def amounts(world: World) -> dict[str, float | None]:
    return dict(world.desk.current.sql("SELECT _k, amount FROM ds_tickets.rows WHERE NOT _deleted ORDER BY _k"))


def listed(world: World) -> dict[str, str]:
    return {row.key: row.reasons for row in quarantine.list_rows(world.desk, dataset="tickets")}


DAYS = st.integers(0, 20).map(lambda n: date(2026, 1, 1) + timedelta(days=n))
CODES = st.sampled_from(["USD", "GBP", "EUR"])
GIVEN = st.lists(st.tuples(st.none() | st.integers(-5, 5), st.none() | CODES, st.none() | DAYS), min_size=1)


@settings(max_examples=60, deadline=None)
@given(rates=st.dictionaries(st.tuples(CODES, DAYS), st.sampled_from([0.25, 0.5, 2.0, 4.0])), rows=GIVEN)
def test_sql_does_what_a_person_would(rates: dict[tuple[str, date], float], rows: list[tuple[Any, Any, Any]]) -> None:
    dataset = payments(max_age_us=3 * DAY)
    listed = [f"('{code}', DATE '{day}', {rate}::DOUBLE)" for (code, day), rate in rates.items()]
    known = ", ".join(listed) or "(NULL::VARCHAR, NULL::DATE, NULL::DOUBLE)"
    table = ", ".join(
        f"({n}, {'NULL' if amount is None else amount}::DOUBLE, {'NULL' if code is None else repr(code)}::VARCHAR, "
        f"{'NULL' if day is None else repr(str(day))}::DATE)"
        for n, (amount, code, day) in enumerate(rows)
    )
    cleaned = f"SELECT * FROM (VALUES {table}) AS t(ticket, amount, code, day)"
    relation = converted(
        dataset, cleaned, None, lambda _: f"(SELECT * FROM (VALUES {known}) AS r(currency, date, rate))"
    )
    current = Current(None)
    found = current.sql(f"SELECT amount, amount__unrated FROM ({relation}) ORDER BY ticket")
    current.close()
    assert found == [_by_hand(rates, *row) for row in rows]


def _by_hand(rates: dict[tuple[str, date], float], amount: int | None, code: str | None, day: date | None) -> Any:
    if amount is None or code == "EUR":
        return (amount, False)
    young = [day - timedelta(days=n) for n in range(4)] if day else []
    rate = next((rates[code, one] for one in young if code and (code, one) in rates), None)
    return (None, True) if rate is None else (amount * rate, False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_of(tmp_path, payments())
    rate(made, 1, "USD", "2026-10-28", 0.5)
    rate(made, 2, "USD", "2026-10-30", 0.8)
    rate(made, 3, "GBP", "2026-10-01", 1.25)
    made.run("customers")
    yield made
    made.close()


def test_the_newest_rate_on_or_before_the_date_converts(world: World) -> None:
    pay(world, 1, 100, "usd", "2026-10-28")
    pay(world, 2, 100, "USD", "2026-10-29")
    pay(world, 3, 100, "USD", "2026-10-30")
    pay(world, 4, 100, "USD", "2026-11-06")
    pay(world, 5, 100, "EUR", "2020-01-01")
    pay(world, 6, -100, "EUR", None)
    assert world.run("tickets").quarantined == 1
    assert amounts(world) == {"1": 50, "2": 50, "3": 80, "4": 80, "5": 100}
    assert listed(world) == {"6": "amount.min"}  # checks judge what was converted


def test_without_a_rate_nothing_is_guessed(world: World) -> None:
    pay(world, 1, 100, "USD", "2026-10-27")
    pay(world, 2, 100, "USD", "2026-11-07")
    pay(world, 3, 100, "GBP", "2026-10-31")
    pay(world, 4, 100, "XYZ", "2026-10-31")
    pay(world, 5, 100, None, "2026-10-31")
    pay(world, 6, 100, "USD", None)
    pay(world, 7, None, "USD", "2020-01-01")
    pay(world, 8, "many", "USD", "2020-01-01")
    result = world.run("tickets")
    assert result.quarantined == 8
    assert listed(world) == {
        "1": "amount.currency (no rate for USD on or before 2026-10-27, nor older than 7 d)",
        "2": "amount.currency (no rate for USD on or before 2026-11-07, nor older than 7 d)",
        "3": "amount.currency (no rate for GBP on or before 2026-10-31, nor older than 7 d)",
        "4": "amount.currency (no rate for XYZ on or before 2026-10-31, nor older than 7 d)",
        "5": "amount.currency (no currency in code)",
        "6": "amount.currency (no date in day)",
        "7": "amount.required",
        "8": "amount.type",
    }
    finding = next(one for one in world.batch(1, "tickets").findings if one.check == "amount.currency")
    assert (finding.verdict, finding.failed) == (Verdict.FAIL, 6)
    assert finding.sentence == "6 of 8 rows have no rate in customers for amount"
    world.adds_up("tickets")


def test_rows_without_a_rate_are_taken_up_when_it_lands(world: World) -> None:
    pay(world, 1, 100, "USD", "2026-11-10")
    pay(world, 2, -100, "USD", "2026-11-10")
    pay(world, 3, 100, "CHF", "2026-11-10")
    world.run("tickets")
    assert adopt_orphans(world.desk) == {}
    history.flush(world.desk, "tickets")
    rate(world, 4, "USD", "2026-11-09", 0.75)
    world.run("customers")
    replayed = ReplayResult(tried=2, published=1, superseded=0, still_rejected=1)
    assert adopt_orphans(world.desk) == {"tickets": replayed}
    assert amounts(world) == {"1": 75}
    assert world.values(1) == [75.0]
    reasons = {"2": "amount.min", "3": "amount.currency (no rate for CHF on or before 2026-11-10, nor older than 7 d)"}
    assert listed(world) == reasons
    assert adopt_orphans(world.desk) == {}  # not at each beat
    (row,) = quarantine.list_rows(world.desk, dataset="tickets", state="published")
    assert row.note == "replayed; amount: 100.0 USD * 0.75 of 2026-11-09"
    world.adds_up("tickets")


def test_before_any_rates_were_published_the_batch_waits(tmp_path: Path) -> None:
    world = world_of(tmp_path, payments(on_fail="warn"))
    rate(world, 1, "USD", "2026-10-28", 0.5)
    pay(world, 1, 100, "USD", "2026-10-28")
    assert world.run("tickets").status == "error"
    finding = next(one for one in world.batch(1, "tickets").findings if one.check == "amount.currency")
    assert finding.sentence == "amount.currency could not be asked: customers was never published"
    world.run("customers")
    adopt_orphans(world.desk)
    assert world.batch(1, "tickets").status == "published"
    assert amounts(world) == {"1": 50}
    assert world.integration.parents_first() == ["customers", "tickets"]
    world.close()


def test_a_rate_that_is_corrected_later_counts_from_the_rows_next_version_or_cleaning_on(world: World) -> None:
    pay(world, 1, 100, "USD", "2026-10-30")
    pay(world, 2, 100, "USD", "2026-10-30")
    world.run("tickets")
    rate(world, 2, "USD", "2026-10-30", 0.9)
    world.run("customers")
    adopt_orphans(world.desk)
    assert amounts(world) == {"1": 80, "2": 80}
    pay(world, 2, 200, "USD", "2026-10-30")
    world.run("tickets")
    assert amounts(world) == {"1": 80, "2": 180}
    rebuild.reclean(world.desk, Runner(world.desk, world.integration.datasets["tickets"]), sets.moment(world.desk, ()))
    assert amounts(world) == {"1": 90, "2": 180}


def test_history_keeps_which_rate_was_used(world: World) -> None:
    pay(world, 1, 100, "USD", "2026-10-29")
    pay(world, 2, 7, "EUR", "2026-10-29")
    world.run("tickets")
    history.flush(world.desk, "tickets")
    kept = history.read_sql(world.desk, "tickets")
    assert world.desk.current.sql(f"SELECT key, c_amount, rates FROM {kept} ORDER BY key") == [
        ("1", 50.0, "amount: 100.0 USD * 0.5 of 2026-10-28"),
        ("2", 7.0, None),
    ]


def test_rates_may_say_how_much_of_it_one_euro_is_and_a_moment_has_a_date(tmp_path: Path) -> None:
    world = world_of(tmp_path, payments(day="timestamp", inverse=True, max_age_us=DAY, least=-1000))
    sources = {"crm": msgspec.structs.replace(world.integration.sources["crm"], timezone="Europe/Berlin")}
    world.integration = msgspec.structs.replace(world.integration, sources=sources)
    world.desk.integration = world.integration
    rate(world, 1, "USD", "2026-10-28", 1.25)
    rate(world, 2, "USD", "2026-10-30", 2.0)
    rate(world, 3, "USD", "2026-10-30", 2.5)  # the later one of a date
    rate(world, 4, "USD", "2026-10-31", None)
    rate(world, 5, "USD", "2026-10-31", 0)
    world.run("customers")
    pay(world, 1, -100, "USD", "2026-10-28T22:59:59Z")
    pay(world, 2, 100, "USD", "2026-10-29T22:59:59Z")
    pay(world, 3, 100, "USD", "2026-10-29T23:00:00Z")  # midnight in Berlin
    world.run("tickets")
    assert amounts(world) == {"1": -80, "2": 80, "3": 40}
    world.close()
