"""Landing in a local folder: raw batches as Arrow streams, each with a manifest that is written last.

```
folder/schema.json
folder/customers/000000000042/part-00000-5f0c….arrow    uncompressed: lz4 made writing twice as slow
folder/customers/000000000042/manifest.json             names the files that count; without it nothing was landed
```
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.errors import Conflict, Corrupt, NotFound, StoreTooNew
from mainstay.core.ports import Manifest
from mainstay.core.records import encode
from mainstay.store.digests import CheckedFiles, DigestingSink
from mainstay.store.durable import contained, sync_folder, translated, write_whole
from mainstay.store.schema_number import compare_folder

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = 1
MANIFEST_VERSION = 1

_NUMBER = re.compile(r"\d{12}")


class LocalLanding:
    """The `Landing` of `core.ports` in a folder. One writer (the lease's owner), any number of readers.

    Args:
        folder: Made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checked = CheckedFiles()
        compare_folder(folder, SCHEMA, store="landing")

    def numbers(self, dataset: str) -> tuple[int, ...]:
        folder = self._folder / contained(dataset, what="dataset")
        with translated(folder):
            if not folder.is_dir():
                return ()
            found = [place for place in folder.iterdir() if _NUMBER.fullmatch(place.name)]
            return tuple(sorted(int(place.name) for place in found if (place / "manifest.json").is_file()))

    def manifest(self, dataset: str, number: int) -> Manifest | None:
        data = self._manifest_bytes(self._place(dataset, number))
        return None if data is None else self._decoded(data, self._place(dataset, number))

    def open(self, dataset: str, number: int) -> pa.RecordBatchReader:
        """The landed rows as a stream, batch by batch; the digest is checked before the first row."""
        import pyarrow as pa

        place = self._place(dataset, number)
        data = self._manifest_bytes(place)
        while data is not None:
            manifest = self._decoded(data, place)
            paths = [place / contained(name, what="file") for name in manifest.files]
            with translated(place):
                try:
                    self._checked.check(paths, manifest.digest)
                    first = pa.ipc.open_stream(pa.OSFile(str(paths[0]), mode="rb"))
                except FileNotFoundError as error:
                    before, data = data, self._manifest_bytes(place)
                    if data == before:
                        sentence = f"a file of batch {number} of {dataset} is gone"
                        raise Corrupt(sentence, mend="restore it from a backup", where=str(paths[0])) from error
                    continue  # Rewritten or removed between our two looks.
            if len(paths) == 1:
                return first
            return pa.RecordBatchReader.from_batches(first.schema, _chain(first, paths[1:]))
        raise NotFound(f"batch {number} of {dataset} was never landed, or its retention is over", where=str(place))

    def land(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        place = self._place(manifest.dataset, manifest.number)
        if self._manifest_bytes(place) is not None:
            raise Conflict(f"batch {manifest.number} of {manifest.dataset} is landed already", where=str(place))
        dataset = place.parent
        with translated(place):
            dataset.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self._folder)
            # What a crash left here has no manifest: it was never landed.
            _clear(place)
            place.mkdir(mode=0o700)
            try:
                landed = self._write(place, manifest, batches, None)
            except BaseException:
                _clear(place)
                raise
            sync_folder(dataset)
        return landed

    def remove(self, dataset: str, number: int) -> None:
        """Removes a batch; one that is not there is no error. The manifest goes first: half a batch is none."""
        place = self._place(dataset, number)
        with translated(place):
            if place.is_dir():
                (place / "manifest.json").unlink(missing_ok=True)
                sync_folder(place)
                _clear(place)
                sync_folder(place.parent)

    def rewrite(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        """Replaces a landed batch: readers see the old one or the new one, and no file keeps an old byte afterwards.

        `batches` may be reading the old one. A rewrite that was killed is finished by rewriting again. Raises NotFound
        when the batch was never landed.
        """
        place = self._place(manifest.dataset, manifest.number)
        previous = self._manifest_bytes(place)
        if previous is None:
            raise NotFound(f"batch {manifest.number} of {manifest.dataset} was never landed", where=str(place))
        standing = self._decoded(previous, place).files
        with translated(place):
            _keep_only(place, standing)
            try:
                landed = self._write(place, manifest, batches, previous)
            except BaseException:
                _keep_only(place, standing)
                raise
            _keep_only(place, landed.files)
            sync_folder(place)
        return landed

    def _write(
        self, place: Path, manifest: Manifest, batches: pa.RecordBatchReader, previous: bytes | None
    ) -> Manifest:
        """Writes the rows under a name that nobody has, fsyncs them, then the manifest that names them."""
        import pyarrow as pa

        name = f"part-00000-{secrets.token_hex(8)}.arrow"
        with DigestingSink(place / name) as sink:
            with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), batches.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            sink.sync()
            digest = "sha256:" + sink.whole.hexdigest()
        # The rows' name must be durable before a manifest says that they are there.
        sync_folder(place)
        landed = msgspec.structs.replace(manifest, digest=digest, files=(name,))
        write_whole(place / "manifest.json", encode(landed, previous))
        return landed

    def _place(self, dataset: str, number: int) -> Path:
        return self._folder / contained(dataset, what="dataset") / f"{number:012d}"

    def _manifest_bytes(self, place: Path) -> bytes | None:
        path = place / "manifest.json"
        with translated(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _decoded(self, data: bytes, place: Path) -> Manifest:
        path = place / "manifest.json"
        try:
            manifest = msgspec.json.decode(data, type=Manifest)
        except msgspec.DecodeError as error:
            sentence = f"the manifest cannot be read: {error}"
            raise Corrupt(sentence, mend="restore it from a backup", where=str(path)) from error
        if manifest.v > MANIFEST_VERSION:
            raise StoreTooNew(
                f"the manifest has version {manifest.v}, this version of Mainstay knows {MANIFEST_VERSION}",
                mend="install a later Mainstay (pip install --upgrade mainstay)",
                where=str(path),
            )
        return manifest


def _chain(first: pa.RecordBatchReader, rest: list[Path]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    yield from first
    for path in rest:
        yield from pa.ipc.open_stream(pa.OSFile(str(path), mode="rb"))


def _clear(place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)


def _keep_only(place: Path, names: tuple[str, ...]) -> None:
    """Removes what no manifest names: what a killed rewrite left, or what a finished one replaced."""
    for path in place.iterdir():
        if path.name not in names and path.name != "manifest.json":
            path.unlink()
