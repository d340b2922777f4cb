"""Inference requests and replies as the protocol's messages.

Tensors come typed (`contents`) or as bytes (`raw_input_contents`); they always leave as bytes, because clients of one
family read nothing else. Source: kserve/open-inference-protocol, `inference_grpc.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mainstay.core.counts import counted
from mainstay.grpc.messages import kind
from mainstay.serving import infer
from mainstay.serving.infer import InferReply, InferRequest
from mainstay.serving.request import BadRequest
from mainstay.serving.tensors import KINDS, Tensor, from_bytes, size_of, to_bytes

TENSORS_MOST = 2_000

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Data type -> where its typed elements are; FP16 has no place and comes as bytes."""


def read(message: Any) -> InferRequest:
    """A ModelInferRequest as ours. Raises BadRequest."""
    whole = parameters(message.parameters)
    infer.refuse_reserved(whole, "parameters")
    if len(message.inputs) > TENSORS_MOST or len(message.outputs) > TENSORS_MOST:
        raise BadRequest(f"wanted at most {TENSORS_MOST} tensors", where="inputs")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        sentence = f"{counted(len(raw), 'raw content')} came for {counted(len(message.inputs), 'input')}"
        raise BadRequest(sentence, mend="send one for each input, in order", where="raw_input_contents")
    inputs = []
    for place, one in enumerate(message.inputs):
        where = f"inputs[{place}]"
        infer.refuse_reserved(parameters(one.parameters), f"{where}.parameters")
        if raw and one.HasField("contents"):
            raise BadRequest(f"`{where}` has both contents and raw contents", mend="send one of them", where=where)
        inputs.append(_raw(one, raw[place], where) if raw else _typed(one, where))
    for place, one in enumerate(message.outputs):
        told = parameters(one.parameters)
        infer.refuse_reserved(told, f"outputs[{place}].parameters")
        if told.get("classification"):
            raise BadRequest("`classification` is not supported", where=f"outputs[{place}].parameters")
    return InferRequest(
        inputs=tuple(inputs),
        id=message.id,
        outputs=tuple(one.name for one in message.outputs),
        timeout_us=infer.timeout_us(whole),
    )


def written(reply: InferReply) -> Any:
    """Our reply as a ModelInferResponse."""
    message = kind("ModelInferResponse")(model_name=reply.model_name, model_version=reply.model_version, id=reply.id)
    _tell(message, reply.parameters)
    for tensor in reply.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(to_bytes(tensor))
    return message


def refused(request: Any, parameters: Mapping[str, str | float | bool]) -> Any:
    """What stands beside the sentence of a stream's refusal: which request it was, and where the refusal comes from."""
    message = kind("ModelInferResponse")(model_name=request.model_name, id=request.id)
    _tell(message, parameters)
    return message


def _tell(message: Any, parameters: Mapping[str, str | float | bool]) -> None:
    for name, value in parameters.items():
        parameter = message.parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = value


def parameters(found: Mapping[str, Any]) -> dict[str, Any]:
    """InferParameters as plain values."""
    told = {}
    for name, value in found.items():
        which = value.WhichOneof("parameter_choice")
        told[name] = getattr(value, which) if which else None
    return told


def _raw(one: Any, raw: bytes, where: str) -> Tensor:
    return from_bytes(one.name, one.datatype, list(one.shape), raw, where)


def _typed(one: Any, where: str) -> Tensor:
    count = size_of(one.datatype, list(one.shape), where)
    field = _CONTENTS.get(one.datatype)
    if field is None:
        raise BadRequest(f"`{where}`: {one.datatype} has no typed contents", mend="send raw contents", where=where)
    data = list(getattr(one.contents, field))
    if len(data) != count:
        sentence = f"`{where}.contents.{field}` has {counted(len(data), 'element')}, its shape says {count:,}"
        raise BadRequest(sentence, where=f"{where}.contents")
    kind = KINDS[one.datatype]
    if kind.most and any(not kind.least <= each <= kind.most for each in data):
        raise BadRequest(f"`{where}.contents.{field}`: wanted {one.datatype}, found another number", where=where)
    return Tensor(one.name, one.datatype, tuple(one.shape), data)
