"""From a database never seen and a model file to a right answer over HTTP, by `mainstay new` alone."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import joblib
import pytest

from mainstay.testing.ports import free_port
from mainstay.testing.postgres import PostgresServer
from tests.road.telco import ROOT, Lab, environment, load


@contextmanager
def living(folder: Path, arguments: Sequence[str]) -> Iterator[dict[str, str]]:
    """`mainstay new FOLDER ... --up`, as soon as it says that it answers: the API key, the URL and an example."""
    port = free_port()
    command = [sys.executable, "-m", "mainstay", "new", str(folder), *arguments, "--yes", "--port", str(port), "--up"]
    log = folder.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment({"COLUMNS": "200"}))
    try:
        deadline = time.monotonic() + 150
        while "API on http" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        found = re.search(r"curl -s (\S+) -H 'Authorization: Bearer (\S+)' -d '(.*)'", log.read_text())
        assert found, log.read_text()
        yield {"url": found[1], "key": found[2], "body": found[3], "log": log.read_text()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def asked(live: dict[str, str], body: str) -> dict[str, Any]:
    """One answer, as soon as the worker says that it is ready."""
    headers = {"Authorization": f"Bearer {live['key']}", "Content-Type": "application/json"}
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(live["url"].partition("/v1/")[0] + "/health/ready", timeout=10):
                pass
            request = urllib.request.Request(live["url"], data=body.encode(), headers=headers)
            with urllib.request.urlopen(request, timeout=10) as reply:
                found: dict[str, Any] = json.load(reply)
                return found
        except (URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


PAGE = ROOT / "docs" / "ten-minutes.md"


def test_every_keystroke_of_the_first_ten_minutes_is_counted() -> None:
    text = PAGE.read_text("utf-8")
    typed = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    counted = [int(number) for number in re.findall(r"^\| \d \| (\d+)", text, re.MULTILINE)]
    assert [len(block) for block in typed] == counted  # each line ends with Enter


def page_arguments(url: str, model: Path, example: Path) -> list[str]:
    """What the page types behind `mainstay new churn`, with the addresses of this machine in place of the page's."""
    [line] = re.findall(r"^mainstay new churn (.*) --yes --up$", PAGE.read_text("utf-8"), re.MULTILINE)
    here = {
        "postgresql://reader:reader@127.0.0.1:5432/crm": url, "lab/churn.joblib": str(model),
        "lab/bin/python": sys.executable, "lab/example.csv": str(example),
    }  # fmt: skip
    return [here.pop(word, word) for word in line.split()]


def test_the_telco_table_goes_live_by_new_alone(lab: Lab, crm_server: PostgresServer, tmp_path: Path) -> None:
    database = crm_server.create_database("never_seen")
    load(database)
    url = crm_server.url(database.name, user="reader", password="reader")
    arguments = page_arguments(url, lab.folder / "boosting.joblib", lab.folder / "example.csv")
    assert url in arguments
    with living(tmp_path / "churn", arguments) as live:
        first = asked(live, live["body"])
        assert json.loads(live["body"])["key"] in lab.said["boosting"]
        assert first["verdict"] == "PASS"
        assert "7,043 rows read, 7,043 published, 0 in quarantine" in live["log"]
        keys = list(lab.said["boosting"])
        for start in range(0, len(keys), 1000):
            several = keys[start : start + 1000]
            answers = asked(live, json.dumps({"keys": several}))["results"]
            wrong = [
                one["key"]
                for one in answers
                if abs(one["output"]["churn_probability"] - lab.said["boosting"][one["key"]]) > 1e-6
            ]
            assert not wrong
        assert "reader:reader" not in live["log"]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, dict[int, float]]:
    """The breast cancer table that scikit-learn brings along, as an old SQLite system, and a model trained on it."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path_factory.mktemp("clinic")
    bundled = load_breast_cancer(as_frame=True)
    table = bundled.frame.rename(columns={"target": "diagnosis"})
    table["diagnosis"] = table["diagnosis"].map({0: "malignant", 1: "benign"})
    table.insert(0, "sample_id", range(1000, 1000 + len(table)))
    with sqlite3.connect(folder / "clinic.db") as connection:
        table.to_sql("biopsies", connection, index=False)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(bundled.data, table["diagnosis"])
    joblib.dump(model, folder / "biopsy.joblib")
    bundled.data.head(50).to_csv(folder / "example.csv", index=False)
    malignant = model.predict_proba(bundled.data)[:, list(model.classes_).index("malignant")]
    said = dict(zip(table["sample_id"].tolist(), malignant.tolist(), strict=True))
    return folder / "clinic.db", folder / "biopsy.joblib", folder / "example.csv", said


def test_a_table_that_scikit_learn_brings_goes_live_by_new_alone(
    clinic: tuple[Path, Path, Path, dict[int, float]], tmp_path: Path
) -> None:
    database, model, example, said = clinic
    arguments = [
        "--from", str(database), "--model", str(model), "--python", sys.executable, "--example", str(example),
        "--output", "malignant_probability=predict_proba[malignant]:probability",
    ]  # fmt: skip
    with living(tmp_path / "clinic", arguments) as live:
        answers = asked(live, json.dumps({"keys": list(said)}))["results"]
        assert len(answers) == len(said) == 569
        wrong = [one for one in answers if abs(one["output"]["malignant_probability"] - said[one["key"]]) > 1e-6]
        assert not wrong
        assert {one["verdict"] for one in answers} == {"PASS"}


def test_without_a_model_the_base_rate_goes_live(
    clinic: tuple[Path, Path, Path, dict[int, float]], tmp_path: Path
) -> None:
    with living(tmp_path / "clinic", ["--from", str(clinic[0]), "--label", "diagnosis"]) as live:
        assert asked(live, live["body"])["output"] == {"diagnosis_probability": 0.3726}
