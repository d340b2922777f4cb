"""The example of a folder of files, as its README tells it: each command run, each answer over HTTP."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mainstay.testing.ports import free_port
from tests.laws.reading import ROOT

EXAMPLE = ROOT / "examples" / "drops"


def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "reorder"
    shutil.copytree(EXAMPLE, folder)
    told = walk(folder)
    first, second = answers(told)
    nights = [days_left(folder / "drops" / f"articles-00{night}.csv") for night in (1, 2)]
    assert first["output"]["days_left"] == pytest.approx(nights[0]["A-0000"])
    newer, older, held = second["results"]
    assert newer["output"]["days_left"] == pytest.approx(nights[1]["A-0000"])
    assert older["output"]["days_left"] == pytest.approx(nights[0]["A-0001"])
    assert (held["status"], held["reason"]) == (409, "on_held")
    assert "FAIL" not in told.partition("reorder: ")[0]  # what `check` says of it
    assert re.search(r"A-0010 +stock\.min +quarantined", told)


def walk(folder: Path) -> str:
    """Runs the README's commands in one shell, stopping at the first that fails; returns what they print."""
    port = str(free_port())
    file = folder / "mainstay.yaml"
    file.write_text(file.read_text("utf-8").replace("8700", port), "utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    script = "\n".join(["set -eu", "trap 'kill $(jobs -p); wait' EXIT", *blocks]).replace("8700", port)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(told: str) -> list[dict[str, Any]]:
    """Every JSON document in what was printed, in order."""
    starts = [found.start() for found in re.finditer(r'\{"', told)]
    found, end = [], 0
    for start in starts:
        if start >= end:
            document, end = json.JSONDecoder().raw_decode(told, start)
            found.append(document)
    return found


def days_left(path: Path) -> dict[str, float]:
    """What the rule says of each article of a night, by another reader than Mainstay's."""
    with path.open(encoding="cp1252", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    numbers = {row["article"]: [row[name].replace(".", "").replace(",", ".") for name in ("stock", "sold_a_day")]
               for row in rows}  # fmt: skip
    return {article: float(stock) / float(sold) for article, (stock, sold) in numbers.items()}
