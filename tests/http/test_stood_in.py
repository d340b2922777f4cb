"""What was imputed or filled is told by the Open Inference Protocol and by /invocations, as by /v1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import grpc
from mainstay.grpc.door import OIP
from mainstay.grpc.messages import kind
from mainstay.http.oip import LIST_MOST, provenance
from tests.http.serving import Caller, Served, serving
from tests.http.test_pre import prepared
from tests.serving.toy import Toy, online_row

INFER = "/v2/models/churn/infer"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Of C a charge is null; of D one of two filled columns is the model's."""
    toy = Toy(tmp_path)
    prepared(toy)
    toy.rows(online_row("D", filled=b'{"customers":["tenure","contract"],"visits":["room"]}'))
    with serving(toy, grpc="127.0.0.1:0") as made:
        yield made
    toy.journal.close()


def by_key(*keys: str) -> dict[str, Any]:
    return {"inputs": [{"name": "key", "datatype": "BYTES", "shape": [len(keys)], "data": list(keys)}]}


def test_parameters_and_headers_name_what_stands_in(caller: Caller) -> None:
    said = caller.ask("POST", INFER, by_key("C"))
    assert said.json["parameters"]["imputed"] == said.headers["mainstay-imputed"] == "charges"
    assert "filled" not in said.json["parameters"]
    said = caller.ask("POST", INFER, by_key("D"))
    wanted = "customers.tenure,customers.contract,visits.room"
    assert said.json["parameters"]["filled"] == said.headers["mainstay-filled"] == wanted
    assert "mainstay-imputed" not in said.headers
    full = caller.ask("POST", INFER, by_key("A"))
    assert not {"imputed", "filled"} & set(full.json["parameters"])
    assert not {"mainstay-imputed", "mainstay-filled"} & set(full.headers)


def test_of_several_rows_each_name_is_told_once(caller: Caller) -> None:
    told = caller.ask("POST", INFER, by_key("A", "C", "D", "C", "D")).json["parameters"]
    assert told["imputed"] == "charges"
    assert told["filled"] == "customers.tenure,customers.contract,visits.room"
    assert len(told["receipt"].split(",")) == 5


def test_it_travels_over_grpc(served: Served) -> None:
    metadata = (("authorization", f"Bearer {served.toy.key('predict')}"),)
    request = kind("ModelInferRequest")(model_name="churn")
    request.inputs.add(name="key", datatype="BYTES", shape=[2]).contents.bytes_contents.extend((b"C", b"D"))
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        ask = channel.unary_unary(f"/{OIP}/ModelInfer")
        raw = ask(request.SerializeToString(), metadata=metadata, timeout=10)
    found = kind("ModelInferResponse").FromString(raw).parameters
    assert found["imputed"].string_param == "charges"
    assert found["filled"].string_param == "customers.tenure,customers.contract,visits.room"


def test_it_stands_beside_predictions(caller: Caller) -> None:
    said = caller.ask("POST", "/invocations", {"dataframe_records": [{"key": "C"}]})
    assert said.json["mainstay"]["imputed"] == said.headers["mainstay-imputed"] == "charges"


def test_what_is_long_stays_out_of_headers() -> None:
    names = ",".join(f"column_{n}" for n in range(30))
    assert len(names) > LIST_MOST
    assert provenance({"imputed": names, "filled": "a.b,a.c"}) == ((b"mainstay-filled", b"a.b,a.c"),)
