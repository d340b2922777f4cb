"""The file's own model as a version, and the file's steps on a version that was imported."""

from __future__ import annotations

import msgspec

from mainstay.app.wiring import Works
from mainstay.core.errors import NotFound
from mainstay.core.inputs import ModelInput
from mainstay.core.nouns import Field, Integration, Signature
from mainstay.core.records import ModelVersion
from mainstay.models.post import Post, with_post
from mainstay.models.registry import inline_draft


def file_version(new: Integration, wanted: ModelInput, at_us: int, by: str) -> ModelVersion:
    """The file's own model as a version."""
    if new.model.inline is None:
        raise NotFound("the file has no model of its own", mend="mainstay model add FILE")
    return inline_draft(
        new.model.inline,
        name=new.model.name,
        inputs=inline_inputs(wanted),
        feature_set=wanted.digest,
        also=wanted.also,
        at_us=at_us,
        by=by,
        pre=new.model.pre,
        post=new.model.post,
        beside=(*new.model.request_inputs, *wanted.keys),
    )


def reposted(works: Works, new: Integration) -> ModelVersion | None:
    """The imported version that answers, with the file's steps of `model.post`; None where it has them.

    Raises ModelRefused when they do not fit what it gives.
    """
    answering = works.registry.answering()
    if answering is None:
        return None
    version = works.registry.get(answering.version)
    if version.origin == "file" or version.post == new.model.post:
        return None
    made = msgspec.structs.replace(version, created_us=works.clock.now_us(), created_by=works.by)
    return with_post(made, new.model.post)


def inline_signature(new: Integration, wanted: ModelInput) -> Signature:
    """The signature of a constant (no inputs) or a rule (every feature column that it may use), after `model.post`."""
    inline = new.model.inline
    if inline is None or inline.kind == "http":
        return file_version(new, wanted, 0, "").signature
    inputs = () if inline.kind == "constant" else inline_inputs(wanted)
    return Signature(inputs=inputs, outputs=Post(new.model.post, inline.outputs).outputs)


def inline_inputs(wanted: ModelInput) -> tuple[Field, ...]:
    """The inputs of a rule: every feature column."""
    return tuple(Field(name=name, type=kind) for name, kind in wanted.columns)
