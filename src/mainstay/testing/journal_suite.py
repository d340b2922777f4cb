"""What every journal must do. Subclass it in a test file that has a fixture `journal`, a fresh and empty Journal."""

from __future__ import annotations

from contextlib import suppress

from mainstay.core.errors import Conflict, MainstayError, NotFound
from mainstay.core.ports import Entry, Journal


class JournalSuite:
    """Conformance of `Journal`: run over every implementation."""

    def test_a_record_is_found_by_its_id_as_soon_as_append_returned(self, journal: Journal) -> None:
        first = journal.append("receipt", b"one")
        second = journal.append("event", b"two")
        assert first != second
        assert journal.get(first) == Entry(first, "receipt", b"one")
        assert journal.get(second) == Entry(second, "event", b"two")

    def test_next_id_is_the_id_of_the_next_append(self, journal: Journal) -> None:
        for number in range(3):
            promised = journal.next_id()
            assert journal.append("receipt", b"%d" % number) == promised

    def test_a_payload_can_hold_its_own_id(self, journal: Journal) -> None:
        given = journal.append_with("receipt", str.encode)
        entry = journal.get(given)
        assert entry is not None
        assert entry.payload == given.encode()

    def test_several_records_are_written_all_or_none(self, journal: Journal) -> None:
        before = journal.append("event", b"before")
        given = journal.append_each("receipt", [str.encode, lambda one: b"2 " + one.encode()])
        assert [journal.get(one) for one in given] == [
            Entry(given[0], "receipt", given[0].encode()),
            Entry(given[1], "receipt", b"2 " + given[1].encode()),
        ]

        def broken(_given: str) -> bytes:
            raise LookupError

        try:
            journal.append_each("receipt", [str.encode, broken])
        except LookupError:
            pass
        else:
            raise AssertionError("a record that could not be built was written")
        after = journal.append("event", b"after")
        found = [entry.id for segment in journal.segments() for entry, _ in journal.scan(segment.name)]
        assert found == [before, *given, after]

    def test_an_id_that_we_did_not_sign_is_not_found(self, journal: Journal) -> None:
        given = journal.append("receipt", b"one")
        last = "0" if given[-1] != "0" else "1"
        for wrong in ("", "r", "receipt-1", given[:-1] + last, given + "0", given.upper()):
            try:
                journal.get(wrong)
            except NotFound:
                continue
            raise AssertionError(f"{wrong!r} was taken for an id of ours")

    def test_scanning_the_segments_gives_every_record_once_and_in_order(self, journal: Journal) -> None:
        given = []
        for number in range(20):
            given.append(journal.append("event" if number % 3 else "receipt", b"%d" % number))
            if number % 7 == 6:
                journal.seal()
        found = [entry for segment in journal.segments() for entry, _ in journal.scan(segment.name)]
        assert [entry.id for entry in found] == given
        assert [entry.payload for entry in found] == [b"%d" % number for number in range(20)]

    def test_a_scan_goes_on_from_any_offset_that_it_gave(self, journal: Journal) -> None:
        for number in range(5):
            journal.append("receipt", b"x" * number)
        (segment,) = journal.segments()
        whole = list(journal.scan(segment.name))
        for place, (_, following) in enumerate(whole):
            assert list(journal.scan(segment.name, following)) == whole[place + 1 :]

    def test_a_sealed_segment_is_closed_and_the_next_append_opens_another(self, journal: Journal) -> None:
        first = journal.append("receipt", b"one")
        assert [segment.open for segment in journal.segments()] == [True]
        journal.seal()
        assert [segment.open for segment in journal.segments()] == [False]
        journal.append("receipt", b"two")
        assert [segment.open for segment in journal.segments()] == [False, True]
        assert journal.get(first) is not None

    def test_records_of_a_removed_segment_are_gone_and_their_ids_are_not_given_again(self, journal: Journal) -> None:
        first = journal.append("receipt", b"one")
        journal.seal()
        journal.remove(journal.segments()[0].name)
        assert journal.segments() == ()
        assert journal.get(first) is None
        assert journal.append("receipt", b"two") != first
        assert journal.get(first) is None

    def test_rewriting_keeps_every_id_and_every_other_record(self, journal: Journal) -> None:
        given = [journal.append("receipt", b"secret %d" % number + b"." * number * 40) for number in range(12)]
        journal.seal()
        (segment,) = journal.segments()
        changed = journal.rewrite(segment.name, lambda entry: b"gone" if entry.id in given[::2] else None)
        assert changed == len(given[::2])
        for number, name in enumerate(given):
            entry = journal.get(name)
            assert entry is not None
            assert entry.payload == (b"secret %d" % number + b"." * number * 40 if number % 2 else b"gone")
        assert [entry.id for entry, _ in journal.scan(segment.name)] == given

    def test_an_open_segment_is_neither_rewritten_nor_removed(self, journal: Journal) -> None:
        given = journal.append("receipt", b"one")
        (segment,) = journal.segments()
        for refused in (lambda: journal.remove(segment.name), lambda: journal.rewrite(segment.name, lambda _: b"")):
            try:
                refused()
            except Conflict:
                continue
            raise AssertionError("an open segment was changed")
        assert journal.get(given) == Entry(given, "receipt", b"one")

    def test_a_closed_journal_leaves_its_records_readable(self, journal: Journal) -> None:
        given = journal.append("receipt", b"one")
        journal.close()
        with suppress(MainstayError):  # closing twice may say so, but must not lose anything
            journal.close()
        assert journal.get(given) == Entry(given, "receipt", b"one")
