"""The protocol's messages, made of a table: nothing is generated, and nothing lies in the shared descriptor pool.

Sources: kserve/open-inference-protocol, `open_inference_grpc.proto` (package `inference`), with the calls that Triton
adds (RepositoryIndex, ModelStreamInfer); grpc/grpc-proto, `health.proto`. Names and numbers are the wire format.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
"""Types as google.protobuf.FieldDescriptorProto numbers them."""
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3

PARAMETERS = "map InferParameter"
_TENSOR = (("name", "string"), ("datatype", "string"), ("shape", "repeated int64"))

MESSAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", "bool"),),
    "ModelReadyRequest": (("name", "string"), ("version", "string")),
    "ModelReadyResponse": (("ready", "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", "string"), ("version", "string"), ("extensions", "repeated string")),
    "ModelMetadataRequest": (("name", "string"), ("version", "string")),
    "TensorMetadata": _TENSOR,
    "ModelMetadataResponse": (
        ("name", "string"),
        ("versions", "repeated string"),
        ("platform", "string"),
        ("inputs", "repeated TensorMetadata"),
        ("outputs", "repeated TensorMetadata"),
    ),
    "InferParameter": (
        ("bool_param", "one bool"),
        ("int64_param", "one int64"),
        ("string_param", "one string"),
        ("double_param", "one double"),
        ("uint64_param", "one uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", "repeated bool"),
        ("int_contents", "repeated int32"),
        ("int64_contents", "repeated int64"),
        ("uint_contents", "repeated uint32"),
        ("uint64_contents", "repeated uint64"),
        ("fp32_contents", "repeated float"),
        ("fp64_contents", "repeated double"),
        ("bytes_contents", "repeated bytes"),
    ),
    "InferTensor": (*_TENSOR, ("parameters", PARAMETERS), ("contents", "InferTensorContents")),
    "InferRequestedOutputTensor": (("name", "string"), ("parameters", PARAMETERS)),
    "ModelInferRequest": (
        ("model_name", "string"),
        ("model_version", "string"),
        ("id", "string"),
        ("parameters", PARAMETERS),
        ("inputs", "repeated InferTensor"),
        ("outputs", "repeated InferRequestedOutputTensor"),
        ("raw_input_contents", "repeated bytes"),
    ),
    "ModelInferResponse": (
        ("model_name", "string"),
        ("model_version", "string"),
        ("id", "string"),
        ("parameters", PARAMETERS),
        ("outputs", "repeated InferTensor"),
        ("raw_output_contents", "repeated bytes"),
    ),
    "ModelStreamInferResponse": (("error_message", "string"), ("infer_response", "ModelInferResponse")),
    "RepositoryIndexRequest": (("repository_name", "string"), ("ready", "bool")),
    "ModelIndex": (("name", "string"), ("version", "string"), ("state", "string"), ("reason", "string")),
    "RepositoryIndexResponse": (("models", "repeated ModelIndex"),),
    "HealthCheckRequest": (("service", "string"),),
    "HealthCheckResponse": (("status", "int32"),),  # an enum on the wire is its number
}
"""Message -> its fields, numbered from 1 in this order. `one`: of the message's only oneof."""


def _field(into: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    *how, base = kind.split()
    field = into.field.add(name=name, number=number, label=_REPEATED if how in (["repeated"], ["map"]) else _OPTIONAL)
    if how == ["map"]:
        entry = into.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _field(entry, "key", 1, "string")
        _field(entry, "value", 2, base)
        field.type, field.type_name = _MESSAGE, f".inference.{into.name}.{entry.name}"
    elif base in SCALARS:
        field.type = SCALARS[base]
    else:
        field.type, field.type_name = _MESSAGE, f".inference.{base}"
    if how == ["one"]:
        field.oneof_index = 0


@functools.cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package="inference", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(kind.startswith("one ") for _, kind in fields):
            message.oneof_decl.add(name="parameter_choice")
        for number, (field, kind) in enumerate(fields, 1):
            _field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in MESSAGES}


def kind(name: str) -> Any:
    """The class of a message."""
    return _classes()[name]
