from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from mainstay.core.errors import Corrupt, NotFound, StoreBusy, StoreError, StoreFull, StoreOld, StoreTooNew
from mainstay.core.ports import Write
from mainstay.store import sqlite_file
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.online_suite import SET, online_row

Store = SqliteState | SqliteOnline
STORES: list[Callable[[Path], Store]] = [SqliteState, SqliteOnline]


def write(store: Store, number: int, size: int = 1) -> None:
    if isinstance(store, SqliteState):
        store.commit([Write(space="a", name=str(number), body=b"x" * size)])
    else:
        store.put(SET, [online_row(str(number), values=b"x" * size)], token=1)


def fill(store: Store) -> None:
    for number in range(1, 100):
        write(store, number, 40_000)


def has(store: Store, number: int) -> bool:
    if isinstance(store, SqliteState):
        return store.get("a", str(number)) is not None
    return store.get(SET, str(number)) is not None


@pytest.mark.parametrize("open_store", STORES)
def test_a_commit_survives_the_power(open_store: Callable[[Path], Store], tmp_path: Path) -> None:
    store = open_store(tmp_path / "f")
    try:
        writer = store._file._writer
        assert writer.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        store.close()


@pytest.mark.parametrize("open_store", STORES)
def test_the_file_is_its_users_only_and_made_whole(open_store: Callable[[Path], Store], tmp_path: Path) -> None:
    made: list[Store] = []
    threads = [Thread(target=lambda: made.append(open_store(tmp_path / "f"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    for number, store in enumerate(made):
        write(store, number)
    assert all(has(made[0], number) for number in range(6))
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    for store in made:
        store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["f"], "nothing is left beside it"


@pytest.mark.promise(8)
@pytest.mark.parametrize("open_store", STORES)
@pytest.mark.parametrize(("number", "error"), [(2, StoreTooNew), (0, StoreOld)])
def test_another_versions_file_is_refused(
    open_store: Callable[[Path], Store], number: int, error: type[StoreError], tmp_path: Path
) -> None:
    open_store(tmp_path / "f").close()
    with sqlite3.connect(tmp_path / "f") as connection:
        connection.execute(f"PRAGMA user_version = {number}")
    connection.close()
    with pytest.raises(error, match=f"schema {number}, .* schema 1") as caught:
        open_store(tmp_path / "f")
    assert ("later Mainstay" if number else "mainstay upgrade") in caught.value.mend


@pytest.mark.parametrize("open_store", STORES)
def test_a_full_disk_is_told_and_the_store_stays_usable(open_store: Callable[[Path], Store], small_disk: Path) -> None:
    store = open_store(small_disk / "f")
    write(store, 0)
    with pytest.raises(StoreFull) as caught:
        fill(store)
    assert caught.value.transient
    assert caught.value.where == str(small_disk / "f")
    full = small_disk.name == "disk"
    assert ("no space" in caught.value.sentence) is full, "a limit of this process is no lack of space"
    assert full or "ulimit -f" in caught.value.mend
    assert has(store, 0)
    written = [has(store, number) for number in range(100)]
    assert written == sorted(written, reverse=True), "what was refused is not there, what went before is"
    store.close()
    again = open_store(small_disk / "f")
    assert [has(again, number) for number in range(100)] == written
    again.close()


@pytest.mark.parametrize("open_store", STORES)
def test_a_file_that_cannot_be_made_for_lack_of_space_is_not_there(
    open_store: Callable[[Path], Store], small_disk: Path
) -> None:
    if small_disk.name == "disk":
        (small_disk / "filler").write_bytes(b"x" * (1 << 20))
        with pytest.raises(StoreFull):
            open_store(small_disk / "f")
        assert [path.name for path in small_disk.iterdir()] == ["filler"]
        (small_disk / "filler").unlink()
    open_store(small_disk / "f").close()


@pytest.mark.parametrize("open_store", STORES)
def test_a_writer_that_never_ends_is_busy_not_lost(
    open_store: Callable[[Path], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.02)
    store = open_store(tmp_path / "f")
    write(store, 1)
    other = sqlite3.connect(tmp_path / "f", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy) as caught:
        write(store, 2)
    assert caught.value.transient
    assert has(store, 1), "readers do not wait for a writer"
    other.execute("ROLLBACK")
    other.close()
    write(store, 2)
    assert has(store, 2)
    store.close()


@pytest.mark.parametrize("open_store", STORES)
def test_a_damaged_file_is_corrupt(open_store: Callable[[Path], Store], tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"this is no database" * 1000)
    with pytest.raises(Corrupt) as caught:
        open_store(tmp_path / "f")
    assert caught.value.where == str(tmp_path / "f")
    assert caught.value.mend


@pytest.mark.promise(7)
def test_what_was_removed_leaves_no_byte(tmp_path: Path) -> None:
    state, online = SqliteState(tmp_path / "s"), SqliteOnline(tmp_path / "o")
    people = [f"person-{number}" for number in range(300)]
    state.commit([Write(space="a", name=person, body=person.encode()) for person in people])
    online.put(SET, [online_row(person, values=person.encode()) for person in people], token=1)
    state.commit([Write(space="a", name=person, body=None) for person in people[::2]])
    state.commit([Write(space="a", name=person, body=b"nobody") for person in people[1:-1:2]])
    online.remove(SET, people[:-1], plan=1, token=1)
    state.commit([Write(space="a", name=person, body=None) for person in people[:-1]])
    for store in (state, online):
        store.scrub()
    kept = people[-1].encode()
    for path in tmp_path.iterdir():
        left = path.read_bytes().replace(kept, b"")
        assert b"person-" not in left, path.name
    assert has(online, 0) is False
    assert online.get(SET, people[-1]) is not None
    for store in (state, online):
        store.close()


def test_a_log_that_is_being_read_cannot_be_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.02)
    store = SqliteState(tmp_path / "f")
    write(store, 1)
    other = sqlite3.connect(tmp_path / "f", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM record").fetchone()
    write(store, 2)
    with pytest.raises(StoreBusy):
        store.scrub()
    other.close()
    store.scrub()
    assert (tmp_path / "f-wal").stat().st_size == 0
    store.close()


def test_a_row_that_is_no_row_is_corrupt(tmp_path: Path) -> None:
    store = SqliteOnline(tmp_path / "f")
    write(store, 1)
    with store._file.writing() as connection:
        connection.execute("UPDATE online SET row = x'ff'")
    with pytest.raises(Corrupt, match="row cannot be read"):
        store.get(SET, "1")
    store.close()


def test_a_reader_neither_makes_nor_writes(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no online store"):
        SqliteOnline(tmp_path / "f", writable=False)
    assert list(tmp_path.iterdir()) == []
    SqliteOnline(tmp_path / "f").close()
    reader = SqliteOnline(tmp_path / "f", writable=False)
    with pytest.raises(StoreFull, match="not allowed to write"):
        reader.put(SET, [online_row("a")], token=1)
    assert reader.count(SET) == 0
    reader.close()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        SqliteState(tmp_path / "nowhere" / "f")
    assert str(tmp_path / "nowhere") in caught.value.where


def test_a_name_with_odd_letters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a b?c=d#é%20"
    store = SqliteState(path)
    write(store, 1)
    store.close()
    assert path.exists()


def test_many_threads_read_and_write_through_one_store(tmp_path: Path) -> None:
    store = SqliteState(tmp_path / "f")
    faults: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 25):
            write(store, number)
            if not has(store, number):
                faults.append(number)

    threads = [Thread(target=work, args=(first * 25,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(store.scan("a")) == 150
    store.close()
