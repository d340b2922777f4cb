"""A folder of files from `check` to an answer, and what changes when another file is dropped. The file is the docs'."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mainstay.app.answers import predict
from mainstay.app.check import Report, check
from mainstay.app.commands import ask
from mainstay.app.loop import Loop
from mainstay.app.place import Place, read_file
from mainstay.app.status import read_status
from mainstay.app.wiring import own
from mainstay.cli.main import run as run_command
from mainstay.core.clock import SystemClock
from mainstay.core.verdicts import Finding, Verdict
from mainstay.serving.reply import Answer
from mainstay.serving.request import PredictRequest
from mainstay.store.home import Home
from tests.laws.reading import ROOT

REST = """\
features:
  customer:
    key: customer_id
    sql: SELECT customer_id, tenure FROM customers
model: {name: churn, input: customer, rule: {churn_probability: "tenure / 100.0"}}
fallback: {churn_probability: 0.26, reason: base rate}
"""
NAMES = "customer_id;tenure;city\n"


def page() -> str:
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "sources" / "files.md").read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = Place(Home(folder / ".mainstay", "churn"), folder / "mainstay.yaml")
        (folder / "drops").mkdir()
        self.write()
        self._second = 0

    def write(self, *swaps: tuple[str, str]) -> None:
        text = page().replace("    encoding: cp1252\n", "    encoding: cp1252\n    settle: 0s\n")
        for old, new in swaps:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "mainstay.yaml").write_text(f"integration: churn\n{text}{REST}")

    def drop(self, name: str, text: str) -> None:
        path = self.folder / "drops" / name
        path.write_bytes(text.encode("cp1252"))
        self._second += 1
        os.utime(path, (time.time() - 1_000 + self._second,) * 2)

    def check(self) -> Report:
        assert self.place.file is not None
        return check(self.place, read_file(self.place.file), SystemClock())

    def finding(self, name: str) -> Finding:
        (found,) = [one for area in self.check().areas for one in area.findings if one.check == name]
        return found

    def run(self) -> Any:
        return ask(self.place, "run", {})["results"][0]

    def answer(self, key: str) -> Answer:
        found = predict(self.place, PredictRequest(key=key))
        assert isinstance(found, Answer), found
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_new_drop_changes_what_it_holds_and_nothing_else(shop: Shop) -> None:
    shop.drop("customers-1.csv", NAMES + "a;10;Köln\nb;20;Bonn\nc;30;\n")
    assert shop.check().ready
    ask(shop.place, "apply", {})
    shop.run()
    assert shop.answer("a").output == {"churn_probability": 0.1}
    shop.drop("customers-2.csv", NAMES + "b;50;Bonn\nd;40;\n")
    shop.drop("tickets-1.csv", "never;read\n")
    shop.run()
    outputs = {key: shop.answer(key).output["churn_probability"] for key in "abcd"}
    assert outputs == {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.4}
    assert "2 files were taken" in shop.finding("customers.cursor").sentence
    assert shop.finding("customers.files").sentence.startswith("2 files are there: 2 at rest")


def test_check_prints_the_lines_that_pin_a_dialect(shop: Shop) -> None:
    shop.write(('    delimiter: ";"\n    encoding: cp1252\n', ""))
    shop.drop("customers-1.csv", NAMES + "a;10;Köln\nb;20;Bonn\n")
    report = shop.check()
    assert report.verdict is Verdict.FAIL
    told = [one.mend for area in report.areas for one in area.findings if one.verdict is Verdict.FAIL]
    assert any('`delimiter: ";"`, `encoding: cp1252`' in mend for mend in told), told
    shop.write()
    assert shop.check().ready


def test_a_changed_dialect_reads_again_what_lies_there_and_the_plan_says_so(shop: Shop) -> None:
    shop.drop("customers-1.csv", NAMES + "'a';10;Köln\n")
    ask(shop.place, "apply", {})
    shop.run()
    assert shop.run()["read"] == 0
    shop.write(("    mode: increment\n", '    mode: increment\n    quote: "\'"\n'))
    steps = {step["kind"]: step["sentence"] for step in ask(shop.place, "plan", {})["steps"]}
    assert steps["reread"] == "read all of customers again, as source drops now says"
    ask(shop.place, "apply", {})
    assert shop.answer("a").output == {"churn_probability": 0.1}
    shop.write(("    mode: increment\n", '    mode: increment\n    quote: "\'"\n    unpacked_most_mb: 5\n'))
    assert "reread" not in {step["kind"] for step in ask(shop.place, "plan", {})["steps"]}


def test_a_cursor_is_refused_by_check(shop: Shop) -> None:
    shop.write(("    every: 1m\n", "    every: 1m\n    cursor: {column: tenure}\n"))
    shop.drop("customers-1.csv", NAMES + "a;10;Köln\n")
    assert shop.finding("customers.cursor").verdict is Verdict.FAIL


def test_why_names_the_file_and_the_row(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.drop("customers-1.csv", NAMES + "a;10;Köln\n")
    ask(shop.place, "apply", {})
    shop.drop("customers-2.csv", NAMES + "x;1;\nb;20;Bonn\n")
    shop.run()
    receipt = shop.answer("b").receipt
    capsys.readouterr()
    file, home = str(shop.folder / "mainstay.yaml"), str(shop.folder / ".mainstay")
    assert run_command(["--file", file, "--home", home, "--json", "why", str(receipt)]) == 0
    told = capsys.readouterr().out
    assert "customers-2.csv" in told
    assert "seen" not in told


def test_a_refused_file_is_named_by_the_loop_and_by_status(shop: Shop) -> None:
    shop.drop("customers-1.csv", NAMES + "a;10;Köln\n")
    ask(shop.place, "apply", {})
    shop.drop("customers-2.csv", NAMES + "b;20\n")
    with own(shop.place, "a test", clock=SystemClock()) as works:
        loop = Loop(works)
        loop.start()
        loop.beat()
        assert works.desk.dataset_state("customers").error.startswith("customers-2.csv: row 1 has 2 values")
    (said,) = [one for one in read_status(shop.place, SystemClock()).wrong if one.check == "customers.source"]
    assert "customers-2.csv: row 1 has 2 values" in said.sentence


def test_a_run_that_meets_a_refused_file_says_that_and_nothing_else(shop: Shop) -> None:
    shop.drop("customers-1.csv", NAMES + "a;10;Köln\n")
    ask(shop.place, "apply", {})
    shop.drop("customers-2.csv", NAMES + 'b;20;"Bon')
    ran = subprocess.run(
        [sys.executable, "-m", "mainstay", "run"], cwd=shop.folder, capture_output=True, text=True, check=False
    )
    first, mend = ran.stderr.splitlines()
    assert first == 'customers-2.csv: a value in " does not end'
    assert "send it again" in mend
