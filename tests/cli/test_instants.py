"""Instants and spans of records, as people read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mainstay.cli.instants import spoken
from mainstay.core.clock import HOUR, SECOND, SystemClock
from tests.app.shop import Shop
from tests.cli.test_commands import document, told

Capsys = pytest.CaptureFixture[str]
MICROSECONDS = re.compile(r"\d{13,}(?!\w)")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    shop = Shop(tmp_path)
    shop.begin()
    return shop


def test_only_what_is_ours_is_put_in_words() -> None:
    found = spoken({
        "now_us": 1_795_896_329_608_367, "run_us": 487_025, "latency_us": 565, "next_us": 0, "newest_us": None,
        "datasets": [{"name": "customers", "freshness": {"warn_us": HOUR, "fail_us": 90 * SECOND, "newest_us": None}}],
        "rows": 1_795_896_329_608_367,
    })  # fmt: skip
    assert found == {
        "now": "2026-11-28 20:05:29Z", "run": "487.025 ms", "latency": "0.565 ms", "next": None, "newest": None,
        "datasets": [{"name": "customers", "freshness": {"warn": "1 h", "fail": "1.5 min", "newest": None}}],
        "rows": 1_795_896_329_608_367,
    }  # fmt: skip


def test_a_receipt_and_the_audit_show_no_microseconds(world: Shop, capsys: Capsys) -> None:
    results = document(capsys, "predict", "person-0001", "nobody", code=1)["results"]
    for one in results:
        out = told(capsys, "receipt", "show", one["receipt"])[1]
        assert not MICROSECONDS.search(out), out
        assert "_us" not in out
    assert '"warn":"1h"' in re.sub(r"\s", "", out)  # of a refusal, which tells its terms
    key = str(document(capsys, "key", "create", "crm", "--days", "3")["id"])
    told(capsys, "key", "rotate", key, "--overlap", "1h")
    out = told(capsys, "audit")[1]
    assert not MICROSECONDS.search(out), out
    assert re.search(r"expires \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", out)
    assert "old_until 2" in out
    details = document(capsys, "audit", "--what", "key.rotate")["records"][0]["details"]
    assert details["old_until_us"] > SystemClock().now_us()
