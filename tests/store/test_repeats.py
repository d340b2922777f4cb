"""Answers that may be asked for again: the same promises in a file and in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.core.ports import Repeat, Repeats
from mainstay.store import repeats_sqlite
from mainstay.store.repeats_postgres import PostgresRepeats
from mainstay.store.repeats_sqlite import SqliteRepeats, beyond

OpenRepeats = Callable[[], Repeats]


@pytest.fixture(params=["sqlite", "postgres"])
def open_repeats(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenRepeats]:
    opened: list[Repeats] = []
    url = request.getfixturevalue("state_database").url if request.param == "postgres" else ""

    def again() -> Repeats:
        found = PostgresRepeats(url, str(tmp_path)) if url else SqliteRepeats(tmp_path / "repeats.sqlite")
        opened.append(found)
        return found

    yield again
    for one in opened:
        one.close()


def begin(repeats: Repeats, name: bytes, ticket: str, *, caller: str = "c", at: int = 0, until: int = 100) -> object:
    return repeats.begin(caller, name, b"payload", ticket=ticket, at_us=at, until_us=until)


def answer(body: bytes = b"body") -> Repeat:
    return Repeat(payload=b"payload", status=200, kind="application/json", body=body)


def test_one_begins_and_others_see_it_then_the_answer(open_repeats: OpenRepeats) -> None:
    one, other = open_repeats(), open_repeats()
    assert begin(one, b"a", "t1") is None
    assert begin(other, b"a", "t2") == Repeat(payload=b"payload", status=0, kind="", body=b"")
    assert begin(other, b"a", "t3", caller="else") is None
    assert one.finish("t1", answer(), until_us=200)
    assert begin(other, b"a", "t4", at=150) == answer()
    assert sorted(other.bodies()) == [b"", b"body"]


def test_what_ran_out_is_begun_anew_and_the_late_one_keeps_nothing(open_repeats: OpenRepeats) -> None:
    repeats = open_repeats()
    assert begin(repeats, b"a", "t1", until=100) is None
    assert begin(repeats, b"a", "t2", at=100, until=200) is None
    assert not repeats.finish("t1", answer(b"late"), until_us=300)
    assert repeats.finish("t2", answer(b"second"), until_us=300)
    assert begin(repeats, b"a", "t3", at=299) == answer(b"second")


def test_what_is_released_may_come_again(open_repeats: OpenRepeats) -> None:
    repeats = open_repeats()
    assert begin(repeats, b"a", "t1") is None
    repeats.release("t1")
    assert begin(repeats, b"a", "t2") is None


def test_of_many_at_once_one_begins(open_repeats: OpenRepeats) -> None:
    repeats, begun = open_repeats(), []
    gate = threading.Barrier(8)

    def run(number: int) -> None:
        gate.wait()
        begun.append(begin(repeats, b"a", f"t{number}"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found is None for found in begun) == 1


def test_a_sweep_removes_what_ran_out_and_each_callers_oldest(
    open_repeats: OpenRepeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats_sqlite, "ANSWERS_MOST", 2)
    repeats = open_repeats()
    for caller, name, until in (("c", b"1", 5), ("c", b"2", 11), ("c", b"3", 12), ("c", b"4", 13), ("d", b"1", 14)):
        ticket = f"{caller}{name.decode()}"
        assert begin(repeats, name, ticket, caller=caller) is None
        assert repeats.finish(ticket, answer(ticket.encode()), until_us=until)
    repeats.sweep(5)
    assert sorted(repeats.bodies()) == [b"c3", b"c4", b"d1"]


def test_clearing_takes_tickets_too(open_repeats: OpenRepeats) -> None:
    repeats = open_repeats()
    assert begin(repeats, b"a", "t1") is None
    assert begin(repeats, b"b", "t2") is None
    assert repeats.finish("t2", answer(), until_us=200)
    repeats.clear()
    assert not repeats.finish("t1", answer(), until_us=200)
    assert list(repeats.bodies()) == []


def test_nothing_of_what_was_cleared_is_left_in_the_file(tmp_path: Path) -> None:
    repeats = SqliteRepeats(tmp_path / "repeats.sqlite")
    assert begin(repeats, b"a", "t1") is None
    assert repeats.finish("t1", answer(b"7590-VHVEG"), until_us=200)
    repeats.clear()
    assert not any(b"7590-VHVEG" in path.read_bytes() for path in tmp_path.iterdir())
    repeats.close()


def test_a_share_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_sqlite, "BYTES_MOST", 10)
    assert beyond([(3, 4), (2, 6), (1, 1)]) == [1]
    assert beyond([(3, 11)]) == [3]
