"""A table of 500 columns is like any other: taken in, checked, changed, answered by key, told again out of history."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.app.answers import predict, readers, receipt
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.app.wiring import own
from mainstay.core.clock import DAY
from mainstay.pipelines import history
from mainstay.pipelines.rebuild import rebuild
from mainstay.pipelines.run import Runner
from mainstay.serving.reply import Answer
from mainstay.serving.request import PredictRequest
from mainstay.store.current import schema_of
from mainstay.store.home import Home
from tests import wide

COLUMNS, ROWS = 500, 2_000
CHANGED = range(3, ROWS, 100)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    with closing(sqlite3.connect(folder / "old.db")) as connection, connection:
        connection.execute(wide.create(COLUMNS))
        places = ", ".join("?" * COLUMNS)
        connection.executemany(f"INSERT INTO wide VALUES ({places})", wide.rows(COLUMNS, ROWS))
    (folder / "mainstay.yaml").write_text(wide.file(COLUMNS, "{kind: sqlite, path: old.db, timezone: UTC}"))
    return folder


def score(row: tuple[object, ...]) -> float:
    """What the file's rule makes of a row, plainly."""
    kinds = [kind for _, kind in wide.names(COLUMNS)]
    numbers = [value for value, kind in zip(row[2:], kinds, strict=True) if kind in ("integer", "number")]
    return sum(float(str(value)) for value in numbers[:50]) / 50


def test_five_hundred_columns_go_the_whole_road(old: Path) -> None:
    place = Place(Home(old / ".mainstay", "wide"), old / "mainstay.yaml")
    ask(place, "apply", {})
    (first,) = ask(place, "run", {})["results"]
    assert (first["landed"], first["quarantined"]) == (ROWS, ROWS // 100)
    rows = {row[0]: row for row in wide.rows(COLUMNS, ROWS)}
    with closing(sqlite3.connect(old / "old.db")) as connection, connection:
        for number in CHANGED:
            connection.execute("UPDATE wide SET i000 = 5, changed = ? WHERE changed = ?", (ROWS + number, number))
    (second,) = ask(place, "run", {})["results"]
    assert (second["landed"], second["published"]) == (len(CHANGED), len(CHANGED))
    changed, same = f"K{CHANGED[0]:07}", "K0000001"
    for key, row in ((same, rows[same]), (changed, (*rows[changed][:2], 5, *rows[changed][3:]))):
        answer = predict(place, PredictRequest(key=key))
        assert isinstance(answer, Answer), answer
        assert answer.output["score"] == pytest.approx(score(row))
        assert answer.receipt is not None
        with readers(place) as found:
            assert len(receipt(found, answer.receipt).inputs or {}) >= 50


def test_they_come_back_out_of_history(old: Path) -> None:
    place = Place(Home(old / ".mainstay", "wide"), old / "mainstay.yaml")
    with own(place, "a test") as works:
        desk = works.desk
        while history.flush(desk, "wide"):
            pass
        assert history.trim_landing(desk, "wide", desk.clock.now_us() + 40 * DAY) == 1
        every = f"SELECT * FROM {schema_of('wide')}.rows ORDER BY _k"
        before = desk.current.sql(every)
        assert rebuild(desk, Runner(desk, desk.integration.datasets["wide"])) == 1
        assert desk.current.sql(every) == before
