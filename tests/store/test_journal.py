from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mainstay.core.clock import DAY
from mainstay.core.errors import StoreError, StoreFull
from mainstay.store.journal import SegmentJournal
from mainstay.store.segment import CorruptRecord
from mainstay.testing.clock import FakeClock
from mainstay.testing.journal_suite import JournalSuite

SECRET = b"s" * 32


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(20_780 * DAY + DAY // 2)


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> SegmentJournal:
    return SegmentJournal(tmp_path / "journal", secret=SECRET, clock=clock)


class TestSegmentJournal(JournalSuite):
    pass


class TestWithPower(JournalSuite):
    @pytest.fixture
    def journal(self, tmp_path: Path, clock: FakeClock) -> SegmentJournal:
        return SegmentJournal(tmp_path / "journal", secret=SECRET, clock=clock, durability="power")


def test_writers_never_share_a_segment_and_read_each_other(tmp_path: Path, clock: FakeClock) -> None:
    one = SegmentJournal(tmp_path, secret=SECRET, clock=clock)
    other = SegmentJournal(tmp_path, secret=SECRET, clock=clock)
    given = {one.append("receipt", b"one"): b"one", other.append("receipt", b"other"): b"other"}
    assert len(one.segments()) == 2
    for name, payload in given.items():
        for reader in (one, other, SegmentJournal(tmp_path, secret=SECRET, clock=clock, writable=False)):
            entry = reader.get(name)
            assert entry is not None
            assert entry.payload == payload


def test_a_reader_does_not_append(tmp_path: Path, clock: FakeClock) -> None:
    reader = SegmentJournal(tmp_path / "none", secret=SECRET, clock=clock, writable=False)
    assert reader.segments() == ()
    with pytest.raises(StoreError, match="opened for reading"):
        reader.append("receipt", b"")


def test_segments_roll_by_day_and_by_size(tmp_path: Path, clock: FakeClock) -> None:
    journal = SegmentJournal(tmp_path, secret=SECRET, clock=clock, segment_bytes=200)
    first = journal.append("receipt", bytes(300))
    journal.append("receipt", b"two")
    clock.advance(DAY)
    journal.append("receipt", b"three")
    segments = journal.segments()
    assert [(segment.day, segment.number, segment.open) for segment in segments] == [
        (20_780, 1, False),
        (20_780, 2, False),
        (20_781, 3, True),
    ]
    assert journal.get(first) is not None


def test_a_promised_id_is_kept_over_midnight(journal: SegmentJournal, clock: FakeClock) -> None:
    promised = journal.next_id()
    clock.advance(DAY)
    assert journal.append("receipt", b"") == promised
    journal.append("receipt", b"")
    assert [segment.day for segment in journal.segments()] == [20_780, 20_781]


def test_a_clock_that_goes_back_gives_no_number_twice(journal: SegmentJournal, clock: FakeClock) -> None:
    first = journal.append("receipt", b"one")
    journal.seal()
    clock.set_wall(clock.now_us() - 3 * DAY)
    second = journal.append("receipt", b"two")
    assert [segment.number for segment in journal.segments()] == [1, 2]
    assert journal.get(first) != journal.get(second)


def test_a_lost_counter_is_found_again_from_the_segments(journal: SegmentJournal, tmp_path: Path) -> None:
    journal.append("receipt", b"one")
    journal.seal()
    (tmp_path / "journal" / "numbers").unlink()
    journal.append("receipt", b"two")
    assert [segment.number for segment in journal.segments()] == [1, 2]


def test_a_damaged_record_is_named_by_scan_and_refused_by_get(journal: SegmentJournal, tmp_path: Path) -> None:
    given = [journal.append("receipt", b"payload %d" % number) for number in range(3)]
    (segment,) = journal.segments()
    places = [following for _, following in journal.scan(segment.name)]
    path = tmp_path / "journal" / f"{segment.name}.seg"
    data = bytearray(path.read_bytes())
    data[places[0] + 12] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptRecord, match=f"offset {places[0]}") as refused:
        list(journal.scan(segment.name))
    assert refused.value.next == places[1]
    with pytest.raises(StoreError, match="CRC"):
        journal.get(given[1])
    assert journal.get(given[2]) is not None


def test_a_file_of_somebody_else_in_the_folder_is_left_alone(journal: SegmentJournal, tmp_path: Path) -> None:
    journal.append("receipt", b"one")
    (tmp_path / "journal" / "notes.seg").write_text("not ours")
    assert len(journal.segments()) == 1
    with pytest.raises(StoreError, match="not the name"):
        list(journal.scan("../secret"))


def test_only_the_owner_may_read_the_files(journal: SegmentJournal, tmp_path: Path) -> None:
    journal.append("receipt", b"one")
    journal.seal()
    journal.rewrite(journal.segments()[0].name, lambda _: b"1")
    for path in (tmp_path / "journal").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("durability", ["process", "power"])
def test_threads_share_one_journal(tmp_path: Path, clock: FakeClock, durability: str) -> None:
    journal = SegmentJournal(
        tmp_path,
        secret=SECRET,
        clock=clock,
        durability="power" if durability == "power" else "process",
        segment_bytes=4_000,  # so that segments roll while others wait for their fdatasync
    )
    given: list[str] = []

    def work() -> None:
        given.extend(journal.append_with("receipt", str.encode) for _ in range(100))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 800
    for name in given:
        entry = journal.get(name)
        assert entry is not None
        assert entry.payload == name.encode()
    assert sum(1 for segment in journal.segments() for _ in journal.scan(segment.name)) == 800


def test_a_forked_child_writes_its_own_segment(journal: SegmentJournal) -> None:
    journal.append("receipt", b"parent")
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        try:
            journal.append("receipt", b"child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    journal.append("receipt", b"parent again")
    found = [[entry.payload for entry, _ in journal.scan(segment.name)] for segment in journal.segments()]
    assert found == [[b"parent", b"parent again"], [b"child"]]


def test_a_full_disk_refuses_the_record_and_tears_nothing(journal: SegmentJournal, tmp_path: Path) -> None:
    before = journal.append("receipt", bytes(1_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(StoreFull):
            journal.append("receipt", bytes(3_000))  # a part of it fits
        with pytest.raises(StoreFull):
            journal.append("receipt", bytes(3_000))
        small = journal.append("receipt", b"fits")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    after = journal.append("receipt", bytes(3_000))
    (segment,) = journal.segments()
    assert [entry.id for entry, _ in journal.scan(segment.name)] == [before, small, after]


def test_no_right_to_write_is_told_like_a_full_disk(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    journal = SegmentJournal(tmp_path / "journal", secret=SECRET, clock=clock)
    with pytest.raises(StoreError, match="could not be written"):
        journal.append("receipt", b"")


def test_a_payload_that_cannot_be_built_costs_nothing(journal: SegmentJournal) -> None:
    first = journal.append("receipt", b"one")

    def interrupted(_id: str) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.append_with("receipt", interrupted)
    second = journal.append("receipt", b"two")
    (segment,) = journal.segments()
    assert [entry.id for entry, _ in journal.scan(segment.name)] == [first, second]


def test_a_segment_whose_end_is_in_doubt_is_not_written_again(journal: SegmentJournal) -> None:
    first = journal.append("receipt", b"one")
    assert journal._open is not None
    os.write(journal._open.fd, b"a signal handler raised between this write and its bookkeeping")
    journal._open.torn = True
    second = journal.append("receipt", b"two")
    assert [[entry.id for entry, _ in journal.scan(segment.name)] for segment in journal.segments()] == [
        [first],
        [second],
    ]


WRITER = """
import os, sys
from pathlib import Path
from mainstay.core.clock import SystemClock
from mainstay.store.journal import SegmentJournal
folder, durability = Path(sys.argv[1]), sys.argv[2]
journal = SegmentJournal(
    folder, secret=b"s" * 32, clock=SystemClock(), durability=durability, segment_bytes=60_000
)
number = 0
while True:
    number += 1
    given = journal.append_with("receipt", lambda id: f"{id} {number} ".encode() + b"x" * (number * 37 % 5_000))
    os.write(1, f"{given} {number}\\n".encode())
"""


@pytest.mark.promise(2)
@pytest.mark.parametrize("durability", ["process", "power"])
def test_every_id_given_before_kill_9_is_readable_afterwards(tmp_path: Path, clock: FakeClock, durability: str) -> None:
    told: dict[str, int] = {}
    for round_ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), durability], stdout=subprocess.PIPE, bufsize=0
        )
        assert writer.stdout is not None
        lines = b""
        while lines.count(b"\n") < 1 + round_ * 61:  # another moment each round
            lines += writer.stdout.read(4096) or b""
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        for line in lines.decode().split("\n")[:-1]:
            name, number = line.split(" ")
            told[name] = int(number)
    reader = SegmentJournal(tmp_path, secret=SECRET, clock=clock, writable=False)
    assert len(told) > 600
    for name, count in told.items():
        entry = reader.get(name)
        assert entry is not None
        assert entry.payload == f"{name} {count} ".encode() + b"x" * (count * 37 % 5_000)
    assert not any(segment.open for segment in reader.segments())
    scanned = {entry.id for segment in reader.segments() for entry, _ in reader.scan(segment.name)}
    assert told.keys() <= scanned
    assert len(scanned) <= len(told) + 5  # at most one record a round was written and not told
