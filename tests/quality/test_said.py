from __future__ import annotations

from typing import Any

import pytest

from mainstay.core.nouns import Check
from mainstay.quality.said import MOST, said


@pytest.mark.parametrize(
    ("kind", "args", "text"),
    [
        ("required", {}, ""),
        ("max", {"value": 120}, "120"),
        ("row_count", {"min": 600}, "min 600"),
        ("length", {"min": 3, "max": 5}, "min 3, max 5"),
        ("values", {"values": ["One year", "Two year"]}, "[One year, Two year]"),
        ("sql", {"condition": "a <\n  b"}, "a < b"),
        ("references", {"dataset": "plans"}, "plans"),
    ],
)
def test_a_check_says_what_it_holds_its_column_against(kind: str, args: dict[str, Any], text: str) -> None:
    assert said(Check(name="c", kind=kind, args=args)) == text


def test_what_is_long_is_cut() -> None:
    assert len(said(Check(name="c", kind="values", args={"values": ["word"] * 100}))) == MOST
