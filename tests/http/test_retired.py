"""A retired API version: told beside every answer, and 410 after its sunset, at every door."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec
import pytest

import grpc
from mainstay.core.calls import SPACE, Calls
from mainstay.core.clock import DAY, MINUTE, SECOND
from mainstay.core.nouns import Retired, Settings
from mainstay.core.rate import Rate
from mainstay.grpc.door import OIP
from mainstay.grpc.messages import kind
from mainstay.serving.tally import NAMES_MOST, SUBJECTS_MOST, Tally
from mainstay.store.memory import MemoryState
from mainstay.testing.clock import FakeClock
from tests.http.serving import Caller, Said, Served, serving
from tests.serving.toy import NOW, Toy

PREDICT = "/v1/churn/predict"
INFER = "/v2/models/churn/infer"
TENSORS = {"inputs": [{"name": "customer_id", "datatype": "BYTES", "shape": [1], "data": ["A"]}]}
GOING = Retired(on_us=NOW - DAY, sunset_us=NOW + DAY, successor="https://api.example.com/v1/churn-2/predict")
LINKS = '</docs>; rel="deprecation", <https://api.example.com/v1/churn-2/predict>; rel="successor-version"'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path)
    with serving(toy, grpc="127.0.0.1:0") as made:
        yield made
    toy.close()


def retire(served: Served, retired: Retired | None = GOING) -> None:
    served.toy.file = msgspec.structs.replace(served.toy.file, retired=retired)
    served.toy.reapply()


def answers(caller: Caller) -> dict[str, Said]:
    """One request for an answer through each HTTP door."""
    asked = caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe"})
    return {
        "short": caller.predict(key="A"),
        "many": caller.predict(keys=["A", "B"]),
        "once": caller.ask("POST", PREDICT, {"key": "A"}, Idempotency_Key=str(uuid.uuid4())),
        "oip": caller.ask("POST", INFER, TENSORS),
        "mlflow": caller.ask("POST", "/invocations", {"dataframe_records": [{"customer_id": "A"}]}),
        "card-tokens": asked,
    }


def infer(served: Served, token: str) -> tuple[str, dict[str, str]]:
    """The status and the trailing metadata of a call over gRPC."""
    message = kind("ModelInferRequest")(model_name="churn")
    tensor = message.inputs.add(name="customer_id", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"A")
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        ask = channel.unary_unary(f"/{OIP}/ModelInfer")
        sent = (("authorization", f"Bearer {token}"),)
        try:
            _, call = ask.with_call(message.SerializeToString(), metadata=sent, timeout=10)
        except grpc.RpcError as error:
            call = error
        return call.code().name, dict(call.trailing_metadata() or ())


def test_nothing_is_told_of_an_api_that_stays(served: Served, caller: Caller) -> None:
    for said in answers(caller).values():
        assert said.status in (200, 201)
        assert not {"deprecation", "sunset", "link"} & set(said.headers)
    code, metadata = infer(served, caller.token or "")
    assert (code, "deprecation" in metadata) == ("OK", False)


def test_every_door_tells_of_it_beside_its_answers(served: Served, caller: Caller) -> None:
    retire(served)
    for name, said in answers(caller).items():
        assert said.status in (200, 201), name
        assert said.headers["deprecation"] == f"@{GOING.on_us // SECOND}"
        assert parsedate_to_datetime(said.headers["sunset"]).timestamp() * SECOND == GOING.sunset_us
        assert said.headers["sunset"].endswith(" GMT")
        assert said.headers["link"] == LINKS
    refused = caller.predict(key="nobody")
    assert (refused.status, refused.headers["link"]) == (404, LINKS)
    code, metadata = infer(served, caller.token or "")
    assert code == "OK"
    assert (metadata["deprecation"], metadata["link"]) == (f"@{GOING.on_us // SECOND}", LINKS)
    document = caller.ask("GET", "/openapi.json").json
    assert document["paths"][PREDICT]["post"]["deprecated"] is True
    assert "retired from" in document["info"]["description"]
    assert "is retired from 2027-01-14 on, and ends on 2027-01-16" in caller.ask("GET", "/docs").body.decode()


def test_strangers_are_told_nothing(served: Served) -> None:
    retire(served)
    nobody = served.caller()
    said = nobody.ask("POST", PREDICT, {"key": "A"})
    assert (said.status, "deprecation" in said.headers) == (401, False)
    nobody.close()
    code, metadata = infer(served, "msk_none")
    assert (code, "deprecation" in metadata) == ("UNAUTHENTICATED", False)


def test_whose_rate_is_used_up_is_told_too(served: Served, caller: Caller) -> None:
    retire(served)
    served.toy.file = msgspec.structs.replace(served.toy.file, settings=Settings(rate=Rate(1, MINUTE)))
    served.toy.reapply()
    found = [caller.ask("POST", path, {}) for path in (PREDICT, PREDICT, INFER, "/invocations")]
    assert [(said.status, said.headers.get("link")) for said in found[1:]] == [(429, LINKS)] * 3


def test_after_its_sunset_it_is_gone_and_names_its_successor(served: Served, caller: Caller) -> None:
    retire(served)
    receipt = caller.predict(key="A").json["receipt"]
    before = len(served.toy.receipts())
    served.toy.clock.advance(DAY)
    for name, said in answers(caller).items():
        assert said.status == 410, name
        assert said.headers["link"] == LINKS
        assert said.json["title"] == "This version of the API has ended" or name == "mlflow"
        assert GOING.successor in said.body.decode()
    said = caller.predict(key="A")
    assert said.json["type"] == "/docs#api_retired"
    assert said.json["successor"] == GOING.successor
    assert "ended on 2027-01-16" in said.json["detail"]
    code, metadata = infer(served, caller.token or "")
    assert (code, metadata["mainstay-successor"]) == ("NOT_FOUND", GOING.successor)
    assert len(served.toy.receipts()) == before
    # What came true comes late: it is still taken for answers that were given.
    assert caller.ask("POST", "/v1/churn/outcomes", {"receipt": receipt, "outcome": True}).status == 201


def test_a_card_is_gone_too(served: Served, caller: Caller) -> None:
    retire(served, msgspec.structs.replace(GOING, sunset_us=NOW + 60 * SECOND))
    token = caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe"}).json["token"]
    card = served.caller(token)
    said = card.ask("POST", "/v1/churn/card", {})
    assert (said.status, said.headers["link"]) == (200, LINKS)
    served.toy.clock.advance(60 * SECOND)
    assert card.ask("POST", "/v1/churn/card", {}).status == 410
    card.close()


def counted(toy: Toy) -> list[tuple[int, str, int, int]]:
    toy.desk.tally.flush(toy.state)
    found = [msgspec.json.decode(item.body, type=Calls) for item in toy.state.scan(SPACE)]
    return sorted((one.api, one.door, one.model_version, one.requests) for one in found)


def test_who_calls_what_is_counted_at_every_door(served: Served, caller: Caller) -> None:
    answers(caller)
    infer(served, caller.token or "")
    assert counted(served.toy) == [(1, "grpc", 1, 1), (1, "mlflow", 1, 1), (1, "oip", 1, 1), (1, "v1", 1, 3)]
    served.toy.models[2] = served.toy.model
    served.toy.version(2)
    served.toy.file = msgspec.structs.replace(served.toy.file, api=2)
    served.toy.reapply()
    served.toy.clock.advance(DAY)
    caller.predict(key="A")
    assert (2, "v1", 2, 1) in counted(served.toy)
    (newest,) = [
        one for item in served.toy.state.scan(SPACE) if (one := msgspec.json.decode(item.body, type=Calls)).api == 2
    ]
    assert newest.first_us == newest.last_us == NOW + DAY


def test_callers_by_token_are_named_up_to_a_bound_and_counted_all() -> None:
    state, clock = MemoryState(), FakeClock(NOW)
    first, second = Tally(clock), Tally(clock)
    for number in range(SUBJECTS_MOST + 50):
        first.count(f"oidc-entra-{number}", 1, "v1", 1)
        second.count(f"oidc-entra-other{number}", 1, "v1", 1)
    first.count("k", 1, "v1", 1)
    first.count("oidc-okta-1", 1, "v1", 1)
    for tally in (first, second, first, second):
        tally.flush(state)
    found = [msgspec.json.decode(item.body, type=Calls) for item in state.scan(SPACE)]
    entra = {one.caller: one.requests for one in found if one.caller.startswith("oidc-entra-")}
    assert len(entra) == SUBJECTS_MOST + 1
    assert entra["oidc-entra-others"] == 50 + SUBJECTS_MOST + 50
    assert sum(one.requests for one in found) == 2 * (SUBJECTS_MOST + 50) + 2
    assert first._counts == first._flushed == {}, "a worker forgets who has not come again"
    first.count("oidc-entra-1", 1, "v1", 1)
    first.count("oidc-entra-other1", 1, "v1", 1)
    first.flush(state)
    again = {one.name: msgspec.json.decode(one.body, type=Calls).requests for one in state.scan(SPACE)}
    assert again["oidc-entra-1|1|v1|1"] == 2
    assert again["oidc-entra-others|1|v1|1"] == entra["oidc-entra-others"] + 1


def test_a_worker_whose_state_is_away_holds_no_counts_without_end() -> None:
    tally = Tally(FakeClock(NOW))
    for number in range(NAMES_MOST + 10):
        tally.count(f"oidc-entra-{number}", 1, "v1", 1)
    assert len(tally._counts) == NAMES_MOST + 1
    tally.count("oidc-entra-5", 1, "v1", 1)
    assert tally._counts["oidc-entra-5", 1, "v1", 1] == 2


def test_no_count_is_lost_that_comes_while_a_worker_forgets_who_did_not_come_again() -> None:
    state, tally, most = MemoryState(), Tally(FakeClock(NOW)), 20_000

    def asked() -> None:
        for number in range(most):
            tally.count(f"k{number % 7}", 1, "v1", 1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        asking = threading.Thread(target=asked)
        asking.start()
        while asking.is_alive():
            tally.flush(state)
        asking.join()
    finally:
        sys.setswitchinterval(before)
    tally.flush(state)
    assert sum(msgspec.json.decode(item.body, type=Calls).requests for item in state.scan(SPACE)) == most


def test_counts_of_several_workers_add_up(served: Served) -> None:
    state, clock = MemoryState(), FakeClock(NOW)
    first, second = Tally(clock), Tally(clock)
    for _ in range(3):
        clock.advance(SECOND)
        first.count("k", 1, "v1", 1)
        second.count("k", 1, "v1", 1)
        first.flush(state)
        second.flush(state)
    clock.advance(SECOND)
    second.flush(state)  # nothing is new
    (found,) = state.scan(SPACE)
    told = msgspec.json.decode(found.body, type=Calls)
    assert (told.requests, told.first_us, told.last_us) == (6, NOW + SECOND, NOW + 3 * SECOND)
    first.count("k", 1, "v1", 1)
    first.look(state)  # it is not time yet
    assert state.scan(SPACE) == (found,)
    clock.advance(10 * SECOND)
    first.look(state)
    assert msgspec.json.decode(state.scan(SPACE)[0].body, type=Calls).requests == 7
