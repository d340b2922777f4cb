"""Nobody in who should not be: every route of the data plane, with every method, as everybody who may not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

import mainstay.http
from mainstay.core.records import ApiKey
from mainstay.http.front import HEALTH
from mainstay.http.routes import _Inner
from mainstay.serving.keys import Role, create_key, digest, revoke_key
from tests.http.serving import Caller, Said, Served
from tests.http.walking import METHODS, expanded, filled, paths_in
from tests.laws.reading import ROOT

OPEN = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping", "/health"}
"""Whoever opens another path says here that everybody may read it."""
OPEN_SCRIPT = "/v1/churn/card.js"
"""The decision card's script, which holds nothing of an installation: pages load it before there is a token."""
CARD = {"/v1/churn/card", "/v1/churn/card/decisions"}
"""These take a card's token, and no API key."""
ROLES: dict[str, Role] = {
    "/v1/receipts/{id}": "predict",
    "/v1/{integration}/predict": "predict",
    "/v1/{integration}/decisions": "predict",
    "/v1/{integration}/outcomes": "predict",
    "/v1/{integration}/card-tokens": "predict",
    "/metrics": "operate",
    "/openapi.json": "predict",
    "/docs": "predict",
}
"""The least role of each route; a new route fails the tests until it stands here."""
LISTENING = {
    "app/supervisor.py", "app/doors.py", "grpc/door.py", "http/listening.py", "http/serve.py", "web/serve.py",
}  # fmt: skip
"""The modules that make something listen; each listener's routes are walked."""
BODY = {"key": "A"}

PATHS = sorted(
    {each.replace("/v1/x/", "/v1/churn/") for each in paths_in(Path(mainstay.http.__path__[0]))}
    | {filled(each) for each in ROLES}
)
SHUT = [path for path in PATHS if path not in OPEN and not path.startswith("/health/") and path != OPEN_SCRIPT]


def routes_of(served: Served) -> list[Route]:
    return [route for route in _Inner(served.toy.desk)._router.routes if isinstance(route, Route)]


def refused(said: Said, status: int) -> bool:
    """Refused, and with nothing said but that."""
    return said.status == status and b"churn" not in said.body.replace(b"mainstay", b"") and b"0.17" not in said.body


def each_way(caller: Caller, path: str, **headers: str) -> list[tuple[str, Said]]:
    """The path with each method, with a body and without."""
    return [
        (method, caller.ask(method, path, body, **headers))
        for method in METHODS
        for body in ((None, BODY) if method in ("POST", "PUT", "PATCH") else (None,))
    ]


def test_the_walk_knows_the_routes() -> None:
    assert HEALTH == OPEN
    assert len(PATHS) > 50
    for known in (
        "/v2/models/x/versions/x/infer", "/v2/repository/models/x/unload", "/invocations", "/v1/churn/card/decisions",
        "/v1/churn/predict", "/v1/receipts/r1", "/metrics",
    ):  # fmt: skip
        assert known in SHUT
    assert expanded(r"/a/(bb|cc)?/[^/]+") == ["/a//x", "/a/bb/x", "/a/cc/x"]


def test_every_route_has_a_role(served: Served) -> None:
    assert {route.path for route in routes_of(served)} == set(ROLES)


def test_only_known_modules_listen() -> None:
    found = set()
    source = ROOT / "src" / "mainstay"
    for file in source.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr
            if called == "bind" and "structlog" in ast.unparse(node):
                continue
            if called in ("listen", "bind", "create_server", "start_server", "add_insecure_port", "add_secure_port"):
                found.add(file.relative_to(source).as_posix())
    else_ = {"models/runtimes/python_host.py", "testing/ports.py"}  # a socket file of mode 0600; for tests
    assert found - else_ == LISTENING


@pytest.mark.parametrize("path", SHUT)
def test_nobody_gets_in_without_a_valid_key(served: Served, path: str) -> None:
    gone, record = create_key(served.toy.state, "gone", "admin", clock=served.toy.clock)
    revoke_key(served.toy.state, record.id, clock=served.toy.clock)
    ended, _ = create_key(served.toy.state, "x", "admin", clock=served.toy.clock, expires_us=served.toy.clock.now_us())
    served.toy.view.refresh()
    for token in (None, "", "msk_x_y", gone, ended, gone[:-1], "null", "' OR 1=1 --", "x" * 5_000):
        caller = served.caller(token)
        for method, said in each_way(caller, path):
            if path in CARD and method != "POST":
                assert said.status in (204, 405), (method, path, token)  # its preflight tells nothing
                assert said.body == b"" or said.json["title"] == "Wrong method"
                continue
            assert refused(said, 401), (method, path, token, said)
            assert said.headers["www-authenticate"].startswith(("Bearer", "Basic"))
        caller.close()
    assert served.toy.receipts() == []


@pytest.mark.parametrize("path", SHUT)
def test_nobody_gets_in_without_a_role(served: Served, path: str) -> None:
    served.toy.put("api_key", digest("msk_bare_x"), ApiKey(id="bare", name="bare", roles=(), created_us=0))
    served.toy.put("api_key", digest("msk_odd_x"), ApiKey(id="odd", name="odd", roles=("root",), created_us=0))
    served.toy.view.refresh()
    for token in ("msk_bare_x", "msk_odd_x"):
        caller = served.caller(token)
        for method, said in each_way(caller, path):
            if path not in CARD:
                assert refused(said, 403), (method, path, said)
            elif method == "POST":
                assert refused(said, 401)
        caller.close()
    assert served.toy.receipts() == []


def test_each_role_gets_what_is_its_own(served: Served, caller: Caller, operator: Caller) -> None:
    for route in routes_of(served):
        (method,) = (route.methods or set()) - {"HEAD"}
        role = ROLES[route.path]
        assert (caller.ask(method, filled(route.path)).status == 403) == (role != "predict"), route.path
        assert operator.ask(method, filled(route.path)).status != 403, route.path


@pytest.mark.parametrize("path", sorted(OPEN))
def test_what_is_open_says_little(served: Served, path: str) -> None:
    nobody = served.caller()
    for method, said in each_way(nobody, path):
        if method in ("GET", "HEAD"):
            assert said.body in (b"", b"\n", b'{"live":true}', b'{"ready":true,"reasons":[]}')
        else:
            assert said.status == 405
    nobody.close()


@pytest.mark.parametrize(
    "target",
    [
        "/health/../metrics", "/health/%2e%2e/metrics", "/health/live/../../metrics", "/health/live/", "/health//live",
        "//metrics", "/metrics/", "/METRICS", "/metrics;x=/health/live", "/metrics?/health/live", "/metrics%00",
        "/v1/churn/predict/", "/v1/churn/predict?key=A", "/v1//churn/predict", "/v2/health/live/../../models",
        "/v1/churn/card.js/../predict", "/v1/churn/card%2ejs/..%2fpredict", "/v2/../metrics", "/ping/../metrics",
        "http://127.0.0.1/metrics", "http://127.0.0.1/health/live/../../metrics", "*",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_around_the_door(served: Served, target: str) -> None:
    for method in ("GET", "POST"):
        body = b'{"key":"A"}' if method == "POST" else b""
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        said = served.raw(head.encode() + body)
        status = said.split(b" ", 2)[1] if said else b""
        below_health = status == b"404" and b"there are /health/live and /health/ready" in said
        assert status in (b"400", b"401", b"405", b"") or below_health, (method, target, said)
        assert b"churn" not in said.partition(b"\r\n\r\n")[2]
    assert served.toy.receipts() == []


def test_keys_in_the_wrong_place_count_for_nothing(served: Served) -> None:
    token = served.toy.key("admin")
    nobody = served.caller()
    wrong: list[dict[str, Any]] = [
        {"Cookie": f"mainstay_churn={token}"},
        {"Proxy_Authorization": f"Bearer {token}"},
        {"Authorization": token},
        {"Authorization": f"Token {token}"},
        {"X_Forwarded_User": "admin"},
        {"X_Forwarded_For": "127.0.0.1"},
        {"X_Original_URL": "/health/live"},
    ]
    for headers in wrong:
        assert nobody.ask("POST", "/v1/churn/predict", BODY, **headers).status == 401
    assert nobody.ask("POST", f"/v1/churn/predict?api_key={token}&access_token={token}", BODY).status == 401
    assert nobody.ask("POST", "/v1/churn/predict", {**BODY, "api_key": token}).status == 401
    nobody.close()
