"""State, online and landing in this process's memory: for tests, notebooks and plug-in authors.

They pass the conformance suites that the durable ones pass, and lose everything with the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.errors import Conflict, NotFound
from mainstay.core.ids import digest_bytes
from mainstay.core.ports import Manifest, OnlineRow, PackedRow, Versioned, Write
from mainstay.store.durable import contained
from mainstay.store.sqlite_file import fenced
from mainstay.store.state_sqlite import conflict

if TYPE_CHECKING:
    import pyarrow as pa

_unpack = msgspec.msgpack.Decoder(OnlineRow).decode


class _Fence:
    """The highest lease token seen. Asked under its store's lock."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._highest = 0

    def check(self, token: int) -> None:
        if token < self._highest:
            raise fenced(token, self._highest, self._store)

    def move(self, token: int) -> None:
        self.check(token)
        self._highest = token


class MemoryState:
    """The `State` of `core.ports`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], Versioned] = {}
        self._fence = _Fence("state in memory")
        self._commits = 0

    def get(self, space: str, name: str) -> Versioned | None:
        return self._records.get((space, name))

    def scan(self, space: str, prefix: str = "") -> tuple[Versioned, ...]:
        with self._lock:
            found = [record for record in self._records.values() if record.space == space]
        return tuple(sorted((each for each in found if each.name.startswith(prefix)), key=lambda each: each.name))

    def changed(self) -> int:
        return self._commits

    def commit(self, writes: Sequence[Write], *, token: int | None = None) -> None:
        with self._lock:
            if token is not None:
                self._fence.check(token)
            records = dict(self._records)
            for write in writes:
                place = (write.space, write.name)
                standing = records.get(place)
                version = 0 if standing is None else standing.version
                if write.expect is not None and write.expect != version:
                    raise conflict(write, version)
                if write.body is None:
                    records.pop(place, None)
                else:
                    records[place] = Versioned(space=write.space, name=write.name, version=version + 1, body=write.body)
            if token is not None:
                self._fence.move(token)
            self._records = records
            self._commits += 1

    def scrub(self) -> None:
        """Nothing is kept of what was removed."""

    def close(self) -> None:
        """Nothing to close: whoever holds the object holds the records."""


class MemoryOnline:
    """The `Online` of `core.ports`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sets: dict[str, dict[str, OnlineRow]] = {}
        self._fence = _Fence("online in memory")
        self._changes = 0

    def get(self, feature_set: str, key: str) -> OnlineRow | None:
        return self._sets.get(feature_set, {}).get(key)

    def get_many(self, feature_set: str, keys: Sequence[str]) -> dict[str, OnlineRow]:
        rows = self._sets.get(feature_set, {})
        return {key: rows[key] for key in keys if key in rows}

    def changed(self) -> int:
        return self._changes

    def count(self, feature_set: str) -> int:
        return len(self._sets.get(feature_set, {}))

    def keys(self, feature_set: str) -> Iterator[str]:
        with self._lock:
            return iter(sorted(self._sets.get(feature_set, {})))

    def put(self, feature_set: str, rows: Iterable[OnlineRow], *, token: int) -> int:
        given = list(rows)
        with self._lock:
            self._fence.move(token)
            self._changes += 1
            standing = self._sets.setdefault(feature_set, {})
            written = 0
            for row in given:
                old = standing.get(row.key)
                if old is None or row.plan >= old.plan:
                    standing[row.key] = row
                    written += 1
            return written

    def put_packed(self, feature_set: str, rows: Iterable[PackedRow], *, token: int) -> int:
        return self.put(feature_set, (_unpack(packed) for _, _, packed in rows), token=token)

    def remove(self, feature_set: str, keys: Iterable[str], *, plan: int, token: int) -> int:
        given = list(keys)
        with self._lock:
            self._fence.move(token)
            standing = self._sets.get(feature_set, {})
            going = {key for key in given if key in standing and standing[key].plan <= plan}
            self._changes += 1
            for key in going:
                del standing[key]
            return len(going)

    def prune(self, feature_set: str, *, below: int, token: int) -> int:
        with self._lock:
            self._fence.move(token)
            standing = self._sets.get(feature_set, {})
            going = [key for key, row in standing.items() if row.plan < below]
            self._changes += 1
            for key in going:
                del standing[key]
            return len(going)

    def drop(self, feature_set: str, *, token: int) -> None:
        with self._lock:
            self._fence.move(token)
            self._changes += 1
            self._sets.pop(feature_set, None)

    def scrub(self) -> None:
        """Nothing is kept of what was removed."""

    def close(self) -> None:
        """Nothing to close: whoever holds the object holds the rows."""


class MemoryLanding:
    """The `Landing` of `core.ports`; batches are kept as Arrow streams. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: dict[str, dict[int, tuple[Manifest, bytes]]] = {}

    def numbers(self, dataset: str) -> tuple[int, ...]:
        contained(dataset, what="dataset")
        with self._lock:
            return tuple(sorted(self._batches.get(dataset, {})))

    def manifest(self, dataset: str, number: int) -> Manifest | None:
        found = self._found(dataset, number)
        return None if found is None else found[0]

    def open(self, dataset: str, number: int) -> pa.RecordBatchReader:
        import pyarrow as pa

        found = self._found(dataset, number)
        if found is None:
            raise NotFound(f"batch {number} of {dataset} was never landed, or its retention is over")
        return pa.ipc.open_stream(found[1])

    def land(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        if self._found(manifest.dataset, manifest.number) is not None:
            raise Conflict(f"batch {manifest.number} of {manifest.dataset} is landed already")
        return self._keep(manifest, batches)

    def remove(self, dataset: str, number: int) -> None:
        with self._lock:
            self._batches.get(contained(dataset, what="dataset"), {}).pop(number, None)

    def rewrite(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        if self._found(manifest.dataset, manifest.number) is None:
            raise NotFound(f"batch {manifest.number} of {manifest.dataset} was never landed")
        return self._keep(manifest, batches)

    def _found(self, dataset: str, number: int) -> tuple[Manifest, bytes] | None:
        return self._batches.get(contained(dataset, what="dataset"), {}).get(number)

    def _keep(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        data: bytes = sink.getvalue().to_pybytes()
        landed = msgspec.structs.replace(manifest, digest=digest_bytes(data), files=("part-00000.arrow",))
        with self._lock:
            self._batches.setdefault(manifest.dataset, {})[manifest.number] = (landed, data)
        return landed
