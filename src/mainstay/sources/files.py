"""A folder into which others drop files: CSV, JSON Lines, Parquet, Excel. Each file is taken once, by its digest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.counts import counted
from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.keys import key_names
from mainstay.core.nouns import SourceConfig
from mainstay.core.parts import Parts
from mainstay.core.ports import Capabilities, ReadRequest, SourceColumn, SourceHealth, SourceRead, TableInfo
from mainstay.core.verdicts import Finding, Verdict
from mainstay.sources import files_csv, files_excel, files_jsonl, files_parquet
from mainstay.sources.csv_rows import arrow_schema
from mainstay.sources.files_advice import dialect_finding, dialect_options, file_findings, pin
from mainstay.sources.files_bytes import digest, refused, unpacked
from mainstay.sources.files_found import Drop, Lying, Place, format_of, look, split_path, walk
from mainstay.sources.files_ledger import Ledger, Taken, after, is_new, read_ledger, whole
from mainstay.sources.files_options import FilesOptions
from mainstay.sources.guard import ConnectionCap, admit
from mainstay.sources.missing import closest, missing_column, refused_column

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 65_536
DESCRIBED_BY = 20
"""How many JSON Lines files, the newest, are asked for their columns: a line need not name every one."""

_FORMATS: dict[str, ModuleType] = {
    "csv": files_csv,
    "jsonl": files_jsonl,
    "parquet": files_parquet,
    "excel": files_excel,
}


class Taking(msgspec.Struct, frozen=True, kw_only=True):
    """What one read takes in: decided before the first row, from what lies there and the ledger."""

    drops: tuple[tuple[Drop, str], ...]
    """Each with its digest, in reading order."""
    complete: bool
    lying: tuple[str, ...]
    """Digests of all files at rest."""
    before: Ledger


class FilesSource:
    """A folder of files. Thread-safe; nothing in the folder is ever written, renamed or removed."""

    Options: ClassVar[type[msgspec.Struct]] = FilesOptions
    capabilities = Capabilities(
        incremental=True,
        keys=False,
        ledger=True,
        timeouts=False,
        indifferent=("settle", "done_suffix", "unpacked_most_mb"),
    )

    def __init__(self, config: SourceConfig, options: FilesOptions, clock: Clock) -> None:
        self.capabilities = msgspec.structs.replace(type(self).capabilities, incremental=options.mode == "increment")
        self._guard = config.guard
        self._options = options
        self._clock = clock
        self._where = f"source {config.name}"
        folder, pattern = split_path(options.path)
        self._place = Place(
            folder=folder,
            pattern=pattern,
            settle_us=options.settle_us,
            done_suffix=options.done_suffix,
            by_name=options.order == "name",
            any_ending=options.format != "auto",
            where=self._where,
        )
        self._cap = ConnectionCap(
            config.guard.connections,
            wait_us=config.guard.statement_timeout_us,
            where=self._where,
            places=config.places,
        )
        self._digests: dict[tuple[int, ...], str] = {}
        self._columns: dict[tuple[int, ...], tuple[SourceColumn, ...]] = {}
        self._dialects: dict[tuple[int, ...], Finding] = {}

    def health(self) -> SourceHealth:
        with self._cap.one():
            began = self._clock.monotonic_us()
            lying = look(self._place, ".", self._clock.now_us())
            latency_us = self._clock.monotonic_us() - began
        waiting = f", {len(lying.waiting)} waiting to settle" if lying.waiting else ""
        version = f"a folder with {counted(len(lying.ready) + len(lying.waiting), 'file')}{waiting}"
        return SourceHealth(version=version, read_only=True, latency_us=latency_us, clock_us=None)

    def tables(self) -> tuple[str, ...]:
        names = [name for name, _ in walk(self._place)]
        folders = {name[:at] for name in names for at, sign in enumerate(name) if sign == "/"}
        return tuple(sorted(folders | set(names)))

    def describe(self, table: str) -> TableInfo:
        with self._cap.one():
            lying = self._lying(table)
            columns = self._described(lying)
            newest = lying.ready[-1]
            rows = None
            if self._options.mode == "snapshot" and self._format(newest) == "parquet":
                chosen = lying.ready if self._options.whole == "together" else lying.ready[-1:]
                rows = sum(files_parquet.count(drop, self._options) for drop in chosen)
            return TableInfo(name=table, columns=columns, rows=rows, findings=tuple(self._findings(lying)))

    def pinned(self, table: str) -> dict[str, object]:
        """The options by which the table's newest file reads as it looks to be written: to be pinned in the file."""
        with self._cap.one():
            newest = self._lying(table).ready[-1]
            return dialect_options(newest, self._options) if self._format(newest) == "csv" else {}

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[SourceRead]:
        now_us = self._clock.now_us()
        admit(self._guard, request, now_us, where=self._where)
        if request.mode in {"keys", "by_keys"} or request.cursor is not None:
            mend = "leave `cursor:` and `deletes: {reconcile: ...}` out: each file is taken once, by its digest"
            raise SourceRefused("files have no cursor", mend=mend, where=self._where)
        unread = self._options.misfits
        if unread and unread not in request.columns:
            mend = f"write `{unread}: {{type: string}}` under `columns:` of the dataset, or take `misfits` out"
            raise SourceRefused(f"rows that do not fit go to column {unread!r}, which is not declared", mend=mend,
                                where=self._where)  # fmt: skip
        with self._cap.one():
            lying = self._lying(request.table)
            there = {column.name: column for column in self._described(lying)}
            for name in (*request.columns, *key_names(request.key)):
                if name not in there:
                    raise missing_column(name, request.table, list(there), where=self._where)
                if there[name].refused:
                    raise refused_column(there[name], request.table, where=self._where)
            taking = self._taking(lying, read_ledger(request.since))
            columns = [there[name] for name in request.columns]
            columns += [lost_column(name, kind) for name, kind in request.parts.absent.items()]
            yield _Read(self, columns, request.parts, taking, began_us=now_us)

    def close(self) -> None:
        """Nothing is kept open between reads."""

    def rows_of(self, drop: Drop, wanted: Sequence[SourceColumn], parts: Parts) -> Iterator[pa.RecordBatch]:
        """Every row of one file. Raises SourceRefused when it lacks a column or has it in another type."""
        there = {column.name: column for column in self._columns_of(drop)}
        asked: dict[str, SourceColumn] = {}
        for column in wanted:
            names = parts.names.get(column.name, (column.name,))
            mine = next((there[name] for name in names if name in there), None)
            if mine is None and self._format(drop) == "jsonl":
                mine = column  # what no line names is NULL
            elif mine is None and (column.name in parts.absent or column.name in parts.optional):
                continue
            if mine is None:
                raise missing_column(column.name, drop.name, list(there), where=self._where)
            if mine.refused or mine.kind != column.kind:
                why = mine.refused or f"it is {column.native} in the newest file"
                raise refused(drop, f"column {column.name!r} is {mine.native}: {why}")
            asked[column.name] = msgspec.structs.replace(column, name=mine.name)
        module = _FORMATS[self._format(drop)]
        with pin(drop, self._options):
            batches: Iterator[pa.RecordBatch] = module.rows(drop, list(asked.values()), self._options)
            yield from as_wanted(batches, wanted, list(asked))

    # --- what lies there ----------------------------------------------------------------------------------------

    def _lying(self, table: str) -> Lying:
        """The table's files, one at rest at least. Raises SourceRefused for a name that looks mistyped."""
        lying = look(self._place, table, self._clock.now_us())
        if lying.ready:
            return lying
        if lying.waiting:
            first = lying.waiting[0]
            raise SourceAway(f"no file is at rest yet: {first.waits}", mend="it is tried again", where=first.name)
        tables = self.tables()
        meant = closest(table, tables) if table not in tables else ""
        if meant:
            mend = f"did you mean {meant!r}?"
            raise SourceRefused(f"there is no file or folder {table!r}", mend=mend, where=self._where)
        ends = f" ({len(lying.passed_over)} are there that it does not read)" if lying.passed_over else ""
        mend = "leave the newest file where it is: an empty folder tells neither columns nor that it is the right one"
        raise SourceAway(f"no file of table {table!r} is there{ends}", mend=mend, where=self._where)

    def _format(self, drop: Drop) -> str:
        if self._options.format != "auto":
            return self._options.format
        found = format_of(drop.name)
        if not found and drop.name.lower().endswith(".zip"):
            with unpacked(drop, self._options.most) as (_, inside):
                found = format_of(inside)
        if not found:
            raise refused(drop, "what is in it is neither CSV, JSON Lines, Parquet nor Excel by its name")
        return found

    def _columns_of(self, drop: Drop) -> tuple[SourceColumn, ...]:
        if drop.identity not in self._columns:
            with pin(drop, self._options):
                self._columns[drop.identity] = _FORMATS[self._format(drop)].columns(drop, self._options)
        return self._columns[drop.identity]

    def _described(self, lying: Lying) -> tuple[SourceColumn, ...]:
        """The columns of the newest file; of JSON Lines, those that any of the newest files names."""
        newest = self._columns_of(lying.ready[-1])
        if self._options.mode == "increment" and self._format(lying.ready[-1]) == "jsonl":
            found = {column.name: column for column in newest}
            for drop in lying.ready[-2 : -DESCRIBED_BY - 1 : -1]:
                if self._format(drop) == "jsonl":
                    found = {column.name: column for column in self._columns_of(drop)} | found
            return tuple(found.values())
        return newest

    def _digest(self, drop: Drop) -> str:
        if drop.identity not in self._digests:
            self._digests[drop.identity] = digest(drop)
        return self._digests[drop.identity]

    def _taking(self, lying: Lying, before: Ledger) -> Taking:
        if self._options.mode == "increment":
            digests = [self._digest(drop) for drop in lying.ready]
            self._forget(lying)
            drops = tuple((lying.ready[at], digests[at]) for at in is_new(before, digests))
            return Taking(drops=drops, complete=False, lying=tuple(digests), before=before)
        chosen = self._whole(lying)
        digests = [self._digest(drop) for drop in chosen]
        self._forget(lying)
        drops = tuple((chosen[at], digests[at]) for at in is_new(Ledger(), digests))
        table = whole([Taken(file=drop.name, sha256=found, rows=0) for drop, found in drops])
        changed = table.seen != before.seen
        return Taking(drops=drops if changed else (), complete=changed, lying=tuple(digests), before=before)

    def _whole(self, lying: Lying) -> tuple[Drop, ...]:
        """The files that are the whole table."""
        if self._options.whole == "together":
            if lying.waiting:
                first = lying.waiting[0]
                are = "is" if len(lying.waiting) == 1 else "are"
                sentence = f"{len(lying.waiting)} of the files that are the table together {are} not at rest"
                raise SourceAway(f"{sentence}: {first.waits}", mend="it is tried again", where=first.name)
            return lying.ready
        if self._options.whole is None and len({self._digest(drop) for drop in lying.ready}) > 1:
            mend = "write `whole: newest` if each file is the whole table, `whole: together` if all of them are"
            raise SourceRefused(f"{len(lying.ready)} files are there, and which are the table is not said", mend=mend,
                                where=self._where)  # fmt: skip
        return lying.ready[-1:]

    def _forget(self, lying: Lying) -> None:
        """Lets go of what was known of files that are there no longer, of whichever table, when it becomes much."""
        if len(self._digests) + len(self._columns) > 4 * len(lying.ready) + 10_000:
            here = {drop.identity for drop in lying.ready}
            self._digests = {key: value for key, value in self._digests.copy().items() if key in here}
            self._columns = {key: value for key, value in self._columns.copy().items() if key in here}

    def _findings(self, lying: Lying) -> Iterator[Finding]:
        yield from file_findings(lying, self._options)
        newest = lying.ready[-1]
        if self._format(newest) != "csv":
            return
        if newest.identity not in self._dialects:
            self._dialects = {newest.identity: dialect_finding(newest, self._options)}
        found = self._dialects[newest.identity]
        if found.verdict is Verdict.FAIL and len(self._columns_of(newest)) == 1:
            raise refused(newest, found.sentence, mend=found.mend)  # else its one column would be called a lost table
        yield found


class _Read:
    """One read: the files that it takes, one after the other. A fault in one of them is a fault of the read."""

    def __init__(
        self,
        source: FilesSource,
        columns: list[SourceColumn],
        parts: Parts,
        taking: Taking,
        *,
        began_us: int,
    ) -> None:
        self.began_source_us = began_us
        self.complete = taking.complete
        self.schema: pa.Schema = arrow_schema([(column.name, column.kind) for column in columns])
        self._source = source
        self._columns = columns
        self._parts = parts
        self._taking = taking
        self._taken: list[Taken] = []

    def batches(self) -> Iterator[pa.RecordBatch]:
        for drop, found in self._taking.drops:
            rows = 0
            for batch in self._source.rows_of(drop, self._columns, self._parts):
                for at in range(0, batch.num_rows, MOST_ROWS):
                    yield batch.slice(at, MOST_ROWS)
                rows += batch.num_rows
            self._taken.append(Taken(file=drop.name, sha256=found, rows=rows))

    def cursor(self) -> str | None:
        """What was taken up to now."""
        if self._source.capabilities.incremental:
            return after(self._taking.before, self._taken, self._taking.lying).text()
        return whole(self._taken).text() if self.complete else self._taking.before.text()


def lost_column(name: str, kind: str) -> SourceColumn:
    """A column that the newest file has lost: older ones may have it."""
    return msgspec.convert({"name": name, "native": "gone", "kind": kind}, SourceColumn)


def as_wanted(
    batches: Iterator[pa.RecordBatch], wanted: Sequence[SourceColumn], there: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The batches, whose columns are `there` by their wanted names, with every wanted column: NULL where it is not."""
    import pyarrow as pa

    schema = arrow_schema([(column.name, column.kind) for column in wanted])
    for batch in batches:
        arrays = [
            batch.column(there.index(field.name)) if field.name in there else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
