"""Every format, dialect, encoding and compression that the files source reads: golden files, written here."""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import gzip
import io
import json
import math
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.sources.files_bytes import CHUNK
from mainstay.sources.files_csv import BLOCK
from tests.sources.drops import Drops

ROWS = [("1", "Größe", "1.234,50"), ("2", "a;b\tc|d,e", "0,1"), ("3", 'say "so"\r\nand\nso', "-7")]
HEADER = ("id", "note", "price")


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    return Drops(tmp_path / "drops")


def csv_text(rows: Any, header: Any = HEADER, **dialect: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, **dialect)
    writer.writerows([header, *rows] if header else rows)
    return text.getvalue()


# --- CSV: dialects, encodings, compressions --------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
def test_each_delimiter_in_each_encoding_gives_the_same_text(drops: Drops, delimiter: str, encoding: str) -> None:
    drops.drop("a.csv", csv_text(ROWS, delimiter=delimiter).encode(encoding))
    assert drops.read(delimiter=delimiter, encoding=encoding) == ROWS


@pytest.mark.parametrize(
    "lines",
    ["\r\n", "\n", "\r"],
)
def test_each_line_end_is_read_and_the_last_may_be_missing(drops: Drops, lines: str) -> None:
    drops.drop("a.csv", lines.join(["id,note", "1,a", "2,b"]))
    assert drops.read() == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_empty_lines_are_passed_over_wherever_they_stand(drops: Drops, line: str) -> None:
    drops.drop("a.csv", f"{line}{line}id,name{line}{line}1,x{line}{line}2,y{line}{line}")
    assert drops.read("id", "name") == [("1", "x"), ("2", "y")]
    drops.ledger = None
    assert drops.read("column_1", header=False) == [("id",), ("1",), ("2",)]


def test_an_unquoted_empty_field_is_null_and_a_quoted_one_is_the_empty_string(drops: Drops) -> None:
    drops.drop("a.csv", 'id,note\n1,\n2,""\n3,NULL\n,x\n\n')
    assert drops.read() == [("1", None), ("2", ""), ("3", "NULL"), (None, "x")]


def test_other_quotes_escapes_and_no_header(drops: Drops) -> None:
    drops.drop("a.csv", "1;'it''s; so'\n2;plain \"inches\"\n")
    assert drops.read(delimiter=";", quote="'", header=False) == [("1", "it's; so"), ("2", 'plain "inches"')]
    drops.drop("a.csv", '1,12" wide\n')
    assert drops.read(quote="", header=False) == [("1", '12" wide')]
    drops.drop("a.csv", 'id,note\n1,"say \\"so\\", he said"\n')
    assert drops.read(escape="\\") == [("1", 'say "so", he said')]


def test_a_header_may_hold_anything_and_tsv_is_parted_by_tabs(drops: Drops) -> None:
    drops.drop("a.tsv", '"two\nlines"\tGröße\t a \n1\t2\t3\n')
    assert [one.name for one in drops.open().describe("a.tsv").columns] == ["two\nlines", "Größe", " a "]
    assert drops.read("two\nlines", " a ") == [("1", "3")]
    drops.drop("a.tsv", "a\tb\ta\n1\t2\t3\n")
    assert drops.read("b") == [("2",)]
    with pytest.raises(SourceRefused, match="more than once"):
        drops.read("a", "b")


def test_a_header_without_rows_is_an_empty_table_and_an_empty_file_is_none(drops: Drops) -> None:
    drops.drop("a.csv", "id,note\n")
    assert drops.read() == []
    assert drops.complete
    drops.drop("a.csv", "")
    with pytest.raises(SourceRefused, match="empty"):
        drops.read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_each_compression_of_text(drops: Drops, encoding: str) -> None:
    text = csv_text(ROWS).encode(encoding)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export/today.csv", text)
        archive.writestr("__MACOSX/._today.csv", b"\x00")
    for name, data in (("a.csv.gz", gzip.compress(text)), ("a.zip", packed.getvalue())):
        drops.drop(name, data)
        assert drops.read(table=name, encoding=encoding) == ROWS
    lines = b'{"id": 1}\n'
    drops.drop("a.jsonl.gz", gzip.compress(lines[:5]) + gzip.compress(lines[5:]))
    assert drops.read(table="a.jsonl.gz") == [("1",)]


def test_a_byte_that_is_no_text_is_told_by_its_place_and_not_shown(drops: Drops) -> None:
    text = "id,name\n" + "".join(f"{at},secret\n" for at in range(200_000)) + "x,Gr"
    drops.drop("a.csv", text.encode() + "öße\n".encode("cp1252"))
    with pytest.raises(SourceRefused, match=f"byte {len(text):,} is not utf-8") as raised:
        drops.read("id", "name")
    assert raised.value.where == "a.csv"
    assert "secret" not in str(raised.value)
    assert "Gr" not in str(raised.value)
    marked = codecs.BOM_UTF8 + b"id\n\xff\n"
    drops.drop("a.csv", marked)
    with pytest.raises(SourceRefused, match="byte 6 is not utf-8"):
        drops.read("id")
    drops.drop("a.csv", b"id,name\n1,\x81\n")
    with pytest.raises(SourceRefused, match="byte 10 is not cp1252"):
        drops.read("id", encoding="cp1252")


def test_a_file_in_utf8_is_not_taken_for_another_encoding(drops: Drops) -> None:
    drops.drop("a.csv", "id,name\n1,Größe\n")
    with pytest.raises(SourceRefused, match="it is UTF-8") as raised:
        drops.read("id", "name", encoding="cp1252")
    assert "encoding: utf-8" in raised.value.mend
    drops.drop("a.csv", "id,name\n1,plain\n")
    assert drops.read(encoding="cp1252") == [("1", "plain")]


@pytest.mark.parametrize(("row", "told"), [("2,b,secret", "has 3 values"), ("2", "has 1 value")])
def test_a_row_that_does_not_fit_is_named_by_its_number_and_not_shown(drops: Drops, row: str, told: str) -> None:
    filler = "".join(f'{at},"two\nlines"\n' for at in range(1, 100_000))
    drops.drop("a.csv", f"id,note\n{filler}{row}\n9,z\n")
    with pytest.raises(SourceRefused, match=f"row 100,000 {told} where the row of names has 2") as raised:
        drops.read("id", "note")
    assert raised.value.where == "a.csv"
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_lines_before_the_row_of_names_are_skipped_by_number(drops: Drops, line: str, encoding: str) -> None:
    title = line.join(["t" * CHUNK, 'of 5" pipes', "", ""])  # a line end where one reading ends
    drops.drop("a.csv", (title + csv_text(ROWS, lineterminator=line)).encode(encoding))
    assert drops.read(*HEADER, encoding=encoding, skip_lines=3) == ROWS
    drops.ledger = None
    assert drops.read("column_1", encoding=encoding, skip_lines=4, header=False) == [(row[0],) for row in ROWS]
    with pytest.raises(SourceRefused, match="empty"):
        drops.read("id", encoding=encoding, skip_lines=99)


@pytest.mark.parametrize(
    "text", ["id,note\nk1,a,b\nk2,c\nk3,d\n", "id,note,\nk1,a,\nk2,b,\n", "id,note\nk1,a\n", "\n\nid,note\nk1,a\n"]
)
def test_no_line_is_taken_for_a_title_that_may_be_a_row(drops: Drops, text: str) -> None:
    drops.drop("a.csv", text)
    assert not any("skip_lines" in one.mend for one in drops.open().describe("a.csv").findings)


def test_rows_that_do_not_fit_stand_where_they_stood_as_their_text(tmp_path: Path) -> None:
    drops = Drops(tmp_path / "drops", mode="increment", misfits="unread")
    drops.drop("a.csv", "\nid,note\n1,a\n2\n\n3,b\n4,c,d\n5\n")
    rows = [("1", None), (None, "2"), ("3", None), (None, "4,c,d"), (None, "5")]
    assert drops.read("id", "unread") == rows
    drops.drop("b.csv", "id,note\n1\n2\n")
    assert drops.read("unread", "id") == [("1", None), ("2", None)]


def test_rows_that_do_not_fit_are_found_in_every_block(tmp_path: Path) -> None:
    drops = Drops(tmp_path / "drops", mode="increment", misfits="unread")
    lines, rows = [], []
    for at in range(60_000):
        kind = at % 1_000
        note = f"two\nlines {at}" if kind == 7 else "x" * 300
        lines.append("" if kind == 9 else f'{at},"{note}",odd' if kind == 500 else f'{at},"{note}"')
        if kind != 9:
            rows.append((None, None, lines[-1]) if kind == 500 else (str(at), note, None))
    drops.drop("a.csv", "id,note\n" + "\n".join(lines))
    assert (drops.folder / "a.csv").stat().st_size > 2 * BLOCK
    assert drops.read("id", "note", "unread") == rows


def test_a_dataset_that_does_not_declare_the_column_for_misfits_is_told(tmp_path: Path) -> None:
    drops = Drops(tmp_path / "drops", mode="increment", misfits="unread")
    drops.drop("a.csv", "id,note\n1,a\n")
    with pytest.raises(SourceRefused, match="'unread', which is not declared") as raised:
        drops.read("id", "note")
    assert "`unread: {type: string}`" in raised.value.mend
    drops.drop("b.csv", "id,unread\n1,a\n")
    with pytest.raises(SourceRefused, match="unread"):
        drops.read("id", "unread")


def test_a_quoted_value_that_does_not_end_is_no_value(drops: Drops) -> None:
    drops.drop("a.csv", 'id,note\n1,a\n2,"cut o')
    with pytest.raises(SourceRefused, match="does not end"):
        drops.read("id", "note")
    drops.drop("a.csv", 'id,note\n1,"' + "x" * 9_000_000 + '"\n')
    with pytest.raises(SourceRefused, match="longer than 8 MB"):
        drops.read("id", "note")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line=st.sampled_from(["\r\n", "\n"]),
)
def test_what_any_csv_writer_writes_comes_back(
    drops: Drops, rows: list[tuple[str, str, str]], delimiter: str, encoding: str, line: str
) -> None:
    text = csv_text(rows, delimiter=delimiter, lineterminator=line, quoting=csv.QUOTE_ALL)
    drops.drop("a.csv", text.encode(encoding))
    drops.ledger = None
    assert drops.read(*HEADER, delimiter=delimiter, encoding=encoding) == rows


# --- CSV: what a file looks like -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (csv_text(ROWS, delimiter=";").encode(), ['`delimiter: ";"`']),
        (csv_text(ROWS, delimiter="\t").encode("utf-16"), ['`delimiter: "\\t"`', "`encoding: utf-16`"]),
        (csv_text(ROWS[:1], delimiter="|").encode("cp1252"), ['`delimiter: "|"`', "`encoding: cp1252`"]),
        (b"id,note\n'1','a'\n'2','b,c'\n'3','d'\n", ['`quote: "\'"`']),
        (b"Stock, Monday\r\n\r\n" + csv_text(ROWS, delimiter=";").encode(), ['`delimiter: ";"`', "`skip_lines: 1`"]),
        (b"Stock of 5,,\n" + csv_text(ROWS).encode(), ["`skip_lines: 1`"]),
    ],
)
def test_the_lines_to_type_are_told_and_then_it_is_read(drops: Drops, data: bytes, lines: list[str]) -> None:
    drops.drop("a.csv", data)
    source = drops.open()
    try:
        told = next(one.mend for one in source.describe("a.csv").findings if one.check == "dialect")
    except SourceRefused as error:
        told = error.mend
    for line in lines:
        assert line in told
    typed = {part.strip("`").split(": ")[0]: json.loads(_json(part)) for part in lines}
    assert len(drops.read(*HEADER[: 2 if "quote" in typed else 3], **typed)) >= 1


def _json(part: str) -> str:
    value = part.strip("`").split(": ", 1)[1]
    return value if value.startswith('"') or value.isdigit() else json.dumps(value)


def test_numbers_in_the_first_row_are_worth_a_look(drops: Drops) -> None:
    drops.drop("a.csv", "1,a\n2,b\n")
    (found,) = [one for one in drops.open().describe("a.csv").findings if one.check == "dialect"]
    assert (found.verdict, "`header: false`" in found.mend) == ("WARN", True)


def test_what_looks_as_declared_is_said_to(drops: Drops) -> None:
    drops.drop("a.csv", csv_text(ROWS, delimiter=";").encode("cp1252"))
    (found,) = [
        one for one in drops.open(delimiter=";", encoding="cp1252").describe("a.csv").findings if one.check == "dialect"
    ]
    assert found.verdict == "PASS", found


# --- JSON Lines ------------------------------------------------------------------------------------------------------


def test_json_values_arrive_letter_by_letter(drops: Drops) -> None:
    lines = [
        '{"id":12345678901234567890,"n": 0.10, "t": "Gr\\u00f6\\u00dfe \\"x\\"", "b": true, "d": {"a": [1.50, null]}}',
        "",
        '{"d": [], "id": "07", "n": 1e400, "t": ""}',
        '{"id": -0, "n": null, "later": 1}',
    ]
    drops.drop("a.jsonl", "\n".join(lines))
    assert [one.name for one in drops.open().describe(".").columns] == ["id", "n", "t", "b", "d", "later"]
    assert drops.read("id", "n", "t", "b", "d") == [
        ("12345678901234567890", "0.10", 'Größe "x"', "true", '{"a": [1.50, null]}'),
        ("07", "1e400", "", None, "[]"),
        ("-0", None, None, None, None),
    ]


@pytest.mark.parametrize("line", ["[1]", "secret", '{"id": NaN}', "{'id': 1}", '{"id": "\\ud800"}'])
def test_a_line_that_is_no_object_is_named_and_not_shown(drops: Drops, line: str) -> None:
    drops.drop("a.jsonl", '{"id": 1}\n' * 3 + line + '\n{"id": 2}\n')
    with pytest.raises(SourceRefused, match="line 4 ") as raised:
        drops.read("id")
    assert "secret" not in str(raised.value)


def test_a_last_line_that_is_cut_off_is_not_taken(drops: Drops) -> None:
    drops.drop("a.jsonl", '{"id": 1}\n{"id": ')
    with pytest.raises(SourceAway, match="line, 2, is cut off"):
        drops.read("id")


# --- Parquet ---------------------------------------------------------------------------------------------------------

NOON = dt.datetime.fromisoformat("2024-01-31 12:00:00.5")
TYPES: list[tuple[str, pa.DataType, Any, Any]] = [
    ("i8", pa.int8(), -5, -5),
    ("i64", pa.int64(), 2**63 - 1, 2**63 - 1),
    ("u64", pa.uint64(), 2**64 - 1, str(2**64 - 1)),
    ("f32", pa.float32(), 0.5, 0.5),
    ("f64", pa.float64(), 0.1, 0.1),
    ("inf", pa.float64(), math.inf, math.inf),
    ("yes", pa.bool_(), True, True),
    ("text", pa.string(), "Größe", "Größe"),
    ("large", pa.large_string(), "", ""),
    ("word", pa.dictionary(pa.int8(), pa.string()), "a", "a"),
    ("raw", pa.binary(), b"\x00\xff", b"\x00\xff"),
    ("fixed", pa.binary(2), b"ab", b"ab"),
    ("exact", pa.decimal128(38, 10), Decimal("12345678901234567890.0123456789"), "12345678901234567890.0123456789"),
    ("day", pa.date32(), dt.date(1899, 12, 31), "1899-12-31"),
    ("clock", pa.time64("us"), dt.time(23, 59, 59, 1), "23:59:59.000001"),
    ("local", pa.timestamp("us"), NOON, "2024-01-31 12:00:00.500000"),
    ("nanos", pa.timestamp("ns"), 1_706_702_400_500_000_001, "2024-01-31 12:00:00.500000001"),
    ("zoned", pa.timestamp("ms", "Europe/Berlin"), 1_706_702_400_500, "2024-01-31 12:00:00.500+00"),
    ("utc", pa.timestamp("s", "UTC"), 0, "1970-01-01 00:00:00.000+00"),
    ("list", pa.list_(pa.decimal128(4, 2)), [Decimal("1.50"), None], "[1.50,null]"),
    ("struct", pa.struct([("a", pa.float64()), ("b", pa.date32())]), {"a": math.nan, "b": dt.date(2024, 1, 1)},
     '{"a":"NaN","b":"2024-01-01"}'),
    ("none", pa.null(), None, None),
]  # fmt: skip


def test_every_type_of_parquet_arrives_exactly(drops: Drops) -> None:
    table = pa.table({name: pa.array([value, None], kind) for name, kind, value, _ in TYPES})
    drops.drop("a.parquet", table)
    first, second = drops.read(*(name for name, *_ in TYPES))
    assert dict(zip(table.column_names, first, strict=True)) == {name: wanted for name, *_, wanted in TYPES}
    assert set(second) == {None}


@pytest.mark.parametrize(
    "kind",
    [
        pa.duration("s"),
        pa.map_(pa.string(), pa.int64()),
        pa.list_(pa.binary()),
        pa.struct([("at", pa.timestamp("ns"))]),
    ],
)
def test_a_type_without_an_exact_form_is_refused_by_name(drops: Drops, kind: pa.DataType) -> None:
    drops.drop("a.parquet", pa.table({"id": pa.array([1]), "odd": pa.array([None], kind)}))
    assert drops.read("id") == [(1,)]
    drops.ledger = None
    with pytest.raises(SourceRefused, match="'odd'"):
        drops.read("id", "odd")


def test_a_column_whose_type_differs_between_files_is_refused_by_the_file(drops: Drops) -> None:
    drops.drop("1.parquet", pa.table({"id": pa.array(["1"])}))
    drops.drop("2.parquet", pa.table({"id": pa.array([2])}))
    with pytest.raises(SourceRefused, match="column 'id' is string: it is int64 in the newest file") as raised:
        drops.read("id", whole="together")
    assert raised.value.where == "1.parquet"


# --- Excel -----------------------------------------------------------------------------------------------------------


def excel(path: Path, rows: list[list[Any]], formats: dict[str, str] | None = None) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in rows:
        sheet.append(row)
    for cell, shown in (formats or {}).items():
        sheet[cell].number_format = shown
    book.create_sheet("Other").append(["x"])
    book.save(path)


def test_each_kind_of_cell_arrives_as_exact_text(drops: Drops) -> None:
    path = drops.drop("a.xlsx", "")
    day, at = map(dt.datetime.fromisoformat, ("2024-01-31", "2024-01-31 09:05"))
    cells = [1, 0.1, 1234567890123456, "007", True, day, at, None, ""]
    names = ["i", "f", "big", "t", "b", "day", "at", "none", "blank"]
    excel(path, [names, cells, [None] * 9, ["x"]], {"F2": "yyyy-mm-dd"})
    drops.rest()
    texts = ("1", "0.1", "1234567890123456", "007", "true", "2024-01-31", "2024-01-31 09:05:00", None, None)
    found = drops.read()
    assert found == [texts, ("x", *[None] * 8)]
    assert drops.read(table="a.xlsx", sheet="Other") == []
    with pytest.raises(SourceRefused, match="no sheet 'Othr'") as raised:
        drops.read("x", sheet="Othr")
    assert "'Other'" in raised.value.mend


def test_a_formula_gives_its_stored_value_or_is_refused(drops: Drops) -> None:
    path = drops.drop("a.xlsx", "")
    excel(path, [["id", "sum"], [1, "=1+1"]])
    drops.rest()
    with pytest.raises(SourceRefused, match="cell B2 is a formula without a stored value"):
        drops.read("id", "sum")
    whole = zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml")
    again = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(again, "w") as new:
        for name in old.namelist():
            stored = whole.replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>2</v>").replace(
                b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>"
            )
            new.writestr(name, stored if name.endswith("sheet1.xml") else old.read(name))
    drops.drop("a.xlsx", again.getvalue())
    assert drops.read("id", "sum") == [("1", "2")]


def test_an_old_excel_file_is_refused_with_its_mend(drops: Drops) -> None:
    drops.drop("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
    with pytest.raises(SourceRefused, match=r"old \.xls") as raised:
        drops.read("id")
    assert ".xlsx" in raised.value.mend


# --- what is not whole, damaged or too large -------------------------------------------------------------------------


def made_of(drops: Drops, kind: str) -> bytes:
    path = drops.folder / f"whole.{kind}"
    if kind == "parquet":
        drops.drop(path.name, pa.table({"id": list(range(5_000))}))
    elif kind == "xlsx":
        excel(path, [["id"], *[[at] for at in range(500)]])
    else:
        text = ("id\n" + "".join(f"{at}\n" for at in range(5_000))).encode()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", text)
        path.write_bytes(gzip.compress(text) if kind == "csv.gz" else packed.getvalue())
    data = path.read_bytes()
    path.unlink()
    return data


@pytest.mark.parametrize("kind", ["parquet", "xlsx", "csv.gz", "zip"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_half_of_a_file_is_not_taken_and_the_whole_is(drops: Drops, kind: str, share: float) -> None:
    data = made_of(drops, kind)
    drops.drop(f"a.{kind}", data[: int(len(data) * share)])
    with pytest.raises(SourceAway, match="not whole") as raised:
        drops.read("id")
    assert raised.value.where == f"a.{kind}"
    drops.drop(f"a.{kind}", data)
    assert len(drops.read("id")) in (500, 5_000)


@pytest.mark.parametrize("kind", ["parquet", "xlsx", "csv.gz", "zip"])
def test_a_damaged_file_is_refused_by_its_name(drops: Drops, kind: str) -> None:
    data = bytearray(made_of(drops, kind))
    if kind == "parquet":
        data[:4] = b"ZIP1"
    elif kind == "csv.gz":
        data[len(data) // 2 : len(data) // 2 + 8] = b"\x00" * 8
    else:
        name = b"xl/worksheets/sheet1.xml" if kind == "xlsx" else b"a.csv"
        at = data.index(name) + len(name) + 40
        data[at : at + 40] = b"\xff" * 40
    drops.drop(f"a.{kind}", bytes(data))
    with pytest.raises((SourceRefused, SourceAway)) as raised:
        drops.read("id")
    assert raised.value.where == f"a.{kind}"
