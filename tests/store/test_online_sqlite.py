from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.ports import OnlineRow
from mainstay.store.online_sqlite import AIM_US, FIRST_ROWS, LEAST_ROWS, MOST_ROWS, SqliteOnline, next_size
from mainstay.testing.clock import FakeClock
from mainstay.testing.online_suite import SET, online_row


@pytest.fixture
def online(tmp_path: Path) -> Iterator[SqliteOnline]:
    store = SqliteOnline(tmp_path / "online.sqlite", clock=FakeClock())
    yield store
    store.close()


def test_what_feeds_a_put_runs_outside_its_transactions(online: SqliteOnline, tmp_path: Path) -> None:
    """A slow feeder must not hold the file: another writer gets in while rows are being made."""
    other = SqliteOnline(tmp_path / "online.sqlite")

    def rows() -> Iterator[OnlineRow]:
        for number in range(3 * FIRST_ROWS):
            if number % FIRST_ROWS == 0:
                other.put("other", [online_row(str(number))], token=1)
            yield online_row(f"k{number:05d}")

    assert online.put(SET, rows(), token=1) == 3 * FIRST_ROWS
    assert other.count("other") == 3
    other.close()


def test_a_feeder_that_breaks_leaves_whole_rows(online: SqliteOnline) -> None:
    def rows() -> Iterator[OnlineRow]:
        yield from (online_row(f"k{number:05d}") for number in range(2 * FIRST_ROWS))
        raise RuntimeError("the feeder broke")

    with pytest.raises(RuntimeError, match="the feeder broke"):
        online.put(SET, rows(), token=1)
    keys = list(online.keys(SET))
    assert keys == [f"k{number:05d}" for number in range(len(keys))]
    assert online.put(SET, (online_row(f"k{number:05d}") for number in range(2 * FIRST_ROWS)), token=1) == 1000


def test_the_log_does_not_grow_with_what_is_written(online: SqliteOnline, tmp_path: Path) -> None:
    """70 MB are written; the log starts anew from time to time and stays under the limit that its file is cut to."""
    most = 0
    for plan in range(1, 6):
        online.put(SET, (online_row(f"k{number:05d}", plan, b"x" * 600) for number in range(20_000)), token=1)
        most = max(most, (tmp_path / "online.sqlite-wal").stat().st_size)
    assert most < 45_000_000


def test_a_killed_drop_is_finished_by_the_next(online: SqliteOnline) -> None:
    online.put(SET, (online_row(str(number)) for number in range(50)), token=1)
    with online._file.writing() as connection:
        connection.execute("DELETE FROM feature_set WHERE digest = ?", (SET,))
    assert online.count(SET) == 0
    online.put(SET, [online_row("new")], token=1)
    assert list(online.keys(SET)) == ["new"], "a set that comes back sees nothing of its former self"
    online.drop("another", token=1)
    assert online._file.row("SELECT count(*) FROM online") == (1,)


def test_keys_are_paged_through(online: SqliteOnline) -> None:
    wanted = [f"k{number:06d}" for number in range(20_001)]
    online.put(SET, map(online_row, wanted), token=1)
    assert list(online.keys(SET)) == wanted


@given(size=st.integers(LEAST_ROWS, MOST_ROWS), rows=st.integers(0, MOST_ROWS), took_us=st.integers(0, 10_000_000))
def test_the_next_transaction_fits_the_last(size: int, rows: int, took_us: int) -> None:
    rows = min(rows, size)
    following = next_size(size, rows, took_us)
    assert LEAST_ROWS <= following <= MOST_ROWS
    assert following <= size * 2
    if took_us > AIM_US and following > LEAST_ROWS:
        assert following <= rows, "a transaction that was too long is followed by a shorter one"
    if rows == size and took_us * 2 < AIM_US:
        assert following == min(size * 2, MOST_ROWS), "a short one by a longer one"
