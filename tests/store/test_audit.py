"""The audit chain in state: what two processes record at once is one chain; what was done to the file is named."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.core.audit import Change
from mainstay.core.ports import State
from mainstay.store import audit
from mainstay.store.state_postgres import PostgresState
from mainstay.store.state_sqlite import SqliteState

WRITER = """
import sys
from mainstay.core.audit import Change
from mainstay.core.ports import Write
from mainstay.store import audit
from mainstay.store.state_postgres import PostgresState
from mainstay.store.state_sqlite import SqliteState
from pathlib import Path

who, kind, at, integration = sys.argv[1:]
state = PostgresState(at, integration) if kind == "postgres" else SqliteState(Path(at))
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    change = Change(what="key.create", object=f"{who} {number}", by=who, at_us=number)
    audit.commit(state, [Write(space="made", name=f"{who} {number}", body=b"", expect=0)], change)
state.close()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[State, list[str]]]:
    """A state, and what another process opens it by."""
    if request.param == "postgres":
        url = request.getfixturevalue("state_database").url
        with closing(PostgresState(url, str(tmp_path))) as state:
            yield state, ["postgres", url, str(tmp_path)]
    else:
        with closing(SqliteState(tmp_path / "state.sqlite")) as state:
            yield state, ["sqlite", str(tmp_path / "state.sqlite"), ""]


def test_two_processes_that_record_at_once_do_not_fork_the_chain(opened: tuple[State, list[str]]) -> None:
    state, at = opened
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, who, *at], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for who in ("ada", "bob")
    ]
    for one in writers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        one.communicate("go\n", timeout=120)
        assert one.returncode == 0
    checked = audit.verify(state)
    assert checked.fault is None
    assert checked.records == len(state.scan("made")) == 80
    recorded = [one.object for one in audit.records(state)]
    assert sorted(recorded) == sorted(f"{who} {number}" for who in ("ada", "bob") for number in range(40))


def recorded(path: Path, many: int = 4) -> None:
    with closing(SqliteState(path)) as state:
        for number in range(1, many + 1):
            audit.commit(state, [], Change(what="model.use", object=f"version {number}", by="ada", at_us=number))


def told(path: Path, statement: str) -> tuple[int, str]:
    """The first fault after somebody ran the statement on the file itself."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    with closing(SqliteState(path)) as state:
        fault = audit.verify(state).fault
    assert fault is not None
    return fault.number, fault.kind


@pytest.mark.parametrize(
    ("statement", "number", "kind"),
    [
        (
            "UPDATE record SET body = CAST(replace(body, 'ada', 'eve') AS BLOB) WHERE name = '000000000002'",
            2,
            "changed",
        ),
        ("DELETE FROM record WHERE name = '000000000003'", 3, "removed"),
        ("DELETE FROM record WHERE name = '000000000004'", 4, "removed"),
        ("DELETE FROM record WHERE space = 'audit'", 1, "removed"),
        ("DELETE FROM record WHERE space = 'audit_head'", 5, "removed"),
    ],
)
def test_what_was_done_to_the_file_is_named(tmp_path: Path, statement: str, number: int, kind: str) -> None:
    path = tmp_path / "state.sqlite"
    recorded(path)
    assert told(path, statement) == (number, kind)


def test_records_that_changed_places_are_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    recorded(path)
    swap = (
        "UPDATE record SET body = (SELECT other.body FROM record other WHERE other.space = 'audit' AND other.name = "
        "iif(record.name = '000000000002', '000000000003', '000000000002')) "
        "WHERE space = 'audit' AND name IN ('000000000002', '000000000003')"
    )
    assert told(path, swap) == (2, "reordered")


@pytest.mark.parametrize("gone", ["space = 'audit_head'", "name IN ('000000000004', 'head')"])
def test_a_damaged_chain_stops_nobodys_work_and_is_still_told_afterwards(tmp_path: Path, gone: str) -> None:
    path = tmp_path / "state.sqlite"
    recorded(path)
    number, _ = told(path, f"DELETE FROM record WHERE {gone}")
    recorded(path, 2)
    with closing(SqliteState(path)) as state:
        fault = audit.verify(state).fault
        assert fault is not None
        assert audit.records(state)[-1].object == "version 2"
    assert fault.number >= number - 1
