"""What every source must do. Subclass SourceSuite in a test file that has a fixture `harness`, a SourceHarness.

The harness is the other side: the application that owns the legacy system, and its administrator. What the source's
capabilities record says it cannot do is not asked: those tests are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar, cast
from unittest import SkipTest

import msgspec
import pyarrow as pa

from mainstay.core.errors import MainstayError, SourceAway, SourceError, SourceRefused
from mainstay.core.keys import joined_key
from mainstay.core.nouns import Guard
from mainstay.core.ports import ReadRequest, Source
from mainstay.core.ranges import Measure, Range, RangeSource

SuiteType = Literal["integer", "text", "time"]
"""Types of the columns that the suite makes: 64-bit integers, text, and times without a zone."""

_Failure = TypeVar("_Failure", bound=MainstayError)
_NAMES = {"id": "integer", "name": "text"}
_CHANGES: dict[str, SuiteType] = {"id": "text", "note": "text", "changed": "time"}
_PATIENT = Guard(statement_timeout_us=10_000_000)
_SHORT = Guard(connections=1, statement_timeout_us=300_000)


class SourceHarness(Protocol):
    """The legacy system behind the source under test."""

    slow_view: str
    """A table or view that exists and whose first row takes a minute."""

    def open(self, guard: Guard) -> Source:
        """A new source on this system; the harness closes it in the end."""
        ...

    def make(self, table: str, columns: Mapping[str, SuiteType]) -> None:
        """Makes a table; its first column is its primary key."""
        ...

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Inserts and commits. Times are ISO text."""
        ...

    def fill(self, table: str, rows: int) -> None:
        """Inserts `id` from 1 to `rows` and `name` = 'name ' and the id."""
        ...

    def pending(self, table: str, row: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Inserts in a transaction that is committed when the context is left."""
        ...

    def write_through(self, source: Source) -> None:
        """Tries to make a table over the source's own connection. Raises what the source raises."""
        ...

    def stop(self) -> None:
        """Takes the system away, and its connections with it."""
        ...

    def start(self) -> None: ...


class SourceSuite:
    """Conformance of `Source`: run over every implementation."""

    def test_a_snapshot_is_every_row_in_the_columns_asked_for(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "first", "2024-01-01 10:00:00"), ("b", "second", "2024-01-02 10:00:00"))
        by_cursor = _by_cursor(source)
        table, cursor = _read(source, _snapshot("note", "id", cursor=by_cursor))
        assert table.column_names == ["note", "id"]
        assert table.to_pylist() == [{"note": "first", "id": "a"}, {"note": "second", "id": "b"}]
        assert cursor == "2024-01-02 10:00:00" or not by_cursor

    def test_an_empty_table_gives_no_rows_and_no_cursor(self, harness: SourceHarness) -> None:
        source = _changes(harness)
        requests = (_snapshot(), _increment(None), _increment("2024-01-01 10:00:00"), _keys(), _by_keys("a"))
        for request in requests if _by_cursor(source) else (_snapshot(cursor=False),):
            table, cursor = _read(source, request)
            assert table.num_rows == 0
            assert cursor is None or not _by_cursor(source)
        assert source.describe("changes").name == "changes"

    def test_null_is_not_the_empty_string_and_text_arrives_as_it_is(self, harness: SourceHarness) -> None:
        notes = [None, "", "\n", 'quo"te', "a,b", "line\r\nbreak\n", "ünïcödé 漢字 🎈", "\\.", "NULL", " padded ", "'"]
        source = _changes(harness, *((str(at), note, None) for at, note in enumerate(notes)))
        got = dict(
            zip(
                *(
                    _read(source, _snapshot(cursor=_by_cursor(source)))[0].column(name).to_pylist()
                    for name in ("id", "note")
                ),
                strict=True,
            )
        )
        assert [got[str(at)] for at in range(len(notes))] == notes

    def test_one_column_of_nulls_has_as_many_rows(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", None, None), ("b", "", None), ("c", None, None))
        request = ReadRequest(table="changes", columns=("note",), key="id", mode="snapshot")
        notes = _read(source, request)[0].column("note").to_pylist()
        assert sorted(map(str, notes)) == ["", "None", "None"]

    def test_an_increment_begins_at_the_cursor_and_holds_rows_without_one(self, harness: SourceHarness) -> None:
        source = _changes(
            harness,
            ("old", "", "2024-01-01 10:00:00"),
            ("equal", "", "2024-01-02 10:00:00"),
            ("new", "", "2024-01-03 10:00:00"),
            ("none", "", None),
        )
        _needs(source, "cursor")
        table, cursor = _read(source, _increment("2024-01-02 10:00:00"))
        assert _ids(table) == ["equal", "new", "none"]
        assert cursor == "2024-01-03 10:00:00"
        again, same = _read(source, _increment(cursor))
        assert _ids(again) == ["new", "none"]
        assert same == cursor

    def test_an_increment_without_a_beginning_is_every_row(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "", "2024-01-01 10:00:00"), ("none", "", None))
        _needs(source, "cursor")
        table, cursor = _read(source, _increment(None))
        assert _ids(table) == ["a", "none"]
        assert cursor == "2024-01-01 10:00:00"

    def test_rows_without_any_cursor_leave_no_cursor(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "", None))
        _needs(source, "cursor")
        assert _read(source, _increment(None))[1] is None
        assert _read(source, _increment("2024-01-01 10:00:00"))[1] is None

    def test_a_late_commit_is_found_within_the_lag(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("seen", "", "2024-01-02 10:05:00"))
        _needs(source, "cursor")
        late = {"id": "late", "note": "", "changed": "2024-01-02 10:01:00"}
        with harness.pending("changes", late):
            table, cursor = _read(source, _increment("2024-01-02 10:00:00"))
            assert table.column("id").to_pylist() == ["seen"]
        assert cursor is not None
        found, _ = _read(source, _increment(cursor, lag_us=240_000_000))
        assert _ids(found) == ["late", "seen"]
        missed, _ = _read(source, _increment(cursor, lag_us=239_000_000))
        assert missed.column("id").to_pylist() == ["seen"]

    def test_a_cursor_may_be_a_number_with_a_lag_in_numbers(self, harness: SourceHarness) -> None:
        harness.make("numbers", {"id": "integer", "name": "text"})
        harness.fill("numbers", 20)
        source = harness.open(_PATIENT)
        _needs(source, "cursor")
        request = ReadRequest(
            table="numbers", columns=("id",), key="id", mode="increment", cursor="id", since="9", lag_number=2
        )
        table, cursor = _read(source, request)
        # As numbers, not as text: 9 comes before 10.
        assert _ids(table) == list(range(7, 21))
        assert cursor == "20"

    def test_a_lag_in_the_wrong_unit_is_refused(self, harness: SourceHarness) -> None:
        harness.make("numbers", {"id": "integer", "name": "text"})
        source = harness.open(_PATIENT)
        _needs(source, "cursor")
        request = ReadRequest(
            table="numbers", columns=("id",), key="id", mode="increment", cursor="id", since="9", lag_us=5
        )
        assert "lag" in str(_raised(SourceRefused, lambda: _read(source, request)))

    def test_keys_are_key_and_cursor_of_every_row(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "x", "2024-01-01 10:00:00"), ("b", "y", None))
        _needs(source, "keys")
        table, _ = _read(source, _keys())
        assert table.to_pylist() == [{"id": "a", "changed": "2024-01-01 10:00:00"}, {"id": "b", "changed": None}]

    def test_rows_by_key_are_those_and_no_others(self, harness: SourceHarness) -> None:
        source = _changes(harness, *((key, f"note {key}", None) for key in ("a", "b", "it's", "7", "07")))
        _needs(source, "keys")
        table, _ = _read(source, _by_keys("it's", "7", "absent", "7", "a"))
        assert _ids(table) == ["7", "a", "it's"]
        assert _read(source, _by_keys())[0].num_rows == 0

    def test_rows_are_asked_for_by_a_key_of_several_columns(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "1,x", None), ("b", '2"', None), ("d", "1,x", None), ("c", None, None))
        _needs(source, "keys")
        key = joined_key(("id", "note"))
        asked = tuple(joined_key(parts) for parts in (("b", '2"'), ("d", "1,x"), ("a", '2"'), ("a", "it's\0")))
        request = msgspec.structs.replace(_by_keys(*asked), key=key)
        assert sorted(_ids(_read(source, request)[0])) == ["b", "d"]
        many = tuple(joined_key((str(number), "1,x")) for number in range(25_000))
        found = _read(source, msgspec.structs.replace(request, keys=(*many, joined_key(("a", "1,x")))))[0]
        assert found.to_pylist() == [{"id": "a", "note": "1,x", "changed": None}]
        keys = _read(source, msgspec.structs.replace(_keys(), key=key))[0]
        assert keys.column_names == ["id", "note", "changed"]
        assert keys.num_rows == 4

    def test_many_keys_are_asked_for_in_turns(self, harness: SourceHarness) -> None:
        source = _filled(harness, 30_000)
        _needs(source, "keys")
        request = ReadRequest(
            table="people",
            columns=("id", "name"),
            key="id",
            mode="by_keys",
            keys=tuple(map(str, range(5_001, 35_000))),
        )
        table, _ = _read(source, request)
        assert _ids(table) == list(range(5_001, 30_001))

    def test_a_range_is_read_in_chunks_and_nothing_twice(self, harness: SourceHarness) -> None:
        source = _filled(harness, 100)
        _needs(source, "ranges")
        part = Range(by="id", low="8", high="41", most=10)
        chunks = _chunks(source, "people", ("id", "name"), part)
        assert chunks == [list(range(8, 18)), list(range(18, 28)), list(range(28, 38)), [38, 39, 40]]
        everything = _chunks(source, "people", ("id", "name"), Range(by="id", most=99))
        assert everything == [list(range(1, 100)), [100]]

    def test_rows_of_one_value_are_never_parted(self, harness: SourceHarness) -> None:
        days = [("a", "1"), ("b", "2"), ("c", "2"), ("d", "2"), ("e", "3"), ("f", "3")]
        source = _changes(harness, *((key, "", f"2024-01-0{day} 10:00:00") for key, day in days), ("none", "", None))
        _needs(source, "ranges")
        part = Range(by="changed", low="2024-01-01 00:00:00", high=None, most=1)
        assert _chunks(source, "changes", tuple(_CHANGES), part) == [["a"], ["b", "c", "d"], ["e", "f"]]
        whole = msgspec.structs.replace(part, high="2024-01-03 10:00:00", most=0)
        assert _chunks(source, "changes", tuple(_CHANGES), whole) == [["a", "b", "c", "d"]]

    def test_a_range_is_measured_before_it_is_read(self, harness: SourceHarness) -> None:
        source = _filled(harness, 100)
        _needs(source, "ranges")
        found = _measured(source, Range(by="id", low="8", high="41"))
        assert (found.low, found.high) == ("8", "41")
        assert found.rows is None or found.rows > 0
        assert "after" in str(_raised(SourceRefused, lambda: _measured(source, Range(by="id", low="9", high="9"))))
        assert "'id'" in str(_raised(SourceRefused, lambda: _measured(source, Range(by="id", low="nine"))))
        assert "'nmae'" in str(_raised(SourceRefused, lambda: _measured(source, Range(by="nmae", low="nine"))))

    def test_a_read_is_one_snapshot(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "", "2024-01-01 10:00:00"))
        by_cursor = _by_cursor(source)
        request = _increment(None) if by_cursor else _snapshot(cursor=False)
        with source.read(request) as read:
            harness.insert("changes", [{"id": "b", "note": "", "changed": "2024-01-02 10:00:00"}])
            ids = [key for batch in read.batches() for key in batch.column("id").to_pylist()]
            assert ids == ["a"]
            assert read.cursor() == "2024-01-01 10:00:00" or not by_cursor
        again, cursor = _read(source, request)
        assert _ids(again) == ["a", "b"]
        assert cursor == "2024-01-02 10:00:00" or not by_cursor

    def test_many_rows_come_in_bounded_batches(self, harness: SourceHarness) -> None:
        source = _filled(harness, 200_000)
        before = pa.total_allocated_bytes()
        seen = most = 0
        with source.read(_people("snapshot")) as read:
            for batch in read.batches():
                assert batch.num_rows <= 65_536
                assert batch.schema == read.schema
                assert batch.column("id")[0].as_py() > seen or seen == 0
                seen += batch.num_rows
                most = max(most, pa.total_allocated_bytes() - before)
        assert seen == 200_000
        assert most < 32 * 1024 * 1024

    def test_leaving_a_read_early_frees_its_connection(self, harness: SourceHarness) -> None:
        _filled(harness, 100_000)
        source = harness.open(Guard(connections=1, statement_timeout_us=5_000_000))
        for _ in range(3):
            with source.read(_people("snapshot")) as read:
                assert next(iter(read.batches())).num_rows > 0
        with source.read(_people("snapshot")):
            pass  # not even begun
        assert _read(source, _people("snapshot"))[0].num_rows == 100_000

    def test_there_are_never_more_connections_than_the_guard_allows(self, harness: SourceHarness) -> None:
        _changes(harness, ("a", "", None))
        source = harness.open(_SHORT)
        with source.read(_snapshot(cursor=_by_cursor(source))) as read:
            assert "connection" in str(_raised(SourceAway, source.health))
            assert sum(batch.num_rows for batch in read.batches()) == 1
        assert source.health().read_only

    def test_a_statement_that_takes_too_long_is_ended(self, harness: SourceHarness) -> None:
        _changes(harness, ("a", "", None))
        source = harness.open(_SHORT)
        _needs(source, "timeouts")
        request = ReadRequest(table=harness.slow_view, columns=("id",), key="id", mode="snapshot")
        _raised(SourceAway, lambda: _read(source, request))
        assert _read(source, _snapshot())[0].num_rows == 1

    def test_it_cannot_write(self, harness: SourceHarness) -> None:
        source = _changes(harness)
        assert source.health().read_only
        _raised(SourceError, lambda: harness.write_through(source))
        assert "written" not in source.tables()

    def test_a_system_that_was_away_is_read_again(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "", None))
        everything = _snapshot(cursor=_by_cursor(source))
        assert _read(source, everything)[0].num_rows == 1
        harness.stop()
        try:
            for ask in (source.health, source.tables, lambda: _read(source, everything)):
                error = _raised(SourceAway, ask)
                assert error.transient
                assert error.mend
        finally:
            harness.start()
        assert _read(source, everything)[0].num_rows == 1
        assert source.health().read_only

    def test_a_wrong_table_is_named_with_what_was_meant(self, harness: SourceHarness) -> None:
        source = _changes(harness)
        request = ReadRequest(table="Chnages", columns=("id",), key="id", mode="snapshot")
        for ask in (lambda: source.describe("Chnages"), lambda: _read(source, request)):
            error = _raised(SourceRefused, ask)
            assert "Chnages" in error.sentence
            assert "'changes'" in error.mend

    def test_a_wrong_column_is_named_with_what_was_meant(self, harness: SourceHarness) -> None:
        source = _changes(harness)
        asked = [(("id", "nota"), "id", None), (("id",), "nota", None), (("id",), "id", "nota")]
        for columns, key, cursor in asked if _by_cursor(source) else asked[:2]:
            request = ReadRequest(table="changes", columns=columns, key=key, mode="snapshot", cursor=cursor)
            error = _raised(SourceRefused, lambda request=request: _read(source, request))  # type: ignore[misc]
            assert "'nota'" in error.sentence
            assert "'note'" in error.mend

    def test_any_name_can_be_a_table_or_column(self, harness: SourceHarness) -> None:
        names = ["Upper Case", 'quo"te', "semi;colon", "Größe", "select", "it's", "a.b", "100%s", "back\\slash"]
        columns: dict[str, SuiteType] = dict.fromkeys(names, "text")
        for table in ("My Table", 'odd"; --', "Ünïcode.x", "%s"):
            harness.make(table, columns)
            harness.insert(table, [{name: f"value of {name}" for name in names}])
            source = harness.open(_PATIENT)
            assert table in source.tables()
            described = source.describe(table)
            assert [column.name for column in described.columns] == names
            if not _by_cursor(source):
                plain = ReadRequest(table=table, columns=tuple(names), key=names[0], mode="snapshot")
                assert _read(source, plain)[0].to_pylist() == [{name: f"value of {name}" for name in names}]
                continue
            assert described.primary_key == ("Upper Case",)
            for key in names:
                request = ReadRequest(
                    table=table,
                    columns=tuple(names),
                    key=key,
                    mode="increment",
                    cursor=key,
                    since=f"value of {key}",
                )
                found, cursor = _read(source, request)
                assert found.to_pylist() == [{name: f"value of {name}" for name in names}]
                assert cursor == f"value of {key}"
                by_key = ReadRequest(
                    table=table, columns=(key,), key=key, mode="by_keys", keys=(f"value of {key}", "other")
                )
                assert _read(source, by_key)[0].num_rows == 1

    def test_what_it_describes_is_what_it_reads(self, harness: SourceHarness) -> None:
        source = _changes(harness, ("a", "x", "2024-01-01 10:00:00"))
        described = source.describe("changes")
        assert [column.name for column in described.columns] == ["id", "note", "changed"]
        if _by_cursor(source):
            assert described.primary_key == ("id",)
            assert "id" in described.indexed
        assert not any(column.refused for column in described.columns)
        plain = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_(), "bytes": pa.binary()}
        with source.read(_snapshot(cursor=_by_cursor(source))) as read:
            assert read.complete
            types = [plain.get(column.kind, pa.string()) for column in described.columns]
            assert read.schema.types == types
            assert read.began_source_us > 0


def _changes(harness: SourceHarness, *rows: tuple[str, str | None, str | None]) -> Source:
    harness.make("changes", _CHANGES)
    if rows:
        harness.insert("changes", [dict(zip(_CHANGES, row, strict=True)) for row in rows])
    return harness.open(_PATIENT)


def _filled(harness: SourceHarness, rows: int) -> Source:
    harness.make("people", {"id": "integer", "name": "text"})
    harness.fill("people", rows)
    return harness.open(_PATIENT)


def _by_cursor(source: Source) -> bool:
    """Whether increments are read by a column of the table."""
    return source.capabilities.incremental and not source.capabilities.ledger


def _needs(source: Source, what: Literal["cursor", "keys", "timeouts", "ranges"]) -> None:
    able = source.capabilities
    if not {"cursor": _by_cursor(source), "keys": able.keys, "timeouts": able.timeouts, "ranges": able.ranges}[what]:
        raise SkipTest(f"its capabilities say that it has no {what}")


def _snapshot(*columns: str, cursor: bool = True) -> ReadRequest:
    return ReadRequest(
        table="changes",
        columns=columns or tuple(_CHANGES),
        key="id",
        mode="snapshot",
        cursor="changed" if cursor else None,
    )


def _increment(since: str | None, *, lag_us: int = 0) -> ReadRequest:
    return ReadRequest(
        table="changes",
        columns=tuple(_CHANGES),
        key="id",
        mode="increment",
        cursor="changed",
        since=since,
        lag_us=lag_us,
    )


def _keys() -> ReadRequest:
    return ReadRequest(table="changes", columns=tuple(_CHANGES), key="id", mode="keys", cursor="changed")


def _by_keys(*keys: str) -> ReadRequest:
    return ReadRequest(table="changes", columns=tuple(_CHANGES), key="id", mode="by_keys", cursor="changed", keys=keys)


def _people(mode: Literal["snapshot", "keys"]) -> ReadRequest:
    return ReadRequest(table="people", columns=tuple(_NAMES), key="id", mode=mode)


def _read(source: Source, request: ReadRequest) -> tuple[pa.Table, str | None]:
    with source.read(request) as read:
        table = pa.Table.from_batches(list(read.batches()), schema=read.schema)
        return table, read.cursor()


def _chunks(source: Source, table: str, columns: tuple[str, ...], part: Range) -> list[list[Any]]:
    """The ids of each chunk of a range, read to its end."""
    found = []
    following: str | None = None
    while True:
        part = msgspec.structs.replace(part, low=following or part.low)
        request = ReadRequest(table=table, columns=columns, key="id", mode="range", part=part)
        rows, following = _read(source, request)
        found.append(_ids(rows))
        if following is None:
            return found


def _measured(source: Source, part: Range) -> Measure:
    request = ReadRequest(table="people", columns=("id", "name"), key="id", mode="range", part=part)
    return cast("RangeSource", source).measure(request)


def _ids(table: pa.Table) -> list[Any]:
    ids: list[Any] = table.column("id").to_pylist()
    return sorted(ids)


def _raised(kind: type[_Failure], call: Callable[[], object]) -> _Failure:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was to be raised, and nothing was")
