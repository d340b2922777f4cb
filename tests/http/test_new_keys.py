"""An API key that was just made is known to every worker before anybody is refused for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.core.clock import HOUR
from mainstay.http import serve
from mainstay.serving.card_tokens import CardTokens
from mainstay.serving.keys import create_key, revoke_key
from mainstay.serving.request import CardTokenRequest
from tests.http.serving import Served, serving
from tests.serving.toy import SECRET, Toy


@pytest.fixture
def seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A worker that looks for changes by itself once an hour."""
    toy = Toy(tmp_path)
    monkeypatch.setattr(serve, "REFRESH_US", HOUR)
    with serving(toy) as served:
        first = served.caller(toy.key())
        assert first.predict(key="A").status == 200
        first.close()
        yield served
    toy.journal.close()


def test_whoever_made_a_key_may_ask_with_it_at_once(seldom: Served) -> None:
    for _ in range(2):
        token, _ = create_key(seldom.toy.state, "crm", "predict", clock=seldom.toy.clock)
        caller = seldom.caller(token)
        assert caller.predict(key="A").status == 200
        assert caller.ask("GET", "/v2/models/churn").status == 200
        caller.close()
    unknown = seldom.caller(f"{token[:-1]}!")
    assert unknown.predict(key="A").status == 401
    unknown.close()


def test_a_card_may_ask_a_worker_that_has_not_seen_the_key_behind_it(seldom: Served) -> None:
    toy = seldom.toy
    _, record = create_key(toy.state, "crm", "predict", clock=toy.clock)
    granted, _ = CardTokens(SECRET).mint(
        CardTokenRequest(key="A", user="j.doe"), integration="churn", caller=record.id, now_us=toy.clock.now_us()
    )
    browser = seldom.caller(granted)
    assert browser.ask("POST", "/v1/churn/card", {}).status == 200
    browser.close()
    revoke_key(toy.state, record.id, clock=toy.clock)
    toy.view.refresh()
    browser = seldom.caller(granted)
    assert browser.ask("POST", "/v1/churn/card", {}).status == 401
    browser.close()
