"""Stores that an earlier version wrote: refused by name, planned, upgraded by steps; and homes that each one saved."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app import erasures
from mainstay.app.answers import readers
from mainstay.app.answers import receipt as receipt_in
from mainstay.app.backup import backup_still
from mainstay.app.commands import ask
from mainstay.app.restore import restore
from mainstay.app.up import apply_at_start
from mainstay.app.upgrade import agreed, plan, upgrade
from mainstay.app.wiring import own
from mainstay.cli.main import run
from mainstay.core.clock import SystemClock
from mainstay.core.errors import NotFound, Refused, StoreOld, StoreTooNew
from mainstay.pipelines import quarantine
from mainstay.store import backup_file, upgrades
from mainstay.store.current import Current
from mainstay.store.home import Home
from mainstay.store.schema_number import SchemaNumber
from mainstay.store.upgrades import STEPS, STORES, Step
from tests.app.shop import RULE, Shop
from tests.laws.reading import ROOT
from tests.saved.__main__ import KEYS, text, told

CLOCK = SystemClock()
SAVED = ROOT / "tests" / "saved"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    return shop


def stamp(home: Home, store: str, number: int) -> None:
    """Makes the store one of another schema."""
    path = STORES[store].path(home)
    if path.suffix == ".json":
        path.write_bytes(msgspec.json.encode(SchemaNumber(schema=number)))
        return
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {number:d}")


def to_1(store: str, change: Any = lambda _opened: None) -> Step:
    return Step(store, 1, f"what {store} needs", change)


@pytest.mark.promise(8)
@pytest.mark.parametrize("store", STORES)
def test_a_store_of_an_earlier_schema_is_refused_planned_and_upgraded(shop: Shop, store: str) -> None:
    home = shop.place.home
    stamp(home, store, 0)
    with pytest.raises(StoreOld, match="has schema 0, this version of Mainstay writes schema 1"):
        shop.run()
    with pytest.raises(StoreOld, match=f"{store} of churn has schema 0; no step leads from 0 to 1"):
        plan(shop.home)
    seen: list[Any] = []
    steps = [to_1(store, seen.append)]
    (line,) = plan(shop.home, steps)
    assert (line.store, line.from_schema, line.to_schema) == (store, 0, 1)
    assert upgrades.numbers(home)[store] == 0
    assert seen == []
    with pytest.raises(Refused, match="no way back"):
        agreed(shop.home, backup=None, without=False, steps=steps)
    assert upgrade(shop.home, clock=CLOCK, backup=None, steps=steps) == [line]
    assert len(seen) == 1
    assert plan(shop.home, steps) == []
    shop.run()
    assert shop.outputs() == {"churn_probability": 0.3}


@pytest.mark.promise(8)
def test_a_step_changes_the_store_and_its_number_together_and_a_cut_off_one_is_taken_again(shop: Shop) -> None:
    home = shop.place.home
    for store in ("state", "landing"):
        stamp(home, store, 0)

    def state(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE more (x)")
        connection.execute("INSERT INTO more VALUES (1)")
        if broken:
            raise KeyboardInterrupt

    def landing(folder: Path) -> None:
        (folder / "marker").write_text("done")

    steps = [to_1("state", state), to_1("landing", landing)]
    broken = True
    with pytest.raises(KeyboardInterrupt):
        upgrade(shop.home, clock=CLOCK, backup=None, steps=steps)
    with closing(sqlite3.connect(home.state)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    assert [line.store for line in plan(shop.home, steps)] == ["state", "landing"]
    broken = False
    upgrade(shop.home, clock=CLOCK, backup=None, steps=steps)
    with closing(sqlite3.connect(home.state)) as connection:
        assert connection.execute("SELECT x FROM more").fetchall() == [(1,)]
    assert (home.landing / "marker").read_text() == "done"
    assert upgrades.numbers(home) == dict.fromkeys(STORES, 1)


def test_every_step_there_is_leads_to_a_schema_that_this_version_knows() -> None:
    for store, numbered in STORES.items():
        reached = [step.reaches for step in STEPS if step.store == store]
        assert reached == list(range(2, numbered.known + 1)), "raising SCHEMA asks for a step"
    assert {step.store for step in STEPS} <= STORES.keys()


@pytest.mark.promise(8)
def test_the_backup_that_an_upgrade_writes_first_is_the_way_back(shop: Shop) -> None:
    stamp(shop.place.home, "state", 0)
    file = shop.folder / "before.tgz"
    upgrade(shop.home, clock=CLOCK, backup=file, steps=[to_1("state")])
    assert upgrades.numbers(shop.place.home)["state"] == 1
    assert backup_file.unpack(file, None, lambda _name, _done: None).integrations["churn"]["state"] == 0
    restore(file, shop.home, clock=CLOCK, force=True)
    assert upgrades.numbers(shop.place.home)["state"] == 0
    with pytest.raises(StoreOld):
        shop.run()


@pytest.mark.promise(7)
def test_who_was_erased_stays_erased_when_the_backup_is_an_earlier_versions(shop: Shop) -> None:
    file = shop.folder / "before.tar"
    stamp(shop.place.home, "state", 0)
    backup_still(shop.home, file, clock=CLOCK)
    stamp(shop.place.home, "state", 1)
    ask(shop.place, "erase", {"key": "person-0003", "reason": "asked since"})
    told = restore(file, shop.home, clock=CLOCK, force=True, ledger=erasures.read(shop.folder / erasures.FILE))
    assert told.erased_since == {"churn": 1}
    upgrade(shop.home, clock=CLOCK, backup=None, steps=[to_1("state")])
    apply_at_start(shop.place, lambda _line: None)
    shutil.rmtree(told.aside)
    assert ask(shop.place, "erase.verify", {"key": "person-0003"})["clean"]
    shop.run()
    assert shop.dataset().rows == 5
    assert [path.name for path in shop.place.home.folder.glob("*.json")] == []


def test_what_stands_in_the_way_is_said(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no integration has state here"):
        plan(tmp_path / "nowhere")
    assert agreed(shop.home, backup=None, without=False) == []
    assert upgrade(shop.home, clock=CLOCK, backup=None) == []
    with own(shop.place, "pid 7"), pytest.raises(Refused, match=r"in use: .*pid 7"):
        upgrade(shop.home, clock=CLOCK, backup=None)
    stamp(shop.place.home, "online", 99)
    with pytest.raises(StoreTooNew, match="online of churn has schema 99"):
        plan(shop.home)


def test_current_of_an_earlier_schema_is_made_again(shop: Shop) -> None:
    current = Current(shop.place.home.current)
    current.sql("UPDATE mainstay_schema SET number = 0")
    current.close()
    shop.run()
    assert shop.current("SELECT count(*) FROM ds_customers.rows") == [(6,)]


@pytest.mark.promise(8)
@pytest.mark.parametrize("saved", sorted(SAVED.glob("*.tgz")), ids=lambda path: path.stem)
def test_an_installation_saved_by_every_version_is_opened_and_goes_on(saved: Path, tmp_path: Path) -> None:
    expected = json.loads(saved.with_name(f"{saved.stem}.json").read_text())
    shop = Shop(tmp_path, rows=8)
    shop.file.write_text(text())
    restore(saved, shop.home, clock=CLOCK)
    if plan(shop.home):
        upgrade(shop.home, clock=CLOCK, backup=None)
    assert told(shop.predict(*KEYS)) == expected["answers"]
    with readers(shop.place) as found:
        assert [receipt_in(found, one).id for one in expected["receipts"]] == expected["receipts"]
    apply_at_start(shop.place, lambda _line: None)
    assert shop.dataset().counts == expected["counts"]
    with own(shop.place, "a test") as works:
        listed = quarantine.list_rows(works.desk, dataset="customers", state=None)
    assert [one.id for one in listed] == expected["quarantine"]
    shop.exec("UPDATE customers SET tenure = 55 WHERE customer_id = 'person-0003'")
    shop.run()
    assert shop.outputs("person-0003") == {"churn_probability": 0.55}
    assert shop.dataset().rows == 7, "the erased stay erased"


def test_the_command_prints_its_plan_and_wants_a_backup(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["upgrade", "--file", str(shop.file)]
    assert run([*arguments, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"steps": [], "done": False}
    assert run(arguments) == 0
    assert "nothing to upgrade" in capsys.readouterr().out
    stamp(shop.place.home, "landing", 0)
    assert run([*arguments, "--dry-run"]) == 1
    assert "no step leads from 0 to 1" in capsys.readouterr().err


def test_this_version_has_saved_its_installation() -> None:
    from mainstay import __version__

    assert (SAVED / f"{__version__}.tgz").is_file(), "run `python -m tests.saved`"
