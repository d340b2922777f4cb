"""Artifacts in a local folder: `sha256/ab/cdef…`, read-only, checked before use."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from mainstay.core.errors import Corrupt, NotFound
from mainstay.store.digests import CHUNK, CheckedFiles, DigestingSink
from mainstay.store.durable import beside, sync_folder, translated
from mainstay.store.schema_number import compare_folder

SCHEMA = 1

_DIGEST = re.compile(r"sha256:([0-9a-f]{2})([0-9a-f]{62})")


class LocalArtifacts:
    """The `Artifacts` of `core.ports` in a folder. Any number of processes may read and write.

    Args:
        folder: Made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checked = CheckedFiles()
        compare_folder(folder, SCHEMA, store="artifacts")

    def put(self, data: bytes | Path) -> str:
        """Stores and fsyncs; returns `sha256:...`. A file is copied in pieces. A damaged copy is replaced.

        Raises NotFound when the file to store is not there, StoreFull when there is no room.
        """
        # The digest is the name, and known only at the end: so the copy is made beside and moved.
        made = beside(self._folder / "artifact")
        with translated(self._folder):
            try:
                digest = _copy(data, made)
                place = self._place(digest)
                if not self._stands(digest):
                    for folder in (place.parent.parent, place.parent):
                        if not folder.exists():
                            folder.mkdir(mode=0o700, exist_ok=True)
                            sync_folder(folder.parent)
                    made.chmod(0o444)
                    made.replace(place)
                    sync_folder(place.parent)
            finally:
                made.unlink(missing_ok=True)
        return digest

    def path(self, digest: str) -> Path:
        place = self._place(digest)
        with translated(place):
            try:
                self._checked.check([place], digest)
            except FileNotFoundError:
                raise NotFound(f"no artifact has digest {digest}", where=str(self._folder)) from None
        return place

    def _place(self, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise NotFound(f"{digest[:100]!r} is not a digest", mend="a digest is sha256: and 64 hexadecimal digits")
        return self._folder / "sha256" / match[1] / match[2]

    def _stands(self, digest: str) -> bool:
        try:
            self.path(digest)
        except (NotFound, Corrupt):
            return False
        return True


def _copy(data: bytes | Path, made: Path) -> str:
    if isinstance(data, Path) and not data.is_file():
        raise NotFound("there is no such file to store", where=str(data))
    with DigestingSink(made) as sink, BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
        while piece := file.read(CHUNK):
            sink.write(piece)
        sink.sync()
        return "sha256:" + str(sink.whole.hexdigest())
