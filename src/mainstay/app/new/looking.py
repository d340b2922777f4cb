"""Looking at a database that nobody has described: its tables, and a bounded number of rows, under the guard.

Everything is read by the same read-only sessions that the integration will use, one read a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mainstay.app.check_sample import BoundedSource
from mainstay.core.clock import Clock
from mainstay.core.counts import counted
from mainstay.core.errors import Refused, SourceRefused
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import ReadRequest, Source, SourceHealth, TableInfo
from mainstay.core.sql import identifier
from mainstay.quality.profile import ColumnProfile, profile
from mainstay.sources import open_source

SAMPLE_ROWS = 50_000
MOST_TABLES = 300
"""Tables of which the columns are asked; a database with more wants `--table`."""
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What `--from` meant."""

    kind: str
    option: str
    """The option of the kind that holds the address: `url` or `path`."""
    value: str
    """With its secrets; never shown."""
    placeholder: str = ""
    """`${VAR}`, where the address was given so; then the file gets it so too."""
    name: str = ""
    """What the source is called where nobody says."""
    table: str = ""
    """The table, where the address is that of one file."""
    more: dict[str, object] = {}
    """Further options of the kind, which the file will say too."""

    def __repr__(self) -> str:
        return f"Address(kind={self.kind!r}, name={self.name!r})"  # the value may hold a password


def address(text: str, environment: Mapping[str, str]) -> Address:
    """What a person typed behind `--from`. Raises Refused for what is no address of a known kind."""
    asked = _PLACEHOLDER.fullmatch(text)
    value = text
    if asked:
        value = environment.get(asked[1], "")
        if not value:
            raise Refused(
                f"there is no variable {asked[1]} in the environment", mend=f"export {asked[1]}=postgresql://..."
            )
    placeholder = text if asked else ""
    if re.match(r"postgres(ql)?://", value):
        database = re.sub(r"[?#].*", "", value).rsplit("/", 1)[-1]
        return Address(kind="postgres", option="url", value=value, placeholder=placeholder, name=database)
    path = Path(re.sub(r"^sqlite:(//)?(?=/|[^/])", "", value)).expanduser()
    if path.is_file() and _is_sqlite(path):
        return Address(
            kind="sqlite", option="path", value=str(path.absolute()), placeholder=placeholder, name=path.stem
        )
    if path.exists() and not value.startswith("sqlite:"):
        folder = path if path.is_dir() else path.parent
        whole: dict[str, object] = {"mode": "snapshot", "whole": "newest"}
        return Address(
            kind="files", option="path", value=str(folder.absolute()), placeholder=placeholder if path.is_dir() else "",
            name=folder.absolute().name, table="" if path.is_dir() else path.name, more=whole,
        )  # fmt: skip
    mend = "give postgresql://user@host/database, the path of a SQLite file, or a folder of CSV, Parquet or Excel files"
    if path.is_file():
        raise Refused(f"{path} is no SQLite file", mend=mend)
    if value.startswith("sqlite:") or (value and "://" not in value):
        raise Refused(f"there is no file {path}", mend=mend)
    raise Refused(f"there is no source for {value.split('://', 1)[0]}://", mend=mend)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


@dataclass
class Look:
    """A source that is open, and what was asked of it so far."""

    at: Address
    clock: Clock
    source: Source
    health: SourceHealth
    names: tuple[str, ...]
    """Its tables and views."""
    tables: dict[str, TableInfo] = field(default_factory=dict)
    seen: dict[str, dict[str, ColumnProfile]] = field(default_factory=dict)
    """Table -> column -> what stands in it."""
    complete: dict[str, bool] = field(default_factory=dict)
    """Table -> whether all of its rows were looked at."""

    def describe(self, table: str) -> TableInfo:
        """The table's columns and keys, asked once."""
        if table not in self.tables:
            self.tables[table] = self.source.describe(table)
        return self.tables[table]

    def describe_all(self) -> None:
        """Every table's columns, where there are not too many."""
        for name in self.names[:MOST_TABLES]:
            with suppress(SourceRefused):  # a file in another dialect; it is looked at when it is chosen
                self.describe(name)

    def pin(self, table: str) -> None:
        """Of a folder of files: reads them from now on as the table's newest looks to be written."""
        from mainstay.sources.files import FilesSource

        if not isinstance(self.source, FilesSource):
            return
        self.at = msgspec.structs.replace(self.at, more={**self.at.more, **self.source.pinned(table)})
        self.source.close()
        self.source = _opened(self.at, self.clock)
        self.tables.clear()
        self.seen.clear()

    def look(self, table: str, say: Callable[[str], None] = lambda _line: None) -> dict[str, ColumnProfile]:
        """What stands in the table's columns: its first SAMPLE_ROWS rows, read once."""
        if table in self.seen:
            return self.seen[table]
        import duckdb

        info = self.describe(table)
        readable = [column for column in info.columns if not column.refused]
        if not readable:
            raise Refused(f"no column of {table} can be read exactly", mend="choose another table: --table NAME")
        names = tuple(column.name for column in readable)
        bounded = BoundedSource(self.source, SAMPLE_ROWS)
        rows = 0
        with duckdb.connect() as connection:
            connection.execute("SET threads = 2; SET enable_progress_bar = false")
            with bounded.read(ReadRequest(table=table, columns=names, key=names[0], mode="snapshot")) as read:
                empty = read.schema.empty_table()
                connection.register("empty", empty)
                connection.execute("CREATE TABLE sample AS SELECT * FROM empty")
                for batch in read.batches():
                    connection.register("chunk", batch)
                    connection.execute("INSERT INTO sample SELECT * FROM chunk")
                    connection.unregister("chunk")
                    rows += batch.num_rows
                    say(f"{counted(rows, 'row')} of {table}")
            natives = connection.execute("SELECT column_name, column_type FROM (DESCRIBE sample)").fetchall()
            described = [(str(name), str(native)) for name, native in natives]
            found = profile(lambda sql: connection.execute(sql).fetchall(), identifier("sample"), described)
        self.complete[table] = bounded.complete
        self.seen[table] = {one.name: one for one in found}
        return self.seen[table]


def open_look(at: Address, clock: Clock) -> Look:
    """Connects and lists the tables. Raises SourceAway or SourceRefused, without the password."""
    source = _opened(at, clock)
    try:
        health = source.health()
        names = source.tables()
    except BaseException:
        source.close()
        raise
    return Look(at=at, clock=clock, source=source, health=health, names=names)


def _opened(at: Address, clock: Clock) -> Source:
    options: dict[str, object] = {at.option: at.value, **at.more}
    if at.kind == "files":
        options["settle"] = "0s"  # who names a file says that it is there
    return open_source(SourceConfig(name=at.name or "source", kind=at.kind, options=options), clock)
