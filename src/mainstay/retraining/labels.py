"""The label file: key, instant and label columns, out of CSV or Parquet into DuckDB, every fault with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from mainstay.core.counts import counted
from mainstay.core.errors import FileError, NotFound, Problem
from mainstay.core.keys import joined_key, key_names, stamp_text
from mainstay.core.nouns import ColumnType
from mainstay.core.sql import identifier
from mainstay.retraining.known import first

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CHUNK = 20_000
SHOWN = 10
"""Faults that are told one by one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SMALLEST = 10**13
"""Smaller numbers are seconds or milliseconds: as microseconds they would lie in the first months of 1970."""
_WANTED = "an instant: ISO 8601, or microseconds since 1970"


class LabelFile(msgspec.Struct, frozen=True, kw_only=True):
    """What to read of which file."""

    path: Path
    key: str
    """The column of keys; of several columns, `core.keys.joined_key` of their names."""
    at: str
    key_types: tuple[ColumnType, ...]
    """Of each key column."""
    timezone: str | None = None
    """The zone of instants that carry none; None: such an instant is a fault."""
    leave: tuple[str, ...] = ()
    """Columns that are no labels: the keys of other feature views."""

    @property
    def key_columns(self) -> tuple[tuple[str, ColumnType], ...]:
        """The key's columns, each with its type."""
        return tuple(zip(key_names(self.key), self.key_types, strict=True))


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What `training.labels` holds: columns `n` (from 0), `line`, `k`, `at_us` and `l0`, `l1`, ... for `columns`."""

    rows: int
    columns: tuple[str, ...]
    ambiguous: int
    """Instants that a zone without daylight saving would not have twice; the earlier one was taken."""


class _Reading:
    """One pass over the file: turns keys and instants, and collects faults."""

    def __init__(self, wanted: LabelFile) -> None:
        self.wanted = wanted
        self.zone = _zone(wanted)
        self.faults: list[Problem] = []
        self.faulty = 0
        self.ambiguous = 0

    def fault(self, line: int, column: str, wanted: str, came: str, mend: str = "") -> None:
        self.faulty += 1
        if len(self.faults) < SHOWN:
            self.faults.append(Problem(str(self.wanted.path), line, 0, column, wanted, came, mend))

    def key(self, values: Sequence[Any], line: int) -> str | None:
        """The key as the stores write it, out of the value of each of its columns."""
        columns = self.wanted.key_columns
        parts = [self._part(value, name, kind, line) for value, (name, kind) in zip(values, columns, strict=True)]
        found = [part for part in parts if part is not None]
        return joined_key(found) if len(found) == len(parts) else None

    def _part(self, value: Any, name: str, kind: ColumnType, line: int) -> str | None:
        text = _plain(value)
        if not text:
            self.fault(line, name, f"a {name}", "an empty value")
            return None
        if kind == "integer":
            digits = text.removeprefix("-")
            if not (digits.isascii() and digits.isdigit()):
                self.fault(line, name, "an integer, as the feature set's key is", "other text")
                return None
            return str(int(text)) if len(digits) < 20 else text
        return text

    def instant(self, value: Any, line: int) -> int | None:
        """UTC microseconds."""
        try:
            return self._instant(value)
        except _Naive:
            mend = "write its offset (2026-11-01T09:30:00+01:00), or say the zone of all: --timezone Europe/Berlin"
            self.fault(line, self.wanted.at, "an instant with its offset", "a time without a zone", mend)
        except _Small:
            self.fault(line, self.wanted.at, "microseconds since 1970", "a number too small to be that")
        except (ValueError, OverflowError, TypeError):
            empty = value is None or value == ""
            self.fault(line, self.wanted.at, _WANTED, "an empty value" if empty else "something else")
        return None

    def _instant(self, value: Any) -> int:
        if isinstance(value, str):
            text = value.strip()
            value = int(text) if text.removeprefix("-").isdigit() else datetime.fromisoformat(text)
        if isinstance(value, bool):
            raise TypeError
        if isinstance(value, int):
            if abs(value) < _SMALLEST:
                raise _Small
            return value
        if not isinstance(value, datetime):
            if not isinstance(value, date):
                raise TypeError
            value = datetime.combine(value, time())
        if value.tzinfo is None:
            value = self._placed(value)
        return int((value - _EPOCH) // timedelta(microseconds=1))

    def _placed(self, naive: datetime) -> datetime:
        if self.zone is None:
            raise _Naive
        first, second = naive.replace(tzinfo=self.zone, fold=0), naive.replace(tzinfo=self.zone, fold=1)
        self.ambiguous += first.utcoffset() != second.utcoffset()
        return first

    def finish(self) -> None:
        """Raises FileError when there were faults."""
        more = self.faulty - len(self.faults)
        if more:
            self.faults.append(Problem(str(self.wanted.path), 0, 0, "labels", "a file without faults", f"{more} more"))
        if self.faults:
            raise FileError(tuple(self.faults))


def _plain(value: Any) -> str:
    """A key's value as DuckDB writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return stamp_text(value)
    return "" if value is None else str(value)


class _Naive(ValueError):
    """A time without a zone, and none declared."""


class _Small(ValueError):
    """A number that is no count of microseconds."""


def _zone(wanted: LabelFile) -> ZoneInfo | None:
    if wanted.timezone is None:
        return None
    try:
        return ZoneInfo(wanted.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotFound(
            f"there is no time zone {wanted.timezone}", mend="name one of the tz database: --timezone Europe/Berlin"
        ) from None


def read_labels(db: duckdb.DuckDBPyConnection, wanted: LabelFile) -> Labels:
    """Makes `training.labels` in bounded memory. Raises FileError with every fault, NotFound without a file."""
    reading = _Reading(wanted)
    if not wanted.path.is_file():
        raise NotFound("there is no label file", where=str(wanted.path), mend="give its path: --labels FILE")
    kind = wanted.path.suffix.lower()
    if kind in (".parquet", ".pq"):
        columns, rows = _fill(db, reading, _parquet(reading))
    elif kind in (".csv", ".tsv", ".txt"):
        columns, rows = _fill(db, reading, _csv(reading))
        _infer(db, len(columns))
    else:
        raise _whole(wanted.path, "a label file in CSV or Parquet", f"the suffix {kind or 'of none'}")
    reading.finish()
    return Labels(rows=rows, columns=columns, ambiguous=reading.ambiguous)


def _whole(path: Path, wanted: str, came: str, *, line: int = 0, mend: str = "") -> FileError:
    return FileError((Problem(str(path), line, 0, "labels", wanted, came, mend),))


Piece = tuple[Sequence[int], Sequence[Sequence[Any]], Sequence[Any], "pa.Table"]
"""(lines, the key columns' values, instants, label columns) of some rows."""


def _fill(db: duckdb.DuckDBPyConnection, reading: _Reading, pieces: Iterator[Piece]) -> tuple[tuple[str, ...], int]:
    import pyarrow as pa

    done = 0
    columns: tuple[str, ...] = ()
    for lines, keys, instants, labels in pieces:
        columns = tuple(labels.column_names)
        table = pa.table(
            {
                "n": pa.array(range(done, done + len(lines)), pa.int64()),
                "line": pa.array(lines, pa.int64()),
                "k": pa.array([reading.key(key, line) for key, line in zip(keys, lines, strict=True)], pa.string()),
                "at_us": pa.array(
                    [reading.instant(at, line) for at, line in zip(instants, lines, strict=True)], pa.int64()
                ),
                **{f"l{place}": labels.column(place) for place in range(labels.num_columns)},  # type: ignore[misc]
            }
        )
        db.register("label_rows", table)
        how = "INSERT INTO training.labels" if done else "CREATE TABLE training.labels AS"
        db.execute(f"{how} SELECT * FROM label_rows")
        db.unregister("label_rows")
        done += len(lines)
    if not done:
        reading.finish()
        raise _whole(reading.wanted.path, "at least one label", "none")
    return columns, done


def _places(wanted: LabelFile, names: Sequence[str]) -> None:
    for option, name in (*(("--key", name) for name in key_names(wanted.key)), ("--at", wanted.at)):
        if name not in names:
            mend = f"name one of {', '.join(names)}: {option} COLUMN"
            raise _whole(wanted.path, f"a column {name}", "none of that name", line=1, mend=mend)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _whole(wanted.path, "each column once", f"{', '.join(twice)} more than once", line=1)


def _csv(reading: _Reading) -> Iterator[Piece]:
    import pyarrow as pa

    wanted = reading.wanted
    with _decoded(wanted.path), wanted.path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter=max(",;\t|", key=header.count), strict=True)
        names = [name.strip() for name in next(rows, [])]
        _places(wanted, names)
        keys, at = [names.index(name) for name in key_names(wanted.key)], names.index(wanted.at)
        others = [p for p, name in enumerate(names) if p not in (*keys, at) and name not in wanted.leave]
        for lines, chunk in _chunks(rows, reading, len(names)):
            labels = {names[place]: pa.array([row[place] or None for row in chunk], pa.string()) for place in others}
            yield (
                lines,
                [[row[key].strip() for key in keys] for row in chunk],
                [row[at] for row in chunk],
                pa.table(labels),
            )


def _chunks(rows: Any, reading: _Reading, width: int) -> Iterator[tuple[list[int], list[list[str]]]]:
    """`rows` is a csv.reader; a row's line is where it begins."""
    lines: list[int] = []
    chunk: list[list[str]] = []
    before = rows.line_num
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise _whole(reading.wanted.path, "CSV", str(error), line=before + 1) from None
        if row and len(row) != width:
            reading.fault(before + 1, "labels", f"{counted(width, 'column')}, as the first line has", f"{len(row)}")
        elif row:
            lines.append(before + 1)
            chunk.append(row)
        before = rows.line_num
        if chunk and (row is None or len(chunk) >= CHUNK):
            yield lines, chunk
            lines, chunk = [], []
        if row is None:
            return


@contextmanager
def _decoded(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise _whole(path, "text in UTF-8", "bytes that are not", mend="save the file as UTF-8") from None


def _parquet(reading: _Reading) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = reading.wanted
    try:
        file = pq.ParquetFile(wanted.path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _whole(wanted.path, "a Parquet file", type(error).__name__) from None
    names = file.schema_arrow.names
    _places(wanted, names)
    done = 0
    with file:
        for batch in file.iter_batches(batch_size=CHUNK):
            table = pa.table(batch)
            at = table[wanted.at]
            if pa.types.is_timestamp(at.type):
                at = at.cast(pa.timestamp("us", at.type.tz), safe=False)
            lines = range(done + 1, done + 1 + table.num_rows)
            done += table.num_rows
            names_of_key = key_names(wanted.key)
            keys = list(zip(*(table[name].to_pylist() for name in names_of_key), strict=True))
            gone = [*names_of_key, wanted.at, *(name for name in wanted.leave if name in names)]
            yield lines, keys, at.to_pylist(), table.drop_columns(gone)


def _infer(db: duckdb.DuckDBPyConnection, columns: int) -> None:
    """Gives text columns the narrowest type that holds every value as it is written."""
    for place in range(columns):
        name = identifier(f"l{place}")
        for kind, fits in (
            ("BIGINT", f"regexp_full_match({name}, '-?(0|[1-9][0-9]{{0,17}})')"),
            ("DOUBLE", f"TRY_CAST({name} AS DOUBLE) IS NOT NULL AND NOT regexp_matches({name}, '^-?0[0-9]')"),
            ("BOOLEAN", f"lower({name}) IN ('true', 'false')"),
        ):
            odd = f"SELECT bool_or(NOT ({fits})), count({name}) FROM training.labels WHERE {name} IS NOT NULL"
            found, there = first(db, odd)
            if there and not found:
                db.execute(f"ALTER TABLE training.labels ALTER COLUMN {name} TYPE {kind}")
                break
