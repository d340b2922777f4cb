from __future__ import annotations

from typing import Any

import pytest

from tests.http.serving import Caller, Served
from tests.serving.toy import online_row

ROWS: list[dict[str, Any]] = [
    {"tenure": 12, "charges": 50.0, "contract": "Two year"},
    {"tenure": 1, "charges": None, "contract": "Ü"},
]
WANTED = [pytest.approx(0.17), pytest.approx(0.01)]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]}},
        {"dataframe_split": {"columns": list(ROWS[0]), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"instances": [list(row.values()) for row in ROWS]},
        {"inputs": ROWS},
        {"inputs": {name: [row[name] for row in ROWS] for name in ROWS[0]}},
        {"inputs": {name: [[row[name]] for row in ROWS] for name in ROWS[0]}},
        {"dataframe_records": ROWS, "params": {}},
    ],
)
def test_every_form_gives_the_same_predictions(caller: Caller, body: dict[str, Any]) -> None:
    said = caller.ask("POST", "/invocations", body)
    assert said.status == 200, said.body
    assert said.json["predictions"] == WANTED
    assert said.headers["mainstay-version"] == "1"


def test_csv_has_a_header_and_empty_is_null(caller: Caller) -> None:
    body = "tenure,charges,contract\n12,50,Two year\n1,,Ü\n".encode()
    for kind in ("text/csv", "text/csv; charset=utf-8", 'text/csv; charset="UTF-8"'):
        assert caller.ask("POST", "/invocations", body, Content_Type=kind).json["predictions"] == WANTED


def test_csv_of_whole_numbers_beside_a_gap(caller: Caller) -> None:
    """Such a column has fractions in a DataFrame, and so in its CSV."""
    body = b"tenure,charges\n12.0,50\n,100.0\n9007199254740993,0\n"
    said = caller.ask("POST", "/invocations", body, Content_Type="text/csv").json
    assert said["predictions"] == [pytest.approx(0.17), pytest.approx(0.1), pytest.approx(9007199254740993 / 100)]


def test_the_error_code_says_whose_fault_it_is(served: Served, caller: Caller) -> None:
    served.toy.policy(on_missing="refuse", on_deleted="refuse")
    served.toy.rows(online_row("gone", deleted=True))
    for key, status in (("gone", 410), ("nobody", 404)):
        said = caller.ask("POST", "/invocations", {"dataframe_records": [{"customer_id": key}]})
        assert (said.status, said.json["error_code"]) == (status, "RESOURCE_DOES_NOT_EXIST")
    said = caller.ask("PUT", "/invocations", {})
    assert (said.status, said.json["error_code"]) == (405, "BAD_REQUEST")


def test_by_key(served: Served, caller: Caller) -> None:
    said = caller.ask("POST", "/invocations", {"dataframe_records": [{"customer_id": "A"}]})
    assert said.json["predictions"] == [pytest.approx(0.17)]
    assert served.toy.receipt(said.headers["mainstay-receipt"]).key == "A"
    said = caller.ask("POST", "/invocations", b"customer_id\nA\n", Content_Type="text/csv")
    assert said.json["mainstay"]["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"{}", "application/json", 422, "exactly one of"),
        (b'{"instances": [], "inputs": []}', "application/json", 422, "`instances` and `inputs`"),
        (b'{"instances": []}', "application/json", 422, "wanted a list of objects or of rows"),
        (b'{"instances": [[1]]}', "application/json", 422, "wanted a list of 3 values"),
        (b'{"dataframe_records": [7]}', "application/json", 422, "found an integer"),
        (b'{"dataframe_split": {}}', "application/json", 422, "columns"),
        (b'{"dataframe_records": [{"tenrue": 1}]}', "application/json", 422, "did you mean `tenure`"),
        (b'{"dataframe_records": [{"tenure": "x"}]}', "application/json", 422, "wanted an integer"),
        (b'{"dataframe_records": [{"tenure": 1}], "params": {"a": 1}}', "application/json", 422, "params"),
        (b'{"dataframe_records": [{"tenure": 1}], "x": 1}', "application/json", 422, "unknown field `x`"),
        (b"tenure\n1", "text/csv; charset=latin-1", 415, "charset"),
        (b"tenure\n1", "text/html", 415, "application/json or text/csv"),
        (b"tenure\ntwelve", "text/csv", 422, "line 2"),
        (b"tenure\n1_000", "text/csv", 422, "line 2"),
        ("tenure\n\u0663".encode(), "text/csv", 422, "line 2"),
        (b"charges\n1_0.5", "text/csv", 422, "line 2"),
        (b"tenure\n12.5", "text/csv", 422, "wanted an integer"),
        (b"tenure\n99999999999999999999", "text/csv", 422, "wanted an integer, found one of more than 64 bits"),
        (b"tenure,tenure\n1,2", "text/csv", 422, "`tenure` came twice"),
        (b'{"dataframe_split": {"columns": ["tenure", "tenure"], "data": [[1, 2]]}}', "application/json", 422, "twice"),
        (b"tenure,charges\n1", "text/csv", 400, "line 2 has 1 fields"),
        (b"tenure\n\xff", "text/csv", 400, "not CSV"),
        (b"tenure\n", "text/csv", 422, "no rows"),
        (b"", "text/csv", 400, "empty"),
    ],
)  # fmt: skip
def test_errors_have_a_code_and_a_message(caller: Caller, body: bytes, kind: str, status: int, told: str) -> None:
    said = caller.ask("POST", "/invocations", body, Content_Type=kind)
    assert said.status == status, said.body
    assert told in said.json["message"]
    assert said.json["error_code"]
    assert "stack_trace" not in said.json


def test_ping_health_and_version(served: Served, caller: Caller) -> None:
    nobody = served.caller()
    for path in ("/ping", "/health"):
        said = nobody.ask("GET", path)
        assert (said.status, said.body) == (200, b"\n")
    served.toy.desk.draining = True
    assert nobody.ask("GET", "/ping").status == 503
    nobody.close()
    served.toy.desk.draining = False
    assert caller.ask("GET", "/version").status == 200
    assert caller.ask("GET", "/invocations").status == 405
