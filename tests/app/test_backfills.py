"""Backfills over real databases: between increments, inside hours, at a pace, killed, cancelled, followed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psycopg
import pytest

from mainstay.app import backfills
from mainstay.app.backfill_following import follow, read_backfills
from mainstay.app.commands import ask
from mainstay.app.loop import Loop
from mainstay.app.place import Place
from mainstay.app.status import read_status
from mainstay.app.wiring import Works, own
from mainstay.cli.main import run as run_command
from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.errors import Refused, SourceRefused
from mainstay.core.records import Backfill, BatchRecord, DatasetState
from mainstay.core.verdicts import Verdict
from mainstay.store.home import Home
from mainstay.store.shelf import ShelfReader
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.clock import START_US, FakeClock
from mainstay.testing.postgres import Database
from tests.app.test_files import NAMES
from tests.app.test_files import Shop as Drops

ROWS = 1_000
FILE = """\
integration: churn
api: 1
sources:
  crm: {source}
datasets:
  customers:
    source: crm
    table: customers
    key: id
    cursor: {{column: u, lag: 2}}
    every: 10s
    columns:
      id: {{type: integer, required: true}}
      tenure: {{type: integer, min: 0, max: 120}}
      joined: {{type: date}}
features:
  customer:
    key: id
    sql: "SELECT c.id, c.tenure FROM customers c"
model: {{name: churn, input: customer, constant: {{p: 0.26}}}}
fallback: {{p: 0.26, reason: base rate}}
"""
TABLE = "CREATE TABLE customers (id bigint PRIMARY KEY, tenure bigint, joined {date}, u bigint)"


class Crm(Protocol):
    """The legacy database of these tests."""

    source: str

    def exec(self, statement: str) -> None: ...


class Postgres:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.source = "{kind: postgres, url: '${BACKFILL_URL}', guard: {GUARD}}"

    def exec(self, statement: str) -> None:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(statement.encode())


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "crm.db"
        self.source = "{kind: sqlite, path: crm.db, guard: {GUARD}}"

    def exec(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)


class Shop:
    """An integration over it, applied and read once, with a clock that is moved by hand."""

    def __init__(self, folder: Path, crm: Crm, guard: str = "connections: 2", rows: int = ROWS) -> None:
        self.folder = folder
        self.crm = crm
        self.clock = FakeClock()
        self.place = Place(Home(folder / ".mainstay", "churn"), folder / "mainstay.yaml")
        crm.exec(TABLE.format(date="date" if isinstance(crm, Postgres) else "TEXT"))
        crm.exec("CREATE INDEX customers_u ON customers (u)")
        values = ", ".join(f"({n}, {n % 100}, '2026-01-{1 + n % 28:02}', {n})" for n in range(1, rows + 1))
        crm.exec(f"INSERT INTO customers VALUES {values}")
        crm.exec("ANALYZE customers")  # what the planner estimates is what `up` and people are told
        self.place.file.write_text(FILE.format(source=crm.source.replace("GUARD", guard)))  # type: ignore[union-attr]
        ask(self.place, "apply", {})
        ask(self.place, "run", {})

    def start(self, begin: str = "1", end: str | None = None, **more: Any) -> Backfill:
        plan = ask(self.place, "backfill", {"dataset": "customers", "from": begin, "to": end, **more})
        return msgspec.convert(plan["backfill"], Backfill)

    def beats(self, until: Callable[[Works], bool], most: int = 200) -> None:
        """The loop's beats under the clock of the test, a tenth of a second apart."""
        with own(self.place, "a test", clock=self.clock) as works:
            loop = Loop(works)
            loop.start()
            for _ in range(most):
                if until(works):
                    return
                loop.beat()
                self.clock.advance(SECOND // 10)
        raise AssertionError("it did not come to an end")

    def backfill(self, id: str) -> Backfill:
        return read_backfills(self.place)[id]

    def dataset(self) -> DatasetState:
        with closing(SqliteState(self.place.home.state)) as state:
            return ShelfReader(state, "dataset", DatasetState).get("customers") or DatasetState()

    def batches(self) -> list[BatchRecord]:
        with closing(SqliteState(self.place.home.state)) as state:
            return list(ShelfReader(state, "batch", BatchRecord).all().values())

    def current(self, columns: str, where: str) -> list[tuple[Any, ...]]:
        with own(self.place, "a test") as works:
            return works.desk.current.sql(f"SELECT {columns} FROM ds_customers.rows WHERE {where}")

    def adds_up(self) -> None:
        counts = self.dataset().counts
        parts = ("published", "superseded", "quarantined", "discarded", "waiting", "erased")
        assert counts["landed"] == sum(counts.get(part, 0) for part in parts)


def ended(id: str) -> Callable[[Works], bool]:
    return lambda works: works.desk.backfills.get(id).status != "running"  # type: ignore[union-attr]


@pytest.fixture(params=["postgres", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Crm:
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    database = request.getfixturevalue("postgres_db")
    request.getfixturevalue("monkeypatch").setenv("BACKFILL_URL", database.url)
    return Postgres(database)


@pytest.fixture
def shop(tmp_path: Path, crm: Crm) -> Shop:
    return Shop(tmp_path, crm)


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, Sqlite(tmp_path))


def test_a_range_is_read_between_increments_that_alone_advance_as_of(shop: Shop) -> None:
    shop.crm.exec("UPDATE customers SET tenure = 77 WHERE id IN (10, 400)")
    shop.crm.exec("UPDATE customers SET tenure = 999 WHERE id = 20")
    one = shop.start("1", "501", rate=20)
    seen: list[tuple[int | None, int]] = []

    def until(works: Works) -> bool:
        state = works.desk.dataset_state("customers")
        found = works.desk.backfills.get(one.id)
        assert found is not None
        if seen and found.chunks == 3 and seen[-1][1] == 2:
            shop.crm.exec(f"INSERT INTO customers VALUES ({ROWS + 1}, 5, NULL, {ROWS + 1})")
        assert state.as_of_us == state.last_read_us  # of an increment: a chunk leaves both
        seen.append((state.as_of_us, found.chunks))
        return found.status != "running"

    shop.beats(until, 400)
    done = shop.backfill(one.id)
    assert (done.status, done.read, done.noops, done.chunks) == ("done", 500, 497, 5)
    assert (done.changed, done.published, done.rejected, done.estimate) == (3, 2, 1, done.estimate)
    assert done.estimate is not None
    assert 300 < done.estimate < 700
    assert shop.current("_k, tenure", "_k IN ('10', '400', '1001') ORDER BY _k") == [
        ("10", 77),
        ("1001", 5),
        ("400", 77),
    ]
    assert [batch.mode for batch in shop.batches()] == ["increment", "backfill", "backfill", "increment"]
    assert len({as_of for as_of, _ in seen}) >= 3
    assert shop.dataset().cursor == str(ROWS + 1)
    shop.adds_up()


def test_a_range_of_another_column_and_of_the_key(shop: Shop) -> None:
    one = shop.start("2026-01-05", "2026-01-07", by="joined", rate=10_000)
    shop.beats(ended(one.id))
    expected = sum(1 for n in range(1, ROWS + 1) if 1 + n % 28 in {5, 6})
    assert shop.backfill(one.id).read == expected
    two = shop.start("901", by="key", rate=10_000)
    shop.beats(ended(two.id))
    assert shop.backfill(two.id).read == 100


def test_keys_that_are_gone_are_deleted_when_asked(shop: Shop) -> None:
    shop.crm.exec("DELETE FROM customers WHERE id IN (5, 6, 700)")
    shop.crm.exec("UPDATE customers SET u = 2000 WHERE id = 7")
    one = shop.start("1", "101", deletes=True, rate=10_000)
    shop.beats(ended(one.id))
    assert shop.backfill(one.id).deleted == 2
    assert shop.current("_k", "_deleted ORDER BY _k") == [("5",), ("6",)]
    shop.adds_up()


def test_the_pace_is_kept_by_the_clock(sqlite_shop: Shop) -> None:
    """100 rows a chunk and 50 a second: a chunk every two seconds of the clock, however fast the machine is."""
    one = sqlite_shop.start("1", "501", rate=50)
    begun: list[int] = []

    def until(works: Works) -> bool:
        found = works.desk.backfills.get(one.id)
        assert found is not None
        if found.chunks > len(begun):
            begun.append(works.clock.now_us())
        return found.status != "running"

    sqlite_shop.beats(until)
    assert [after - before for before, after in itertools.pairwise(begun)] == [2 * SECOND] * 4


def test_outside_the_hours_it_waits_and_says_until_when(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Sqlite(tmp_path))
    text = shop.place.file.read_text()  # type: ignore[union-attr]
    night = text.replace("connections: 2", 'connections: 2, backfill_hours: "20:00-06:00 UTC"')
    shop.place.file.write_text(night)  # type: ignore[union-attr]
    ask(shop.place, "apply", {})
    with own(shop.place, "a test", clock=shop.clock) as works:
        plan = backfills.command(works, {"dataset": "customers", "from": "1", "to": "301"})
    one = msgspec.convert(plan["backfill"], Backfill)
    assert (one.estimate, one.measured) == (None, False)
    assert "20:00-06:00 UTC" in one.waits
    shop.beats(lambda works: bool(works.desk.backfills.get(one.id).waits))  # type: ignore[union-attr]
    before = shop.dataset().as_of_us
    assert shop.backfill(one.id).chunks == 0
    found = read_status(shop.place, shop.clock)
    assert "it goes on at 2026-11-01T20:00:00.000000Z" in found.backfills[0]
    shop.clock.advance(MINUTE)
    shop.beats(lambda works: works.desk.dataset_state("customers").as_of_us != before)  # increments go on
    shop.clock.set_wall(START_US + 12 * HOUR)
    shop.beats(ended(one.id))
    assert (shop.backfill(one.id).read, shop.backfill(one.id).estimate) == (300, 300)
    assert shop.backfill(one.id).waits == ""
    with own(shop.place, "a test") as works:
        kinds = [msgspec.msgpack.decode(entry.payload)["kind"] for segment in works.journal.segments()
                 for entry, _ in works.journal.scan(segment.name) if entry.kind == "event"]  # fmt: skip
    assert [kind for kind in kinds if kind.startswith("backfill.")] == [
        "backfill.started", "backfill.waiting", "backfill.chunk", "backfill.done",
    ]  # fmt: skip


def test_a_source_that_is_away_is_tried_again_and_said(sqlite_shop: Shop) -> None:
    one = sqlite_shop.start("1", "501")
    away = sqlite_shop.folder / "away.db"
    (sqlite_shop.folder / "crm.db").rename(away)
    sqlite_shop.beats(lambda works: works.desk.backfills.get(one.id).failures >= 2)  # type: ignore[union-attr]
    assert any(
        finding.check == "customers.backfill" and finding.verdict is Verdict.WARN
        for finding in read_status(sqlite_shop.place, sqlite_shop.clock).wrong
    )
    away.rename(sqlite_shop.folder / "crm.db")
    sqlite_shop.beats(ended(one.id), 2_000)
    assert (sqlite_shop.backfill(one.id).read, sqlite_shop.backfill(one.id).error) == (500, "")


def test_a_dataset_that_leaves_the_file_ends_its_backfill(sqlite_shop: Shop) -> None:
    one = sqlite_shop.start("2026-01-05", by="joined")
    text = sqlite_shop.place.file.read_text().replace("      joined: {type: date}\n", "")  # type: ignore[union-attr]
    sqlite_shop.place.file.write_text(text)  # type: ignore[union-attr]
    ask(sqlite_shop.place, "apply", {})
    sqlite_shop.beats(ended(one.id))
    found = sqlite_shop.backfill(one.id)
    assert (found.status, found.reason) == ("cancelled", "customers no longer reads joined")


def test_a_range_that_does_not_fit_is_refused_and_names_no_value(shop: Shop) -> None:
    with pytest.raises(SourceRefused, match=r"u|'u'") as refused:
        shop.start("nineteen-eighty")
    assert "--from" in refused.value.mend
    with pytest.raises(SourceRefused, match="the end is not after the beginning"):
        shop.start("20", "20")
    assert read_backfills(shop.place) == {}


# --- the command line, in real processes -----------------------------------------------------------------------------


def command(shop: Shop, *words: str) -> list[str]:
    return [sys.executable, "-m", "mainstay", "backfill", *words, "--file", str(shop.place.file)]


def until_chunks(shop: Shop, chunks: int) -> Backfill:
    for _ in range(600):
        found = list(read_backfills(shop.place).values())
        if found and found[0].chunks >= chunks:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("it does not go on")


RANGE = ("customers", "--from", "1", "--to", "901")


@pytest.mark.promise(1)
def test_killed_in_the_middle_it_goes_on_where_it_was(sqlite_shop: Shop) -> None:
    sqlite_shop.crm.exec("UPDATE customers SET tenure = 77 WHERE id IN (10, 400, 850)")
    process = subprocess.Popen(command(sqlite_shop, *RANGE, "--rows-per-second", "200"), stdout=subprocess.DEVNULL)
    before = until_chunks(sqlite_shop, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(
        command(sqlite_shop, *RANGE, "--rows-per-second", "100000", "--json"),
        capture_output=True,
        check=True,
        timeout=120,
    )
    found = msgspec.convert(json.loads(done.stdout)["backfill"], Backfill)
    assert (found.id, found.status, found.read) == (before.id, "done", 900)
    assert (found.changed, found.published, found.noops) == (3, 3, 897)
    assert len(sqlite_shop.current("_k", "tenure = 77 AND _k IN ('10', '400', '850')")) == 3
    sqlite_shop.adds_up()


def test_interrupted_it_says_how_to_go_on_and_how_to_end_it(sqlite_shop: Shop) -> None:
    process = subprocess.Popen(
        command(sqlite_shop, *RANGE, "--rows-per-second", "100"), stdout=subprocess.PIPE, text=True
    )
    one = until_chunks(sqlite_shop, 1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "rows read" in said
    assert f"mainstay backfill --cancel {one.id} ends it" in said
    assert sqlite_shop.backfill(one.id).status == "running"


def test_beside_the_owner_it_is_asked_for_and_followed_from_state(
    sqlite_shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-m", "mainstay.app.loop_process", "--home", str(sqlite_shop.folder / ".mainstay"),
         "--integration", "churn", "--file", str(sqlite_shop.place.file)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            if read_status(sqlite_shop.place, sqlite_shop.clock).processes:
                break
            time.sleep(0.05)
        file = str(sqlite_shop.place.file)
        assert run_command(["backfill", *RANGE, "--file", file, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["backfill"]
        assert (found["status"], found["read"]) == ("done", 900)
        assert run_command(["backfill", *RANGE, "--rows-per-second", "1", "--detach", "--file", file, "--json"]) == 0
        one = json.loads(capsys.readouterr().out)["backfill"]
        assert run_command(["backfill", "--cancel", one["id"], "--file", file]) == 0
        assert "is cancelled" in capsys.readouterr().out
        followed = follow(sqlite_shop.place, one["id"], lambda _one: None, lambda: False)
        assert followed.backfill.status == "cancelled"
    finally:
        owner.terminate()
        owner.wait(60)


def test_the_command_line_plans_lists_and_stops_at_a_blocked_batch(
    sqlite_shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ["--file", str(sqlite_shop.place.file)]
    assert run_command(["backfill", *RANGE, "--dry-run", *file]) == 0
    said = capsys.readouterr().out
    assert "customers: u from 1, before 901: about 900 rows, 2,000 at a time, at most 2,000 a second" in said
    assert read_backfills(sqlite_shop.place) == {}
    assert run_command(["backfill", "customers", "--from", "1", "--by", "tenure", "--dry-run", *file]) == 0
    assert "no index of customers begins with tenure" in capsys.readouterr().out
    sqlite_shop.crm.exec("DELETE FROM customers WHERE id < 300")
    assert run_command(["backfill", *RANGE, "--deletes", *file]) == 1
    said = capsys.readouterr().out
    assert "mainstay batch show customers/2" in said
    assert run_command(["backfill", "--list", "--json", *file]) == 0
    (one,) = json.loads(capsys.readouterr().out)["backfills"]
    assert (one["status"], one["blocked"], one["published"]) == ("done", "customers/2", 0)
    assert run_command(["batch", "release", "customers/2", "--reason", "they left", *file]) == 0
    assert run_command(["backfill", "--list", "--json", *file]) == 0
    (one,) = json.loads(capsys.readouterr().out.partition("\n")[2])["backfills"]
    assert (one["blocked"], one["published"]) == ("", 299)
    assert run_command(["backfill", *file]) == 2
    assert run_command(["backfill", "--cancel", "bf-none", *file]) == 4
    assert run_command(["backfill", *RANGE, "--rows-per-second", "0", *file]) == 3


def test_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.drop("customers-1.csv", NAMES + "a-1;3;Bonn\n")
    ask(drops.place, "apply", {})
    ask(drops.place, "run", {})
    with pytest.raises(Refused, match="takes each file once, by its digest") as refused:
        ask(drops.place, "backfill", {"dataset": "customers", "from": "a"})
    assert "let its bytes differ" in refused.value.mend
    drops.drop("customers-1.csv", NAMES + "a-1;3;Bonn\n\n")
    (done,) = ask(drops.place, "run", {})["results"]
    assert (done["read"], done["noops"], done["quarantined"]) == (1, 1, 0)
