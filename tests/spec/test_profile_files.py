"""Pinned profiles beside mainstay.yaml: which are refused, and with what to type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mainstay import spec
from mainstay.core.errors import FileError
from mainstay.core.nouns import Integration
from tests.spec.sample import ENV, KINDS, REGIONS, SAMPLE, SQL

TENURE = {"contract": "abc", "empty": 0.1, "edges": [1, 5], "shares": [0.3, 0.3, 0.3]}
PROFILE: dict[str, Any] = {
    "mainstay_profile": 1, "dataset": "customers", "pinned_at": "2026-11-01T00:00:00Z", "rows": 100,
    "columns": {"tenure": TENURE},
}  # fmt: skip
TEXT = SAMPLE.replace(
    "      - {unique: email}\n",
    "      - {unique: email}\n      - {distribution: {column: tenure, profile: ./profiles/customers.json}}\n",
)


def load(profile: str) -> Integration:
    files = {"features/customer.sql": SQL, "maps/regions.csv": REGIONS, "profiles/customers.json": profile}
    return spec.load_files({"mainstay.yaml": TEXT, **files}, Path("/nowhere"), kinds=KINDS, env=ENV)


def test_what_was_pinned_of_the_column_is_part_of_the_check() -> None:
    (check,) = [one for one in load(json.dumps(PROFILE)).datasets["customers"].checks if one.kind == "distribution"]
    assert (check.name, check.column, check.on_fail) == ("tenure.distribution", "tenure", "warn")
    expected = {"dataset": "customers", "profile": "./profiles/customers.json", "psi": 0.2, "pinned": TENURE}
    assert check.args == expected


@pytest.mark.parametrize(
    ("profile", "wanted", "came"),
    [
        ("no json", "a pinned profile of form 1", "which is none"),
        (json.dumps({**PROFILE, "mainstay_profile": 2}), "a pinned profile of form 1", "of form 2"),
        (json.dumps({**PROFILE, "dataset": "orders"}), "a profile of dataset customers", "of 'orders'"),
        (json.dumps({**PROFILE, "columns": {}}), "a column of ./profiles/customers.json", "'tenure'"),
        (json.dumps({**PROFILE, "columns": {"tenure": {**TENURE, "shares": [1]}}}), "a column of", "'tenure'"),
        (json.dumps({**PROFILE, "columns": {"tenure": {**TENURE, "edges": ["1", 5]}}}), "a column of", "'tenure'"),
        (json.dumps({**PROFILE, "columns": {"tenure": {"empty": 0.1}}}), "a column of", "'tenure'"),
    ],
)
def test_a_profile_of_another_form_dataset_or_column_is_refused(profile: str, wanted: str, came: str) -> None:
    with pytest.raises(FileError) as refused:
        load(profile)
    (problem,) = refused.value.problems
    assert wanted in problem.wanted
    assert came in problem.came
    assert "type `mainstay profile customers --pin`" in problem.mend or "did you mean" in problem.mend


def test_the_profile_is_among_the_files_that_are_applied(tmp_path: Path) -> None:
    (tmp_path / "mainstay.yaml").write_text(TEXT)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "customers.json").write_text(json.dumps(PROFILE))
    assert "profiles/customers.json" in spec.file_texts(tmp_path / "mainstay.yaml")
