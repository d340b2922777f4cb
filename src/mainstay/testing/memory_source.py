"""A source that is a list of rows: for tests of pipelines that need thousands of small histories, and as an example.

It does what `core.ports.Source` asks and nothing more; `tables` is public, so a test changes the legacy system by
changing a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mainstay.core.clock import Clock
from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.keys import joined_key, key_names
from mainstay.core.ports import Capabilities, ReadRequest, SourceColumn, SourceHealth, SourceKind, TableInfo
from mainstay.core.ranges import Measure, Range

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class MemoryTable:
    """Columns with their kinds, and rows as dictionaries."""

    kinds: dict[str, SourceKind]
    rows: list[dict[str, Any]] = field(default_factory=list)


class MemoryRead:
    """One read: the rows as they were when it began."""

    complete = True

    def __init__(self, table: MemoryTable, request: ReadRequest, began_us: int) -> None:
        import pyarrow as pa

        types = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_(), "bytes": pa.binary()}
        names = (
            tuple(dict.fromkeys(name for name in (*key_names(request.key), request.cursor) if name))
            if request.mode == "keys"
            else request.columns
        )
        self.schema = pa.schema([pa.field(name, types.get(table.kinds[name], pa.string())) for name in names])
        self.began_source_us = began_us
        self._request = request
        self._table = table
        following = None
        if request.part is not None:
            chunk, following = _chunk(table, request.part)
            self._rows = [dict(row) for row in chunk]
        else:
            self._rows = [dict(row) for row in table.rows if self._wanted(row)]
        values = [row[request.cursor] for row in table.rows if request.cursor and row[request.cursor] is not None]
        self._cursor = str(max(values)) if values and request.mode in ("increment", "snapshot") else following

    def _wanted(self, row: dict[str, Any]) -> bool:
        request = self._request
        if request.mode == "by_keys":
            return joined_key([str(row[name]) for name in key_names(request.key)]) in request.keys
        if request.mode == "increment" and request.cursor and request.since is not None:
            value = row[request.cursor]
            return value is None or int(value) >= int(request.since) - request.lag_number
        return True

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        names = self.schema.names
        for start in range(0, len(self._rows), 65_536):
            yield pa.RecordBatch.from_pylist(
                [{name: row[name] for name in names} for row in self._rows[start : start + 65_536]], schema=self.schema
            )

    def cursor(self) -> str | None:
        return self._cursor


def _chunk(table: MemoryTable, part: Range) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of the range in order, as many as a chunk has, and where the next one begins."""
    order: Callable[[Any], Any] = int if table.kinds[part.by] == "integer" else str
    low = None if part.low is None else order(part.low)
    high = None if part.high is None else order(part.high)

    def inside(value: Any) -> bool:
        return value is not None and (low is None or order(value) >= low) and (high is None or order(value) < high)

    rows = sorted((row for row in table.rows if inside(row[part.by])), key=lambda row: order(row[part.by]))
    values = [order(row[part.by]) for row in rows]
    if not part.most or len(rows) <= part.most:
        return rows, None
    bound = values[part.most]
    if bound == values[0]:
        bound = next((value for value in values if value > bound), None)
    return [row for row, value in zip(rows, values, strict=True) if bound is None or value < bound], (
        None if bound is None else str(bound)
    )


class MemorySource:
    """Tables in this process's memory. `away` True makes every call raise SourceAway."""

    capabilities = Capabilities(incremental=True, ranges=True)

    def __init__(self, tables: dict[str, MemoryTable], clock: Clock) -> None:
        self.contents = tables
        self.clock = clock
        self.away = False

    def _table(self, name: str) -> MemoryTable:
        if self.away:
            raise SourceAway("the memory source is away")
        if name not in self.contents:
            raise SourceRefused(f"there is no table {name}", mend=f"one of {', '.join(self.contents)}")
        return self.contents[name]

    def health(self) -> SourceHealth:
        self.tables()
        return SourceHealth(version="memory", read_only=True, latency_us=0, clock_us=self.clock.now_us())

    def tables(self) -> tuple[str, ...]:
        if self.away:
            raise SourceAway("the memory source is away")
        return tuple(self.contents)

    def describe(self, table: str) -> TableInfo:
        kinds = self._table(table).kinds
        return TableInfo(
            name=table, columns=tuple(SourceColumn(name=name, native=kind, kind=kind) for name, kind in kinds.items())
        )

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[MemoryRead]:
        yield MemoryRead(self._table(request.table), request, self.clock.now_us())

    def measure(self, request: ReadRequest) -> Measure:
        """See `core.ranges.RangeSource`."""
        part = request.part or Range(by=key_names(request.key)[0])
        whole = Range(by=part.by, low=part.low, high=part.high)
        return Measure(low=part.low, high=part.high, rows=len(_chunk(self._table(request.table), whole)[0]))

    def close(self) -> None:
        """Nothing is open."""
