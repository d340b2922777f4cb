from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mainstay.core.errors import Corrupt, NotFound, StoreFull, StoreTooNew
from mainstay.core.ids import digest_bytes
from mainstay.store.artifacts_local import LocalArtifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> LocalArtifacts:
    return LocalArtifacts(tmp_path / "artifacts")


def test_bytes_and_files_are_kept_by_digest(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "model.onnx").write_bytes(data)
    digest = artifacts.put(tmp_path / "model.onnx")
    assert digest == digest_bytes(data) == artifacts.put(data)
    path = artifacts.path(digest)
    assert path.read_bytes() == data
    assert path.parts[-3:] == ("sha256", digest[7:9], digest[9:])
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert (tmp_path / "model.onnx").exists()
    left = {path.name for path in (tmp_path / "artifacts").iterdir()}
    assert left == {"schema.json", "sha256"}, "no copy is left beside"


def test_an_empty_artifact_is_an_artifact(artifacts: LocalArtifacts) -> None:
    assert artifacts.path(artifacts.put(b"")).read_bytes() == b""


def test_putting_again_leaves_the_file_alone(artifacts: LocalArtifacts) -> None:
    path = artifacts.path(artifacts.put(b"model"))
    before = path.stat().st_ino
    artifacts.put(b"model")
    assert path.stat().st_ino == before


def test_a_wrong_digest_is_refused_and_mended_by_putting_again(artifacts: LocalArtifacts) -> None:
    digest = artifacts.put(b"model")
    path = artifacts.path(digest)
    for _ in range(3):
        path.chmod(0o644)
        path.write_bytes(b"mOdel")
        with pytest.raises(Corrupt, match="written down") as caught:
            artifacts.path(digest)
        assert caught.value.where == str(path)
        assert artifacts.put(b"model") == digest
        assert artifacts.path(digest).read_bytes() == b"model"


def test_a_file_at_rest_is_not_hashed_again(artifacts: LocalArtifacts) -> None:
    digest = artifacts.put(b"model")
    path = artifacts.path(digest)
    assert artifacts._checked._right == {}, "too young to be believed"
    artifacts._checked._clock = Later()
    artifacts.path(digest)
    assert list(artifacts._checked._right) == [(str(path),)]
    path.chmod(0o644)
    path.write_bytes(b"other")
    os.utime(path, ns=(path.stat().st_atime_ns, 0))
    with pytest.raises(Corrupt):
        artifacts.path(digest)


class Later:
    """A clock that is far ahead of the file system's."""

    def now_us(self) -> int:
        return 1 << 60

    def monotonic_us(self) -> int:
        return 0


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 64, "a" * 64]
)
def test_what_is_no_digest_is_not_found(digest: str, artifacts: LocalArtifacts) -> None:
    with pytest.raises(NotFound, match="is not a digest"):
        artifacts.path(digest)


def test_what_is_not_there_is_not_found(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no artifact has digest"):
        artifacts.path("sha256:" + "a" * 64)
    with pytest.raises(NotFound, match="no such file"):
        artifacts.put(tmp_path / "nothing.onnx")


def test_a_full_disk_keeps_nothing_of_it(small_disk: Path) -> None:
    artifacts = LocalArtifacts(small_disk / "artifacts")
    kept = artifacts.put(b"small")
    with pytest.raises(StoreFull):
        artifacts.put(os.urandom(2 << 20))
    assert artifacts.path(kept).read_bytes() == b"small"
    files = [path for path in (small_disk / "artifacts").rglob("*") if path.is_file()]
    assert len(files) == 2, "the number and what was kept before"


def test_a_later_folder_is_refused(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "schema.json").write_text('{"schema":9}')
    with pytest.raises(StoreTooNew, match=r"schema 9, .* schema 1"):
        LocalArtifacts(tmp_path / "artifacts")
