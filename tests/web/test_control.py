"""The control API over real HTTP: who may, what each operation does, and that neither plane has the other's routes."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import grpc
import mainstay.http
from mainstay.app.control import Control
from mainstay.app.status import read_status
from mainstay.core.audit import AuditRecord
from mainstay.core.clock import SystemClock
from mainstay.core.records import ApiKey
from mainstay.http.control import ControlDoor
from mainstay.http.control_asked import DESCRIBED
from mainstay.http.control_operations import DOCUMENT, OPERATIONS, Operation
from mainstay.serving.keys import create_key, digest, revoke_key
from mainstay.store import audit
from mainstay.store.home import Home
from mainstay.store.state_sqlite import SqliteState
from tests.app.shop import CONSTANT, Shop
from tests.http.issuer import issuing
from tests.http.serving import Caller, Said, serving
from tests.http.walking import METHODS, filled, paths_in
from tests.serving.toy import Toy
from tests.web.looking import COLUMNS, Looked, bad_shop, looped, paged

BLOCKING = COLUMNS.rstrip() + "\n    checks: [{row_count: {max: 6}, on_fail: block}]\n"
PURPOSE = "purpose: {problem: They learn of it afterwards.}"
PARAMETERS = {"number": "1", "id": "none", "dataset": "customers"}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A shop with thirty rejected rows, its loop running, its control plane served."""
    shop = bad_shop(tmp_path_factory.mktemp("shop"))
    with looped(shop), paged(shop) as made:
        yield made


@pytest.fixture
def admin(looked: Looked) -> Iterator[Caller]:
    caller = Caller(looked.port, looked.key("admin"))
    yield caller
    caller.close()


@pytest.fixture
def operator(looked: Looked) -> Iterator[Caller]:
    caller = Caller(looked.port, looked.key("operate"))
    yield caller
    caller.close()


def path_of(one: Operation) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: PARAMETERS[found[1]], one.path)


PATHS = sorted({path_of(one) for one in OPERATIONS} | {DOCUMENT, "/control", "/control/", "/control/v1/nothing"})


def recorded(looked: Looked) -> list[AuditRecord]:
    state = SqliteState(looked.shop.place.home.state)
    try:
        return audit.records(state)
    finally:
        state.close()


def refused(said: Said, status: int, code: str) -> bool:
    """A problem of this type, with nothing of the installation in it."""
    told = said.json
    return (
        (said.status, told["status"]) == (status, status)
        and told["type"] == f"/control/openapi.json#{code}"
        and said.headers["content-type"] == "application/problem+json"
        and said.headers["cache-control"] == "no-store"
        and b"customers" not in said.body
    )


# --- who may ---------------------------------------------------------------------------------------------------------


def test_the_walk_knows_the_routes() -> None:
    assert {filled(one.path) for one in OPERATIONS} | {DOCUMENT, "/control"} == {
        each for each in paths_in(Path(mainstay.http.__path__[0])) if each.startswith("/control")
    } - {"/control/v1/requests/churn"}  # the Location of an answer that comes later
    assert {one.role for one in OPERATIONS if one.method != "GET"} == {"admin"}
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS) == 19
    asked = {name for one in OPERATIONS for name in one.asked.__struct_fields__}
    assert asked == set(DESCRIBED)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_in_without_a_valid_key(looked: Looked, path: str) -> None:
    clock, state = SystemClock(), SqliteState(looked.shop.place.home.state)
    gone, record = create_key(state, "gone", "admin", clock=clock)
    revoke_key(state, record.id, clock=clock)
    ended, _ = create_key(state, "ended", "admin", clock=clock, expires_us=clock.now_us())
    state.close()
    before = len(recorded(looked))
    for token in (None, "msk_x_y", gone, ended, "eyJhbGciOiJub25lIn0.e30."):
        caller = Caller(looked.port, token)
        for method in METHODS:
            said = caller.ask(method, path, b"{}" if method == "POST" else None)
            assert said.headers["www-authenticate"] == 'Bearer realm="mainstay control"'
            assert said.status == 401 if method == "HEAD" else refused(said, 401, "unauthorized"), (method, token)
        caller.close()
    assert len(recorded(looked)) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_role_that_does_not_suffice(looked: Looked, operator: Caller, path: str) -> None:
    state = SqliteState(looked.shop.place.home.state)
    state.commit([_record("msk_bare_x", ()), _record("msk_odd_x", ("root",))])
    state.close()
    before = len(recorded(looked)) + 1
    for token in (looked.key("predict"), "msk_bare_x", "msk_odd_x"):
        caller = Caller(looked.port, token)
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            assert refused(caller.ask(method, path, b"{}" if method == "POST" else None), 403, "forbidden")
        caller.close()
    for one in OPERATIONS:
        if path_of(one) == path and one.role == "admin":
            assert refused(operator.ask(one.method, path), 403, "forbidden"), one.name
    assert len(recorded(looked)) == before


def _record(token: str, roles: tuple[str, ...]) -> Any:
    from mainstay.core.ports import Write

    body = msgspec.json.encode(ApiKey(id=token[4:8], name="x", roles=roles, created_us=0))
    return Write(space="api_key", name=digest(token), body=body)


def test_a_session_of_the_status_page_changes_nothing(looked: Looked) -> None:
    looker = looked.looker("admin")
    assert looker.ask("/").status == 200
    for one in OPERATIONS:
        said = looker.ask(path_of(one), one.method, {} if one.method == "POST" else None)
        assert said.status == 401, one.name
    token = looked.key("admin")
    nobody = Caller(looked.port, None)
    assert nobody.ask("GET", f"/control/v1/keys?api_key={token}").status == 401
    assert nobody.ask("GET", "/control/v1/keys", Cookie=f"mainstay_churn={token}").status == 401
    assert nobody.ask("GET", DOCUMENT, Authorization="Basic eDp" + "5").status == 401
    assert nobody.ask("GET", "/control/v1/keys", X_API_Key=token).status == 200
    nobody.close()


def test_a_key_of_another_integration_is_none_here(looked: Looked, tmp_path: Path) -> None:
    beside = Home(looked.shop.home, "prices")
    beside.create()
    state = SqliteState(beside.state)
    token, _ = create_key(state, "theirs", "admin", clock=SystemClock())
    state.close()
    caller = Caller(looked.port, token)
    for one in OPERATIONS:
        assert caller.ask(one.method, path_of(one)).status == 401
    caller.close()


def test_a_revoked_key_is_refused_with_the_next_request(looked: Looked, admin: Caller) -> None:
    made = admin.ask("POST", "/control/v1/keys", {"name": "second", "role": "admin"}).json
    second = Caller(looked.port, made["key"])
    assert second.ask("GET", "/control/v1/keys").status == 200
    assert admin.ask("POST", f"/control/v1/keys/{made['id']}/revoke").status == 200
    assert second.ask("GET", "/control/v1/keys").status == 401
    second.close()


# --- two planes ------------------------------------------------------------------------------------------------------


def test_the_data_plane_has_no_control_route(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    with serving(toy, grpc="127.0.0.1:0") as served:
        token = toy.key("admin")
        caller = served.caller(token)
        for path in PATHS:
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
                said = caller.ask(method, path, b"{}" if method == "POST" else None)
                assert (said.status, said.json["title"]) == (404, "Not found"), (method, path)
        caller.close()
        with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
            for one in OPERATIONS:
                with pytest.raises(grpc.RpcError) as told:
                    channel.unary_unary(path_of(one))(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=5)
                assert told.value.code() == grpc.StatusCode.UNIMPLEMENTED
    toy.journal.close()


def test_the_control_plane_answers_no_prediction(looked: Looked, admin: Caller) -> None:
    data = [one for one in paths_in(Path(mainstay.http.__path__[0])) if not one.startswith("/control") and one != "/"]
    assert len(data) > 40
    for path in {one.replace("/v1/x/", "/v1/churn/") for one in data}:
        for method in ("GET", "POST"):
            said = admin.ask(method, path, b'{"key":"person-0001"}' if method == "POST" else None)
            assert said.status == 404, (method, path)
            assert b"churn_probability" not in said.body


def test_the_file_switches_it_off(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin(more="settings: {status_page: {port: 0}}")
    with paged(shop) as looked:
        caller, token = Caller(looked.port, None), looked.key("admin")
        assert caller.ask("GET", "/control/v1/status", X_API_Key=token).status == 200
        shop.apply(more="settings: {status_page: {port: 0, control: off}}")
        for one in OPERATIONS:
            assert caller.ask(one.method, path_of(one), X_API_Key=token).status in (404, 405), one.name
        assert looked.looker().ask("/").status == 200
        caller.close()


# --- what it does ----------------------------------------------------------------------------------------------------


def test_status_is_the_document_of_the_command(looked: Looked, operator: Caller) -> None:
    said = operator.ask("GET", "/control/v1/status")
    there = json.loads(msgspec.json.encode(read_status(looked.shop.place, SystemClock()), enc_hook=str))
    assert said.status == 200
    assert said.json.keys() == there.keys()
    assert (said.json["integration"], said.json["verdict"]) == ("churn", there["verdict"])


def test_models_are_listed_shown_and_used(looked: Looked, admin: Caller, operator: Caller) -> None:
    looked.shop.apply(columns=COLUMNS, more=PURPOSE, model="constant: {churn_probability: 0.3}")
    found = operator.ask("GET", "/control/v1/models").json
    numbers = [one["number"] for one in found["models"]]
    assert found["answering"]["version"] == numbers[-1] > 1
    assert operator.ask("GET", "/control/v1/models/1").json["runtime"] == "constant"
    said = admin.ask("POST", "/control/v1/models/1/use")
    assert (said.status, said.json["version"], said.json["previous"]) == (200, 1, numbers[-1])
    last = recorded(looked)[-1]
    assert (last.what, last.object) == ("model.use", "version 1")
    assert re.fullmatch(r"API key \w{8} \(a person\) on \S+ \(control API\)", last.by)
    assert admin.ask("POST", "/control/v1/models/1/use").json["version"] == 1  # twice changes nothing
    assert recorded(looked)[-1].number == last.number
    missing = admin.ask("POST", "/control/v1/models/9/use")
    assert refused(missing, 404, "not_found")
    assert missing.json["mend"] == f"versions: {', '.join(map(str, numbers))} (GET /control/v1/models)"
    for odd in ("x", "-1", "1.0", "%C2%B2", "9" * 30):
        assert refused(admin.ask("POST", f"/control/v1/models/{odd}/use"), 404, "not_found"), odd
    looked.shop.apply(columns=COLUMNS, more=PURPOSE, model=CONSTANT)


def test_a_version_that_may_not_answer_is_a_conflict(looked: Looked, admin: Caller) -> None:
    from mainstay.app.models import retire_model, shop

    looked.shop.apply(columns=COLUMNS, more=PURPOSE, model="constant: {churn_probability: 0.4}")
    with shop(looked.shop.place) as at:
        number = at.registry.versions()[-1].number
        assert admin.ask("POST", "/control/v1/models/1/use").status == 200
        retire_model(at, number, by="a test")
    said = admin.ask("POST", f"/control/v1/models/{number}/use")
    assert refused(said, 409, "refused")
    assert said.json["detail"] == f"version {number} is retired"


def test_keys_are_made_shown_once_rotated_and_revoked(looked: Looked, admin: Caller) -> None:
    made = admin.ask("POST", "/control/v1/keys", {"name": "crm", "role": "operate", "days": 30, "rate": "10/s"})
    assert made.status == 201
    assert (made.json["name"], made.json["roles"], made.json["rate"]) == ("crm", ["predict", "operate"], "10/s")
    theirs = made.json["id"]
    second = admin.ask("POST", f"/control/v1/keys/{theirs}/rotate", {"overlap": "0s"}).json
    for token, status in ((made.json["key"], 401), (second["key"], 200)):
        caller = Caller(looked.port, token)
        assert caller.ask("GET", "/control/v1/models").status == status
        caller.close()
    listed = admin.ask("GET", "/control/v1/keys")
    assert [one["id"] for one in listed.json["keys"]].count(theirs) == 2
    for token in (made.json["key"], second["key"]):
        assert token.rpartition("_")[2].encode() not in listed.body
        assert digest(token).encode() not in listed.body
    for _ in range(2):
        assert admin.ask("POST", f"/control/v1/keys/{theirs}/revoke", {}).json["revoked_us"]
    mine = [one for one in recorded(looked) if one.object == f"API key {theirs}"]
    assert [one.what for one in mine] == ["key.create", "key.rotate", "key.revoke"]
    assert all("(a person)" in one.by and "control API" in one.by for one in mine)
    assert refused(admin.ask("POST", f"/control/v1/keys/{theirs}/rotate"), 409, "refused")
    near = admin.ask("POST", f"/control/v1/keys/{theirs[:-1]}/revoke")
    assert refused(near, 404, "not_found")
    assert near.json["mend"] == f"did you mean {theirs}?"
    assert admin.ask("GET", "/control/v1/audit/verify").json["fault"] is None


def test_quarantine_is_read_masked_and_rows_are_discarded_and_replayed(
    looked: Looked, admin: Caller, operator: Caller
) -> None:
    masked = operator.ask("GET", "/control/v1/quarantine?dataset=customers&limit=2")
    assert len(masked.json["rows"]) == 2
    assert b"secret-" not in masked.body
    assert b"secret-" not in admin.ask("GET", "/control/v1/quarantine").body
    assert b"secret-29" in admin.ask("GET", "/control/v1/quarantine?personal=true").body
    assert operator.ask("GET", "/control/v1/quarantine?personal=true").status == 403
    (row, other) = (one["id"] for one in masked.json["rows"])
    wrong = admin.ask("POST", "/control/v1/quarantine/discard", {"ids": [row], "reason": "  "})
    assert (wrong.status, wrong.json["where"]) == (422, "reason")
    done = admin.ask("POST", "/control/v1/quarantine/discard", {"ids": [row], "reason": "a test account"})
    assert (done.status, done.json) == (200, {"discarded": {"customers": 1}})
    last = recorded(looked)[-1]
    assert (last.what, "control API" in last.by) == ("quarantine.discard", True)
    tried = admin.ask("POST", "/control/v1/quarantine/replay", {"ids": [other]}).json["results"]["customers"]
    assert (tried["tried"], tried["still_rejected"]) == (1, 1)
    assert admin.ask("POST", "/control/v1/quarantine/discard", {"ids": ["x"], "reason": "y"}).status == 404
    for path in ("replay", "discard"):  # an empty list is not every row
        sent = {"ids": []} if path == "replay" else {"ids": [], "reason": "y"}
        none = admin.ask("POST", f"/control/v1/quarantine/{path}", sent)
        assert (none.status, none.json["where"]) == (422, "ids")
    assert admin.ask("POST", "/control/v1/quarantine/replay").json["results"]["customers"]["tried"] == 29
    said = admin.ask("GET", "/control/v1/quarantine?dataset=custmers")
    assert (said.status, said.json["mend"]) == (404, "one of customers")


def test_datasets_are_run_and_a_blocked_batch_is_released(looked: Looked, admin: Caller, operator: Caller) -> None:
    assert [one["dataset"] for one in admin.ask("POST", "/control/v1/run").json["results"]] == ["customers"]
    said = admin.ask("POST", "/control/v1/run", {"datasets": ["custmers"]})
    assert (said.status, said.json["mend"]) == (404, "one of customers")
    looked.shop.apply(columns=BLOCKING, more=PURPOSE)
    looked.shop.exec("INSERT INTO customers VALUES ('more', 5, 'Bonn', 'gold')")
    admin.ask("POST", "/control/v1/run", {"datasets": ["customers"]})
    waiting = operator.ask("GET", "/control/v1/batches?waiting=true").json["batches"]
    number = waiting[-1]["number"]
    assert operator.ask("GET", f"/control/v1/batches/customers/{number}").json["status"] == "blocked"
    assert operator.ask("GET", "/control/v1/batches/customers/999").status == 404
    done = admin.ask("POST", f"/control/v1/batches/customers/{number}/release", {"reason": "a new branch"})
    assert [one["status"] for one in done.json["batches"]] == ["published"]
    last = next(one for one in reversed(recorded(looked)) if one.what == "batch.release")
    assert (last.object, "control API" in last.by) == (f"customers/{number}", True)
    for what in ("discard", "release"):
        again = admin.ask("POST", f"/control/v1/batches/customers/{number}/{what}", {"reason": "x"})
        assert (again.status, again.json["type"]) == (409, "/control/openapi.json#refused")
    nowhere = admin.ask("POST", "/control/v1/batches/nope/1/release", {"reason": "x", "through": 5})
    assert (nowhere.status, nowhere.json["mend"]) == (404, "one of customers")
    looked.shop.apply(columns=COLUMNS, more=PURPOSE)


def test_the_audit_is_listed(looked: Looked, admin: Caller) -> None:
    admin.ask("POST", "/control/v1/keys", {"name": "crm"})
    found = admin.ask("GET", "/control/v1/audit?what=key&by=control%20API&since=1h&limit=1").json["records"]
    assert [one["what"] for one in found] == ["key.create"]
    head = admin.ask("GET", "/control/v1/audit/verify").json["head"]
    assert admin.ask("GET", f"/control/v1/audit/verify?head={head}").json["anchored"] == found[0]["number"]


def test_what_the_loop_does_not_do_in_time_is_done_later(looked: Looked) -> None:
    token = looked.key("admin")
    control = Control(looked.shop.place, SystemClock(), wait_us=0)

    async def asked() -> None:
        transport = httpx.ASGITransport(app=ControlDoor(control))
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers={"X-API-Key": token}) as client:
            said = await client.post("/control/v1/run", json={"dry_run": True})
            assert (said.status_code, said.json()["done"]) == (202, False)
            found = await _done(client, said.headers["location"])
            assert found["ok"]
            assert found["answer"]["results"][0]["dataset"] == "customers"
            wrong = await client.post("/control/v1/run", json={"datasets": ["nobody"]})
            found = await _done(client, wrong.headers["location"])
            assert (found["ok"], found["detail"]) == (False, "there is no dataset nobody")
            wrong = await client.post("/control/v1/batches/customers/999/discard", json={"reason": "x"})
            assert (await _done(client, wrong.headers["location"]))["mend"] == "GET /control/v1/batches"
            assert (await client.get("/control/v1/requests/req-none")).status_code == 404

    asyncio.run(asked())
    control.close()


async def _done(client: httpx.AsyncClient, location: str) -> dict[str, Any]:
    for _ in range(1_000):
        found: dict[str, Any] = (await client.get(location)).json()
        if found["done"]:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(location)


def test_without_the_loop_nothing_is_left_to_be_done(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    with paged(shop) as looked:
        caller = Caller(looked.port, looked.key("admin"))
        for path, body in (("run", {}), ("quarantine/discard", {"ids": ["customers/1/1"], "reason": "x"})):
            said = caller.ask("POST", f"/control/v1/{path}", body)
            assert refused(said, 503, "loop")
            assert (said.json["mend"], said.headers["retry-after"]) == ("mainstay up", "5")
        assert caller.ask("GET", "/control/v1/quarantine").status == 503
        assert caller.ask("GET", "/control/v1/batches").status == 200
        caller.close()
        state = SqliteState(shop.place.home.state)
        assert state.scan("request") == ()
        state.close()


# --- what is sent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"nme": "crm"}, 422, "did you mean `name`?"),
        ({}, 422, "`name` is missing, wanted a text of 1 to 200 characters"),
        ({"name": ""}, 422, "`name`: wanted a text of 1 to 200 characters: who will use it, found an empty text"),
        ({"name": 7}, 422, "found an integer"),
        ({"name": "x", "role": "root"}, 422, "`role`: wanted `predict`, `operate` or `admin`"),
        ({"name": "x", "days": 0}, 422, "whole days from 1 to 36500"),
        ({"name": "x", "rate": "many"}, 422, "a rate such as 100/s"),
        ([], 422, "wanted a JSON object, found a list"),
        (b"{", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not JSON"),
        (b"[" * 40 + b"]" * 40, 400, "nested deeper than 32 levels"),
        (b"[" * 100_000, 400, "nested deeper than 32 levels"),
        (b" " * (1024 * 1024 + 1), 413, "larger than 1 MiB"),
    ],
)
def test_a_body_that_does_not_fit(looked: Looked, admin: Caller, body: object, status: int, said: str) -> None:
    before = len(recorded(looked))
    answer = admin.ask("POST", "/control/v1/keys", body)
    assert answer.status == status
    assert said in answer.json["detail"] + answer.json.get("mend", "")
    assert len(recorded(looked)) == before


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", "limit"), ("limit=x", "limit"), ("limit=1e3", "limit"), ("all=yes", "all"), ("all=1", "all"),
        ("al=true", "al"), ("limit=1&limit=2", "limit"), ("&".join(f"a{n}=" for n in range(30)), None),
    ],
)  # fmt: skip
def test_a_query_that_does_not_fit(admin: Caller, query: str, where: str | None) -> None:
    said = admin.ask("GET", f"/control/v1/quarantine?{query}")
    assert (said.status, said.json.get("where")) == (422, where)


def test_a_route_that_there_is_not_and_a_method_that_is_none(admin: Caller) -> None:
    said = admin.ask("GET", "/control/v1/model")
    assert refused(said, 404, "not_found")
    assert said.json["mend"] == "did you mean /control/v1/models?"
    for method, allowed in (("DELETE", "GET, POST"), ("PATCH", "GET, POST")):
        said = admin.ask(method, "/control/v1/keys")
        assert (said.status, said.headers["allow"]) == (405, allowed)
    for odd in ("/control/v1/keys/", "/control//v1/keys", "/control/v1/../v1/keys", "/control/v1/keys%2f"):
        assert admin.ask("GET", odd).status == 404


def test_a_token_of_an_issuer_counts_with_its_role(tmp_path: Path) -> None:
    with issuing() as issuer:
        shop = Shop(tmp_path)
        claim = "{claim: groups, values: {ops: operate, bosses: admin}}"
        shop.begin(
            more=f"callers: {{oidc: [{{name: entra, issuer: '{issuer.url}', audience: mainstay, roles: {claim}}}]}}"
        )
        with paged(shop) as looked:
            for groups, read, write in ((["ops"], 200, 403), (["bosses"], 200, 201), (["none"], 403, 403)):
                caller = Caller(looked.port, issuer.token(groups=groups))
                assert caller.ask("GET", "/control/v1/models").status == read
                assert caller.ask("POST", "/control/v1/keys", {"name": "crm"}).status == write
                caller.close()
            caller = Caller(looked.port, issuer.token(groups=["bosses"], aud="another"))
            assert caller.ask("GET", "/control/v1/models").status == 401
            caller.close()
            last = recorded(looked)[-1]
            assert re.fullmatch(r"token oidc-entra-\w{16} on \S+ \(control API\)", last.by)


def test_nobody_gets_in_while_state_cannot_be_read(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    with paged(shop) as looked:
        caller = Caller(looked.port, looked.key("admin"))
        assert caller.ask("GET", DOCUMENT).status == 200
        with closing(sqlite3.connect(shop.place.home.state)) as connection, connection:
            connection.execute("ALTER TABLE record RENAME TO elsewhere")
        said = caller.ask("GET", DOCUMENT)
        assert refused(said, 503, "not_ready"), said
        caller.close()
