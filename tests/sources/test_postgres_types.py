"""A golden table of every type: each arrives right, or is refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.clock import SystemClock
from mainstay.core.errors import SourceRefused
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import ReadRequest, Source
from mainstay.sources import open_source
from mainstay.testing.postgres import Database

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'it''s ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS numeric(8, 3) CHECK (value > 0);
CREATE DOMAIN deeper AS positive;
CREATE DOMAIN short AS char(5);
CREATE DOMAIN codes AS int[];
"""

GOLDEN: list[tuple[str, str, str, Any]] = [
    # type, value as SQL, kind, what arrives
    ("smallint", "-32768", "integer", -32768),
    ("integer", "2147483647", "integer", 2147483647),
    ("bigint", "-9223372036854775808", "integer", -9223372036854775808),
    ("real", "0.1", "float", 0.1),
    ("real", "'NaN'", "float", math.nan),
    ("real", "3.4028235e38", "float", 3.4028235e38),
    ("double precision", "0.1::float8 + 0.2::float8", "float", 0.30000000000000004),
    ("double precision", "'Infinity'", "float", math.inf),
    ("double precision", "'-Infinity'", "float", -math.inf),
    ("double precision", "5e-324", "float", 5e-324),
    ("double precision", "'-0'", "float", -0.0),
    ("boolean", "true", "boolean", True),
    ("boolean", "false", "boolean", False),
    ("text", "''", "text", ""),
    ("text", "E'a\\r\\n\"b\",\\\\N'", "text", 'a\r\n"b",\\N'),
    ("varchar(20)", "'NULL'", "text", "NULL"),
    ("char(5)", "'ab'", "text", "ab"),
    ('"char"', "'x'", "text", "x"),
    ("name", "'n'", "text", "n"),
    ("mood", "'it''s ok'", "text", "it's ok"),
    ("short", "'ab'", "text", "ab"),
    ("bit(3)", "B'101'", "text", "101"),
    ("bit varying", "B'10'", "text", "10"),
    ("inet", "'192.168.0.1/24'", "text", "192.168.0.1/24"),
    ("cidr", "'10.0.0.0/8'", "text", "10.0.0.0/8"),
    ("macaddr", "'08:00:2b:01:02:03'", "text", "08:00:2b:01:02:03"),
    ("bytea", "'\\x00ff220a5c'::bytea", "bytes", b'\x00\xff"\n\\'),
    ("bytea", "''::bytea", "bytes", b""),
    ("numeric", "123456789012345678901234567890.123456789", "numeric", "123456789012345678901234567890.123456789"),
    ("numeric(10, 2)", "1.5", "numeric", "1.50"),
    ("numeric", "'NaN'", "numeric", "NaN"),
    ("numeric", "'-Infinity'", "numeric", "-Infinity"),
    ("positive", "1.5", "numeric", "1.500"),
    ("deeper", "2", "numeric", "2.000"),
    ("date", "'2024-02-29'", "date", "2024-02-29"),
    ("date", "'infinity'", "date", "infinity"),
    ("date", "'0044-03-15 BC'", "date", "0044-03-15 BC"),
    ("timestamp", "'2024-03-31 02:30:00.000001'", "timestamp", "2024-03-31 02:30:00.000001"),
    ("timestamp", "'-infinity'", "timestamp", "-infinity"),
    ("timestamptz", "'2024-03-31 03:30:00 Europe/Berlin'", "timestamptz", "2024-03-31 01:30:00+00"),
    ("timestamptz", "'infinity'", "timestamptz", "infinity"),
    ("timestamptz", "'294276-12-31 23:59:59.999999+00'", "timestamptz", "294276-12-31 23:59:59.999999+00"),
    ("time", "'23:59:59.999999'", "time", "23:59:59.999999"),
    ("timetz", "'10:00:00+02'", "time", "10:00:00+02"),
    ("interval", "'1 year 2 days 03:04:05.5'", "interval", "P1Y2DT3H4M5.5S"),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("json", """'{"a":  [1,\n"ü"]}'""", "json", '{"a":  [1,\n"ü"]}'),
    ("jsonb", """'{"b":1.50,"a":null}'""", "json", '{"a": null, "b": 1.50}'),
    ("integer[]", "'{1,NULL,3}'", "array", "[1,null,3]"),
    ("text[]", """ARRAY['a,"b', '', NULL]""", "array", '["a,\\"b","",null]'),
    ("numeric[]", "'{0.10,NaN}'", "array", '[0.10,"NaN"]'),
    ("integer[][]", "'{{1,2},{3,4}}'", "array", "[[1,2],[3,4]]"),
    ("timestamptz[]", "ARRAY['2024-01-01 01:00:00+01'::timestamptz]", "array", '["2024-01-01T00:00:00+00:00"]'),
    ("date[]", "'{infinity}'", "array", '["infinity"]'),
    ("mood[]", "'{sad}'", "array", '["sad"]'),
    ("codes", "'{7}'", "array", "[7]"),
    ("text[]", "'{}'", "array", "[]"),
]

REFUSED = [
    "pair", "pair[]", "int4range", "int4multirange", "point", "polygon", "oid", "regclass", "xid", "pg_lsn",
    "int2vector", "money", "xml", "tsvector", "tid",
]  # fmt: skip


@pytest.fixture
def source(postgres_db: Database) -> Iterator[Source]:
    postgres_db.exec(TYPES)
    made = open_source(SourceConfig(name="crm", kind="postgres", options={"url": postgres_db.url}), SystemClock())
    yield made
    made.close()


def read(source: Source, *columns: str, **more: Any) -> dict[str, list[Any]]:
    request = ReadRequest(table="golden", columns=columns, key="id", mode="snapshot", **more)
    with source.read(request) as begun:
        found: dict[str, list[Any]] = {name: [] for name in columns}
        for batch in begun.batches():
            for name in columns:
                found[name] += batch.column(name).to_pylist()
        return found


def test_every_type_arrives_right_and_null_stays_null(source: Source, postgres_db: Database) -> None:
    names = [f"c{at}" for at in range(len(GOLDEN))]
    columns = ", ".join(f"{name} {golden[0]}" for name, golden in zip(names, GOLDEN, strict=True))
    values = ", ".join(golden[1] for golden in GOLDEN)
    postgres_db.exec(f"CREATE TABLE golden (id int, {columns})")
    postgres_db.exec(f"INSERT INTO golden VALUES (1, {values}); INSERT INTO golden (id) VALUES (2)")
    kinds = {column.name: column.kind for column in source.describe("golden").columns}
    found = read(source, *names)
    for name, (native, value, kind, expected) in zip(names, GOLDEN, strict=True):
        assert kinds[name] == kind, native
        first, second = found[name]
        assert second is None, native
        assert type(first) is type(expected), native
        assert repr(first) == repr(expected), f"{native} {value}"


def test_a_type_without_an_exact_form_is_refused_by_name_only_when_asked_for(
    source: Source, postgres_db: Database
) -> None:
    columns = ", ".join(f"c{at} {native}" for at, native in enumerate(REFUSED))
    postgres_db.exec(f"CREATE TABLE golden (id int, fine text, {columns}); INSERT INTO golden VALUES (1, 'x')")
    described = {column.name: column for column in source.describe("golden").columns}
    assert read(source, "id", "fine") == {"id": [1], "fine": ["x"]}
    for at, native in enumerate(REFUSED):
        assert described[f"c{at}"].refused, native
        with pytest.raises(SourceRefused, match=f"'c{at}'.*") as raised:
            read(source, f"c{at}")
        assert described[f"c{at}"].native in raised.value.sentence


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(*[st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))] * 3)))
def test_any_text_arrives_as_it_is(
    source: Source, postgres_db: Database, rows: list[tuple[str | None, str | None, str | None]]
) -> None:
    import psycopg

    with psycopg.connect(postgres_db.url) as connection:
        connection.execute("DROP TABLE IF EXISTS golden; CREATE TABLE golden (id serial, a text, b varchar, c text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO golden (a, b, c) VALUES (%s, %s, %s)", rows)
    found = read(source, "id", "a", "b", "c")
    assert list(zip(found["a"], found["b"], found["c"], strict=True)) == rows


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.none() | st.floats(), min_size=1), raw=st.lists(st.none() | st.binary(), min_size=1))
def test_any_number_and_any_bytes_arrive_as_they_are(
    source: Source, postgres_db: Database, values: list[float | None], raw: list[bytes | None]
) -> None:
    import psycopg

    with psycopg.connect(postgres_db.url) as connection:
        connection.execute("DROP TABLE IF EXISTS golden; CREATE TABLE golden (id int, a float8, b bytea)")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO golden VALUES (%s, %s, %s)",
                [(at, values[at % len(values)], raw[at % len(raw)]) for at in range(max(len(values), len(raw)))],
            )
    found = read(source, "a", "b")
    for at, (number, data) in enumerate(zip(found["a"], found["b"], strict=True)):
        assert repr(number) == repr(values[at % len(values)])
        assert data == raw[at % len(raw)]


def test_one_value_may_be_larger_than_a_batch(source: Source, postgres_db: Database) -> None:
    postgres_db.exec(
        "CREATE TABLE golden AS SELECT g AS id, repeat('a\"' || g, 5700000) AS a FROM generate_series(1, 2) g"
    )
    request = ReadRequest(table="golden", columns=("id", "a"), key="id", mode="snapshot")
    with source.read(request) as begun:
        sizes = [(batch.num_rows, len(batch.column("a")[0].as_py())) for batch in begun.batches()]
    assert sizes == [(1, 17_100_000)] * 2


def test_text_that_is_not_utf8_is_refused_without_showing_it(source: Source, postgres_db: Database) -> None:
    name = f"{postgres_db.name}-ascii"
    postgres_db.exec(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    other = Database(postgres_db.server, name)
    url = other.url
    import psycopg

    with psycopg.connect(url, client_encoding="SQL_ASCII") as connection:
        connection.execute(b"CREATE TABLE golden (id int, a text); INSERT INTO golden VALUES (1, 'Gr\xf6\xdfe')")
    ascii_source = open_source(SourceConfig(name="old", kind="postgres", options={"url": url}), SystemClock())
    try:
        with pytest.raises(SourceRefused) as raised:
            read(ascii_source, "id", "a")
        assert "Gr" not in str(raised.value)
    finally:
        ascii_source.close()
        other.drop()
