"""Bodies of inference requests and replies: JSON, and tensors behind it as bytes; compressed or not.

Source: the binary tensor data extension of the Open Inference Protocol. The header Inference-Header-Content-Length
says how long the JSON is; the bytes of each tensor with `parameters.binary_data_size` follow in its order.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mainstay.core.counts import counted
from mainstay.serving import infer
from mainstay.serving.infer import InferReply, InferRequest
from mainstay.serving.request import DEPTH_MOST, BadRequest, came, deeper
from mainstay.serving.tensors import Tensor, from_bytes, from_values, has_bytes, to_bytes
from mainstay.serving.view import Snapshot

LENGTH = b"inference-header-content-length"
EXTENSIONS = ("binary_tensor_data",)
_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_COMPRESSED_FROM = 1024
"""Shorter replies gain nothing."""
_REFUSED = re.compile(rb";\s*q=0(\.0*)?\s*(;|$)")
"""An encoding that the caller does not take, in Accept-Encoding."""
_TENSORS_MOST = 2_000
_DIGITS = 12
"""Of a length; Python itself refuses to read a number of thousands of digits."""

Headers = tuple[tuple[bytes, bytes], ...]
_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """A request, and which of its outputs are wanted as bytes: all, none, or by name."""

    request: InferRequest
    binary: bool
    named: Mapping[str, bool]

    def wants_bytes(self, name: str) -> bool:
        return self.named.get(name, self.binary)


def read(body: bytes, header: bytes | None, snap: Snapshot) -> Asked:
    """The request in a body. Raises BadRequest."""
    if header is None:
        return _asked(read_json(body), memoryview(b""))
    if not header.isdigit() or len(header) > _DIGITS or int(header) > len(body):
        raise BadRequest("Inference-Header-Content-Length is no length within the body", status=400)
    length = int(header)
    if length == 0:
        return Asked(InferRequest(inputs=(_raw(body, snap),)), binary=True, named={})
    return _asked(read_json(body[:length]), memoryview(body)[length:])


def written(reply: InferReply, asked: Asked, accept: bytes) -> tuple[Headers, bytes]:
    """Headers and body of a reply, compressed where the caller takes it and it gains something."""
    parts: list[bytes] = []
    outputs = []
    for tensor in reply.outputs:
        told: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if asked.wants_bytes(tensor.name) and all(has_bytes(one, tensor.datatype) for one in tensor.data):
            parts.append(to_bytes(tensor))
            told["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            texts = tensor.datatype == "BYTES"
            told["data"] = [None if one is None else one.decode() for one in tensor.data] if texts else tensor.data
        outputs.append(told)
    head = {"model_name": reply.model_name, "model_version": reply.model_version}
    if reply.id:
        head["id"] = reply.id
    front = _encode({**head, "parameters": reply.parameters, "outputs": outputs})
    headers: Headers = (_JSON,)
    if parts:
        headers = (_BINARY, (LENGTH, str(len(front)).encode()))
    return _packed(headers, b"".join((front, *parts)), accept)


def _packed(headers: Headers, body: bytes, accept: bytes) -> tuple[Headers, bytes]:
    taken = {one.split(b";")[0].strip() for one in accept.lower().split(b",") if not _REFUSED.search(one)}
    if len(body) < _COMPRESSED_FROM or not taken & {b"gzip", b"deflate"}:
        return headers, body
    kind = b"gzip" if b"gzip" in taken else b"deflate"
    packed = gzip.compress(body, 1, mtime=0) if kind == b"gzip" else zlib.compress(body, 1)
    return (*headers, (b"content-encoding", kind), (b"vary", b"accept-encoding")), packed


def read_json(body: bytes) -> dict[str, Any]:
    """An object. Bare NaN and infinities are taken, as some clients write them."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            found = json.loads(body)
            _encode(found)  # half a character, or a number of a thousand digits, is taken by json and by nothing behind
        except (ValueError, OverflowError, RecursionError):
            raise BadRequest(f"the body is not JSON: {error}", mend="send a JSON object", status=400) from None
    except RecursionError:
        raise BadRequest(f"the body is nested deeper than {DEPTH_MOST} levels", status=400) from None
    if not isinstance(found, dict):
        raise BadRequest(f"wanted a JSON object, found {came(found)}", mend='send {"inputs": [...]}', status=400)
    if deeper(found, DEPTH_MOST):
        raise BadRequest(f"the body is nested deeper than {DEPTH_MOST} levels", status=400)
    return found


def _asked(raw: Mapping[str, Any], rest: memoryview) -> Asked:
    parameters = _parameters(raw, "parameters")
    infer.refuse_reserved(parameters, "parameters")
    tensors = []
    at = 0
    for place, one in enumerate(_list(raw, "inputs")):
        tensor, used = _tensor(one, f"inputs[{place}]", rest[at:])
        tensors.append(tensor)
        at += used
    if at != len(rest):
        raise BadRequest(
            f"{counted(len(rest), 'byte follows', 'bytes follow')} the JSON, its tensors are {at} long",
            where="inputs",
            status=400,
        )
    names, named = [], {}
    for place, one in enumerate(_list(raw, "outputs")):
        name = _name(one, f"outputs[{place}]")
        told = _parameters(one, f"outputs[{place}].parameters")
        infer.refuse_reserved(told, f"outputs[{place}].parameters")
        if told.get("classification"):
            raise BadRequest("`classification` is not supported", where=f"outputs[{place}].parameters")
        names.append(name)
        if told.get("binary_data") is not None:
            named[name] = _flag(told, "binary_data", f"outputs[{place}].parameters")
    id_ = raw.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise BadRequest(f"`id`: wanted a string, found {came(id_)}", where="id")
    waits_us = infer.timeout_us(parameters)
    request = InferRequest(inputs=tuple(tensors), id=id_ or "", outputs=tuple(names), timeout_us=waits_us)
    return Asked(request, binary=_flag(parameters, "binary_data_output", "parameters"), named=named)


def _tensor(raw: Any, where: str, rest: memoryview) -> tuple[Tensor, int]:
    """A tensor, and how many of the bytes behind the JSON are its own."""
    name = _name(raw, where)
    parameters = _parameters(raw, f"{where}.parameters")
    infer.refuse_reserved(parameters, f"{where}.parameters")
    size = parameters.get("binary_data_size")
    datatype, shape = raw.get("datatype"), raw.get("shape")
    if size is None:
        if "data" not in raw:
            raise BadRequest(f"`{where}.data` is missing", where=f"{where}.data")
        return from_values(name, datatype, shape, raw["data"], where), 0
    if "data" in raw:
        raise BadRequest(f"`{where}` has data and bytes", where=where, mend="send one of them")
    if type(size) is not int or not 0 <= size <= len(rest):
        raise BadRequest(f"`{where}`: its bytes are not all there", where=f"{where}.parameters.binary_data_size")
    return from_bytes(name, datatype, shape, rest[:size], where), size


def _raw(body: bytes, snap: Snapshot) -> Tensor:
    """A body that is nothing but one tensor: of the only input of a model that has one."""
    fields = snap.version.signature.inputs if snap.version else ()
    if len(fields) != 1:
        mend = "send JSON before the bytes"
        raise BadRequest("bytes without JSON need a model with one input", mend=mend, status=400)
    datatype = infer.datatype(fields[0].type)
    size = {"BOOL": 1, "BYTES": 0}.get(datatype, 8)
    count = len(body) // size if size else 1
    raw = body if size else len(body).to_bytes(4, "little") + body
    return from_bytes(fields[0].name, datatype, [count], raw, "the body")


def _list(raw: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = raw.get(name)
    found = [] if found is None else found
    if not isinstance(found, list) or len(found) > _TENSORS_MOST:
        raise BadRequest(f"`{name}`: wanted a list of at most {_TENSORS_MOST} tensors", where=name)
    return found


def _name(raw: Any, where: str) -> str:
    if not isinstance(raw, dict):
        raise BadRequest(f"`{where}`: wanted an object, found {came(raw)}", where=where)
    name = raw.get("name")
    if not isinstance(name, str):
        raise BadRequest(f"`{where}.name`: wanted a string, found {came(name)}", where=f"{where}.name")
    return name


def _parameters(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = raw.get("parameters")
    found = {} if found is None else found
    if not isinstance(found, dict) or any(isinstance(one, dict | list) for one in found.values()):
        raise BadRequest(f"`{where}`: wanted an object with plain values", where=where)
    return found


def _flag(parameters: Mapping[str, Any], name: str, where: str) -> bool:
    found = parameters.get(name)
    if found is not None and not isinstance(found, bool):
        raise BadRequest(f"`{name}`: wanted true or false, found {came(found)}", where=f"{where}.{name}")
    return bool(found)
