"""The first rows of each dataset, taken through the very code that `run` uses, in memory: nothing is kept.

Bounded: at most SAMPLE_ROWS rows of a dataset are looked at, in one read under the source's guard.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainstay.app.check_datasets import Sample
from mainstay.core.clock import Clock
from mainstay.core.errors import MainstayError, SourceRefused
from mainstay.core.nouns import Check, Dataset, Integration
from mainstay.core.ports import Capabilities, ReadRequest, Source, SourceHealth, SourceRead, TableInfo
from mainstay.core.verdicts import Finding
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.run import Runner
from mainstay.quality.checks import WHOLE
from mainstay.sources.guard import is_open
from mainstay.store.current import Current
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.memory import MemoryLanding, MemoryOnline, MemoryState

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 2_000


class BoundedSource:
    """A source whose every read ends after a number of rows."""

    def __init__(self, source: Source, most: int) -> None:
        self._source = source
        self._most = most
        self.capabilities: Capabilities = source.capabilities
        self.complete = True
        """Whether the last read returned all that there was."""

    def health(self) -> SourceHealth:
        return self._source.health()

    def tables(self) -> tuple[str, ...]:
        return self._source.tables()

    def describe(self, table: str) -> TableInfo:
        return self._source.describe(table)

    def read(self, request: ReadRequest) -> AbstractContextManager[SourceRead]:
        return self._read(request)

    @contextmanager
    def _read(self, request: ReadRequest) -> Iterator[SourceRead]:
        with self._source.read(request) as read:
            yield _BoundedRead(self, read, self._most)

    def close(self) -> None:
        """The source is closed by who opened it."""


class _BoundedRead:
    def __init__(self, source: BoundedSource, read: SourceRead, most: int) -> None:
        self.began_source_us = read.began_source_us
        self.schema: pa.Schema = read.schema
        self.complete: bool = read.complete
        self._source = source
        self._read = read
        self._most = most

    def batches(self) -> Iterator[pa.RecordBatch]:
        left = self._most
        for batch in self._read.batches():
            yield batch.slice(0, left)
            if batch.num_rows >= left:
                self._source.complete = False
                return
            left -= batch.num_rows
        self._source.complete = True

    def cursor(self) -> str | None:
        return self._read.cursor()


@dataclass
class Rehearsal:
    """Samples of the datasets, and a desk in memory that holds their published rows."""

    desk: Desk
    at_us: int
    """The one instant at which every feature row is evaluated."""
    samples: dict[str, Sample] = field(default_factory=dict)
    errors: dict[str, MainstayError] = field(default_factory=dict)
    """Why a dataset has no sample."""
    skipped: dict[str, str] = field(default_factory=dict)
    """The same, where it was not tried."""


@contextmanager
def rehearse(
    integration: Integration, sources: Mapping[str, Source], wanted: tuple[str, ...], clock: Clock
) -> Iterator[Rehearsal]:
    """Reads, cleans, judges and publishes a sample of each wanted dataset, in memory.

    Args:
        integration: The file.
        sources: Those that answered, by name.
        wanted: Datasets whose table and columns are there.
        clock: Ours.
    """
    softened = {name: soft(dataset) for name, dataset in integration.datasets.items()}
    current = Current(None)
    try:
        with tempfile.TemporaryDirectory(prefix="mainstay-check-") as folder:
            desk = Desk(
                integration=msgspec.structs.replace(integration, datasets=softened),
                state=MemoryState(),
                online=MemoryOnline(),
                landing=MemoryLanding(),
                current=current,
                history=DeltaHistory(Path(folder) / "history"),
                sources={name: BoundedSource(source, SAMPLE_ROWS) for name, source in sources.items()},
                plans=Path(folder) / "plans",
                clock=clock,
                token=1,
                secret=b"",
            )
            done = Rehearsal(desk, clock.now_us())
            for name in wanted:
                _sample(done, softened[name])
            yield done
    finally:
        current.close()


def soft(dataset: Dataset) -> Dataset:
    """The dataset with nothing that blocks, so that the good rows of a bad batch can be looked at further."""

    def softer(check: Check) -> Check:
        check = msgspec.structs.replace(check, max_share=None)  # told by the sample's own numbers
        if check.on_fail != "block":
            return check
        return msgspec.structs.replace(check, on_fail="warn" if check.kind in WHOLE else "quarantine")

    # A sample of another dataset does not tell which keys or rates there are, and one of this how it is distributed.
    checks = [
        softer(one) for one in dataset.checks if one.kind not in ("references", "currency", "volume", "distribution")
    ]
    duplicates = dataset.duplicates
    if duplicates.on_fail == "block":
        duplicates = msgspec.structs.replace(duplicates, on_fail="quarantine")
    return msgspec.structs.replace(dataset, checks=tuple(checks), duplicates=duplicates)


def _sample(done: Rehearsal, dataset: Dataset) -> None:
    import duckdb

    desk, name = done.desk, dataset.name
    guard = desk.integration.sources[dataset.source].guard
    now = desk.clock.now_us()
    for hours in (guard.allowed_hours, guard.backfill_hours):  # the first read is a full one
        if not is_open(hours, now):
            done.skipped[name] = f"the guard allows it {hours} only"
            return
    try:
        result = Runner(desk, dataset).run()
    except MainstayError as error:
        done.errors[name] = error
        return
    except duckdb.Error as error:
        # DuckDB's sentence may quote a value.
        done.errors[name] = SourceRefused(f"the rows could not be judged ({type(error).__name__})")
        return
    source = desk.sources[dataset.source]
    done.samples[name] = Sample(
        rows=result.read,
        complete=isinstance(source, BoundedSource) and source.complete,
        findings=tuple(one for one in result.findings if isinstance(one, Finding)),
        superseded=result.superseded,
        newest_us=desk.dataset_state(name).newest_us,
    )
