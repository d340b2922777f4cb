"""Which types name rows, alone and as a part of a key: read, found late by reconciliation, and asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mainstay.app.answers import predict
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.core.errors import FileError
from mainstay.serving.reply import Answer, Refusal
from mainstay.serving.request import BadRequest, PredictRequest
from mainstay.store.home import Home
from mainstay.testing.postgres import Database

TYPES = {"u": "string", "i": "integer", "z": "integer", "b": "boolean", "d": "date", "t": "timestamp"}
"""Column -> the type it is declared with: uuid, bigint, numeric(10,0), boolean, date and timestamptz."""
UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
FIRST = {"u": UUID, "i": 7, "z": 12, "b": True, "d": "2026-02-03", "t": "2026-02-03T05:06:07.500+01:00"}
SECOND = {"u": UUID.replace("1", "2"), "i": "-8", "z": 13, "b": "false", "d": "1999-12-31", "t": 946684799000001}
SQL = (
    "CREATE TABLE things (u uuid, i int8, z numeric(10,0), b bool, d date, t timestamptz, n int, v int, changed int)",
    f"INSERT INTO things VALUES ('{UUID}', 7, 12, TRUE, '2026-02-03', '2026-02-03 04:06:07.5+00', 1, 10, 5)",
    f"INSERT INTO things VALUES ('{SECOND['u']}', -8, 13, FALSE, '1999-12-31', '1999-12-31 23:59:59.000001Z', 1, 3, 5)",
)


def file_of(*, alone: bool) -> str:
    datasets, features = [], []
    for name, kind in TYPES.items():
        key = name if alone else f"[{name}, n]"
        datasets.append(f"""\
  of_{name}:
    source: old
    table: things
    key: {key}
    cursor: {{column: changed}}
    deletes: {{reconcile: 1ms, max_share: 1.0}}
    columns: {{{name}: {{type: {kind}}}, n: {{type: integer}}, v: {{type: integer}}, changed: {{type: integer}}}}""")
        columns = name if alone else f"{name}, n"
        features.append(f'  by_{name}: {{key: {key}, sql: "SELECT {columns}, v AS v_{name} FROM of_{name}"}}')
    views, sum_ = ", ".join(f"by_{name}" for name in TYPES), " + ".join(f"v_{name}" for name in TYPES)
    head = 'integration: types\nsources:\n  old: {kind: postgres, url: "${OLD_URL}"}\n'
    model = f'model: {{name: sum, input: [{views}], rule: {{total: "{sum_}"}}}}'
    return "\n".join([f"{head}datasets:", *datasets, "features:", *features, model, ""])


def total(place: Place, key: dict[str, Any]) -> float | int:
    found = predict(place, PredictRequest(key=key))
    assert isinstance(found, Answer | Refusal)
    return found.output["total"] if isinstance(found, Answer) else found.status


@pytest.mark.parametrize("alone", [True, False])
def test_each_type_names_rows(
    tmp_path: Path, postgres_db: Database, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    monkeypatch.setenv("OLD_URL", postgres_db.url)
    for one in SQL:
        postgres_db.exec(one)
    file = tmp_path / "mainstay.yaml"
    file.write_text(file_of(alone=alone))
    place = Place(Home(tmp_path / ".mainstay", "types"), file)
    number = {} if alone else {"n": 1}
    ask(place, "apply", {})
    ask(place, "run", {"datasets": []})
    assert total(place, {**FIRST, **number}) == 6 * 10
    assert total(place, {**SECOND, **number}) == 6 * 3
    postgres_db.exec("UPDATE things SET v = 11, changed = 1 WHERE i = 7")  # below the cursor: reconciliation finds it
    ask(place, "run", {"datasets": []})
    assert total(place, {**FIRST, **number}) == 6 * 11
    postgres_db.exec("DELETE FROM things WHERE i = -8")
    ask(place, "run", {"datasets": []})
    assert total(place, {**SECOND, **number}) == 410
    for column, wrong in (("i", 7.5), ("b", "yes"), ("d", "3.2.2026"), ("t", "noon"), ("u", 7)):
        with pytest.raises(BadRequest, match=f"`key.{column}`: wanted"):
            total(place, {**FIRST, **number, column: wrong})


@pytest.mark.parametrize("kind", ["number", "json", "bytes"])
def test_a_type_of_many_texts_is_no_part_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("OLD_URL", "postgresql://old")
    file = tmp_path / "mainstay.yaml"
    file.write_text(file_of(alone=False).replace("d: {type: date}", f"d: {{type: {kind}}}"))
    with pytest.raises(FileError) as told:
        ask(Place(Home(tmp_path / ".mainstay", "types"), file), "apply", {})
    (problem,) = told.value.problems
    assert (problem.path, problem.came) == ("datasets.of_d.key[0]", f"d, of type {kind}")
