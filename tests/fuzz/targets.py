"""What is fuzzed: each target takes bytes off a wire, and may refuse them, and nothing else.

A target goes as far as the rows that the model would be given. `make soak` runs them under atheris, which looks for
inputs that reach new code; `test_parsers.py` runs the same under hypothesis, shortly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from google.protobuf.message import DecodeError

from mainstay.grpc import tensors as grpc_tensors
from mainstay.grpc.messages import kind
from mainstay.http import invocations, oip_body
from mainstay.http.body import TooLarge, unpacked
from mainstay.serving import infer, request
from mainstay.serving.request import BadRequest
from mainstay.serving.view import Snapshot
from tests.serving.toy import Toy


@cache
def snapshot() -> Snapshot:
    toy = Toy(Path(tempfile.mkdtemp(prefix="mainstay-fuzz-")))
    toy.desk.view.refresh()
    assert toy.desk.view.now is not None
    return toy.desk.view.now


def oip(data: bytes) -> None:
    """One byte chooses the compression; a line, as the header of the length; the body."""
    how, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    try:
        raw = unpacked(body, {b"g": b"gzip", b"d": b"deflate"}.get(how[:1], b""))
        asked = oip_body.read(raw, header or None, snapshot())
        infer.laid_out(snapshot(), asked.request)
    except (BadRequest, TooLarge):
        return


def grpc(data: bytes) -> None:
    message = kind("ModelInferRequest")()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return
    try:
        infer.laid_out(snapshot(), grpc_tensors.read(message))
    except BadRequest:
        return


def v1(data: bytes) -> None:
    for read in (
        request.read_predict,
        request.read_decision,
        request.read_outcome,
        request.read_card_token,
        request.read_card_decision,
    ):
        try:
            read(data)
        except BadRequest:
            continue


def mlflow(data: bytes) -> None:
    """A line, as the content type; the body."""
    named, _, body = data.partition(b"\n")
    try:
        invocations.read(body, named, snapshot())
    except BadRequest:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {"oip": oip, "grpc": grpc, "v1": v1, "mlflow": mlflow}


def seeds(name: str) -> list[bytes]:
    """Inputs that are taken: what a fuzzer begins with."""
    tensor = b'{"inputs":[{"name":"key","shape":[1],"datatype":"BYTES","data":["a"]}]}'
    binary = b'{"inputs":[{"name":"tenure","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}}]}'
    message = kind("ModelInferRequest")(id="x")
    one = message.inputs.add(name="key", datatype="BYTES", shape=[1])
    one.contents.bytes_contents.append(b"a")
    raw = kind("ModelInferRequest")()
    raw.inputs.add(name="tenure", datatype="FP64", shape=[1])
    raw.raw_input_contents.append(bytes(8))
    return {
        "oip": [b"\n\n" + tensor, b"\n%d\n" % len(binary) + binary + bytes(8)],
        "grpc": [message.SerializeToString(), raw.SerializeToString()],
        "v1": [
            b'{"key":"a"}',
            b'{"keys":["a","b"]}',
            b'{"rows":[{"tenure":1}]}',
            b'{"receipt":"r","decision":"accepted"}',
        ],
        "mlflow": [
            b'application/json\n{"dataframe_split":{"columns":["tenure"],"data":[[1]]}}',
            b'application/json\n{"dataframe_records":[{"tenure":1}]}',
            b'application/json; charset=utf-8\n{"inputs":{"tenure":[1]}}',
            b"text/csv\ntenure\n1\n",
        ],
    }[name]
