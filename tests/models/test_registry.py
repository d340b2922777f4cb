"""Versions are immutable and numbered; one of them answers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from mainstay.core.errors import Corrupt, ModelRefused, NotFound, Refused
from mainstay.core.ids import digest_bytes
from mainstay.core.nouns import Field, InlineModel, Signature
from mainstay.core.records import ModelVersion
from mainstay.models.registry import Registry, RegistryReader, load, socket_of
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.memory import MemoryState

INPUTS = (Field(name="tenure", type="integer"),)
OUTPUTS = (Field(name="churn", type="number", unit="probability"),)


def imported(number: int = 0, **more: object) -> ModelVersion:
    made = ModelVersion(
        number=number,
        name="churn",
        digest="sha256:" + "0" * 64,
        runtime="onnx",
        signature=Signature(inputs=INPUTS, outputs=OUTPUTS),
        origin="imported",
        created_us=1,
    )
    return msgspec.structs.replace(made, **more)


def in_file(value: float) -> InlineModel:
    return InlineModel(kind="constant", outputs=OUTPUTS, values={"churn": value})


def from_file(registry: Registry, inline: InlineModel, at_us: int = 5, why: str = "") -> tuple[ModelVersion, bool]:
    return registry.from_file(inline, name="churn", inputs=INPUTS, feature_set="", at_us=at_us, hindrance=lambda _: why)


def test_versions_are_numbered_from_one_and_equal_content_is_the_same_version() -> None:
    registry = Registry(MemoryState())
    first = registry.add(imported())
    again = registry.add(imported(created_us=99, created_by="somebody", parity={"converted": False}))
    second = registry.add(imported(options={"null_string": "nan"}))
    assert (first.number, again.number, second.number) == (1, 1, 2)
    assert again.created_us == 1, "a version never changes"
    assert [version.number for version in registry.versions()] == [1, 2]
    assert registry.get(2) == second
    with pytest.raises(NotFound, match="1, 2"):
        registry.get(3)


def test_two_who_add_at_once_get_two_numbers() -> None:
    registry = Registry(MemoryState())
    threads = [Thread(target=registry.add, args=(imported(digest=digest_bytes(bytes([n]))),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.number for version in registry.versions()] == list(range(1, 9))


def test_use_and_back() -> None:
    state = MemoryState()
    registry = Registry(state)
    registry.add(imported())
    registry.add(imported(name="other"))
    assert RegistryReader(state).answering() is None
    assert registry.use(1, by="anna", at_us=10).previous is None
    assert registry.use(2, by="anna", at_us=20).previous == 1
    assert registry.use(2, by="bob", at_us=30).since_us == 20, "what answers already is left alone"
    assert registry.use(1, by="anna", at_us=40).previous == 2
    with pytest.raises(NotFound):
        registry.use(7, by="anna", at_us=50)
    with pytest.raises(Refused, match="answers now"):
        registry.retire(1, at_us=60)
    registry.retire(2, at_us=60)
    with pytest.raises(Refused, match="retired"):
        registry.use(2, by="anna", at_us=70)


def test_a_version_whose_feature_set_is_not_ready_cannot_answer() -> None:
    registry = Registry(MemoryState())
    registry.add(imported())
    with pytest.raises(Refused, match="its feature set is at 40 %"):
        registry.use(1, by="anna", at_us=1, hindrance=lambda _: "its feature set is at 40 %")
    assert registry.answering() is None


def test_the_files_model_is_used_at_once_only_while_the_file_answers() -> None:
    registry = Registry(MemoryState())
    assert from_file(registry, in_file(0.26))[1]
    assert from_file(registry, in_file(0.26))[0].number == 1, "the same file is the same version"
    changed, used = from_file(registry, in_file(0.3))
    assert (changed.number, used) == (2, True)
    trained = registry.add(imported())
    registry.use(trained.number, by="anna", at_us=9)
    last, used = from_file(registry, in_file(0.4))
    assert (last.number, used) == (4, False)
    now = registry.answering()
    assert now is not None
    assert now.version == trained.number


def test_the_files_model_waits_for_its_feature_set() -> None:
    registry = Registry(MemoryState())
    assert from_file(registry, in_file(0.26), why="not complete")[1] is False
    assert registry.answering() is None


def test_a_rule_that_does_not_work_is_no_version() -> None:
    registry = Registry(MemoryState())
    with pytest.raises(ModelRefused, match="random"):
        from_file(registry, InlineModel(kind="rule", outputs=OUTPUTS, rules={"churn": "random()"}))
    assert registry.versions() == ()


def test_loading_by_digest(tmp_path: Path) -> None:
    registry = Registry(MemoryState())
    artifacts = LocalArtifacts(tmp_path / "artifacts")
    constant, _ = from_file(registry, in_file(0.26))
    with closing(load(constant, artifacts, tmp_path)) as model:
        assert model.predict([()]) == [(0.26,)]
    rule, _ = from_file(registry, InlineModel(kind="rule", outputs=OUTPUTS, rules={"churn": "tenure / 100"}))
    with closing(load(rule, artifacts, tmp_path)) as model:
        assert model.predict([(50,)]) == [(0.5,)]
    with pytest.raises(NotFound):
        load(imported(), artifacts, tmp_path)


def test_a_wrong_digest_refuses_to_load(tmp_path: Path) -> None:
    artifacts = LocalArtifacts(tmp_path)
    digest = artifacts.put(b"a model")
    stored = artifacts.path(digest)
    stored.chmod(0o600)
    stored.write_bytes(b"another")
    with pytest.raises(Corrupt):
        load(imported(digest=digest), artifacts, tmp_path)


def test_two_versions_have_two_sockets(tmp_path: Path) -> None:
    assert socket_of(imported(1), tmp_path) != socket_of(imported(2), tmp_path)
