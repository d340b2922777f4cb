"""The example of a model over two feature views, as its README tells it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.laws.reading import ROOT
from tests.road.test_drops import answers, walk

EXAMPLE = ROOT / "examples" / "offers"


def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "offers"
    shutil.copytree(EXAMPLE, folder)
    told = walk(folder)
    first, second = answers(told)[:2]
    assert first["output"]["score"] == pytest.approx(0.1 * 10 / 20 + 0.001)
    other, missing = second["results"]
    assert other["output"]["score"] == pytest.approx(0.01 * 10 / 250 + 0.001)
    assert (missing["status"], missing["sentence"]) == (404, "product: there is no row with this product_id")
    assert "FAIL" not in told.partition("offers: ")[0]
    assert all(word in told for word in ("customer: publish plan", "product: publish plan"))
