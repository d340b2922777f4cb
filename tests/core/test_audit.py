"""The chain of the audit: any language can make its hashes, and whatever is done to it, the first place is named."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.audit import AuditHead, AuditRecord, Change, Fault, Stored, check, following, name_of, read, write

TEXT = st.text(max_size=12)
DETAILS = st.dictionaries(
    TEXT,
    st.one_of(TEXT, st.integers(-(2**53), 2**53), st.booleans(), st.none(), st.lists(TEXT, max_size=3)),
    max_size=4,
)
CHANGES = st.builds(Change, what=TEXT, object=TEXT, details=DETAILS, by=TEXT, at_us=st.integers(0, 2**52))


def chain(changes: list[Change]) -> list[AuditRecord]:
    made: list[AuditRecord] = []
    head: AuditHead | None = None
    for change in changes:
        made.append(following(head, change))
        head = AuditHead(number=made[-1].number, hash=made[-1].hash)
    return made


def stored(records: list[AuditRecord]) -> list[Stored]:
    return [Stored(name_of(place), 1, write(one)) for place, one in enumerate(records, 1)]


def head_of(records: list[AuditRecord], *, writes: int | None = None) -> Stored:
    last = records[-1]
    body = msgspec.json.encode(AuditHead(number=last.number, hash=last.hash))
    return Stored("head", len(records) if writes is None else writes, body)


def rehashed(record: AuditRecord, **changes: object) -> AuditRecord:
    """The record changed by somebody who makes its hash anew, as the module's docstring says it."""
    it = msgspec.to_builtins(msgspec.structs.replace(record, **changes))
    told = [it[name] for name in ("v", "number", "at_us", "by", "what", "object", "details", "previous")]
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return msgspec.convert(it | {"hash": "sha256:" + hashlib.sha256(text.encode()).hexdigest()}, AuditRecord)


FIVE = chain([Change(what="key.create", object=f"API key {n}", by="ada", at_us=n) for n in range(1, 6)])
HEAD = head_of(FIVE)


def fault(records: list[Stored], head: Stored | None = HEAD, anchor: str = "") -> Fault:
    found = check(records, head, anchor).fault
    assert found is not None
    return found


@given(st.lists(CHANGES, max_size=4))
def test_a_chain_as_it_was_written_is_whole_and_its_hashes_are_those_that_the_page_says(changes: list[Change]) -> None:
    made = chain(changes)
    checked = check(stored(made), head_of(made) if made else None)
    assert checked.fault is None
    assert checked.records == len(changes)
    assert [rehashed(one).hash for one in made] == [one.hash for one in made]
    assert [read(write(one)) for one in made] == made


def test_half_a_character_on_the_command_line_is_no_reason_to_record_nothing() -> None:
    (one,) = chain([Change(what="erase", details={"reason": "\udce9" * 2000}, by="ada", at_us=1)])
    assert one.details["reason"] == "?" * 1000


@pytest.mark.parametrize("place", range(1, 6))
@pytest.mark.parametrize("field", ["by", "what", "object", "hash"])
def test_a_changed_record_is_named(place: int, field: str) -> None:
    changed = list(FIVE)
    changed[place - 1] = msgspec.structs.replace(changed[place - 1], **{field: "another"})
    found = fault(stored(changed))
    assert (found.number, found.kind) == (place, "changed")
    assert f"record {place} was changed" in found.sentence


@pytest.mark.parametrize("place", range(1, 6))
def test_a_record_whose_hash_was_made_anew_is_named_by_the_next_one_or_the_head(place: int) -> None:
    changed = list(FIVE)
    changed[place - 1] = rehashed(changed[place - 1], by="somebody else")
    found = fault(stored(changed))
    assert (found.number, found.kind) == (place, "changed")


@pytest.mark.parametrize("place", range(1, 6))
def test_a_removed_record_is_named_also_the_last(place: int) -> None:
    found = fault([one for one in stored(FIVE) if one.name != name_of(place)])
    assert (found.number, found.kind) == (place, "removed")


def test_all_records_removed_is_told() -> None:
    found = fault([])
    assert (found.number, found.kind) == (1, "removed")
    assert "records 1 to 5 are not there" in found.sentence


def test_records_in_another_order_are_named() -> None:
    swapped = [FIVE[0], FIVE[2], FIVE[1], *FIVE[3:]]
    found = fault(stored(swapped))
    assert (found.number, found.kind) == (2, "reordered")


def test_a_chain_cut_at_its_end_with_its_head_set_back_is_told_by_how_often_the_head_was_written() -> None:
    found = fault(stored(FIVE[:3]), head_of(FIVE[:3], writes=6))
    assert (found.number, found.kind) == (3, "removed")
    assert fault(stored(FIVE), head_of(FIVE[:3], writes=3)).number == 4
    assert fault(stored(FIVE), None).kind == "removed"


def test_bytes_that_no_record_of_ours_has_are_a_change() -> None:
    kept = stored(FIVE)
    spaced = json.dumps(msgspec.to_builtins(FIVE[2])).encode()
    more = json.dumps(msgspec.to_builtins(FIVE[2]) | {"and": "more"}, separators=(",", ":")).encode()
    for body in (spaced, more, b"no JSON", b"\xff"):
        found = fault([*kept[:2], Stored(name_of(3), 1, body), *kept[3:]])
        assert (found.number, found.kind) == (3, "changed")
    assert fault([*kept[:2], Stored(name_of(3), 2, kept[2].body), *kept[3:]]).number == 3
    assert fault([*kept, Stored("x", 1, kept[0].body)]).number == 6
    assert fault(kept, Stored("head", 5, b"{}")).kind == "changed"


def test_who_makes_the_whole_chain_anew_is_found_by_a_hash_that_was_kept_elsewhere() -> None:
    anchor = FIVE[3].hash
    assert check(stored(FIVE), HEAD, anchor).anchored == 4
    forged = chain([Change(what="key.create", object="another", by="eve", at_us=n) for n in range(1, 6)])
    assert check(stored(forged), head_of(forged)).fault is None, "the chain alone cannot tell"
    found = fault(stored(forged), head_of(forged), anchor)
    assert found.kind == "unknown"
