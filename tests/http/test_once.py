"""Idempotency-Key: done once, answered the same."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import HOUR, MINUTE
from mainstay.core.nouns import Retired
from mainstay.serving.idempotency import BadName, read_name
from mainstay.store.repeats_sqlite import SqliteRepeats
from tests.http.serving import Caller, Said, Served, serving
from tests.serving.toy import NOW, Toy

PREDICT = "/v1/churn/predict"


def ask(caller: Caller, name: str, body: object = None, path: str = PREDICT) -> Said:
    return caller.ask("POST", path, {"key": "A"} if body is None else body, Idempotency_Key=name)


def test_the_same_request_again_gets_the_same_answer_byte_for_byte(served: Served, caller: Caller) -> None:
    first = ask(caller, '"order-17"')
    assert (first.status, "idempotent-replayed" in first.headers) == (200, False)
    served.toy.clock.advance(MINUTE)
    again = ask(caller, '"order-17"')
    assert again.body == first.body
    assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.headers["content-type"] == first.headers["content-type"]
    assert ask(caller, "order-17").body == first.body  # bare names are the same names
    assert len(served.toy.receipts()) == 1
    assert ask(caller, "order-18").json["receipt"] != first.json["receipt"]
    assert served.toy.meter.counts.requests["repeat|200"] == 2


def test_refusals_that_were_recorded_are_given_again_and_failures_are_not(served: Served, caller: Caller) -> None:
    lost = ask(caller, "a", {"key": "nobody"})
    again = ask(caller, "a", {"key": "nobody"})
    assert (lost.status, again.body, again.headers["content-type"]) == (404, lost.body, "application/problem+json")
    assert ask(caller, "b", {"kee": "A"}).status == 422
    assert ask(caller, "b").status == 200  # nothing was done under this name yet
    served.toy.clock.advance(2 * HOUR)  # too old now: 503, and a later try is another one
    assert ask(caller, "c").status == 503
    served.toy.dataset(as_of_us=served.toy.clock.now_us())
    assert ask(caller, "c").status == 200


def test_what_was_never_judged_is_judged_by_a_later_try(served: Served, caller: Caller) -> None:
    toy = served.toy
    toy.file = msgspec.structs.replace(toy.file, retired=Retired(on_us=NOW - 2, sunset_us=NOW - 1, successor="/v2"))
    toy.reapply()
    ended = ask(caller, "a")
    assert (ended.status, ended.json["type"]) == (410, "/docs#api_retired")
    toy.file = msgspec.structs.replace(toy.file, retired=None)
    toy.reapply()
    assert ask(caller, "a").status == 200, "the end was put off: nothing of it is kept for a day"
    decided, path = {"receipt": "ra5gg0000", "decision": "accepted"}, "/v1/churn/decisions"
    assert ask(caller, "b", decided, path).status == 404
    decided["receipt"] = ask(caller, "c").json["receipt"]
    assert ask(caller, "b", decided, path).status == 201
    assert ask(caller, "d", path="/v1/other/predict").status == 404
    assert "idempotent-replayed" not in ask(caller, "d", path="/v1/other/predict").headers


def test_a_name_used_for_another_request_is_422(served: Served, caller: Caller) -> None:
    assert ask(caller, "a").status == 200
    other = ask(caller, "a", {"key": "B"})
    assert (other.status, other.json["type"]) == (422, "/docs#repeat_other")
    assert other.json["mend"]
    assert other.json["request"] == other.headers["x-request-id"]
    assert ask(caller, "a", {"receipt": "r", "outcome": 1}, "/v1/churn/outcomes").status == 422
    assert ask(caller, "a").headers["idempotent-replayed"] == "true"


def test_names_of_different_callers_do_not_meet(served: Served, caller: Caller) -> None:
    stranger = served.caller(served.toy.key("predict"))
    first, other = ask(caller, "a"), ask(stranger, "a")
    assert "idempotent-replayed" not in other.headers
    assert first.json["receipt"] != other.json["receipt"]
    stranger.close()


def test_decisions_and_outcomes_are_recorded_once(served: Served, caller: Caller) -> None:
    receipt = caller.predict(key="A").json["receipt"]
    for path, body in (
        ("/v1/churn/decisions", {"receipt": receipt, "decision": "accepted"}),
        ("/v1/churn/outcomes", {"receipt": receipt, "outcome": 1}),
    ):
        first, again = ask(caller, path, body, path), ask(caller, path, body, path)
        assert (first.status, again.status, again.body) == (201, 201, first.body)
    events = [
        entry
        for segment in served.toy.journal.segments()
        for entry, _ in served.toy.journal.scan(segment.name)
        if entry.kind == "event"
    ]
    assert len(events) == 2


def test_while_the_first_is_still_running_the_second_is_told_so(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    with serving(toy) as served:
        token = toy.key("predict")
        first, second = served.caller(token), served.caller(token)
        toy.model.mood = "wait"
        said: list[Said] = []
        asking = threading.Thread(target=lambda: said.append(ask(first, "a")))
        asking.start()
        assert toy.model.began.wait(10)
        early = ask(second, "a")
        toy.model.go_on.set()
        asking.join(10)
        assert (early.status, early.json["type"], early.headers["retry-after"]) == (409, "/docs#repeat_running", "1")
        assert said[0].status == 200
        assert ask(second, "a").body == said[0].body
        first.close()
        second.close()
    toy.journal.close()


def test_workers_share_what_they_answered_also_after_a_kill(served: Served, caller: Caller) -> None:
    """The first worker's file is opened by another, as a second process would."""
    first = ask(caller, "a")
    other = SqliteRepeats(served.toy.folder / "repeats.sqlite")
    assert list(other.bodies()) == [first.body]
    other.close()


def test_answers_are_kept_for_a_day(served: Served, caller: Caller) -> None:
    first = ask(caller, "a")
    served.toy.clock.advance(24 * HOUR)
    served.toy.dataset(as_of_us=served.toy.clock.now_us())
    again = ask(caller, "a")
    assert again.json["receipt"] != first.json["receipt"]


def test_a_store_that_cannot_be_written_refuses_only_requests_with_a_name(served: Served, caller: Caller) -> None:
    (served.toy.folder / "repeats.sqlite").write_bytes(b"torn" * 1000)
    said = ask(caller, "a")
    assert (said.status, said.json["type"]) == (503, "/docs#not_ready")
    assert caller.predict(key="A").status == 200


@pytest.mark.parametrize("value", ['""', '"open', "x" * 256, '"caf\xe9"'])
def test_a_name_that_cannot_be_read_is_400(caller: Caller, value: str) -> None:
    said = ask(caller, value)
    assert (said.status, said.json["type"]) == (400, "/docs#repeat_key")


def test_two_names_are_400(served: Served, caller: Caller) -> None:
    body = b'{"key":"A"}'
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.token}\r\n"
    head += f"idempotency-key: a\r\nidempotency-key: b\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    assert served.raw(head.encode() + body).startswith(b"HTTP/1.1 400")


def test_quotes_and_backslashes_in_a_name() -> None:
    assert read_name(b' "a\\"b\\\\c" ') == b'a"b\\c'
    with pytest.raises(BadName, match="quote"):
        read_name(b'"')


def test_other_routes_take_no_notice(served: Served, caller: Caller) -> None:
    first = ask(caller, "a", {"key": "A", "user": "u"}, "/v1/churn/card-tokens")
    second = ask(caller, "a", {"key": "A", "user": "u"}, "/v1/churn/card-tokens")
    assert {first.status, second.status} == {201}
    assert "idempotent-replayed" not in second.headers
