"""Keys over files: several columns in every format, dropped, changed, gone and rejected; and a key that is no name."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mainstay.app.answers import predict, readers, why
from mainstay.app.check import check
from mainstay.app.commands import ask
from mainstay.app.place import Place, read_file
from mainstay.core.clock import SystemClock
from mainstay.core.errors import FileError, MainstayError
from mainstay.core.verdicts import Verdict
from mainstay.serving.reply import Answer, Refusal
from mainstay.serving.request import PredictRequest
from mainstay.store.home import Home

VIEW = 'key: [shop, line, day], sql: "SELECT shop, line, day, qty FROM lines"'
Row = tuple[str | None, int | None, str | None, int]
"""shop, line, day, qty: the key is of the first three."""

NAMES = ("shop", "line", "day", "qty")
FIRST: list[Row] = [
    ("007", 1, "2026-02-03", 10),
    ("007", 2, "2026-02-03", 20),
    ("7", 1, "2026-02-03", 30),
    ("7,1", 1, "2026-02-04", 40),
]


def file_of(mode: str, table: str, *, key: str = "[shop, line, day]", columns: str = "", view: str = VIEW) -> str:
    return f"""\
integration: stock
sources:
  drops: {{kind: files, path: drops, mode: {mode}, settle: 0s}}
datasets:
  lines:
    source: drops
    table: "{table}"
    key: {key}
    deletes: {{max_share: 1.0}}
    columns: {columns or "{shop: {type: string}, line: {type: integer}, day: {type: date}, qty: {type: integer}}"}
features:
  line: {{{view}}}
model: {{name: stock, input: line, rule: {{score: "qty"}}}}
fallback: {{score: 0, reason: nothing is known}}
"""


class Folder:
    """Drops of one format."""

    def __init__(self, folder: Path, ending: str, mode: str, **parts: str) -> None:
        self.folder, self.ending, self.number = folder, ending, 0
        (folder / "drops").mkdir()
        self.place = Place(Home(folder / ".mainstay", "stock"), folder / "mainstay.yaml")
        (folder / "mainstay.yaml").write_text(file_of(mode, f"lines-*.{ending}", **parts))

    def drop(self, rows: list[Row]) -> None:
        self.number += 1
        path = self.folder / "drops" / f"lines-{self.number}.{self.ending}"
        days = [None if day is None else dt.date.fromisoformat(day) for _, _, day, _ in rows]
        if self.ending == "csv":
            text = io.StringIO()
            csv.writer(text).writerows([NAMES, *rows])
            path.write_text(text.getvalue())
        elif self.ending == "jsonl":
            path.write_text("".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in rows))
        elif self.ending == "parquet":
            columns: dict[str, Any] = {name: [row[at] for row in rows] for at, name in enumerate(NAMES)}
            pq.write_table(pa.table({**columns, "day": pa.array(days, pa.date32())}), path)
        else:
            book = openpyxl.Workbook()
            assert book.active is not None
            for line in (NAMES, *((row[0], row[1], day, row[3]) for row, day in zip(rows, days, strict=True))):
                book.active.append(line)
            book.save(path)
        os.utime(path, (time.time() - 1_000 + self.number,) * 2)
        ask(self.place, "run", {})

    def score(self, shop: str, line: int, day: str) -> float | int:
        found = self.ask(shop, line, day)
        return found.output["score"] if isinstance(found, Answer) else found.status

    def ask(self, shop: str, line: int, day: str) -> Answer | Refusal:
        found = predict(self.place, PredictRequest(key={"shop": shop, "line": line, "day": day}))
        assert isinstance(found, Answer | Refusal)
        return found

    def scores(self) -> list[float | int]:
        return [self.score(str(shop), line or 0, str(day)) for shop, line, day, _ in FIRST]

    def quarantined(self) -> list[tuple[str, str]]:
        return [(one["key"], one["reasons"]) for one in ask(self.place, "quarantine.list", {})["rows"]]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "xlsx"])
def test_rows_of_every_format_are_named_by_all_columns_of_their_key(tmp_path: Path, ending: str) -> None:
    folder = Folder(tmp_path, ending, "increment")
    ask(folder.place, "apply", {})
    folder.drop(FIRST)
    assert folder.scores() == [10, 20, 30, 40]
    assert folder.score("007", 1, "2026-02-04") == 404, "each part is one that is there, together they are not"
    folder.drop([("007", 2, "2026-02-03", 21), ("7", 9, "2026-02-03", 50), ("8", None, "2026-02-03", 60)])
    assert [*folder.scores(), folder.score("7", 9, "2026-02-03")] == [10, 21, 30, 40, 50]
    ((_, reasons),) = folder.quarantined()
    assert "key" in reasons or "required" in reasons, "a row without a part of its key has none"
    answer = folder.ask("7,1", 1, "2026-02-04")
    with readers(folder.place) as found:
        (source,) = [link for link in why(found, answer.receipt or "") if link.what == "source"]
    assert f"lines-1.{ending}" in source.sentence + str(source.details)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "xlsx"])
def test_a_key_of_several_columns_that_a_snapshot_no_longer_has_is_deleted(tmp_path: Path, ending: str) -> None:
    folder = Folder(tmp_path, ending, "snapshot, whole: newest")
    ask(folder.place, "apply", {})
    folder.drop(FIRST)
    folder.drop([FIRST[0], ("007", 2, "2026-02-03", 22), FIRST[3]])
    assert folder.scores() == [10, 22, 410, 40]


@pytest.mark.parametrize(
    ("key", "where"), [("line", "datasets.lines.key"), ("[shop, line, day]", "datasets.lines.key[1]")]
)
def test_a_number_names_no_row(tmp_path: Path, key: str, where: str) -> None:
    columns = "{shop: {type: string}, line: {type: number}, day: {type: date}, qty: {type: integer}}"
    folder = Folder(tmp_path, "csv", "increment", key=key, columns=columns)
    with pytest.raises(FileError) as told:
        ask(folder.place, "apply", {})
    (problem,) = [one for one in told.value.problems if one.path.startswith("datasets")]
    assert (problem.path, problem.came) == (where, "line, of type number")
    assert problem.mend == "declare it as string, or as integer where it has no fraction"
    with pytest.raises(FileError, match="of type number"):
        read_file(folder.folder / "mainstay.yaml")


def test_a_feature_view_is_not_named_by_a_number_either(tmp_path: Path) -> None:
    view = 'key: part, from: {lines: "line / 2"}, sql: "SELECT line / 2 AS part, qty FROM lines"'
    folder = Folder(tmp_path, "csv", "increment", view=view)
    report = check(folder.place, read_file(folder.folder / "mainstay.yaml"), SystemClock())
    told = [one for area in report.areas for one in area.findings if one.verdict is Verdict.FAIL]
    assert any("part of type number" in one.sentence for one in told), told
    with pytest.raises(MainstayError, match="part of type number"):
        ask(folder.place, "apply", {})
