"""Which model a caller of the Open Inference Protocol means, by name and version, and what it is told about it."""

from __future__ import annotations

import asyncio

import msgspec

from mainstay.core.errors import NotFound
from mainstay.serving import infer
from mainstay.serving.answer import NotReady
from mainstay.serving.desk import Desk
from mainstay.serving.infer import TensorInfo
from mainstay.serving.view import Snapshot

_LOAD_SECONDS = 30.0
_LOOK_SECONDS = 0.05


class ModelInfo(msgspec.Struct, frozen=True):
    """The metadata of a model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorInfo, ...]
    """The inputs of a row. A request by key brings the tensors of `properties` instead."""
    outputs: tuple[TensorInfo, ...]
    properties: dict[str, str]
    """`key.NAME`: the data type of each column of the key; `request_input.NAME`: what goes with a key."""


class IndexEntry(msgspec.Struct, frozen=True):
    """A version in the index of models."""

    name: str
    version: str
    state: str
    reason: str


def here(desk: Desk, name: str, version: str = "") -> Snapshot:
    """The picture that answers for a model and a version of it. Raises NotFound for any other."""
    snap = desk.view.now
    if snap is None or snap.version is None:
        raise NotReady("no model version answers yet")
    if name != snap.integration.name:
        raise NotFound(f"there is no model `{name[:60]}` here", mend=f"the model is `{snap.integration.name}`")
    if version and version not in {str(number) for number in snap.versions}:
        told = ", ".join(str(number) for number in snap.versions)
        raise NotFound(f"there is no version `{version[:20]}` of `{name}`", mend=f"versions that answer: {told}")
    return snap


async def addressed(desk: Desk, name: str, version: str = "") -> Snapshot:
    """The picture in which the asked version answers, loaded now if it has to be. Raises NotFound, NotReady."""
    snap = here(desk, name, version)
    if not version:
        return snap
    try:
        async with asyncio.timeout(_LOAD_SECONDS):
            while (found := desk.view.other(int(version))) is None:
                here(desk, name, version)
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise NotReady(f"version {version} is still being loaded") from None
    return found


def ready(desk: Desk, name: str, version: str = "") -> bool:
    """Whether a request for this model and version would be taken. Raises NotFound."""
    return here(desk, name, version).model is not None and not desk.not_ready()


def described(snap: Snapshot) -> ModelInfo:
    """The metadata of the version that answers in this picture."""
    if snap.version is None:
        raise NotReady("no model version answers yet")
    signature = snap.version.signature
    properties = {f"key.{field.name}": infer.datatype(field.type) for field in snap.key_columns}
    for field in snap.integration.model.request_inputs:
        properties[f"request_input.{field.name}"] = infer.datatype(field.type)
    return ModelInfo(
        name=snap.integration.name,
        versions=tuple(str(number) for number in snap.versions),
        platform=f"mainstay_{snap.version.runtime}",
        inputs=infer.announced(signature.inputs),
        outputs=infer.announced(signature.outputs),
        properties=properties,
    )


def index(desk: Desk) -> tuple[IndexEntry, ...]:
    """Every version that can be addressed."""
    snap = desk.view.now
    if snap is None:
        return ()
    reasons = "; ".join(desk.not_ready())
    state = "UNAVAILABLE" if reasons else "READY"
    return tuple(IndexEntry(snap.integration.name, str(number), state, reasons) for number in snap.versions)
