"""Stores that all integrations of an installation share: one database, one Redis, one folder, each its own records."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.app.answers import predict, readers, receipt
from mainstay.app.commands import ask
from mainstay.app.place import Place, locate, read_file
from mainstay.app.stores import home_of
from mainstay.core.errors import FileError
from mainstay.serving.reply import Answer
from mainstay.serving.request import PredictRequest
from mainstay.testing.postgres import Database
from mainstay.testing.redis_server import RedisServer
from tests.app.test_installation import MEMBER, SHARED

STORES = """
stores:
  state: {{kind: postgres, url: "${{file:secrets/state}}"}}
  online: {{kind: redis, url: "${{ONLINE_URL}}"}}
  journal: {{kind: postgres, url: "${{file:secrets/state}}"}}
  folder: {folder}
"""
OWN = """
stores:
  state: {kind: postgres, url: "${OWN}"}
  online: {kind: redis, url: "${OWN}"}
  folder: /srv/own
"""


@pytest.fixture
def installation(tmp_path: Path, postgres_db: Database, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    redis.start()
    with closing(redis.client()) as client:
        client.flushall()
    monkeypatch.setenv("ONLINE_URL", redis.url)
    with closing(sqlite3.connect(tmp_path / "crm.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER)")
        connection.executemany("INSERT INTO people VALUES (?, ?)", [(number, number + 20) for number in range(10)])
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "state").write_text(postgres_db.url + "\n")
    (tmp_path / "installation.yaml").write_text(SHARED + STORES.format(folder=tmp_path / "disk"))
    for name, factor in (("churn", "2"), ("upsell", "3")):
        folder = tmp_path / "integrations" / name
        folder.mkdir(parents=True)
        (folder / "mainstay.yaml").write_text(
            MEMBER.replace("NAME", name).replace("FACTOR", factor).replace("PORT", "0")
        )
    return tmp_path


def _place(installation: Path, name: str) -> Place:
    return locate(installation / "integrations" / name / "mainstay.yaml", installation / ".mainstay")


def test_integrations_share_stores_and_no_record(installation: Path, postgres_db: Database) -> None:
    given = {}
    for name, score in (("churn", 48), ("upsell", 72)):
        place = _place(installation, name)
        ask(place, "apply", {})
        (ran,) = ask(place, "run", {})["results"]
        assert (ran["status"], ran["published"]) == ("published", 10)
        found = predict(place, PredictRequest(key="4"))
        assert isinstance(found, Answer), found
        assert found.output == {"score": score}
        given[name] = found.receipt
        assert not place.home.state.exists()
    for table in ("mainstay_state", "mainstay_journal_segment"):
        owners = postgres_db.exec(f"SELECT DISTINCT integration FROM {table} ORDER BY 1")
        assert owners == [("churn",), ("upsell",)]
    for name, one in given.items():
        with readers(_place(installation, name)) as stores:
            assert receipt(stores, str(one)).integration == name
    assert (installation / "disk" / "churn" / "landing").is_dir()


def test_an_integration_may_have_stores_of_its_own(installation: Path) -> None:
    file = installation / "integrations" / "churn" / "mainstay.yaml"
    file.write_text(file.read_text() + OWN)
    stores = home_of(file, installation / ".mainstay", "churn").stores
    assert stores is not None
    assert (stores.folder, stores.base) == ("/srv/own", str(file.parent))
    others = home_of(installation / "integrations" / "upsell" / "mainstay.yaml", installation, "upsell").stores
    assert others is not None
    assert (others.folder, others.base) == (str(installation / "disk"), str(installation))


def test_what_shared_stores_lack_is_told_with_all_other_faults(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONLINE_URL")
    with pytest.raises(FileError) as told:
        read_file(installation / "integrations" / "churn" / "mainstay.yaml")
    assert [(one.file, one.path) for one in told.value.problems] == [("installation.yaml", "stores.online.url")]
