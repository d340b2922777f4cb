from __future__ import annotations

import json

import pytest

from mainstay.cli.main import run
from mainstay.cli.output import Output
from mainstay.core.verdicts import Finding, Verdict

FINDINGS = [
    Finding(check="tenure.max", verdict=Verdict.WARN, sentence="3 of 10 are above 120."),
    Finding(check="row_count", verdict=Verdict.FAIL, sentence="7 rows, at least 10 wanted.", mend="look at [crm]"),
]


def test_the_worst_finding_comes_first_with_its_mend(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).findings(FINDINGS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["FAIL", "row_count", "7", "rows,", "at", "least", "10", "wanted."]
    assert lines[1].strip() == "→ look at [crm]"
    assert lines[2].startswith("WARN")


def test_a_table_shows_every_value_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["customers", 1_234_567, True, None, Verdict.PASS], ["[red]plans", 5, False, "x", Verdict.FAIL]]
    Output(json=False).table(["dataset", "rows", "held", "note", "verdict"], rows, title="Datasets [all]")
    out = capsys.readouterr().out
    for text in ("Datasets [all]", "1,234,567", "[red]plans", "yes", "no", "PASS", "FAIL"):
        assert text in out
    assert "None" not in out


STEERING = "a\x1b[2Jb\x9b31mc\x1b]0;title\x07d\re\u202ef"
"""Clears the screen, colours what follows, names the window, goes back to the line's beginning, and turns the rest."""
WRITTEN = r"a\u001b[2Jb\u009b31mc\u001b]0;title\u0007d\u000de\u202ef"


def test_what_steers_a_terminal_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=False)
    out.say(STEERING)
    out.paste(STEERING)
    out.table(["said"], [[STEERING]])
    out.findings([Finding(check="x", verdict=Verdict.WARN, sentence=STEERING, mend=STEERING)])
    told = capsys.readouterr().out
    assert told.count(WRITTEN) == 5
    assert run(["status", "--file", STEERING]) != 0
    told += (error := capsys.readouterr().err)
    assert WRITTEN in error
    assert not set(told) & set(STEERING) - set(WRITTEN)


def test_json_shows_what_steers_a_terminal_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).document({"said": STEERING})
    told = capsys.readouterr().out
    assert not set(told) & set(STEERING) - set(WRITTEN)
    assert json.loads(told) == {"said": STEERING}


def test_with_json_only_the_document_prints(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.say("hello")
    out.table(["a"], [[1]])
    out.findings(FINDINGS)
    out.document({"findings": FINDINGS})
    told = json.loads(capsys.readouterr().out)
    assert [finding["verdict"] for finding in told["findings"]] == ["WARN", "FAIL"]


def test_without_json_no_document_prints(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).document({"a": 1})
    assert capsys.readouterr().out == ""


STATUS = [["customers", Verdict.PASS, "5.9 s", "warn 1 min, fail 10 min", 1_200, 0, None]]
HEADINGS = ["dataset", "", "age", "promise", "rows", "quarantined", "blocked"]


def narrow(monkeypatch: pytest.MonkeyPatch, columns: int) -> Output:
    out = Output(json=False)
    monkeypatch.setattr(type(out.console), "width", columns)
    return out


@pytest.mark.parametrize("columns", [80, 64, 40, 24])
def test_on_a_narrow_screen_words_stay_whole_and_no_line_is_longer_than_it(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow(monkeypatch, columns).table(HEADINGS, STATUS)
    out = capsys.readouterr().out
    for word in ("customers", "PASS", "warn", "fail", "1,200", "quarantined"):
        assert word in out
    assert all(len(line) <= columns for line in out.splitlines())


def test_a_column_that_says_nothing_goes_first_and_a_number_stays_with_its_unit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow(monkeypatch, 80).table(HEADINGS, STATUS)
    assert "blocked" in capsys.readouterr().out
    narrow(monkeypatch, 60).table(HEADINGS, STATUS)
    out = capsys.readouterr().out
    assert "blocked" not in out
    assert "10min" in out


def test_a_broken_line_goes_on_below_its_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = narrow(monkeypatch, 40)
    out.findings([Finding(check="c", verdict=Verdict.WARN, sentence="word " * 12, mend="type " * 10)])
    out.say("disk     " + "amount " * 10)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert [line[:9].strip() for line in lines if line[:1] != " "] == ["WARN    c", "disk"]
    assert sum(line.split().count("word") for line in lines) == 12
    assert sum(line.split().count("type") for line in lines) == 10
    assert sum(line.split().count("amount") for line in lines) == 10


def test_what_is_pasted_is_one_line_on_any_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "curl -s http://127.0.0.1:8700/v1/churn/predict -H 'Authorization: Bearer KEY' -d '{\"key\": \"[1]\"}'"
    narrow(monkeypatch, 40).paste(command)
    assert capsys.readouterr().out == command + "\n"


def test_instants_in_tables_have_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).table(["at"], [["2026-11-28T15:28:48.055208Z"]])
    assert "2026-11-28 15:28:48Z" in capsys.readouterr().out
