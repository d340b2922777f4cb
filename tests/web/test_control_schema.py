"""A tool that makes requests out of the OpenAPI document of the control API finds nothing that differs from it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.http.control_operations import DOCUMENT
from tests.http.serving import Caller
from tests.laws.reading import ROOT
from tests.web.looking import Looked, bad_shop, looped, paged


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    shop = bad_shop(tmp_path_factory.mktemp("shop"), bad=3)
    with looped(shop), paged(shop) as made:
        yield made


def finds_nothing(looked: Looked, folder: Path, token: str | None, *more: str, most: int = 2) -> None:
    document = folder / "openapi.json"
    reader = Caller(looked.port, looked.key("operate"))
    document.write_bytes(reader.ask("GET", DOCUMENT).body)
    reader.close()
    said = [] if token is None else ["--header", f"Authorization: Bearer {token}"]
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", f"http://127.0.0.1:{looked.port}",
            "--checks", "all", "--max-examples", str(most), "--seed", "1", "--no-color", *said, *more,
        ],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)


def test_nothing_is_found_with_an_api_key(looked: Looked, tmp_path: Path) -> None:
    finds_nothing(looked, tmp_path, looked.key("admin"), "--phases", "examples,coverage,fuzzing")


def test_nothing_is_found_without_one(looked: Looked, tmp_path: Path) -> None:
    finds_nothing(looked, tmp_path, None, "--phases", "coverage,fuzzing", most=1)
