"""`mainstay map`: proposals with evidence, a person at a real terminal, and a file that keeps what they said."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mainstay.cli.main import run
from mainstay.spec import map_files
from tests.app.shop import Shop

KNOWN = "[München, Köln, Bonn]"
COLUMNS = f"""
      customer_id: {{type: string, required: true}}
      tenure: {{type: integer}}
      city: {{type: string, values: {KNOWN}, clean: [trim, {{map_file: maps/cities.csv}}]}}
"""
GONE = "\x04"  # Ctrl-D; whether Ctrl-C is heard depends on who started the tests
BEGUN = "old,new\nCologne,Köln\n"


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    """Of six people two live in Munchen, and one each in Colonge, in Zone 9 and in Cologne."""
    made = Shop(tmp_path)
    for number, city in enumerate(["Munchen", " Munchen", "Colonge", "Zone 9", "Cologne"], 1):
        made.exec(f"UPDATE customers SET city = '{city}' WHERE customer_id = 'person-000{number}'")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "cities.csv").write_text(BEGUN)
    made.begin(columns=COLUMNS)
    return made


def typed(world: Shop, answers: Sequence[str], *more: str) -> tuple[int, str]:
    """What a person at a terminal sees who gives these answers, one to each prompt."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from mainstay.cli.main import main; main()", "map", "customers", "city", *more]
    process = subprocess.Popen(
        command, cwd=world.folder, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
        env={**os.environ, "COLUMNS": "160", "LOGNAME": "anna"},
    )  # fmt: skip
    os.close(theirs)
    seen, left = "", list(answers)
    try:
        while True:
            try:
                part = os.read(ours, 4096).decode()
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            seen += part
            if re.search(r"(> |value: |\[y/N\]: )$", seen) and left:
                answer = left.pop(0)
                os.write(ours, answer.encode() if answer == GONE else f"{answer}\n".encode())
        return process.wait(60), seen
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait(60)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_proposals_are_listed_and_nobody_is_asked(
    world: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    told = listed(capsys, "map", "customers", "city")
    found = told["mapping"]
    assert (found["known_from"], found["file"], found["declared"]) == ("`values` of city", "maps/cities.csv", True)
    assert [(one["value"], one["rows"], one["quarantined"]) for one in found["proposals"]] == [
        ("Munchen", 0, 2),
        ("Colonge", 0, 1),
        ("Zone 9", 0, 1),
    ], "as cleaning leaves them, the most frequent first; what the file maps is not asked again"
    assert found["proposals"][0]["near"][0] == {
        "value": "München", "score": 1.0, "evidence": "equal but for case, accents and punctuation"
    }  # fmt: skip
    assert found["proposals"][2]["near"] == []
    assert told["written"] == {}
    assert (world.folder / "maps" / "cities.csv").read_text() == BEGUN


def test_a_person_confirms_one_by_one_and_then_the_rows_come_in(world: Shop) -> None:
    code, seen = typed(world, ["y", "o", "Köln", "n"])
    assert code == 0, seen
    assert "3 values of customers.city are none of the 3 known" in seen
    assert "1 of 3: 'Munchen', 2 rows, 2 in quarantine" in seen
    assert "1 'München'  1.00: equal but for case, accents and punctuation" in seen
    assert "nothing that is known is like it" in seen
    assert "mainstay apply" in seen
    lines = (world.folder / "maps" / "cities.csv").read_text().splitlines()
    assert lines[0] == "old,new,confirmed_by,confirmed_on"
    assert lines[1] == "Cologne,Köln,,"
    assert [re.sub(r"\d{4}-\d\d-\d\d$", "DAY", line) for line in lines[2:]] == [
        "Colonge,Köln,anna,DAY",
        "Munchen,München,anna,DAY",
    ], "in order, and what was there stays"
    assert world.current("SELECT count(*) FROM ds_customers.rows WHERE city = 'München'") == [(0,)]
    world.apply()
    assert world.current("SELECT count(*) FROM ds_customers.rows WHERE city = 'München'") == [(2,)]
    assert world.current("SELECT count(*) FROM ds_customers.quarantine WHERE _state = 'quarantined'") == [(1,)]


def test_what_is_none_of_the_known_is_taken_only_when_said_twice(world: Shop) -> None:
    _, seen = typed(world, ["x", "o", "Mnich", "n", "o", "Munich", "y", "q"])
    assert "'x' is no answer here" in seen
    assert "'Munich' is none of the known values" in seen
    pairs = map_files.pairs((world.folder / "maps" / "cities.csv").read_text())
    assert pairs == {"Cologne": "Köln", "Munchen": "Munich"}, "and with q the others are left"


def test_what_was_confirmed_stays_when_the_rest_is_interrupted(world: Shop) -> None:
    code, _ = typed(world, ["y", GONE])
    assert code == 130
    assert "Munchen" in (world.folder / "maps" / "cities.csv").read_text()


def test_without_a_person_nothing_is_confirmed(
    world: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    for arguments in ([], ["--yes"], ["--accept-above", "0.9"]):
        assert run(["map", "customers", "city", *arguments]) == 3
    assert "nobody is here to confirm" in capsys.readouterr().err
    assert (world.folder / "maps" / "cities.csv").read_text() == BEGUN


def test_what_is_sure_enough_is_taken_at_once_when_that_was_said(
    world: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    told = listed(capsys, "map", "customers", "city", "--yes", "--accept-above", "0.95", "--by", "bert")
    assert told["written"] == {"Munchen": "München"}
    assert 'Munchen,München,"bert, all above 0.95",' in (world.folder / "maps" / "cities.csv").read_text()


def test_a_column_without_a_map_file_is_told_where_to_name_it(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.write(columns=COLUMNS.replace(", {map_file: maps/cities.csv}", ""))
    file = str(world.file)
    assert run(["map", "customers", "city", "--file", file]) == 3
    assert "say which to write: --to FILE.csv" in capsys.readouterr().err
    to = str(world.folder / "new" / "cities.csv")
    more = ["--to", to, "--known", "Munich", "--known", "München", "--yes", "--accept-above", "0.9"]
    assert run(["map", "customers", "city", "--file", file, *more]) == 0
    out = capsys.readouterr().out
    assert "{map_file: new/cities.csv}" in out
    assert map_files.pairs(Path(to).read_text())["Munchen"] == "München"


def test_known_values_are_those_of_another_dataset(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    told = listed(capsys, "map", "customers", "city", "--file", str(world.file), "--values-of", "customers.city")
    assert told["mapping"]["known"] == ["Bonn", "Köln"], "those of current"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody", "city"], "there is no dataset nobody"),
        (["customers", "town"], "customers has no column town"),
        (["customers", "tenure", "--to", "x.csv"], "customers.tenure is of type integer"),
        (["customers", "city", "--to", "other.csv"], "is mapped by maps/cities.csv"),
        (["customers", "city", "--to", "/tmp/x.csv"], "lies outside the folder"),
    ],
)
def test_what_cannot_be_mapped_is_told(
    world: Shop,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(world.folder)
    if arguments[0] == "nobody":
        arguments = [*arguments, "--to", "x.csv"]
    if arguments[1] == "town":
        arguments = [*arguments, "--to", "x.csv"]
    assert run(["map", *arguments, "--json"]) != 0
    assert sentence in json.loads(capsys.readouterr().out)["error"]["sentence"]


def test_steps_after_the_map_file_are_refused(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.write(columns=COLUMNS.replace("cities.csv}]", "cities.csv}, upper]"))
    assert run(["map", "customers", "city", "--file", str(world.file)]) == 3
    assert "put `map_file` last" in capsys.readouterr().err


def test_a_personal_column_is_no_category(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.apply(columns=COLUMNS.replace("city: {", "city: {pii: true, "))
    assert run(["map", "customers", "city", "--file", str(world.file)]) == 3
    assert "customers.city is personal" in capsys.readouterr().err


def test_notes_beside_the_pairs_are_kept_and_widths_still_checked() -> None:
    text = map_files.with_pairs("from,to,why\nb,B,typo\n", {"a": "A", "b": "X"}, by="anna", on="2026-11-28")
    assert text == "from,to,why,confirmed_by,confirmed_on\na,A,,anna,2026-11-28\nb,B,typo,,\n"
    assert map_files.pairs(text) == {"a": "A", "b": "B"}
    assert map_files.with_pairs("", {"x, y": "z"}, by="", on="") == 'old,new,confirmed_by,confirmed_on\n"x, y",z,,\n'
    with pytest.raises(ValueError, match="2 columns in line 2"):
        map_files.pairs("old,new,why\na,b\n")


def test_what_is_in_the_file_already_is_not_asked_again(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "maps" / "cities.csv").write_text(BEGUN + "Munchen,München\n")
    found = listed(capsys, "map", "customers", "city", "--file", str(world.file))["mapping"]
    assert [one["value"] for one in found["proposals"]] == ["Colonge", "Zone 9"]
    assert found["waiting"] == 1, "until the file is applied"


def test_what_is_in_doubt_is_never_taken_at_once(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    known = ["--known", "Munchen East", "--known", "Munchen West", "--known", "Cologne"]
    more = ["--file", str(world.file), *known, "--yes", "--accept-above", "0.5"]
    assert listed(capsys, "map", "customers", "city", *more)["written"] == {"Colonge": "Cologne"}
