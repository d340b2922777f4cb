"""`mainstay new model DIR` writes a class to begin with; a folder called model can still be an installation."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.cli.main import run


def test_a_class_to_begin_with_is_written_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new", "model", str(tmp_path / "mymodel")]) == 0
    assert "mainstay model add" in capsys.readouterr().out
    assert "class Model" in (tmp_path / "mymodel" / "model.py").read_text()
    (tmp_path / "mymodel" / "model.py").write_text("mine")
    assert run(["new", "model", str(tmp_path / "mymodel")]) == 3
    assert "model.py stands there already" in capsys.readouterr().err
    assert (tmp_path / "mymodel" / "model.py").read_text() == "mine"


def test_a_folder_called_model_can_be_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("crm.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE customers (customer_id TEXT PRIMARY KEY, tenure INT, churned INT)")
        rows = [(f"c{n}", n, n % 2) for n in range(1, 21)]
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", rows)
    for folder in ("model", "./model2"):
        run(["new", folder, "--from=crm.sqlite", "--label", "churned", "--yes"])
    assert (tmp_path / "model" / "mainstay.yaml").is_file()
    assert (tmp_path / "model2" / "mainstay.yaml").is_file()
    assert not (tmp_path / "model" / "model.py").exists()


def test_without_a_folder_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "model"]) == 2
    told = capsys.readouterr().err
    assert "Missing argument 'folder'" in told
    assert "mainstay new model --help" in told
