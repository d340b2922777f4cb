"""RateLimit headers and 429, on both roads."""

from __future__ import annotations

import pytest

from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.rate import Rate
from mainstay.serving.keys import create_key
from tests.http.serving import Caller, Served


def limited(served: Served, rate: Rate) -> Caller:
    token, _ = create_key(served.toy.state, "crm", "predict", clock=served.toy.clock, rate=rate)
    served.toy.view.refresh()
    return served.caller(token)


@pytest.mark.parametrize("road", ["short", "asgi"])
def test_answers_tell_what_is_left_and_then_429(served: Served, road: str) -> None:
    caller = limited(served, Rate(3, MINUTE))
    extra = {"Connection": "close"} if road == "asgi" else {}
    left = []
    for _ in range(3):
        said = caller.ask("POST", "/v1/churn/predict", {"key": "A"}, **extra)
        assert (said.status, said.headers["ratelimit-policy"]) == (200, '"key";q=3;w=60')
        left.append(said.headers["ratelimit"])
    assert left == ['"key";r=2;t=20', '"key";r=1;t=40', '"key";r=0;t=60']
    over = caller.ask("POST", "/v1/churn/predict", {"key": "A"}, **extra)
    assert (over.status, over.headers["retry-after"], over.headers["ratelimit"]) == (429, "20", '"key";r=0;t=60')
    assert over.headers["content-type"] == "application/problem+json"
    assert over.json["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert over.json["violated-policies"] == ["key"]
    assert over.json["mend"]
    assert len(served.toy.receipts()) == 3
    served.toy.clock.advance(20 * SECOND)
    assert caller.ask("POST", "/v1/churn/predict", {"key": "A"}, **extra).status == 200
    assert served.toy.meter.counts.requests["limit|429"] == 1
    caller.close()


@pytest.mark.parametrize(("path", "field"), [("/v2/models/churn", "error"), ("/version", "message")])
def test_other_protocols_count_too(served: Served, path: str, field: str) -> None:
    caller = limited(served, Rate(2, MINUTE))
    assert [caller.ask("GET", path).headers["ratelimit"] for _ in range(2)] == ['"key";r=1;t=30', '"key";r=0;t=60']
    over = caller.ask("GET", path)
    assert (over.status, over.headers["retry-after"]) == (429, "30")
    assert "2 requests/m" in over.json[field]
    assert over.headers["ratelimit-policy"] == '"key";q=2;w=60'
    caller.close()


def test_every_route_counts_and_health_does_not(served: Served) -> None:
    caller = limited(served, Rate(2, MINUTE))
    assert caller.ask("GET", "/openapi.json").headers["ratelimit"] == '"key";r=1;t=30'
    assert caller.ask("GET", "/v1/receipts/r1").status == 404
    assert caller.ask("GET", "/openapi.json").status == 429
    health = caller.ask("GET", "/health/live")
    assert (health.status, "ratelimit" in health.headers) == (200, False)
    caller.close()


def test_one_callers_flood_is_nobody_elses_429(served: Served, caller: Caller) -> None:
    flood = limited(served, Rate(1, MINUTE))
    assert [flood.predict(key="A").status for _ in range(5)] == [200, 429, 429, 429, 429]
    quiet = caller.predict(key="A")
    assert (quiet.status, "ratelimit" in quiet.headers) == (200, False)
    flood.close()


def test_the_file_says_the_rate_of_keys_that_have_none(served: Served, caller: Caller) -> None:
    served.toy.settings(rate=Rate(1, MINUTE))
    assert [caller.predict(key="A").status for _ in range(2)] == [200, 429]
    served.toy.settings()
    assert caller.predict(key="A").status == 200
