from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest

from mainstay.core.clock import SECOND
from mainstay.core.nouns import Card
from mainstay.core.records import Event
from mainstay.serving.card_tokens import CardTokens
from mainstay.serving.keys import revoke_key
from mainstay.serving.request import CardTokenRequest
from tests.http.serving import Caller, Said, Served
from tests.serving.toy import SECRET, Toy, online_row

CRM = "https://crm.example.com"


@pytest.fixture
def browser(served: Served) -> Iterator[Caller]:
    made = served.caller()
    yield made
    made.close()


def token(caller: Caller, **changes: Any) -> str:
    said = caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe", **changes})
    assert said.status == 201, said.body
    assert said.headers["cache-control"] == "no-store"
    found: str = said.json["token"]
    return found


def read(browser: Caller, with_token: str, **headers: str) -> Said:
    return browser.ask("POST", "/v1/churn/card", {}, Authorization=f"Bearer {with_token}", **headers)


def decide(browser: Caller, with_token: str, **body: Any) -> Said:
    return browser.ask("POST", "/v1/churn/card/decisions", body, Authorization=f"Bearer {with_token}")


def decisions(toy: Toy) -> list[Event]:
    entries = [entry for segment in toy.journal.segments() for entry, _ in toy.journal.scan(segment.name)]
    events = [msgspec.msgpack.decode(entry.payload, type=Event) for entry in entries if entry.kind == "event"]
    return [event for event in events if event.kind == "decision"]


def open_for(toy: Toy, *origins: str) -> None:
    toy.file = msgspec.structs.replace(toy.file, card=Card(origins=origins))
    toy.reapply()


def test_a_card_reads_its_key_in_words_with_a_receipt(served: Served, caller: Caller, browser: Caller) -> None:
    said = read(browser, token(caller))
    assert said.status == 200, said.body
    card = said.json
    assert (card["key"], card["user"]) == ("A", "j.doe")
    assert (card["label"], card["value"], card["words"]) == ("Churn", "17 %", "about 2 in 10")
    assert (card["age_seconds"], card["promise_seconds"]) == (10.0, 3600.0)
    assert (card["verdict"], card["note"], card["reasons"]) == ("PASS", "", [])
    assert said.headers["cache-control"] == "no-store"
    receipt = served.toy.receipt(card["receipt"])
    assert (receipt.key, receipt.output) == ("A", {"churn": pytest.approx(0.17)})
    assert receipt.caller == next(iter(served.toy.view.keys.now.values())).id
    assert served.toy.meter.counts.requests["predict|200"] == 1


def test_a_decision_lands_with_its_receipt_in_the_users_name(served: Served, caller: Caller, browser: Caller) -> None:
    granted = token(caller)
    receipt = read(browser, granted).json["receipt"]
    sent = {"receipt": receipt, "decision": "overridden", "reason": "spoke to them", "id": "1"}
    assert decide(browser, granted, **sent).status == 201
    again = decide(browser, granted, **sent)
    assert (again.status, again.json["repeated"]) == (200, True)
    [event] = decisions(served.toy)
    assert (event.receipt, event.by) == (receipt, "j.doe")
    assert (event.body["decision"], event.body["reason"], event.body["by"]) == ("overridden", "spoke to them", "j.doe")


def test_a_card_decides_in_nobody_elses_name_and_says_why(caller: Caller, browser: Caller) -> None:
    granted = token(caller)
    receipt = read(browser, granted).json["receipt"]
    by = decide(browser, granted, receipt=receipt, decision="accepted", by="the boss")
    assert (by.status, by.json["detail"]) == (422, "unknown field `by`")
    bare = decide(browser, granted, receipt=receipt, decision="overridden", reason="  ")
    assert (bare.status, bare.json["where"]) == (422, "reason")


def test_a_token_decides_only_on_answers_that_were_given_to_it(served: Served, caller: Caller, browser: Caller) -> None:
    mine, same_key, other_key = token(caller), token(caller), token(caller, key="C")
    served.toy.rows(online_row("C"))
    receipts = [
        caller.predict(key="A").json["receipt"],
        read(browser, same_key).json["receipt"],
        read(browser, other_key).json["receipt"],
    ]
    assert [decide(browser, mine, receipt=each, decision="accepted").status for each in receipts] == [404, 404, 404]
    assert decide(browser, mine, receipt="r" + "0" * 32, decision="accepted").status == 404
    assert decisions(served.toy) == []


def test_a_token_opens_nothing_but_its_card(caller: Caller, browser: Caller) -> None:
    granted = token(caller)
    receipt = read(browser, granted).json["receipt"]
    for method, path in (
        ("POST", "/v1/churn/predict"),
        ("POST", "/v1/churn/decisions"),
        ("POST", "/v1/churn/outcomes"),
        ("POST", "/v1/churn/card-tokens"),
        ("GET", f"/v1/receipts/{receipt}"),
        ("GET", "/docs"),
        ("GET", "/metrics"),
    ):
        assert browser.ask(method, path, {"key": "A"}, Authorization=f"Bearer {granted}").status == 401, path


def test_an_api_key_is_no_card_token_and_a_cookie_counts_for_nothing(served: Served, browser: Caller) -> None:
    key = served.toy.key("admin")
    said = read(browser, key)
    assert (said.status, said.json["type"]) == (401, "/docs#card_token")
    assert browser.ask("POST", "/v1/churn/card", {}, Cookie=f"token={key}").status == 401


def test_a_token_ends_by_its_time(served: Served, caller: Caller, browser: Caller) -> None:
    granted = token(caller, ttl=60)
    receipt = read(browser, granted).json["receipt"]
    served.toy.clock.advance(60 * SECOND)
    for said in (read(browser, granted), decide(browser, granted, receipt=receipt, decision="accepted")):
        assert (said.status, said.json["type"]) == (401, "/docs#card_expired")


def test_a_token_ends_with_the_api_key_behind_it(served: Served, caller: Caller, browser: Caller) -> None:
    granted = token(caller)
    assert read(browser, granted).status == 200
    [key] = served.toy.view.keys.now.values()
    revoke_key(served.toy.state, key.id, clock=served.toy.clock)
    served.toy.view.refresh()
    assert (said := read(browser, granted)).status == 401
    assert "revoked" in said.json["detail"]


def test_a_changed_or_foreign_token_is_not_taken(served: Served, caller: Caller, browser: Caller) -> None:
    granted = token(caller)
    body, _, signature = granted.removeprefix("mct_").partition(".")
    grant = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**grant, "key": "C"}).encode()).rstrip(b"=").decode()
    asked, now = CardTokenRequest(key="A", user="j.doe"), served.toy.clock.now_us()
    elsewhere, _ = CardTokens(b"another").mint(asked, integration="churn", caller=grant["caller"], now_us=now)
    upsell, _ = CardTokens(SECRET).mint(asked, integration="upsell", caller=grant["caller"], now_us=now)
    for wrong in (
        f"mct_{forged}.{signature}", f"mct_{body}.", f"mct_{body}", f"mct_{body}.{signature[:-4]}", elsewhere, upsell,
        "", "mct_", "mct_.", "mct_!.!", "mct_" + "A" * 3000, granted[:-1] + ("A" if granted[-1] != "A" else "E"),
    ):  # fmt: skip
        assert (read(browser, wrong).status, wrong) == (401, wrong)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"ttl": 901}, "ttl"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "10m"}, "ttl"),
        ({"user": " "}, "user"),
        ({"user": "u" * 201}, "user"),
        ({"key": "k" * 201}, "key"),
        ({"key": None}, "key"),
        ({"rows": []}, "rows"),
    ],
)
def test_no_token_is_given_for_what_is_wrong(caller: Caller, changes: dict[str, Any], where: str) -> None:
    said = caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe", **changes})
    assert (said.status, said.json["where"]) == (422, where)


def test_refusals_are_told_with_their_receipt(served: Served, caller: Caller, browser: Caller) -> None:
    served.toy.rows(online_row("H", held=True, held_as_of_us=served.toy.clock.now_us()))
    missing, held = read(browser, token(caller, key="nobody")), read(browser, token(caller, key="H"))
    assert (missing.status, missing.json["reason"], missing.headers["content-type"]) == (
        404, "on_missing", "application/problem+json",
    )  # fmt: skip
    assert (held.status, held.json["reason"]) == (409, "on_held")
    assert missing.json["receipt"]
    served.toy.clock.advance(2 * 3600 * SECOND)
    stale = read(browser, token(caller))
    assert (stale.status, stale.json["reason"]) == (503, "on_stale")
    assert stale.headers["retry-after"]


def test_a_fallback_says_that_it_is_one(served: Served, caller: Caller, browser: Caller) -> None:
    served.toy.model.mood = "broken"
    card = read(browser, token(caller)).json
    assert (card["value"], card["degraded"]) == ("26 %", True)
    assert "base rate" in card["note"]
    assert "4711" not in json.dumps(card)


def test_pages_of_other_origins_are_answered_only_where_the_file_names_them(
    served: Served, caller: Caller, browser: Caller
) -> None:
    granted = token(caller)
    closed = read(browser, granted, Origin=CRM)
    assert (closed.status, closed.json["type"]) == (403, "/docs#card_origin")
    assert "access-control-allow-origin" not in closed.headers
    open_for(served.toy, CRM)
    opened = read(browser, granted, Origin=CRM)
    assert (opened.status, opened.headers["access-control-allow-origin"]) == (200, CRM)
    assert "origin" in opened.headers["vary"]
    assert "access-control-allow-credentials" not in opened.headers
    for other in ("https://crm.example.com.evil.example", "http://crm.example.com", "null", "*", "http://[", ""):
        assert read(browser, granted, Origin=other).status == 403
    assert read(browser, granted, Origin=f"http://127.0.0.1:{served.port}").status == 200


def test_problems_can_be_read_by_the_pages_that_may_ask(served: Served, browser: Caller) -> None:
    open_for(served.toy, CRM)
    said = read(browser, "mct_x.y", Origin=CRM)
    assert (said.status, said.headers["access-control-allow-origin"]) == (401, CRM)


def test_a_preflight_is_answered_for_named_origins_and_for_the_card_alone(served: Served, browser: Caller) -> None:
    asking = {"Origin": CRM, "Access_Control_Request_Method": "POST"}
    assert browser.ask("OPTIONS", "/v1/churn/card", **asking).status == 403
    open_for(served.toy, CRM)
    said = browser.ask("OPTIONS", "/v1/churn/card/decisions", **asking)
    assert (said.status, said.headers["access-control-allow-origin"]) == (204, CRM)
    assert said.headers["access-control-allow-headers"] == "authorization, content-type"
    for path in ("/v1/churn/predict", "/v1/churn/card-tokens", "/v1/receipts/r1"):
        said = browser.ask("OPTIONS", path, **asking)
        assert (said.status, "access-control-allow-origin" in said.headers) == (401, False)


def test_the_script_is_open_cached_and_for_this_integration(browser: Caller) -> None:
    script = browser.ask("GET", "/v1/churn/card.js")
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert script.headers["x-content-type-options"] == "nosniff"
    assert script.headers["cache-control"] == "public, max-age=300"
    assert browser.ask("GET", "/v1/churn/card.js", If_None_Match=script.headers["etag"]).status == 304
    assert browser.ask("HEAD", "/v1/churn/card.js").body == b""
    assert browser.ask("GET", "/v1/upsell/card.js").status == 404
    assert browser.ask("POST", "/v1/churn/card.js", {}).status == 405
    assert browser.ask("GET", "/v1/churn/card").status == 405


def test_the_script_of_a_token_is_pinned_by_its_digest(caller: Caller, browser: Caller) -> None:
    given = caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe"}).json
    script = browser.ask("GET", given["script"], Origin="https://anywhere.example")
    assert given["integrity"] == "sha384-" + base64.b64encode(hashlib.sha384(script.body).digest()).decode()
    assert script.headers["access-control-allow-origin"] == "*"  # `integrity` wants a script that may be read
    assert "immutable" in script.headers["cache-control"]
    assert "immutable" not in browser.ask("GET", "/v1/churn/card.js?v=another").headers["cache-control"]


def test_the_document_describes_what_the_card_is_sent(caller: Caller, browser: Caller) -> None:
    document = caller.ask("GET", "/openapi.json").json
    granted = token(caller)
    said = read(browser, granted).json
    for path, value in (
        ("/v1/churn/card", said),
        ("/v1/churn/card/decisions", decide(browser, granted, receipt=said["receipt"], decision="accepted").json),
        ("/v1/churn/card-tokens", caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe"}).json),
    ):
        responses = document["paths"][path]["post"]["responses"]
        schema = next(responses[status] for status in ("201", "200") if status in responses)
        where = {**schema["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(where).validate(value)
    assert document["paths"]["/v1/churn/card"]["post"]["security"] == [{"card": []}]


def test_no_token_is_written_anywhere(
    served: Served, caller: Caller, browser: Caller, capfd: pytest.CaptureFixture[str]
) -> None:
    granted = token(caller)
    receipt = read(browser, granted).json["receipt"]
    decide(browser, granted, receipt=receipt, decision="accepted")
    served.toy.model.mood = "broken"
    read(browser, granted)
    read(browser, granted[:-4])
    cards, served.toy.desk.cards = served.toy.desk.cards, None
    assert read(browser, granted).status == 503
    served.toy.desk.cards = cards
    wrong = decide(browser, granted, receipt=granted, decision="accepted")
    signature = granted.partition(".")[2]
    files = [path.read_bytes() for path in served.toy.folder.rglob("*") if path.is_file()]
    said = capfd.readouterr()
    assert signature.encode() not in b"".join(files)
    assert signature not in said.out + said.err + wrong.body.decode()


def test_a_refused_token_says_what_is_wanted(browser: Caller) -> None:
    said = browser.ask("POST", "/v1/churn/card", {})
    assert (said.status, said.headers["www-authenticate"]) == (401, 'Bearer realm="mainstay card"')


def test_the_script_needs_nothing_that_a_strict_policy_forbids(browser: Caller) -> None:
    text = browser.ask("GET", "/v1/churn/card.js").body.decode()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".style."):
        assert word not in text, word
    assert "://" not in text.replace("https://HOST/", "")
