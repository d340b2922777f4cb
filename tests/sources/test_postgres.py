"""What only PostgreSQL has: connections, codes, privileges, infinite cursors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from mainstay.core.clock import SystemClock
from mainstay.core.errors import SourceAway, SourceError, SourceRefused
from mainstay.core.nouns import Guard, SourceConfig
from mainstay.core.ports import ReadRequest, Source
from mainstay.sources import open_source
from mainstay.sources.postgres import PostgresSource
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import Database, PostgresServer

SECRET = "hunter2-Geheim"


def opened(url: str, *, guard: Guard | None = None, **options: str) -> Source:
    config = SourceConfig(name="crm", kind="postgres", options={"url": url, **options}, guard=guard or Guard())
    return open_source(config, SystemClock())


@pytest.fixture
def source(postgres_db: Database) -> Iterator[Source]:
    with closing(opened(postgres_db.url)) as made:
        yield made


def rows(source: Source, mode: Any = "snapshot", **more: Any) -> tuple[list[dict[str, Any]], str | None]:
    request = ReadRequest(table=more.pop("table", "t"), columns=("id", "c"), key="id", mode=mode, cursor="c", **more)
    with source.read(request) as read:
        return [row for batch in read.batches() for row in batch.to_pylist()], read.cursor()


@pytest.mark.parametrize(
    ("url", "kind", "word"),
    [
        ("postgresql://postgres:{secret}@127.0.0.1:{port}/postgres", SourceRefused, "password"),
        ("postgresql://nobody:{secret}@127.0.0.1:{port}/postgres", SourceRefused, "nobody"),
        ("postgresql://postgres:{right}@127.0.0.1:{port}/nowhere", SourceRefused, "nowhere"),
        ("postgresql://postgres:{secret}@127.0.0.1:{closed}/postgres", SourceAway, "127.0.0.1"),
        ("postgresql://postgres:{secret}@no.such.host.invalid/postgres", SourceAway, "no.such.host.invalid"),
        ("postgresql://postgres:{secret}@x@127.0.0.1:{port}/postgres", SourceRefused, "url"),
        ("postgresql://postgres:{secret}/x@127.0.0.1:{port}/postgres", SourceRefused, "url"),
        ("postgresql://postgres:{secret}%@127.0.0.1:{port}/postgres", SourceRefused, "url"),
        ("password={secret} nonsense", SourceRefused, "url"),
    ],
)
def test_a_failed_connection_says_why_and_never_the_password(
    postgres: PostgresServer, url: str, kind: type[SourceError], word: str
) -> None:
    postgres.start()
    filled = url.format(secret=SECRET, port=postgres.port, right=postgres.password, closed=free_port())
    with closing(opened(filled)) as source, pytest.raises(SourceError) as raised:
        source.health()
    assert type(raised.value) is kind
    assert word in raised.value.sentence
    assert raised.value.mend
    told = str(raised.value) + repr(raised.value) + repr(raised.value.__cause__) + repr(raised.value.__dict__)
    assert SECRET not in told
    assert SECRET not in repr(source) + repr(vars(source).get("_options"))


@pytest.mark.promise(6)
def test_a_server_that_hangs_is_away_and_comes_back(postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t (id int, c int); INSERT INTO t VALUES (1, 1)")
    guard = Guard(statement_timeout_us=200_000, connect_timeout_us=1_000_000, connections=1)
    with closing(opened(postgres_db.url, guard=guard)) as source:
        assert rows(source)[1] == "1"
        postgres_db.server.freeze()
        try:
            with pytest.raises(SourceAway):
                rows(source)
        finally:
            postgres_db.server.thaw()
        assert rows(source)[1] == "1"


def test_what_the_server_ends_is_away_and_the_next_read_works(source: Source, postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t AS SELECT g AS id, g AS c FROM generate_series(1, 200000) g")
    # With its time-out it returns when the backend is gone: until then an idle connection looks sound.
    end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'mainstay'"
    request = ReadRequest(table="t", columns=("id", "c"), key="id", mode="snapshot")
    with source.read(request) as read:
        batches = read.batches()
        next(batches)
        assert postgres_db.exec(end) == [(True,)]
        with pytest.raises(SourceAway):
            list(batches)
    assert len(rows(source)[0]) == 200_000
    postgres_db.exec(end)  # now while it is idle
    assert len(rows(source)[0]) == 200_000


def test_a_read_left_early_is_no_longer_running_on_the_server(source: Source, postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t AS SELECT g AS id, g AS c FROM generate_series(1, 300000) g")
    with source.read(ReadRequest(table="t", columns=("id", "c"), key="id", mode="snapshot")) as read:
        next(read.batches())
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainstay' AND state <> 'idle'"
    assert any(postgres_db.exec(left) == [(0,)] for _ in range(200))


@pytest.mark.promise(6)
def test_the_session_is_guarded(postgres_db: Database) -> None:
    guard = Guard(statement_timeout_us=7_000_000)
    with closing(opened(postgres_db.url, guard=guard, application_name="probe")) as source:
        assert isinstance(source, PostgresSource)
        with source._pool().wire() as wire:
            assert wire.query("SHOW default_transaction_read_only") == [("on",)]
            assert wire.query("SHOW statement_timeout") == [("7s",)]
            assert wire.query("SHOW application_name") == [("probe",)]
            wire.begin()
            for name, value in {
                "transaction_isolation": "repeatable read",
                "transaction_read_only": "on",
                "statement_timeout": "7s",
                "lock_timeout": "5s",
                "idle_in_transaction_session_timeout": "1min",
                "TimeZone": "UTC",
            }.items():
                assert wire.query(f"SHOW {name}") == [(value,)], name
            wire.commit()


@pytest.mark.promise(6)
def test_a_locked_table_is_away_not_waited_for(postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t (id int, c int)")
    with psycopg.connect(postgres_db.url) as locker:
        locker.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        guard = Guard(statement_timeout_us=200_000)
        with closing(opened(postgres_db.url, guard=guard)) as source, pytest.raises(SourceAway):
            rows(source)


def test_a_table_without_a_grant_is_refused_with_the_grant_to_make(postgres_db: Database) -> None:
    role = postgres_db.name.replace("-", "_")
    postgres_db.exec(f"CREATE TABLE t (id int, c int); CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        url = postgres_db.server.url(postgres_db.name, user=role, password="p")
        with closing(opened(url)) as source:
            with pytest.raises(SourceRefused) as raised:
                rows(source)
            assert "SELECT" in raised.value.mend
            assert "t" not in source.tables()
            # Not a member of pg_read_all_stats: others' transactions are hidden, so nothing is claimed of them.
            assert source.health().oldest_transaction_us is None
    finally:
        postgres_db.exec(f"DROP ROLE {role}")


def test_the_oldest_open_write_transaction_is_told(source: Source, postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t (id int, c int)")
    assert source.health().oldest_transaction_us == 0
    with psycopg.connect(postgres_db.url) as writer:
        writer.execute("INSERT INTO t VALUES (1, 1)")
        assert (source.health().oldest_transaction_us or 0) > 0


@pytest.mark.parametrize(
    ("native", "values", "endless"),
    [
        ("timestamp", ("2024-01-01 00:00:00", "2024-01-02 00:00:00", "2024-01-03 00:00:00"), ["infinity", "-infinity"]),
        ("timestamptz", ("2024-01-01 00:00:00+00", "2024-01-02 00:00:00+00", "2024-01-03 00:00:00+00"), ["-infinity"]),
        ("date", ("2024-01-01", "2024-01-02", "2024-01-03"), ["infinity", "-infinity"]),
        ("numeric", ("-1.5", "9.25", "10"), ["NaN", "Infinity", "-Infinity"]),
    ],
)
def test_an_endless_cursor_is_no_bound_and_its_row_is_read_every_time(
    source: Source, postgres_db: Database, native: str, values: tuple[str, str, str], endless: list[str]
) -> None:
    low, middle, high = values
    postgres_db.exec(f"CREATE TABLE t (id text, c {native})")
    for value in (low, middle, high, *endless):
        postgres_db.exec(f"INSERT INTO t VALUES ('{value}', '{value}')")
    assert rows(source)[1] == high
    found, cursor = rows(source, "increment", since=middle)
    assert {row["id"] for row in found} == {middle, high, *endless}
    assert cursor == high
    postgres_db.exec(f"DELETE FROM t WHERE id IN ('{low}', '{middle}', '{high}')")
    assert rows(source, "increment", since=middle)[1] is None


@pytest.mark.parametrize("native", ["smallint", "integer", "bigint"])
def test_a_lag_may_reach_below_the_least_number(source: Source, postgres_db: Database, native: str) -> None:
    postgres_db.exec(f"CREATE TABLE t (id int, c {native}); INSERT INTO t VALUES (1, -32768), (2, 5)")
    found, cursor = rows(source, "increment", since="-32768", lag_number=2**62)
    assert (len(found), cursor) == (2, "5")


@pytest.mark.parametrize("native", ["uuid", "varchar(8)", "char(8)", "date"])
def test_other_ordered_types_may_be_cursors(source: Source, postgres_db: Database, native: str) -> None:
    values = ["2024-01-01", "2024-01-02"]
    if native == "uuid":
        values = [f"00000000-0000-0000-0000-00000000000{at}" for at in (1, 2)]
    elif native != "date":
        values = ["abcdefg1", "abcdefg2"]
    postgres_db.exec(f"CREATE TABLE t (id text, c {native})")
    for value in values:
        postgres_db.exec(f"INSERT INTO t VALUES ('{value}', '{value}')")
    found, cursor = rows(source, "increment", since=values[1])
    assert [row["id"] for row in found] == [values[1]]
    assert cursor == values[1]


@pytest.mark.parametrize(
    ("native", "lag"),
    [("double precision", {}), ("jsonb", {}), ("boolean", {}), ("interval", {}), ("text", {"lag_us": 1}),
     ("integer", {"lag_us": 1}), ("timestamp", {"lag_number": 1}), ("uuid", {"lag_number": 1})],
)  # fmt: skip
def test_what_cannot_be_a_cursor_is_refused_by_name(
    source: Source, postgres_db: Database, native: str, lag: dict[str, int]
) -> None:
    postgres_db.exec(f"CREATE TABLE t (id int, c {native})")
    with pytest.raises(SourceRefused, match="'c'") as raised:
        rows(source, "increment", since=None, **lag)
    assert raised.value.mend


def test_a_table_may_be_named_with_its_schema(source: Source, postgres_db: Database) -> None:
    postgres_db.exec('CREATE SCHEMA "Old CRM"; CREATE TABLE "Old CRM".t (id int PRIMARY KEY, c int)')
    postgres_db.exec('INSERT INTO "Old CRM".t VALUES (1, 2); CREATE INDEX ON "Old CRM".t (c); ANALYZE "Old CRM".t')
    assert "Old CRM.t" in source.tables()
    assert rows(source, table="Old CRM.t") == ([{"id": 1, "c": 2}], "2")
    with closing(opened(postgres_db.url, schema="Old CRM")) as other:
        assert rows(other) == ([{"id": 1, "c": 2}], "2")
        described = other.describe("t")
    assert (described.primary_key, described.indexed, described.rows) == (("id",), ("id", "c"), 1)


def test_a_key_that_does_not_fit_its_column_is_not_shown(source: Source, postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE t (id int, c int)")
    with pytest.raises(SourceRefused) as raised:
        rows(source, "by_keys", keys=("Jane Doe",))
    assert "Jane" not in str(raised.value)


def test_a_view_is_read_and_a_failing_one_is_refused(source: Source, postgres_db: Database) -> None:
    postgres_db.exec("CREATE TABLE base (id int, d int); INSERT INTO base VALUES (1, 0)")
    postgres_db.exec("CREATE VIEW t AS SELECT id, d AS c FROM base; CREATE VIEW bad AS SELECT id, 1 / d AS c FROM base")
    assert rows(source) == ([{"id": 1, "c": 0}], "0")
    assert source.describe("t").rows is None
    with pytest.raises(SourceRefused, match="division by zero"):
        rows(source, table="bad")
