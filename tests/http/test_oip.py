from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from mainstay.core.errors import ModelAway
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import LoadedModel
from mainstay.core.records import ModelVersion
from mainstay.serving.places import Places
from mainstay.serving.request import ROWS_MOST
from tests.http.serving import Caller, Served
from tests.serving.toy import SET, SIGNATURE, Linear

INFER = "/v2/models/churn/infer"


def tensor(name: str, datatype: str, *data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data), **more}


def by_key(*keys: str) -> dict[str, Any]:
    return {"inputs": [tensor("customer_id", "BYTES", *keys)]}


def test_provenance_travels_in_parameters_and_in_headers(served: Served, caller: Caller) -> None:
    said = caller.ask("POST", INFER, by_key("A"))
    assert said.status == 200
    told = said.json["parameters"]
    receipt = served.toy.receipt(told["receipt"])
    assert (receipt.key, receipt.outcome, receipt.output) == ("A", "answered", {"churn": pytest.approx(0.17)})
    assert said.headers["mainstay-receipt"] == told["receipt"]
    assert said.headers["mainstay-verdict"] == told["verdict"] == "PASS"
    assert float(said.headers["mainstay-age-seconds"]) == told["age_seconds"] == 10.0
    assert said.headers["mainstay-as-of"] == told["as_of"]
    assert said.headers["mainstay-degraded"] == "false"


def test_no_content_type_and_bare_nan_are_taken(caller: Caller) -> None:
    body = b'{"inputs": [{"name": "charges", "datatype": "FP64", "shape": [2], "data": [NaN, 100]}]}'
    said = caller.ask("POST", INFER, body)
    assert said.json["outputs"][0]["data"] == [0.0, 0.1]


def test_one_tensor_holds_all_inputs_in_the_order_of_the_signature(served: Served, caller: Caller) -> None:
    numbers = Signature(
        inputs=(*SIGNATURE.inputs[:2], Field(name="n", type="number")), outputs=(Field(name="churn", type="number"),)
    )
    served.toy.models[2] = Linear()
    served.toy.version(2, numbers)
    body = {"inputs": [{"name": "input-0", "datatype": "FP32", "shape": [2, 3], "data": [[12, 50, 0], [1, 100, 0]]}]}
    assert caller.ask("POST", INFER, body).json["outputs"][0]["data"] == [pytest.approx(0.17), pytest.approx(0.11)]
    body["inputs"][0] |= {"shape": [3, 2], "data": [12, 50, 0, 1, 100, 0]}
    said = caller.ask("POST", INFER, body)
    assert said.status == 422
    assert "shape [n, 3]" in said.json["error"]


def test_a_model_with_one_input_takes_bytes_alone(
    served: Served, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.toy.models[2] = model = Linear()
    monkeypatch.setattr(model, "predict", lambda rows, deadline_us=None: [(row[0] * 2,) for row in rows])
    served.toy.version(
        2, Signature(inputs=(Field(name="x", type="number"),), outputs=(Field(name="y", type="number"),))
    )
    said = caller.ask(
        "POST", INFER, struct.pack("<2d", 1.5, 4), Inference_Header_Content_Length="0",
        Content_Type="application/octet-stream",
    )  # fmt: skip
    length = int(said.headers["inference-header-content-length"])
    assert said.headers["content-type"] == "application/octet-stream"
    assert struct.unpack("<2d", said.body[length:]) == (3.0, 8.0)
    assert json.loads(said.body[:length])["outputs"][0]["shape"] == [2]


def test_a_null_that_has_no_bytes_is_given_in_json_where_bytes_were_asked_for(served: Served, caller: Caller) -> None:
    served.toy.without_words()
    said = caller.ask("POST", INFER, by_key("A") | {"parameters": {"binary_data_output": True}})
    assert said.status == 200
    length = int(said.headers["inference-header-content-length"])
    number, word = json.loads(said.body[:length])["outputs"]
    assert number["parameters"] == {"binary_data_size": 8}
    assert word == {"name": "word", "datatype": "BYTES", "shape": [1], "data": [None]}
    assert struct.unpack("<d", said.body[length:]) == (pytest.approx(0.17),)


def test_bytes_that_are_no_text_are_refused_in_json_before_there_is_a_receipt(served: Served, caller: Caller) -> None:
    served.toy.models[2] = model = Linear()
    model.predict = lambda rows, deadline_us=None: [("/wA=",) for _ in rows]  # type: ignore[method-assign, misc]
    served.toy.version(2, Signature(inputs=SIGNATURE.inputs, outputs=(Field(name="photo", type="bytes"),)))
    said = caller.ask("POST", INFER, by_key("A"))
    assert (said.status, "`photo` is no text; ask for it as bytes" in said.json["error"]) == (422, True)
    assert served.toy.receipts() == []
    said = caller.ask("POST", INFER, by_key("A") | {"parameters": {"binary_data_output": True}})
    assert said.body.endswith(b"\x02\0\0\0\xff\0")
    assert len(served.toy.receipts()) == 1


def test_rows_are_answered_all_or_none_and_the_receipts_say_so(served: Served, caller: Caller) -> None:
    served.toy.policy(on_missing="refuse")
    said = caller.ask("POST", INFER, by_key("A", "nobody", "A"))
    assert said.status == 404
    assert said.json["error"].startswith("row 1: ")
    assert said.json["reason"] == "on_missing"
    found = served.toy.receipts()
    assert [(one.key, one.outcome, one.reason, one.output) for one in found] == [
        ("A", "refused", "beside", None), ("nobody", "refused", "on_missing", None), ("A", "refused", "beside", None),
    ]  # fmt: skip
    assert found[0].status == 424
    assert "row 1" in found[0].sentence


def test_without_room_for_every_receipt_no_row_is_answered_and_none_is_written(
    served: Served, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen, room = os.write, [0], [10_000]

    def bounded(fd: int, data: bytes) -> int:
        if b"customers" not in data:
            return write(fd, data)
        seen[0], part = len(data), data[: room[0]]
        room[0] -= len(part)
        return write(fd, part)

    monkeypatch.setattr(os, "write", bounded)
    assert caller.ask("POST", INFER, by_key("A")).status == 200
    room[0] = seen[0] * 3 // 2  # enough for one and a half
    said = caller.ask("POST", INFER, by_key("A", "A", "A"))
    assert (said.status, said.json["reason"]) == (503, "no_receipt")
    assert len(served.toy.receipts()) == 1
    room[0] = 10_000
    assert caller.ask("POST", INFER, by_key("A")).status == 200


def test_a_fallback_is_an_answer_that_says_it_is_degraded(served: Served, caller: Caller) -> None:
    served.toy.model.mood = "broken"
    said = caller.ask("POST", INFER, by_key("A"))
    assert said.status == 200
    assert said.json["outputs"][0]["data"] == [0.26]
    assert said.json["parameters"]["degraded"] is True
    assert said.json["parameters"]["reason"] == "on_error"
    assert said.headers["mainstay-reason"] == "on_error"


def test_stale_rows_are_refused_here_too(served: Served, caller: Caller) -> None:
    served.toy.clock.advance(2 * 3_600_000_000)
    said = caller.ask("POST", INFER, by_key("A"))
    assert said.status == 503
    assert int(said.headers["retry-after"]) > 0
    assert said.json["reason"] == "on_stale"


def test_bodies_that_grow_too_large_are_refused_while_they_grow(caller: Caller) -> None:
    for pack, kind in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        bomb = pack(b" " * 200_000_000)
        assert len(bomb) < 1_000_000
        said = caller.ask("POST", INFER, bomb, Content_Encoding=kind)
        assert said.status == 413
        cut = caller.ask("POST", INFER, pack(msgspec.json.encode(by_key("A")))[:-4], Content_Encoding=kind)
        assert cut.status == 400
        assert "cut off" in cut.json["error"] or kind in cut.json["error"]
        more = caller.ask("POST", INFER, pack(msgspec.json.encode(by_key("A"))) + b"more", Content_Encoding=kind)
        assert (more.status, more.json["error"]) == (400, f"4 bytes follow the body's {kind}")
    for strange in ("br", "gzip, identity"):
        assert caller.ask("POST", INFER, b"{}", Content_Encoding=strange).status == 415
    assert caller.ask("POST", INFER, b"{}", Content_Encoding="gzip").status == 400


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("GZIP, deflate", "gzip"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("gzip; q=0", None),
        ("gzip;q=0.000 , identity", None),
        ("gzip;q=0.001", "gzip"),
        ("identity", None),
    ],
)
def test_a_reply_is_compressed_as_the_caller_takes_it(caller: Caller, accept: str, encoding: str | None) -> None:
    body = {"inputs": [tensor("tenure", "INT64", *range(1000))]}
    said = caller.ask("POST", INFER, body, Accept_Encoding=accept)
    assert said.headers.get("content-encoding") == encoding


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "not JSON"),
        (b"[]", 400, "wanted a JSON object"),
        (b"[" * 100_000, 400, "nested deeper"),
        (b'{"inputs": ' + b"[" * 40 + b"]" * 40 + b"}", 400, "nested deeper"),
        (b"{}", 422, "`inputs` is empty"),
        (b'{"inputs": {}}', 422, "wanted a list"),
        (b'{"inputs": [7]}', 422, "wanted an object, found an integer"),
        (b'{"inputs": [{}]}', 422, "inputs[0].name"),
        (b'{"inputs": [{"name": "tenure"}]}', 422, "data` is missing"),
        (b'{"inputs": [{"name": "tenure", "datatype": "INT64", "shape": [0], "data": []}]}', 422, "no rows"),
        (b'{"inputs": [{"name": "tenure", "datatype": "INT64", "shape": [1]}]}', 422, "data` is missing"),
        (b'{"id": 7, "inputs": []}', 422, "`id`"),
        (b'{"id": 0, "inputs": []}', 422, "`id`: wanted a string, found an integer"),
        (b'{"inputs": [], "parameters": []}', 422, "`parameters`: wanted an object"),
        (b'{"inputs": [], "parameters": {"binary_data_output": "false"}}', 422, "wanted true or false, found a string"),
        (b'{"inputs": [], "outputs": [{"name": "churn", "parameters": {"binary_data": 1}}]}', 422, "true or false"),
        (b'{"inputs": [], "parameters": {"sequence_id": 4}}', 422, "sequence_id"),
        (b'{"inputs": [], "parameters": {"a": []}}', 422, "plain values"),
        (b'{"inputs": [], "outputs": [{"name": "churn", "parameters": {"classification": 3}}]}', 422, "classification"),
    ],
)  # fmt: skip
def test_every_error_is_a_text_under_error(caller: Caller, body: bytes, status: int, told: str) -> None:
    said = caller.ask("POST", INFER, body)
    assert said.status == status, said.body
    assert told in said.json["error"]
    assert said.headers["content-type"] == "application/json"
    assert said.json["status"] == status


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ([tensor("tenure", "INT64", 1), tensor("tenure", "INT64", 1)], "twice"),
        ([tensor("tenure", "INT64", 1), tensor("charges", "FP64", 1, 2)], "has 2 rows"),
        ([tensor("tenrue", "INT64", 1), tensor("charges", "FP64", 1)], "did you mean `tenure`"),
        ([tensor("charges", "FP64", 1), {**tensor("tenure", "INT64", 1, 2), "shape": [1, 2]}], "wanted the shape"),
        ([tensor("customer_id", "BYTES", None)], "wanted a text or a whole number"),
        (
            [tensor("customer_id", "BYTES", "A"), tensor("tenure", "INT64", 1)],
            "`inputs.tenure` is read here where a request is by key; send `customer_id` alone, or every",
        ),
        ([tensor("key", "BYTES", "A"), tensor("discont", "FP64", 1)], "unknown field `discont`"),
        ([tensor("tenure", "BYTES", "twelve")], "wanted an integer"),
        ([tensor("customer_id", "BYTES", *["A"] * (ROWS_MOST + 1))], "at most 1000"),
        ([tensor("tenure", "INT64", 1, parameters={"shared_memory_region": "x"})], "shared_memory_region"),
        ([tensor("tenure", "INT64", 1, parameters={"binary_data_size": 8})], "has data and bytes"),
        (
            [{"name": "tenure", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}],
            "not all there",
        ),
        ([{**tensor("x", "FP64", [1, 2], [3, 4], [5, 6]), "shape": [2, 3]}], "nested as"),
    ],
)
def test_tensors_that_do_not_fit_are_named(caller: Caller, tensors: list[Any], told: str) -> None:
    said = caller.ask("POST", INFER, {"inputs": tensors})
    assert said.status == 422, said.body
    assert told in said.json["error"]


def test_true_is_no_whole_number_of_a_key(served: Served, caller: Caller) -> None:
    served.toy.put("feature_set", SET, served.toy.feature_set(key_type="integer"))
    served.toy.view.refresh()
    said = caller.ask("POST", INFER, {"inputs": [tensor("customer_id", "BOOL", True)]})
    assert (said.status, said.json["error"]) == (422, "`customer_id[0]`: wanted a text or a whole number")
    assert caller.ask("POST", "/invocations", {"inputs": {"customer_id": True}}).status == 422
    assert served.toy.receipts() == []


def test_lengths_that_lie_are_refused(caller: Caller) -> None:
    body = msgspec.json.encode(by_key("A"))
    for length in ("-1", "x", str(len(body) + 1), "99999999999999999999"):
        assert caller.ask("POST", INFER, body, Inference_Header_Content_Length=length).status == 400
    said = caller.ask("POST", INFER, body + b"more", Inference_Header_Content_Length=str(len(body)))
    assert (said.status, "bytes follow" in said.json["error"]) == (400, True)
    assert caller.ask("POST", INFER, b"\xff", Inference_Header_Content_Length="0").status == 400


def test_the_version_before_can_be_addressed_and_no_other(
    served: Served, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.toy.models[2] = other = Linear()
    monkeypatch.setattr(other, "predict", lambda rows, deadline_us=None: [(0.9,) for _ in rows])
    served.toy.version(2, previous=1)
    assert caller.ask("GET", "/v2/models/churn").json["versions"] == ["2", "1"]
    assert caller.ask("POST", INFER, by_key("A")).json["outputs"][0]["data"] == [0.9]
    said = caller.ask("POST", "/v2/models/churn/versions/1/infer", by_key("A"))
    assert said.json["model_version"] == "1"
    assert said.json["outputs"][0]["data"] == [pytest.approx(0.17)]
    assert served.toy.receipt(said.headers["mainstay-receipt"]).version == 1
    assert caller.ask("POST", "/v2/models/churn/versions/2/infer", by_key("A")).json["model_version"] == "2"
    said = caller.ask("POST", "/v2/models/churn/versions/3/infer", by_key("A"))
    assert (said.status, "versions that answer: 2, 1" in said.json["error"]) == (404, True)


def test_a_version_before_that_does_not_load_leaves_the_new_one_answering(served: Served, caller: Caller) -> None:
    def away(version: ModelVersion) -> LoadedModel:
        if version.number == 1:
            raise ModelAway("its artifact is gone")
        return served.toy.models[version.number]

    served.toy.models[2] = Linear()
    served.toy.view._open_model = away
    served.toy.view._models.clear()
    served.toy.version(2, previous=1)
    assert caller.ask("GET", "/v2/models/churn").json["versions"] == ["2", "1"]
    said = caller.ask("POST", "/v2/models/churn/versions/1/infer", by_key("A"))
    assert (said.status, "versions that answer: 2" in said.json["error"]) == (404, True)
    assert caller.ask("POST", INFER, by_key("A")).status == 200
    assert "its artifact is gone" in served.toy.view.problem


def test_an_output_is_asked_for_once(served: Served, caller: Caller) -> None:
    twice = by_key("A") | {"outputs": [{"name": "churn"}, {"name": "churn"}]}
    said = caller.ask("POST", INFER, twice)
    assert (said.status, "`outputs.churn` came twice" in said.json["error"]) == (422, True)
    assert served.toy.receipts() == []


def test_what_is_null_counts_as_not_there(caller: Caller) -> None:
    body = by_key("A") | {
        "id": None,
        "parameters": None,
        "outputs": [{"name": "churn", "parameters": {"binary_data": None}}],
    }
    said = caller.ask("POST", INFER, body)
    assert (said.status, said.json["outputs"][0]["data"]) == (200, [pytest.approx(0.17)])


def test_methods_and_unknown_calls(caller: Caller) -> None:
    for path in ("/v2/health/live", "/v2/health/ready"):
        said = caller.ask("POST", path, {})
        assert (said.status, said.headers["allow"], bool(said.json["error"])) == (405, "GET, HEAD", True)
        assert said.headers["content-type"] == "application/json"
    said = caller.ask("GET", INFER)
    assert (said.status, said.headers["allow"]) == (405, "POST")
    assert "POST" in said.json["error"]
    assert caller.ask("POST", "/v2").status == 405
    for path in ("/v2/", "/v2/x", "/v2/models/churn/x", "/v2/models/churn/versions/1/x"):
        said = caller.ask("GET", path)
        assert (said.status, bool(said.json["error"])) == (404, True)
    assert caller.ask("GET", "/v2/models").json == {"models": ["churn"]}


def test_health_is_open_and_every_other_call_is_not(served: Served) -> None:
    nobody = served.caller()
    assert nobody.ask("GET", "/v2/health/live").json == {"live": True}
    assert nobody.ask("GET", "/v2/health/ready").json["ready"] is True
    for path in (
        "/v2",
        "/v2/models",
        "/v2/models/churn",
        "/v2/models/churn/ready",
        "/v2/x",
        "/invocations",
        "/version",
    ):
        for method in ("GET", "POST", "DELETE"):
            said = nobody.ask(method, path)
            assert (said.status, path) == (401, path)
            assert said.json.get("error") or said.json.get("message")
    served.toy.desk.draining = True
    said = nobody.ask("GET", "/v2/health/ready")
    assert (said.status, said.json["ready"]) == (503, False)
    assert "stopping" in said.json["error"]
    nobody.close()
    somebody = served.caller(served.toy.key())
    said = somebody.ask("GET", "/v2/models/churn/ready")
    assert (said.status, said.json) == (503, {"name": "churn", "ready": False, "error": "this worker is stopping"})
    somebody.close()


class Full(Places):
    """No caller finds a place."""

    def __init__(self) -> None:
        super().__init__(0)

    @contextmanager
    def one(self, caller: str) -> Iterator[bool]:
        yield False


def test_overload_is_told_in_the_familys_own_shape(
    served: Served, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.toy.desk.meter.counts.shed = 0
    front: Any = served.server.config.loaded_app
    monkeypatch.setattr(front, "_places", Full())
    said = caller.ask("POST", INFER, by_key("A"))
    assert (said.status, said.headers["retry-after"]) == (503, "1")
    assert "waiting" in said.json["error"]
    assert caller.ask("POST", "/invocations", {}).json["error_code"] == "TEMPORARILY_UNAVAILABLE"
