"""Texts and pictures through every door, several outputs back, and nothing of a picture in a receipt."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import grpc
from mainstay.core.nouns import Field, ImageInput, ModelConfig
from mainstay.core.records import Answering, ModelVersion
from mainstay.core.verdicts import Verdict
from mainstay.grpc.messages import kind
from mainstay.models.images import decoded
from mainstay.models.importing import Examined, examine
from mainstay.models.runtimes.onnx import OnnxRuntime
from mainstay.models.verify import reproduce
from tests.http.serving import Caller, Served, serving
from tests.models.pictures import bomb, graph, picture, text, texts_graph
from tests.serving.toy import NOW, SET, Toy

IMAGE = ImageInput(width=4, height=4)
PHOTO = picture("JPEG", (40, 30))
LIGHT = pytest.approx(float(decoded(PHOTO, IMAGE).mean()), abs=1e-6)
PREDICT = "/inference.GRPCInferenceService/ModelInfer"


def answering(toy: Toy, file: Path, found: Examined) -> None:
    toy.models[2] = OnnxRuntime(toy.clock).load(file, found.signature, found.options)  # type: ignore[assignment]
    version = ModelVersion(
        number=2, name="churn", digest=found.digest, runtime="onnx", options=found.options, signature=found.signature,
        feature_set=SET, origin="imported", created_us=NOW,
    )  # fmt: skip
    toy.put("model", "000002", version)
    toy.put("answering", "champion", Answering(version=2, since_us=NOW))
    toy.view.refresh()
    assert not toy.view.problem


def taking(**inputs: str) -> ModelConfig:
    fields = tuple(Field(name=name, type=of, required=True) for name, of in inputs.items())  # type: ignore[arg-type]
    images = {name: IMAGE for name in inputs if name == "photo"}
    return ModelConfig(name="churn", input="customer", request_inputs=fields, images=images)


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path, model=taking(photo="bytes"))
    file = graph(tmp_path / "g.onnx")
    answering(toy, file, examine(file, outputs=("churn=mean", "most=most"), images={"photo": IMAGE}))
    with serving(toy, grpc="127.0.0.1:0") as made:
        yield made
    toy.journal.close()


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path, model=taking(body="string"))
    file = texts_graph(tmp_path / "g.onnx")
    answering(toy, file, examine(file, outputs=("churn=urgent", "echo=echo")))
    with serving(toy, grpc="127.0.0.1:0") as made:
        yield made
    toy.journal.close()


@pytest.fixture
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    served: Served = request.getfixturevalue(request.param)
    made = served.caller(served.toy.key("predict"))
    yield made
    made.close()


def of(caller: Caller, path: str, body: Any, **headers: str) -> Any:
    said = caller.ask("POST", path, body, **headers)
    assert said.status == 200, said.body
    return said.json


def over_grpc(served: Served, caller: Caller, name: str, element: bytes, outputs: tuple[str, ...] = ()) -> Any:
    asked = kind("ModelInferRequest")(model_name="churn")
    asked.inputs.add(name=name, datatype="BYTES", shape=[1]).contents.bytes_contents.append(element)
    for output in outputs:
        asked.outputs.add(name=output)
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        call = channel.unary_unary(
            PREDICT,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind("ModelInferResponse").FromString,
        )
        return call(asked, metadata=[("authorization", f"Bearer {caller.token}")], timeout=20)


@pytest.mark.parametrize("caller", ["pictures"], indirect=True)
def test_a_picture_is_answered_at_every_door(pictures: Served, caller: Caller) -> None:
    coded = text(PHOTO)
    told = of(caller, "/v1/churn/predict", {"key": "A", "inputs": {"photo": coded}})
    assert told["output"]["churn"] == LIGHT, told
    rows = of(caller, "/v1/churn/predict", {"rows": [{"photo": coded}, {"photo": text(picture("PNG"))}]})["results"]
    assert [set(one["output"]) for one in rows] == [{"churn", "most"}] * 2
    assert rows[0]["output"]["churn"] == LIGHT
    asked = {"inputs": [{"name": "photo", "datatype": "BYTES", "shape": [1], "data": [coded]}]}
    told = of(caller, "/v2/models/churn/infer", asked | {"outputs": [{"name": "churn"}]})
    assert [(one["name"], one["data"]) for one in told["outputs"]] == [("churn", [LIGHT])]
    raw = len(PHOTO).to_bytes(4, "little") + PHOTO
    front = {
        "inputs": [{"name": "photo", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}]
    }
    head = json.dumps(front).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    told = of(caller, "/v2/models/churn/infer", head + raw, **length)
    assert [one["name"] for one in told["outputs"]] == ["churn", "most"]
    assert told["outputs"][0]["data"] == [LIGHT]
    split = {"dataframe_split": {"columns": ["photo"], "data": [[coded]]}}
    assert of(caller, "/invocations", split, Content_Type="application/json")["predictions"][0]["churn"] == LIGHT
    reply = over_grpc(pictures, caller, "photo", PHOTO, ("most", "churn"))
    assert [one.name for one in reply.outputs] == ["most", "churn"]


@pytest.mark.parametrize("caller", ["pictures"], indirect=True)
def test_a_receipt_holds_the_digest_of_a_picture_and_its_length(pictures: Served, caller: Caller) -> None:
    answers = [
        of(caller, "/v1/churn/predict", {"key": "A", "inputs": {"photo": text(PHOTO)}}),
        of(caller, "/v1/churn/predict", {"rows": [{"photo": text(PHOTO)}]})["results"][0],
    ]
    for answer in answers:
        one = pictures.toy.receipt(answer["receipt"])
        assert one.inputs is not None
        assert one.inputs["photo"]["bytes"] == len(PHOTO)
        assert one.inputs["photo"]["digest"].startswith("sha256:")
        assert PHOTO[:40] not in msgspec.msgpack.encode(one)
        assert text(PHOTO)[:40].encode() not in msgspec.msgpack.encode(one)
        snap = pictures.toy.view.now
        assert snap is not None
        found = reproduce(one, snap.version, lambda _: pytest.fail("nothing is run"))
        assert (found.verdict, "digest of photo" in found.sentence) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize("caller", ["pictures"], indirect=True)
@pytest.mark.parametrize(
    ("photo", "told"),
    [
        ("no base64!", "wanted bytes in a string (base64)"),
        (text(b"hello"), "wanted a picture as png, jpeg, webp, found none of them"),
        (text(bomb()), "at most 16,000,000 pixels, found 60,000 x 60,000"),
        (text(PHOTO[:-30]), "cut off"),
        (None, "missing"),
    ],
)
def test_what_is_no_such_picture_is_the_callers_fault_at_every_door(
    pictures: Served, caller: Caller, photo: str | None, told: str
) -> None:
    said = caller.ask("POST", "/v1/churn/predict", {"key": "A", "inputs": {"photo": photo}})
    assert (said.status, told in said.json["detail"]) == (422, True), said.body
    asked = {"inputs": [{"name": "photo", "datatype": "BYTES", "shape": [1], "data": [photo]}]}
    said = caller.ask("POST", "/v2/models/churn/infer", asked)
    assert said.status == 422, said.body
    assert "photo" in said.json["error"]
    if photo is not None and photo != "no base64!":
        with pytest.raises(grpc.RpcError) as raised:
            over_grpc(pictures, caller, "photo", base64.b64decode(photo))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not pictures.toy.receipts(), "nothing was judged"


@pytest.mark.parametrize("caller", ["pictures"], indirect=True)
def test_what_only_decoding_finds_is_the_models_failure(pictures: Served, caller: Caller) -> None:
    broken = bytearray(picture("PNG", (64, 64)))
    broken[60:90] = bytes(30)
    told = of(caller, "/v1/churn/predict", {"key": "A", "inputs": {"photo": text(bytes(broken))}})
    assert (told["degraded"], told["reason"], told["output"]) == (True, "on_error", {"churn": 0.26})
    assert "cannot be decoded" in told["sentence"]


@pytest.mark.parametrize("caller", ["texts"], indirect=True)
def test_a_text_is_answered_at_every_door_with_several_outputs(texts: Served, caller: Caller) -> None:
    word = "d\N{LATIN SMALL LETTER E WITH ACUTE}j\N{LATIN SMALL LETTER A WITH GRAVE} vu"
    told = of(caller, "/v1/churn/predict", {"key": "A", "inputs": {"body": "urgent"}})
    assert told["output"] == {"churn": 1.0, "echo": "urgent"}
    rows = of(caller, "/v1/churn/predict", {"rows": [{"body": word}, {"body": "urgent"}]})["results"]
    assert [one["output"] for one in rows] == [{"churn": 0.25, "echo": word}, {"churn": 1.0, "echo": "urgent"}]
    asked = {"inputs": [{"name": "body", "datatype": "BYTES", "shape": [2, 1], "data": [word, "urgent"]}]}
    told = of(caller, "/v2/models/churn/infer", asked)
    assert [(one["name"], one["datatype"], one["data"]) for one in told["outputs"]] == [
        ("churn", "FP64", [0.25, 1.0]),
        ("echo", "BYTES", [word, "urgent"]),
    ]
    told = of(caller, "/v2/models/churn/infer", asked | {"outputs": [{"name": "echo"}]})
    assert [one["name"] for one in told["outputs"]] == ["echo"]
    reply = over_grpc(texts, caller, "body", word.encode(), ("echo",))
    assert [one.name for one in reply.outputs] == ["echo"]
    assert reply.raw_output_contents[0][4:].decode() == word
    predictions = of(caller, "/invocations", {"instances": [word]})["predictions"]
    assert predictions == [{"churn": 0.25, "echo": word}]
