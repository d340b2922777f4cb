"""The segment's bytes: whatever is cut off or damaged, a record is either itself or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.errors import Corrupt, StoreError, StoreTooNew
from mainstay.core.ports import JournalKind
from mainstay.store import segment

kinds: st.SearchStrategy[JournalKind] = st.sampled_from(["receipt", "event"])
contents = st.lists(st.tuples(kinds, st.binary(max_size=80)), min_size=1, max_size=8)


@contextmanager
def stored(data: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


def written(records: list[tuple[JournalKind, bytes]]) -> tuple[bytes, list[int]]:
    """A segment's bytes, and where each record begins (the last number: where it ends)."""
    data, places = segment.header(), []
    for kind, payload in records:
        places.append(len(data))
        data += segment.pack(kind, payload)
    return data, [*places, len(data)]


@given(contents)
def test_what_is_written_is_read(records: list[tuple[JournalKind, bytes]]) -> None:
    data, places = written(records)
    with stored(data) as fd:
        found = list(segment.records(fd, 0, "s"))
        assert [(one.kind, one.payload) for one in found] == records
        assert [one.offset for one in found] == places[:-1]
        assert [one.next for one in found] == places[1:]
        for one in found:
            assert segment.read_one(fd, one.offset, "s") == one


@given(contents, st.data())
def test_a_torn_tail_ends_the_scan_and_takes_nothing_else(
    records: list[tuple[JournalKind, bytes]], data: st.DataObject
) -> None:
    whole, places = written(records)
    cut = data.draw(st.integers(min_value=segment.FIRST, max_value=len(whole)))
    with stored(whole[:cut]) as fd:
        found = list(segment.records(fd, 0, "s"))
    assert [(one.kind, one.payload) for one in found] == records[: sum(place <= cut for place in places[1:])]


@settings(max_examples=300)
@given(contents, st.data())
def test_a_damaged_byte_is_never_taken_for_a_record(
    records: list[tuple[JournalKind, bytes]], data: st.DataObject
) -> None:
    whole, places = written(records)
    at = data.draw(st.integers(min_value=segment.FIRST, max_value=len(whole) - 1))
    bad = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(min_value=1, max_value=255))]) + whole[at + 1 :]
    hit = sum(place <= at for place in places[1:])
    found: list[segment.Found] = []
    refused = None
    with stored(bad) as fd:
        try:
            found.extend(segment.records(fd, 0, "s"))
        except segment.CorruptRecord as error:
            refused = error
            found.extend(segment.records(fd, error.next, "s"))
    if hit == len(records) - 1:
        assert refused is None  # the last record: damage and a torn write look the same
    else:
        assert refused is not None
        assert (refused.offset, refused.next) == (places[hit], places[hit + 1])
    assert [(one.kind, one.payload) for one in found] == records[:hit] + records[hit + 1 :]


@given(kinds, st.binary(max_size=700), st.integers(min_value=0, max_value=700))
def test_a_padded_record_fills_its_room_and_gives_back_its_payload(
    kind: JournalKind, payload: bytes, room: int
) -> None:
    record = segment.pack_into(kind, payload, room)
    if len(payload) > room:
        assert record is None
        return
    assert record is not None
    assert len(record) == segment.RECORD.size + room
    found = segment.parse(record, 0)
    assert found is not None
    assert (found.kind, found.payload, found.next) == (kind, payload, len(record))


def test_a_record_larger_than_a_read_is_read_whole() -> None:
    large = os.urandom(3 * 1024 * 1024)
    data, _ = written([("receipt", large), ("event", b"after")])
    with stored(data) as fd:
        assert [one.payload for one in segment.records(fd, 0, "s")] == [large, b"after"]


def test_a_payload_past_the_limit_is_refused() -> None:
    with pytest.raises(StoreError, match="may hold"):
        segment.pack("receipt", bytes(segment.MAX_PAYLOAD + 1))


def test_a_segment_of_a_later_mainstay_is_refused() -> None:
    assert segment.check_header(segment.header(), "s")
    assert not segment.check_header(segment.header()[:7], "s")
    with pytest.raises(StoreTooNew, match="schema 2"):
        segment.check_header(segment.HEADER.pack(b"MJRN", 2, bytes(10)), "s")
    with pytest.raises(Corrupt, match="not a journal segment"):
        segment.check_header(b"PAR1" + bytes(20), "s")
