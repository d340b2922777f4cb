"""A folder that files are dropped into, and short words for reading it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mainstay.core.nouns import Guard, SourceConfig
from mainstay.core.ports import ReadRequest, Source
from mainstay.sources import open_source
from mainstay.testing.clock import FakeClock

OLD = 1_700_000_000


class Drops:
    """The folder, and one table of everything in it. Files are dropped a second after each other."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        # The kernel says when a file changed, so this clock begins now; a file is at rest when it is moved on.
        self.clock = FakeClock(time.time_ns() // 1_000)
        self.options = {"mode": "snapshot", "settle": "5s", **options}
        self.ledger: str | None = None
        self._second = 0

    def drop(self, name: str, data: bytes | str | pa.Table) -> Path:
        """Puts a file there and lets it come to rest."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        if isinstance(data, pa.Table):
            pq.write_table(data, path)
        else:
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        self._second += 1
        os.utime(path, (OLD + self._second, OLD + self._second))
        self.rest()
        return path

    def rest(self) -> None:
        """Time passes until everything that is there has been at rest for long."""
        self.clock.set_wall(time.time_ns() // 1_000 + 60_000_000)

    def open(self, guard: Guard | None = None, **options: Any) -> Source:
        given = {"path": str(self.folder), **self.options, **options}
        return open_source(SourceConfig(name="drops", kind="files", options=given, guard=guard or Guard()), self.clock)

    def read(self, *columns: str, table: str = ".", source: Source | None = None, **options: Any) -> list[Any]:
        """One read on from the last; the rows as tuples. What it gives back as the ledger is kept."""
        opened = source or self.open(**options)
        names = columns or tuple(one.name for one in opened.describe(table).columns)
        mode: Any = "increment" if opened.capabilities.incremental else "snapshot"
        request = ReadRequest(table=table, columns=names, key=names[0], mode=mode, since=self.ledger)
        with opened.read(request) as begun:
            found = [tuple(row.values()) for batch in begun.batches() for row in batch.to_pylist()]
            self.ledger, self.complete = begun.cursor(), begun.complete
        return found
