"""Whether the stored version still gives the recorded answer to the recorded inputs."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sized
from typing import Any

import msgspec

from mainstay.core.clock import DAY, iso
from mainstay.core.counts import counted
from mainstay.core.errors import Corrupt, ModelError, NotFound
from mainstay.core.ports import LoadedModel
from mainstay.core.records import ModelVersion, Receipt
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.images import images_of
from mainstay.models.parity import TOLERANCE
from mainstay.models.post import post_of
from mainstay.models.pre import pre_of

CHECK = "receipt.reproduce"


def reproduce(receipt: Receipt, version: ModelVersion | None, load: Callable[[ModelVersion], LoadedModel]) -> Finding:
    """PASS: same answer. FAIL: another one. UNKNOWN: cannot be told any more, and why. ERROR: it cannot be run now.

    `load` is `registry.load` with its stores. Only what a model answered can be reproduced; a refusal or a fallback is
    judged again from its policy's facts, by whoever serves.
    """
    hindrance = _hindrance(receipt, version)
    if hindrance or version is None or receipt.inputs is None or receipt.output is None:
        return _finding(Verdict.UNKNOWN, hindrance or "nothing was recorded to run again")
    try:
        model = load(version)
    except NotFound:
        return _finding(Verdict.UNKNOWN, f"the artifact of version {version.number} is gone")
    except Corrupt:
        return _finding(Verdict.FAIL, f"the artifact of version {version.number} does not match its digest any more")
    except ModelError as error:
        return _finding(Verdict.ERROR, f"version {version.number} cannot be loaded: {error.sentence}", mend=error.mend)
    names = [field.name for field in version.signature.inputs]
    lost = [name for name in names if name not in receipt.inputs]
    try:
        if lost:
            return _finding(Verdict.UNKNOWN, f"the receipt does not hold the input {', '.join(lost)}")
        row = tuple(
            _value(receipt.inputs[name], field.type)
            for name, field in zip(names, version.signature.inputs, strict=True)
        )
        fed, unlike = _prepared(receipt, version, row)
        if unlike is not None:
            return unlike
        found = _compared(receipt, version, model.build, model.predict([fed])[0])
        return _replayed(receipt, version, found) if found.verdict is Verdict.PASS else found
    except ModelError as error:
        return _finding(Verdict.ERROR, f"version {version.number} cannot answer now: {error.sentence}", mend=error.mend)
    finally:
        model.close()


def _hindrance(receipt: Receipt, version: ModelVersion | None) -> str:
    """Why there is nothing to run; empty when there is."""
    if receipt.erased_us is not None:
        return f"its inputs were erased on {iso(receipt.erased_us // DAY * DAY)[:10]}"
    if receipt.outcome != "answered":
        return f"no model answered: the outcome was {receipt.outcome}"
    if receipt.inputs is None or receipt.output is None:
        return "its inputs are not recorded"
    if version is None:
        return f"model version {receipt.version} is not in the registry"
    if version.retired_us is not None:
        return f"model version {version.number} is retired"
    if images_of(version):
        return f"the receipt holds the digest of {', '.join(images_of(version))}, not the picture"
    if receipt.artifact and receipt.artifact != version.digest:
        return f"version {version.number} has another artifact than the receipt names"
    return ""


def _prepared(receipt: Receipt, version: ModelVersion, row: tuple[Any, ...]) -> tuple[tuple[Any, ...], Finding | None]:
    """What the model ate, by the steps of `model.pre` again, which are exact; FAIL where they make something else."""
    steps, recorded = pre_of(version), receipt.fed or {}
    if steps is None:
        return row, None
    again = steps(row)
    for field, value in zip(version.fed, again.row, strict=True):
        if field.name not in recorded or _apart(_value(recorded[field.name], field.type), value):
            sentence = f"`model.pre` makes another {field.name} of the recorded inputs than was recorded"
            return again.row, _finding(Verdict.FAIL, sentence)
    return again.row, None


def _compared(receipt: Receipt, version: ModelVersion, build: str, given: tuple[Any, ...]) -> Finding:
    recorded = (receipt.raw if version.post else receipt.output) or {}
    same_build = build == receipt.build
    worst = 0.0
    for field, value in zip(version.given.outputs, given, strict=True):
        if field.name not in recorded:
            return _finding(Verdict.FAIL, f"the receipt does not hold the output {field.name}")
        worst = max(worst, _apart(_value(recorded[field.name], field.type), value))
    if worst == 0.0 and same_build:
        return _finding(Verdict.PASS, f"same inputs, same output to the last bit, by {build}")
    if same_build and receipt.batch == 1 and version.runtime != "http":
        return _finding(Verdict.FAIL, f"same inputs and same build ({build}), and the output is off by {worst:.3g}")
    builds = f"recorded by {receipt.build or 'an unnamed build'}, run by {build}"
    if same_build:
        builds = f"answered by {build} among {receipt.batch} rows at once, run alone"
    if version.runtime == "http" and worst > 0.0:
        sentence = f"the model is served elsewhere, and answers otherwise now (off by {worst:.3g}): {builds}"
        return _finding(Verdict.UNKNOWN, sentence)
    if worst <= TOLERANCE:
        how = "to the last bit" if worst == 0.0 else f"within {TOLERANCE:g} (off by {worst:.1e})"
        return _finding(Verdict.PASS, f"same inputs, same output {how}; {builds}")
    return _finding(
        Verdict.FAIL, f"same inputs, and the output is off by {worst:.3g}, more than {TOLERANCE:g}; {builds}"
    )


def _replayed(receipt: Receipt, version: ModelVersion, found: Finding) -> Finding:
    """The steps of `model.post` again, from the recorded outputs of the model: exact, so the answer must be."""
    if version.pre:
        sentence = f"{found.sentence}; the {_steps(version.pre, 'model.pre')} the same inputs"
        found = msgspec.structs.replace(found, sentence=sentence)
    steps, recorded, raw = post_of(version), receipt.output or {}, receipt.raw or {}
    if steps is None:
        return found
    final = steps([_value(raw[field.name], field.type) for field in version.raw])
    for field, value in zip(steps.outputs, final, strict=True):
        if field.name not in recorded or _apart(_value(recorded[field.name], field.type), value):
            return _finding(
                Verdict.FAIL, f"{found.sentence}; but `model.post` makes another {field.name} of it than was recorded"
            )
    return _finding(Verdict.PASS, f"{found.sentence}; the {_steps(version.post, 'model.post')} the same answer")


def _steps(steps: Sized, where: str) -> str:
    return counted(len(steps), f"step of `{where}` gives", f"steps of `{where}` give")


def _value(value: Any, kind: str) -> Any:
    """As the model takes it: JSON writes numbers that are not finite as texts."""
    return float(value) if kind == "number" and value is not None else value


def _apart(recorded: Any, given: Any) -> float:
    """0 for equal bits; infinite for what is no number and differs."""
    if isinstance(recorded, float) and isinstance(given, float):
        if struct.pack("<d", recorded) == struct.pack("<d", given):
            return 0.0
        apart = abs(recorded - given)
        return math.inf if math.isnan(apart) else apart or 5e-324
    return 0.0 if type(recorded) is type(given) and recorded == given else math.inf


def _finding(verdict: Verdict, sentence: str, mend: str = "") -> Finding:
    return Finding(check=CHECK, verdict=verdict, sentence=sentence, mend=mend)
