"""Several integrations in one installation: shared sources under one guard, each with its own state, API and keys."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mainstay import spec
from mainstay.app.installation import clashes
from mainstay.app.place import option_records, read_file
from mainstay.cli.main import run
from mainstay.core.errors import FileError, SourceAway
from mainstay.sources.guard import ConnectionCap
from mainstay.store.installation import installation_of, members_of
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import Database

SHARED = "sources:\n  crm: {kind: sqlite, path: crm.sqlite, guard: {connections: 1}}\n"
MEMBER = """
integration: NAME
datasets:
  people:
    source: crm
    table: people
    key: id
    every: 1s
    columns: {id: {type: integer}, age: {type: integer}}
features:
  person: {key: id, sql: "SELECT id, age FROM people"}
model: {name: NAME, input: person, rule: {score: "age * FACTOR"}}
settings: {port: PORT}
"""


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two integrations over one SQLite file."""
    with sqlite3.connect(tmp_path / "crm.sqlite") as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER)")
        connection.executemany("INSERT INTO people VALUES (?, ?)", [(number, number + 20) for number in range(10)])
    (tmp_path / "installation.yaml").write_text(SHARED)
    for name, factor in (("churn", "2"), ("upsell", "3")):
        folder = tmp_path / "integrations" / name
        folder.mkdir(parents=True)
        text = MEMBER.replace("NAME", name).replace("FACTOR", factor).replace("PORT", str(free_port()))
        (folder / "mainstay.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Told = Callable[..., tuple[int, Any]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def member(installation: Path, name: str) -> Path:
    return installation / "integrations" / name / "mainstay.yaml"


def rewrite(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_integrations_read_the_sources_that_they_share(installation: Path) -> None:
    file = member(installation, "churn")
    assert installation_of(file) == installation
    assert [one.parent.name for one in members_of(installation)] == ["churn", "upsell"]
    churn = read_file(file)
    assert churn.sources["crm"].installation == str(installation)
    assert churn.sources["crm"].guard.connections == 1
    before = churn.digest
    rewrite(installation / "installation.yaml", "connections: 1", "connections: 2")
    assert read_file(file).digest != before  # what is shared is part of what is applied


def test_an_integration_may_have_a_source_of_its_own_beside_them(installation: Path) -> None:
    file = member(installation, "churn")
    rewrite(file, "datasets:", "sources: {own: {kind: sqlite, path: own.sqlite}}\ndatasets:")
    sources = read_file(file).sources
    assert {name: one.installation for name, one in sources.items()} == {"crm": str(installation), "own": ""}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sources: {crm: {kind: sqlit, path: x}}", "a kind of source"),
        ("sources: {crm: {kind: sqlite}}", "the option `path` of sqlite"),
        ("sources: {crm: {kind: sqlite, path: x}}\nmodel: {}", "a key that is known here"),
        ("sources: {}", "at least one entry"),
        ("{}", "which integrations share"),
        ("stores: {folder: /srv}", "`state`"),
        ("integration: x", "a key that is known here"),
        ("sources: [", "YAML"),
    ],
)
def test_faults_of_installation_yaml_are_told_in_its_own_name(installation: Path, text: str, wanted: str) -> None:
    (installation / "installation.yaml").write_text(text + "\n")
    with pytest.raises(FileError) as told:
        read_file(member(installation, "churn"))
    assert {problem.file for problem in told.value.problems} == {"installation.yaml"}
    assert wanted in str(told.value)


def test_a_source_stands_in_one_place(installation: Path) -> None:
    file = member(installation, "churn")
    rewrite(file, "datasets:", "sources: {crm: {kind: sqlite, path: other.sqlite}}\ndatasets:")
    with pytest.raises(FileError, match=r"a source that installation\.yaml does not have"):
        read_file(file)


def test_a_file_without_any_source_is_told_so(installation: Path) -> None:
    (installation / "installation.yaml").unlink()
    with pytest.raises(FileError, match="wanted the key `sources`, found nothing"):
        read_file(member(installation, "churn"))


def test_check_apply_and_status_go_over_all_of_them_and_one_bad_file_keeps_no_other(
    installation: Path, told: Told
) -> None:
    code, checked = told("check")
    assert code == 0
    assert [(one["folder"], one["answer"]["verdict"]) for one in checked["integrations"]] == [
        ("churn", "WARN"), ("upsell", "WARN"),
    ]  # fmt: skip
    rewrite(member(installation, "churn"), "key: id", "kee: id")
    code, applied = told("apply", "--yes")
    assert code == 2
    by_name = {one["folder"]: one["answer"] for one in applied["integrations"]}
    assert by_name["churn"]["error"]["problems"]
    assert by_name["upsell"]["done"]
    assert (installation / ".mainstay" / "upsell" / "state.sqlite").exists()
    assert told("run", "--file", "integrations/upsell")[0] == 0
    code, answered = told("predict", "4", "--file", "integrations/upsell")
    assert (code, answered["results"][0]["output"]) == (0, {"score": 72})
    code, said = told("status")
    assert [one["folder"] for one in said["integrations"]] == ["churn", "upsell"]
    assert code != 0


def test_a_command_about_one_says_which_there_are(installation: Path, told: Told) -> None:
    code, said = told("predict", "4")
    assert code == 4
    assert "has 2 integrations" in said["error"]["sentence"]
    assert "integrations/churn, integrations/upsell" in said["error"]["mend"]


def test_what_two_must_not_share_is_found(installation: Path, told: Told) -> None:
    churn, upsell = member(installation, "churn"), member(installation, "upsell")
    port = read_file(upsell).settings.port
    rewrite(churn, f"port: {read_file(churn).settings.port}", f"port: {port}")
    rewrite(churn, "integration: churn", "integration: upsell")
    code, said = told("check")
    assert code == 1
    assert [one["check"] for one in said["installation"]] == ["installation.names", "installation.ports"]
    code, said = told("up")
    assert code == 3
    assert "would share one state" in said["error"]["sentence"]


def test_an_installation_without_integrations_says_how_to_begin(tmp_path: Path, monkeypatch: Any, told: Told) -> None:
    (tmp_path / "installation.yaml").write_text(SHARED)
    monkeypatch.chdir(tmp_path)
    code, said = told("status")
    assert (code, "no integrations yet" in said["error"]["sentence"]) == (4, True)


# --- up ------------------------------------------------------------------------------------------------------------


@contextmanager
def up(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mainstay", "up", "--host", "localhost"], cwd=folder, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def within(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def ready(file: Path) -> bool:
    port = read_file(file).settings.port
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as reply:
        return bool(json.load(reply)["ready"])
    return False


def test_all_come_up_and_one_that_cannot_harms_no_other(installation: Path, told: Told) -> None:
    churn, upsell = member(installation, "churn"), member(installation, "upsell")
    good = churn.read_text()
    rewrite(churn, "key: id", "kee: id")
    log = installation / "up.log"
    with up(installation) as process:
        within(lambda: ready(upsell), "upsell is not ready")
        within(lambda: "churn ended with exit code 2" in log.read_text(), "churn is not told of")
        code, said = told("up")
        assert (code, "up already" in said["error"]["sentence"]) == (3, True)
        churn.write_text(good)  # and mended, it comes up by itself
        within(lambda: ready(churn), "churn is not ready")
        assert process.poll() is None
        assert log.read_text().count("API on http://localhost:") >= 2, "each listens where `--host` says"
        within(lambda: told("predict", "4", "--file", "integrations/churn")[0] == 0, "churn does not answer")
        answered = told("predict", "4", "--file", "integrations/churn")[1]
        assert answered["results"][0]["output"] == {"score": 48}
    assert process.returncode == 0


def test_the_integrations_end_with_the_process_that_holds_them_together(installation: Path) -> None:
    files = [member(installation, name) for name in ("churn", "upsell")]
    with up(installation) as process:
        within(lambda: all(map(ready, files)), "not ready")
        os.kill(process.pid, signal.SIGKILL)
        within(lambda: not any(map(ready, files)), "somebody still answers")


# --- one guard for all ---------------------------------------------------------------------------------------------


def test_places_are_counted_over_processes_and_a_dead_holder_lets_go(tmp_path: Path) -> None:
    program = (
        "import sys, time; from mainstay.sources.guard import ConnectionCap\n"
        "with ConnectionCap(2, wait_us=10, where='x', places=sys.argv[1]).one():\n"
        "    print('in', flush=True); time.sleep(60)\n"
    )
    places = tmp_path / "places"
    holders = [
        subprocess.Popen([sys.executable, "-c", program, str(places)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "in\n"
        cap = ConnectionCap(2, wait_us=200_000, where="source crm", places=str(places))
        with pytest.raises(SourceAway, match="all 2 connections"), cap.one():
            pass
        holders[0].kill()
        holders[0].wait()
        with cap.one():
            pass
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            if holder.stdout is not None:
                holder.stdout.close()


def test_threads_and_processes_share_the_places(tmp_path: Path) -> None:
    caps = [ConnectionCap(3, wait_us=10_000_000, where="x", places=str(tmp_path / "p")) for _ in range(4)]
    inside, most = [], []

    def hold(number: int) -> None:
        with caps[number % 4].one():
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(hold, range(60)))
    assert max(most) == 3


def test_two_integrations_together_hold_no_more_connections_than_one_guard_allows(
    installation: Path, postgres_db: Database
) -> None:
    postgres_db.exec("CREATE TABLE base (id int PRIMARY KEY, age int); INSERT INTO base VALUES (4, 24)")
    postgres_db.exec("CREATE VIEW people AS SELECT id, age FROM base, pg_sleep(0.1)")
    (installation / "installation.yaml").write_text(
        "sources:\n  crm: {kind: postgres, url: '${PEOPLE_URL}', guard: {connections: 1}}\n"
    )
    environment = {**os.environ, "PEOPLE_URL": postgres_db.url}
    files = [member(installation, name) for name in ("churn", "upsell")]
    for command in (["apply", "--yes"], *(["run", "--file", str(file)] for file in files)):
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", *command],
            cwd=installation,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", "mainstay", "check", "--file", str(file)],
            cwd=installation, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for file in files
    ]  # fmt: skip
    seen = []
    with psycopg.connect(postgres_db.url, autocommit=True) as connection:
        while any(reader.poll() is None for reader in readers):
            sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainstay'"
            seen.append(connection.execute(sql).fetchall()[0][0])
            time.sleep(0.01)
    assert [reader.wait() for reader in readers] == [0, 0]
    assert max(seen) == 1, "more connections than the guard allows"


def test_status_pages_do_not_share_a_port_with_anything() -> None:
    read = {}
    for name, port, page in (("churn", 8700, 8702), ("upsell", 8701, 8702), ("prices", 8702, 0), ("costs", 8703, 0)):
        text = SHARED + MEMBER.replace("NAME", name).replace("FACTOR", "2")
        text = text.replace("port: PORT", f"port: {port}, status_page: {{port: {page}}}")
        read[name] = spec.load_files({"mainstay.yaml": text}, Path(), kinds=option_records(), env={})
    assert [one.sentence for one in clashes(read)] == ["churn and upsell and prices both listen on 127.0.0.1 port 8702"]
