"""What callers of the control API are told when something does not go: in their words, with routes for what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mainstay.http.control_operations import DOCUMENT, OPERATIONS
from mainstay.http.control_words import COMMANDS, near, over_http
from tests.app.shop import Shop
from tests.http.serving import Caller
from tests.web.looking import paged

ROUTES = sorted({DOCUMENT, *(one.path for one in OPERATIONS)})
LIMIT = "the query parameter `limit`: wanted a whole number from 1 to 1000, found"
WAITING = "the query parameter `waiting`: wanted true or false: only batches that are not settled, found"
SINCE = "the query parameter `since`: wanted only the newest of so long: 7d, 12h, found"


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """An admin of a shop whose loop does not run."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.begin()
    with paged(shop) as looked:
        caller = Caller(looked.port, looked.key("admin"))
        yield caller
        caller.close()


@pytest.mark.parametrize(
    ("mend", "told"),
    [
        ("versions: 1, 2 (mainstay model list)", "versions: 1, 2 (GET /control/v1/models)"),
        ("try again when it is: mainstay model use 7", "try again when it is: POST /control/v1/models/7/use"),
        ("mainstay batch list", "GET /control/v1/batches"),
        (
            "see `mainstay batch list --dataset customers --waiting`; settle it",
            "see `GET /control/v1/batches?dataset=customers&waiting=true`; settle it",
        ),
        ("mainstay batch show", "GET /control/v1/batches/{dataset}/{number}"),
        ("mainstay quarantine list --dataset a-b", "GET /control/v1/quarantine?dataset=a-b"),
        ("mainstay apply, then mainstay run", "mainstay apply, then POST /control/v1/run"),
        ("mainstay status names it; try again", "GET /control/v1/status names it; try again"),
        ("see the log of `mainstay up`, and report it", "see the log of `mainstay up`, and report it"),
        ("did you mean mainstay-runner?", "did you mean mainstay-runner?"),
        ("", ""),
    ],
)
def test_commands_are_told_as_routes(mend: str, told: str) -> None:
    assert over_http(mend) == told


def test_every_command_is_an_operation() -> None:
    operations = {f"{one.method} {one.path}" for one in OPERATIONS if one.name != "request"}
    assert set(COMMANDS.values()) == operations


def test_what_to_do_names_a_route(admin: Caller) -> None:
    for path, mend in (
        ("models/9", "versions: 1 (GET /control/v1/models)"),
        ("batches/customers/99", "GET /control/v1/batches"),
        ("quarantine", "mainstay up"),
    ):
        assert admin.ask("GET", f"/control/v1/{path}").json["mend"] == mend
    lost = admin.ask("GET", "/control/v1/modles").json
    assert lost["mend"] == "did you mean /control/v1/models?"
    assert admin.ask("GET", "/control/v1/nope").json["mend"] == f"every route stands in {DOCUMENT}"
    assert admin.ask("POST", "/control/v1/keys/none/revoke").json["mend"] == "GET /control/v1/keys"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/control/v1/modles", "/control/v1/models"),
        ("/control/v1/models/1/uses", "/control/v1/models/{number}/use"),
        ("/control/v1/batches/customers/3/relase", "/control/v1/batches/{dataset}/{number}/release"),
        ("/control/status", "/control/v1/status"),
        ("/control/openapi", "/control/openapi.json"),
        ("/control/v1/openapi.json", "/control/openapi.json"),
        ("/control/v1/nope", ""),
        ("/control/v1/" + "x" * 5_000, ""),
        ("/control", ""),
    ],
)
def test_a_path_that_is_no_route_is_told_the_close_one(path: str, route: str) -> None:
    assert (near(path, ROUTES) or "") == route


@pytest.mark.parametrize(
    ("query", "detail", "mend"),
    [
        ("batches?limit=abc", f"{LIMIT} a text that is no whole number", ""),
        ("batches?limit=0", f"{LIMIT} a number out of bounds", ""),
        ("batches?limit=", f"{LIMIT} an empty text", ""),
        ("batches?waiting=yes", f"{WAITING} neither", ""),
        ("audit?since=lately", f"{SINCE} a text of another form", ""),
        ("batches?lmit=1", "unknown query parameter `lmit`", "did you mean `limit`?"),
        ("batches?limit=1&limit=2", "the query parameter `limit` came twice", "send each once"),
    ],
)  # fmt: skip
def test_a_query_that_does_not_fit_is_called_so(admin: Caller, query: str, detail: str, mend: str) -> None:
    said = admin.ask("GET", f"/control/v1/{query}")
    assert (said.status, said.json["title"]) == (422, "What was sent does not fit")
    assert (said.json["detail"], said.json.get("mend", "")) == (detail, mend)
    assert b"body" not in said.body


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("keys", {"name": "x" * 201}, "a text of 201 characters"),
        ("keys", {"name": ["x"]}, "a list"),
        ("keys", {"name": "x", "role": "root"}, "none of them"),
        ("keys", {"name": "x", "days": 0}, "a number out of bounds"),
        ("keys", {"name": "x", "days": "7d"}, "a text that is no whole number"),
        ("keys", {"name": "x", "days": True}, "a boolean"),
        ("keys", {"name": "x", "rate": "many"}, "a text of another form"),
        ("quarantine/discard", {"ids": [], "reason": "x"}, "an empty list"),
        ("quarantine/discard", {"ids": ["a"] * 1_001, "reason": "x"}, "a list of 1001"),
        ("quarantine/discard", {"ids": ["a", 7], "reason": "x"}, "a list with an integer at place 2"),
        ("run", {"datasets": ["a" * 1_001]}, "a list with a text of 1001 characters at place 1"),
        ("quarantine/discard", {"ids": ["a"], "reason": " "}, "a text of another form"),
        ("quarantine/discard", {"ids": "a", "reason": "x"}, "a string"),
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit_is_told_what_came(admin: Caller, path: str, body: Any, found: str) -> None:
    said = admin.ask("POST", f"/control/v1/{path}", body)
    assert said.status == 422
    assert said.json["detail"].partition(", found ")[2] == found
