"""From a model file to a version: examine, convert where that is proved, keep what answers and the original."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.ports import Artifacts, Row
from mainstay.core.records import ModelVersion
from mainstay.models.conversion import convert, marked
from mainstay.models.importing import Examined, opened
from mainstay.models.parity import answers, probe


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A version without its number, and what to tell the person who adds it."""

    version: ModelVersion
    told: tuple[str, ...]


def draft(
    file: Path,
    examined: Examined,
    *,
    name: str,
    feature_set: str,
    rows: Sequence[Row],
    artifacts: Artifacts,
    home: Path | None = None,
    allow_conversion: bool = True,
    by: str = "",
    clock: Clock | None = None,
) -> Draft:
    """Stores the artifacts and returns the version to add. Raises what opening the model raises.

    `rows` are the current feature rows in the order of `examined.signature.inputs`: the proof runs on all of them.
    """
    clock = clock or SystemClock()
    original = artifacts.put(file)
    told = [f"isolation of its process: {', '.join(examined.isolation)}"] if examined.isolation else []
    told.extend(examined.notes)
    version = ModelVersion(
        number=0,
        name=name,
        digest=original,
        original_digest=original,
        runtime=examined.runtime,
        options=examined.options,
        signature=examined.signature,
        feature_set=feature_set,
        origin="imported",
        created_us=clock.now_us(),
        created_by=by,
        build=examined.build,
    )
    if examined.runtime != "python":
        return _native(Draft(version=version, told=tuple(told)), file, examined, rows, clock)
    if not allow_conversion or examined.options.get("format") == "torch":
        return Draft(version=_probed(file, examined, version, rows, clock), told=tuple(told))
    made = convert(file, examined, rows, home=home, clock=clock)
    told.append(made.reason)
    changed: dict[str, Any] = {"signature": made.signature, "parity": made.parity}
    if made.onnx is not None:
        changed |= {
            "digest": artifacts.put(made.onnx),
            "runtime": "onnx",
            "options": made.options,
            "build": made.build,
        }
    return Draft(version=msgspec.structs.replace(version, **changed), told=tuple(told))


def _native(made: Draft, file: Path, examined: Examined, rows: Sequence[Row], clock: Clock) -> Draft:
    """Trees are proved equal to their library; an ONNX graph is what it is."""
    if examined.runtime == "onnx":
        return made
    from mainstay.models.proving import prove

    proof = prove(file, examined, rows, clock)
    version = msgspec.structs.replace(made.version, parity=proof.parity)
    return Draft(version=version, told=(*made.told, proof.told))


def _probed(file: Path, examined: Examined, version: ModelVersion, rows: Sequence[Row], clock: Clock) -> ModelVersion:
    """The version with the nulls that its original refuses marked as required."""
    if not rows:
        return version
    with opened(file, examined.signature, examined.options, clock) as model:
        refused = sum(answer is None for answer in answers(model, rows, clock))
        required, _ = probe(model, examined.signature, rows, clock)
    measured = {"converted": False, "reason": "no conversion was wanted", "rows": len(rows), "refused": refused}
    signature = marked(examined.signature, required)
    return msgspec.structs.replace(version, signature=signature, parity=measured)
