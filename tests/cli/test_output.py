from __future__ import annotations

import json

import pytest

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
