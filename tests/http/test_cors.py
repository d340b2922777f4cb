"""Scripts of other origins: off by default, and open for those that the file names."""

from __future__ import annotations

import msgspec
import pytest

from mainstay.core.nouns import Cors
from tests.http.serving import Caller, Said, Served

PAGE = "https://app.example.com"
PREDICT = "/v1/churn/predict"


@pytest.fixture
def opened(served: Served) -> Served:
    served.toy.file = msgspec.structs.replace(served.toy.file, cors=Cors(origins=(PAGE,)))
    served.toy.reapply()
    return served


def preflight(caller: Caller, path: str = PREDICT, origin: str = PAGE) -> Said:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    return caller.ask("OPTIONS", path, Origin=origin, **asked)


def test_it_is_off_by_default(served: Served, caller: Caller) -> None:
    stranger = served.caller()
    assert preflight(stranger).status == 401
    said = caller.ask("POST", PREDICT, {"key": "A"}, Origin=PAGE)
    assert (said.status, "access-control-allow-origin" in said.headers) == (200, False)
    stranger.close()


@pytest.mark.parametrize("path", [PREDICT, "/v1/churn/decisions", "/v1/receipts/r1", "/v2/models/churn/infer"])
def test_a_preflight_of_a_named_origin_is_answered_without_a_key(opened: Served, path: str) -> None:
    browser = opened.caller()
    said = preflight(browser, path)
    assert (said.status, said.body) == (204, b"")
    assert said.headers["access-control-allow-origin"] == PAGE
    assert "POST" in said.headers["access-control-allow-methods"]
    assert {"authorization", "content-type", "idempotency-key", "inference-header-content-length"} <= set(
        said.headers["access-control-allow-headers"].split(", ")
    )
    assert said.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in said.headers
    browser.close()


def test_answers_and_refusals_may_be_read_by_a_named_origin(opened: Served, caller: Caller) -> None:
    stranger = opened.caller()
    replies = [
        caller.ask("POST", PREDICT, {"key": "A"}, Origin=PAGE),
        caller.ask("POST", PREDICT, {"key": "nobody"}, Origin=PAGE),
        stranger.ask("POST", PREDICT, {"key": "A"}, Origin=PAGE),
        caller.ask("GET", "/v1/receipts/r1", Origin=PAGE),
    ]
    assert [said.status for said in replies] == [200, 404, 401, 404]
    for said in replies:
        assert (said.headers["access-control-allow-origin"], said.headers["vary"]) == (PAGE, "origin")
        exposed = said.headers["access-control-expose-headers"].split(", ")
        assert {"retry-after", "inference-header-content-length", "mainstay-receipt"} <= set(exposed)
    stranger.close()


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "https://app.example.com.evil.example", "*"])
def test_other_origins_get_nothing(opened: Served, caller: Caller, origin: str) -> None:
    stranger = opened.caller()
    assert preflight(stranger, origin=origin).status == 401
    said = caller.ask("POST", PREDICT, {"key": "A"}, Origin=origin)
    assert (said.status, "access-control-allow-origin" in said.headers) == (200, False)
    stranger.close()


def test_what_is_no_preflight_is_authenticated(opened: Served) -> None:
    stranger = opened.caller()
    assert stranger.ask("OPTIONS", PREDICT, Origin=PAGE).status == 401
    stranger.close()


def test_the_card_has_origins_of_its_own(opened: Served) -> None:
    browser = opened.caller()
    assert preflight(browser, "/v1/churn/card").status == 403
    browser.close()
