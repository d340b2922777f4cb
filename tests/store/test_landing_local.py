from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from mainstay.core.errors import Corrupt, StoreFull, StoreOld, StoreTooNew
from mainstay.core.ports import Manifest
from mainstay.store.landing_local import LocalLanding
from mainstay.testing.landing_suite import batch_manifest, batch_rows, rows_of


def place(folder: Path) -> Path:
    return folder / "customers" / "000000000001"


def test_the_digest_is_over_the_files_bytes(tmp_path: Path) -> None:
    landed = LocalLanding(tmp_path).land(batch_manifest(), batch_rows([(1, "a")], [(2, "b")]))
    data = b"".join((place(tmp_path) / name).read_bytes() for name in landed.files)
    assert landed.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert msgspec.json.decode((place(tmp_path) / "manifest.json").read_bytes(), type=Manifest) == landed


@pytest.mark.parametrize("damage", ["flip", "cut", "lengthen", "remove"])
def test_a_damaged_batch_is_refused_by_name_before_the_first_row(damage: str, tmp_path: Path) -> None:
    landing = LocalLanding(tmp_path)
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")], [(2, "b")]))
    assert len(rows_of(landing, "customers", 1)) == 2
    path = place(tmp_path) / landed.files[0]
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data + b"x")
    for handle in (landing, LocalLanding(tmp_path)):
        with pytest.raises(Corrupt) as caught:
            handle.open("customers", 1)
        assert caught.value.where == str(path)


def test_a_batch_of_several_files_is_one_stream(tmp_path: Path) -> None:
    landing = LocalLanding(tmp_path)
    one = landing.land(batch_manifest(1), batch_rows([(1, "a")]))
    two = landing.land(batch_manifest(2), batch_rows([(2, "b")]))
    other = tmp_path / "customers" / "000000000002" / two.files[0]
    shutil.copy(other, place(tmp_path) / "part-00001.arrow")
    data = (place(tmp_path) / one.files[0]).read_bytes() + other.read_bytes()
    both = msgspec.structs.replace(
        one, files=(*one.files, "part-00001.arrow"), digest="sha256:" + hashlib.sha256(data).hexdigest()
    )
    (place(tmp_path) / "manifest.json").write_bytes(msgspec.json.encode(both))
    assert rows_of(landing, "customers", 1) == [(1, "a"), (2, "b")]


def test_what_a_crash_left_was_never_landed_and_is_replaced(tmp_path: Path) -> None:
    landing = LocalLanding(tmp_path)
    place(tmp_path).mkdir(parents=True)
    (place(tmp_path) / "part-00000-aa.arrow").write_bytes(b"half a batch")
    (place(tmp_path) / ".manifest.json.0011.tmp").write_bytes(b"{")
    assert landing.numbers("customers") == ()
    assert landing.manifest("customers", 1) is None
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")]))
    assert {path.name for path in place(tmp_path).iterdir()} == {"manifest.json", *landed.files}


def test_a_full_disk_lands_nothing_and_leaves_nothing(small_disk: Path) -> None:
    landing = LocalLanding(small_disk)
    landing.land(batch_manifest(7), batch_rows([(1, "a")]))
    rows: list[tuple[int, str | None]] = [(number, "x" * 100) for number in range(2000)]
    with pytest.raises(StoreFull) as caught:
        landing.land(batch_manifest(), batch_rows(*[rows] * 30))
    assert caught.value.transient
    assert caught.value.mend
    assert landing.numbers("customers") == (7,)
    assert not place(small_disk).exists()
    landing.land(batch_manifest(), batch_rows([(1, "a")]))
    assert rows_of(landing, "customers", 1) == [(1, "a")]


def test_a_full_disk_leaves_the_batch_that_was_to_be_rewritten(small_disk: Path) -> None:
    landing = LocalLanding(small_disk)
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")]))
    rows: list[tuple[int, str | None]] = [(number, "x" * 100) for number in range(2000)]
    with pytest.raises(StoreFull):
        landing.rewrite(landed, batch_rows(*[rows] * 30))
    assert landing.manifest("customers", 1) == landed
    assert rows_of(landing, "customers", 1) == [(1, "a")]
    assert {path.name for path in place(small_disk).iterdir()} == {"manifest.json", *landed.files}


@pytest.mark.promise(8)
def test_a_rewrite_removes_every_old_byte_and_keeps_unknown_fields(tmp_path: Path) -> None:
    landing = LocalLanding(tmp_path)
    landed = landing.land(batch_manifest(), batch_rows([(1, "the person")]))
    path = place(tmp_path) / "manifest.json"
    path.write_bytes(path.read_bytes()[:-1] + b',"from_later":[1]}')
    (place(tmp_path) / "part-00000-left-by-a-killed-rewrite.arrow").write_bytes(b"the person")
    rewritten = landing.rewrite(landed, batch_rows([(1, "nobody")]))
    assert all(b"the person" not in file.read_bytes() for file in place(tmp_path).iterdir())
    assert {file.name for file in place(tmp_path).iterdir()} == {"manifest.json", *rewritten.files}
    assert msgspec.json.decode(path.read_bytes())["from_later"] == [1]


def test_rows_are_read_and_written_batch_by_batch(tmp_path: Path) -> None:
    """A hundred batches pass through while never more than a few are in memory."""
    batch = pa.record_batch({"id": pa.array(range(50_000), pa.int64())})

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(100):
            yield batch

    landing = LocalLanding(tmp_path)
    before = pa.total_allocated_bytes()
    landing.land(batch_manifest(), pa.RecordBatchReader.from_batches(batch.schema, batches()))
    most = 0
    for read in landing.open("customers", 1):
        assert read.num_rows == 50_000
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 10 * batch.nbytes


@pytest.mark.promise(8)
@pytest.mark.parametrize(("number", "error"), [(2, StoreTooNew), (0, StoreOld)])
def test_another_versions_folder_is_refused(number: int, error: type[Exception], tmp_path: Path) -> None:
    LocalLanding(tmp_path)
    (tmp_path / "schema.json").write_text(f'{{"schema":{number}}}')
    with pytest.raises(error, match=f"schema {number}, .* schema 1"):
        LocalLanding(tmp_path)


def test_a_later_manifest_is_refused_and_a_broken_one_is_corrupt(tmp_path: Path) -> None:
    landing = LocalLanding(tmp_path)
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")]))
    path = place(tmp_path) / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(landed, v=2)))
    with pytest.raises(StoreTooNew, match="version 2"):
        landing.open("customers", 1)
    path.write_bytes(b"{}")
    with pytest.raises(Corrupt, match="manifest cannot be read") as caught:
        landing.manifest("customers", 1)
    assert caught.value.where == str(path)
