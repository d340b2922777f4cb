"""What is packed, long or large: refused beyond what is allowed, and read without being held whole."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainstay.core.errors import SourceRefused
from mainstay.core.ports import ReadRequest
from tests.sources.drops import Drops


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    return Drops(tmp_path / "drops")


@pytest.mark.parametrize("kind", ["csv.gz", "zip", "xlsx", "parquet"])
def test_what_unpacks_to_more_than_is_allowed_is_refused(drops: Drops, kind: str) -> None:
    text = b"id\n" + b"0\n" * 3_000_000
    packed = io.BytesIO()
    if kind == "csv.gz":
        packed.write(gzip.compress(text))
    elif kind == "parquet":
        made = pa.table({"id": pa.array([0] * 3_000_000)})
        pq.write_table(made, packed, use_dictionary=False, compression="zstd")
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("xl/workbook.xml" if kind == "xlsx" else "a.csv", text)
    assert len(packed.getvalue()) < 200_000
    drops.drop(f"a.{kind}", packed.getvalue())
    with pytest.raises(SourceRefused, match="unpacks to more than 4 MB"):
        drops.read("id", unpacked_most_mb=4)


def test_an_excel_file_with_more_text_than_is_held_is_refused(drops: Drops) -> None:
    with (
        zipfile.ZipFile(drops.folder / "a.xlsx", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("xl/sharedStrings.xml", "w", force_zip64=True) as texts,
    ):
        for _ in range(257):
            texts.write(b" " * 2**20)
    drops.rest()
    with pytest.raises(SourceRefused, match="texts unpack to more than 256 MB"):
        drops.read("id")


def test_a_zip_that_lies_about_its_size_is_refused_as_damaged(drops: Drops) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"id\n" + b"0\n" * 3_000_000)
    lying = packed.getvalue().replace((6_000_003).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    assert lying != packed.getvalue()
    drops.drop("a.zip", lying)
    with pytest.raises(SourceRefused, match="damaged"):
        drops.read("id", unpacked_most_mb=4)


def test_a_zip_of_several_files_is_refused(drops: Drops) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "id\n1\n")
        archive.writestr("b.csv", "id\n1\n")
    drops.drop("a.zip", packed.getvalue())
    with pytest.raises(SourceRefused, match="2 files"):
        drops.read("id")
    assert sorted(path.name for path in drops.folder.parent.iterdir()) == ["drops"]


@pytest.mark.parametrize("name", ["../../a.csv", "/etc/a.csv", "in/../../a.csv", "..\\a.csv", "a.csv"])
def test_a_zip_with_a_link_or_a_path_that_leads_out_is_refused(drops: Drops, name: str) -> None:
    packed = io.BytesIO()
    member = zipfile.ZipInfo(name)
    kind = stat.S_IFLNK if name == "a.csv" else stat.S_IFREG
    member.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, "id\n1\n")
    drops.drop("a.zip", packed.getvalue())
    with pytest.raises(SourceRefused, match="is a link, or its path leads out of the archive"):
        drops.read("id")
    assert sorted(path.name for path in drops.folder.parent.iterdir()) == ["drops"]


def test_a_large_file_comes_in_bounded_memory(drops: Drops) -> None:
    drops.drop("a.csv.gz", gzip.compress(b"id,note\n" + b"".join(b"%d,some text\n" % at for at in range(1_000_000))))
    drops.drop("b.jsonl", b"".join(b'{"id": %d, "note": "some text"}\n' % at for at in range(300_000)))
    for name, wanted in (("a.csv.gz", 1_000_000), ("b.jsonl", 300_000)):
        before, most, rows = pa.total_allocated_bytes(), 0, 0
        request = ReadRequest(table=name, columns=("id", "note"), key="id", mode="snapshot")
        with drops.open().read(request) as read:
            for batch in read.batches():
                assert batch.num_rows <= 65_536
                rows += batch.num_rows
                most = max(most, pa.total_allocated_bytes() - before)
        assert rows == wanted
        assert most < 96 * 1024 * 1024


@pytest.mark.parametrize("written", ["each", "once"])
def test_long_texts_in_parquet_come_in_bounded_memory(drops: Drops, written: str) -> None:
    if written == "each":
        texts: Any = pa.array([f"{at:06}" * 10_000 for at in range(2_000)])
        pq.write_table(pa.table({"id": range(2_000), "text": texts}), drops.folder / "a.parquet", use_dictionary=False)
    else:
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["x" * 60_000]))
        drops.drop("a.parquet", pa.table({"id": range(2_000), "text": texts}))
    texts = None
    drops.rest()
    request = ReadRequest(table=".", columns=("id", "text"), key="id", mode="snapshot")
    before, rows, most = pa.total_allocated_bytes(), 0, 0
    with drops.open().read(request) as read:
        for batch in read.batches():
            rows += batch.num_rows
            most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 2_000
    assert most < 96 * 1024 * 1024


def test_a_text_that_parquet_holds_once_counts_in_every_row(drops: Drops) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array(["x" * 1_000]))
    drops.drop("a.parquet", pa.table({"text": texts}))
    assert (drops.folder / "a.parquet").stat().st_size < 10_000
    with pytest.raises(SourceRefused, match="unpacks to more than 4 MB"):
        drops.read("text", unpacked_most_mb=4)
    assert len(drops.read("text", unpacked_most_mb=16)) == 10_000
