from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.errors import FileError, ModelRefused, StoreAway
from mainstay.core.ports import LoadedModel, Versioned, Write
from mainstay.core.records import Answering, Applied, ModelVersion
from mainstay.serving.view import BLIND_US, WorkerView
from mainstay.store.memory import MemoryState
from mainstay.testing.clock import FakeClock
from tests.serving.toy import NOW, SIGNATURE, Linear, Toy, integration


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    made = Toy(tmp_path)
    yield made
    made.close()


def test_a_snapshot_stays_as_it_was_when_the_world_moves_on(toy: Toy) -> None:
    before = toy.view.now
    toy.models[2] = Linear()
    toy.version(2)
    after = toy.view.now
    assert before is not None
    assert after is not None
    assert (before.version and before.version.number, after.version and after.version.number) == (1, 2)
    assert before.model is toy.models[1]
    assert not toy.view.refresh()


def test_going_back_needs_no_loading(toy: Toy) -> None:
    toy.models[2] = Linear()
    toy.version(2, previous=1)
    opened: list[int] = []

    def open_model(version: ModelVersion) -> LoadedModel:
        opened.append(version.number)
        return toy.models[version.number]

    toy.view._open_model = open_model
    toy.put("answering", "champion", Answering(version=1, previous=2, since_us=NOW))
    toy.view.refresh()
    assert toy.view.now is not None
    assert toy.view.now.model is toy.models[1]
    assert opened == []


def test_a_version_that_does_not_load_leaves_the_old_one_answering(toy: Toy) -> None:
    toy.models.pop(2, None)

    def open_model(version: ModelVersion) -> LoadedModel:
        if version.number not in toy.models:
            raise ModelRefused("bytes do not match their digest")
        return toy.models[version.number]

    toy.view._open_model = open_model
    toy.version(2)
    assert toy.view.now is not None
    assert toy.view.now.version is not None
    assert toy.view.now.version.number == 1
    assert toy.view.problem == "model version 2 does not load, 1 still answers: bytes do not match their digest"
    toy.models[2] = Linear()
    toy.clock.advance(3 * SECOND)
    assert toy.view.refresh()
    assert toy.view.now.version.number == 2
    assert toy.view.problem == ""


def test_models_that_nobody_uses_are_closed_after_the_last_request(toy: Toy) -> None:
    for number in (2, 3):
        toy.models[number] = Linear()
        toy.version(number)
    assert not toy.models[1].closed
    toy.clock.advance(MINUTE)
    toy.view.refresh()
    assert toy.models[1].closed
    assert not toy.models[3].closed


def test_a_file_that_cannot_be_read_leaves_the_old_one(toy: Toy) -> None:
    def open_file(applied: Applied) -> object:
        raise FileError(())

    toy.view._open_file = open_file  # type: ignore[assignment]
    toy.reapply()
    assert toy.view.now is not None
    assert toy.view.problem.startswith("the applied file cannot be read")


def test_nothing_applied_is_told() -> None:
    clock = FakeClock(NOW)
    view = WorkerView(MemoryState(), lambda version: Linear(), lambda applied: integration(), clock)
    assert not view.refresh()
    assert (view.now, view.problem) == (None, "no file is applied")


def test_as_of_moves_with_the_state_of_the_datasets(toy: Toy) -> None:
    toy.dataset(as_of_us=NOW - SECOND)
    assert toy.view.now is not None
    assert toy.view.now.terms.as_of_us == NOW - SECOND
    assert toy.view.now.as_of_text == "2027-01-15T07:59:59.000000Z"


def test_a_version_that_reads_no_features_answers_on_the_views_own_set(toy: Toy) -> None:
    record = ModelVersion(
        number=5, name="constant", digest="", runtime="linear", signature=SIGNATURE, origin="file", created_us=NOW
    )
    toy.models[5] = Linear()
    toy.put("model", "000005", record)
    toy.put("answering", "champion", Answering(version=5, since_us=NOW))
    toy.view.refresh()
    assert toy.view.now is not None
    assert toy.view.now.feature_set == msgspec.structs.replace(Toy.feature_set())


class _Hanging(MemoryState):
    """State that answers nothing while it is told to hang."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.away = False

    def changed(self) -> int:
        self.answers.wait(30)
        if self.away:
            raise StoreAway("the database went away")
        return super().changed()


def test_a_state_that_hangs_makes_rows_stale_until_it_answers(toy: Toy) -> None:
    state = _Hanging()
    state.commit([Write(space=item.space, name=item.name, body=item.body) for item in _all(toy.state)])
    view = WorkerView(state, lambda _: Linear(), lambda _: integration(), toy.clock, blind_us=BLIND_US)
    view.refresh()
    view.watch()
    before = view.now
    assert before is not None
    assert not before.terms.unread
    state.answers.clear()
    looking = threading.Thread(target=view.refresh)
    looking.start()
    toy.clock.advance(BLIND_US)
    view.watch()
    assert view.now is before, "not for so long yet"
    toy.clock.advance(1)
    view.watch()
    assert view.now is not None
    assert view.now.terms.unread
    assert view.now.version is before.version
    state.answers.set()
    looking.join(30)
    view.watch()
    assert view.now == before
    view.close()


def test_a_state_that_fails_again_and_again_makes_rows_stale_too(toy: Toy) -> None:
    state = _Hanging()
    state.commit([Write(space=item.space, name=item.name, body=item.body) for item in _all(toy.state)])
    view = WorkerView(state, lambda _: Linear(), lambda _: integration(), toy.clock, blind_us=BLIND_US)
    view.refresh()
    state.away = True
    for _ in range(5):
        view.refresh()
        view.watch()
        toy.clock.advance(BLIND_US // 2)
    assert view.now is not None
    assert view.now.terms.unread
    state.away = False
    view.refresh()
    view.watch()
    assert not view.now.terms.unread
    view.close()


class _Counting(MemoryState):
    def __init__(self) -> None:
        super().__init__()
        self.scanned: list[str] = []

    def scan(self, space: str, prefix: str = "") -> tuple[Versioned, ...]:
        self.scanned.append(space)
        return super().scan(space, prefix)


def test_the_pictures_of_two_versions_are_made_of_one_look_at_the_feature_sets(toy: Toy) -> None:
    toy.models[2] = Linear()
    toy.version(2, previous=1)
    state = _Counting()
    state.commit([Write(space=item.space, name=item.name, body=item.body) for item in _all(toy.state)])
    view = WorkerView(state, lambda _: Linear(), lambda _: integration(), toy.clock)
    view.refresh()
    assert view.other(1) is None, "it is loaded by the next look"
    state.scanned.clear()
    assert view.refresh()
    other = view.other(1)
    assert other is not None
    assert view.now is not None
    assert other.personal is view.now.personal
    assert [state.scanned.count(space) for space in ("feature_set", "suppressed")] == [1, 1]
    view.close()


def _all(state: MemoryState) -> Iterator[Versioned]:
    for space in ("applied", "answering", "model", "feature_set", "dataset", "api_key"):
        yield from state.scan(space)
