"""A receipt's answer is given again, or it is said why it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.errors import Corrupt, ModelAway, NotFound
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.core.records import ModelVersion, Receipt
from mainstay.core.verdicts import Verdict
from mainstay.models.registry import load
from mainstay.models.verify import reproduce
from mainstay.store.artifacts_local import LocalArtifacts

VERSION = ModelVersion(
    number=3,
    name="churn",
    digest="sha256:abc",
    runtime="rule",
    options={"rules": {"churn": "0.1 + tenure / 3"}},
    signature=Signature(inputs=(Field(name="tenure", type="number"),), outputs=(Field(name="churn", type="number"),)),
    origin="file",
    created_us=1,
)
RECEIPT = Receipt(
    id="r-1",
    at_us=1,
    integration="churn",
    api=1,
    key="7590-VHVEG",
    caller="k",
    request="q",
    outcome="answered",
    status=200,
    verdict=Verdict.PASS,
    inputs={"tenure": 1.0, "unread": "x"},
    version=3,
    artifact="sha256:abc",
    build="duckdb 0.0.1",
    output={"churn": 0.1 + 1.0 / 3},
)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[ModelVersion], LoadedModel]:
    return lambda version: load(version, LocalArtifacts(tmp_path), tmp_path)


def build_of(opened: Callable[[ModelVersion], LoadedModel]) -> str:
    model = opened(VERSION)
    model.close()
    return model.build


def test_same_build_same_bits(opened: Callable[[ModelVersion], LoadedModel]) -> None:
    receipt = msgspec.structs.replace(RECEIPT, build=build_of(opened))
    found = reproduce(receipt, VERSION, opened)
    assert found.verdict is Verdict.PASS
    assert "last bit" in found.sentence
    off = msgspec.structs.replace(receipt, output={"churn": 0.1 + 1.0 / 3 + 1e-9})
    assert reproduce(off, VERSION, opened).verdict is Verdict.FAIL, "one build has no excuse"


def test_another_build_within_the_tolerance_and_both_are_named(opened: Callable[[ModelVersion], LoadedModel]) -> None:
    near = msgspec.structs.replace(RECEIPT, output={"churn": 0.1 + 1.0 / 3 + 1e-9})
    found = reproduce(near, VERSION, opened)
    assert found.verdict is Verdict.PASS
    assert "duckdb 0.0.1" in found.sentence
    assert build_of(opened) in found.sentence
    far = msgspec.structs.replace(RECEIPT, output={"churn": 0.9})
    assert reproduce(far, VERSION, opened).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"inputs": None, "erased_us": 1_793_523_600_000_000}, "erased on 2026-11-01"),
        ({"inputs": None}, "not recorded"),
        ({"inputs": {"other": 1}}, "does not hold the input tenure"),
        ({"outcome": "refused", "output": None}, "the outcome was refused"),
        ({"artifact": "sha256:other"}, "another artifact"),
    ],
)
def test_what_cannot_be_told_any_more_is_unknown(
    changed: dict[str, Any], words: str, opened: Callable[[ModelVersion], LoadedModel]
) -> None:
    found = reproduce(msgspec.structs.replace(RECEIPT, **changed), VERSION, opened)
    assert found.verdict is Verdict.UNKNOWN
    assert words in found.sentence


def test_versions_that_are_gone(opened: Callable[[ModelVersion], LoadedModel]) -> None:
    assert reproduce(RECEIPT, None, opened).verdict is Verdict.UNKNOWN
    retired = msgspec.structs.replace(VERSION, retired_us=5)
    assert "retired" in reproduce(RECEIPT, retired, opened).sentence


class Away:
    """A model whose process is not there."""

    capabilities = RuntimeCapabilities(blocking=True)
    build = "python"

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        raise ModelAway("the model's process died")

    def present(self) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(NotFound("gone"), Verdict.UNKNOWN), (Corrupt("bytes"), Verdict.FAIL), (ModelAway("away"), Verdict.ERROR)],
)
def test_what_cannot_be_loaded(error: Exception, verdict: Verdict) -> None:
    def fails(version: ModelVersion) -> LoadedModel:
        raise error

    assert reproduce(RECEIPT, VERSION, fails).verdict is verdict


def test_could_not_look_is_not_a_pass() -> None:
    assert reproduce(RECEIPT, VERSION, lambda _: Away()).verdict is Verdict.ERROR


def test_a_number_that_is_not_finite_is_one(opened: Callable[[ModelVersion], LoadedModel]) -> None:
    endless = msgspec.structs.replace(
        RECEIPT, inputs={"tenure": "Infinity"}, output={"churn": "Infinity"}, build=build_of(opened)
    )
    assert reproduce(endless, VERSION, opened).verdict is Verdict.PASS
