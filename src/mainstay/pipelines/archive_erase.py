"""Erasing a person from receipts and from what people said about them, in the journal and in history.

Receipts keep their id, their place and all that names nobody; key and inputs go. Events about such a receipt keep
what counts (decision, outcome, who decided) and lose their free texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from mainstay.core.errors import Conflict
from mainstay.core.ports import Entry, History, Journal
from mainstay.core.records import Event, Receipt
from mainstay.pipelines.archive import EVENTS, RECEIPTS, decoded, history_rows, row_of, table_of

KEPT_OF_BODY = frozenset({"decision", "outcome", "observed_us", "by", "caller"})
"""What stays of the body of a decision or outcome about an erased receipt; its `id` becomes a number."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did. Finished when `open` is empty; else seal those segments and repeat with the same `at_us`."""

    receipts: int
    """Receipts that lost key and inputs, in the journal, in history or in both."""
    events: int
    open: tuple[str, ...]
    """Segments with something to erase that a live process still writes; they were left alone."""


def erase_receipts(journal: Journal, history: History, *, key_matches: Callable[[Receipt], bool], at_us: int) -> Erased:
    """Removes key and inputs from every receipt for which `key_matches` says so, and vacuums history.

    To be repeated with the same `at_us`, after a kill or while segments are open: what was erased at that instant
    still leads to the events about it.
    """
    receipts = _matching(journal, history, lambda receipt: receipt.erased_us == at_us or key_matches(receipt))
    events = _Events(receipts)
    erased_events, open_events = _everywhere(journal, history, EVENTS, events.change)
    erased, open_receipts = _everywhere(
        journal, history, RECEIPTS, lambda found, old: _receipt(found, old, receipts, at_us)
    )
    return Erased(
        receipts=len(erased), events=len(erased_events), open=tuple(sorted(set(open_events) | set(open_receipts)))
    )


def receipt_traces(journal: Journal, history: History, *, key_matches: Callable[[Receipt], bool]) -> list[str]:
    """Where receipts that match still are, one sentence without personal data each; empty when they are erased."""
    return [
        f"{where}: receipt {name}"
        for where, name, payload in _all(journal, history, RECEIPTS)
        if key_matches(decoded(payload, None, Receipt))
    ]


def people(
    journal: Journal,
    history: History,
    texts: Callable[[Receipt], Iterator[str]],
    matches: Callable[[str], bool],
) -> set[str]:
    """What names people in receipts for which `matches` says so; `texts` gives all that names somebody in one."""
    every = (decoded(payload, None, Receipt) for _, _, payload in _all(journal, history, RECEIPTS))
    return {text for receipt in every for text in texts(receipt) if matches(text)}


Change = Callable[[str, bytes], bytes | None]
"""(id, msgpack of a record) -> what takes its place; None: it stays."""


def _matching(journal: Journal, history: History, key_matches: Callable[[Receipt], bool]) -> frozenset[str]:
    everything = _all(journal, history, RECEIPTS)
    return frozenset(name for _, name, payload in everything if key_matches(decoded(payload, None, Receipt)))


def _all(journal: Journal, history: History, table: str) -> Iterator[tuple[str, str, bytes]]:
    """(where, id, msgpack) of every record of the table's kind; one that is in both places comes twice."""
    for segment in journal.segments():
        for entry, _ in journal.scan(segment.name):
            if _table_of(entry) == table:
                yield f"journal segment {segment.name}", entry.id, entry.payload
    for row in history_rows(history, table, ("id", "record", "exact")):
        yield f"history table {table}", row["id"], _payload(row)


def _everywhere(journal: Journal, history: History, table: str, change: Change) -> tuple[set[str], list[str]]:
    """Applies `change` to every record of the table's kind. Returns ids changed, and segments that are still open."""
    changed: set[str] = set()
    still_open = []

    def in_segment(entry: Entry) -> bytes | None:
        new = change(entry.id, entry.payload) if _table_of(entry) == table else None
        if new is not None:
            changed.add(entry.id)
        return new

    for segment in journal.segments():
        try:
            journal.rewrite(segment.name, in_segment)
        except Conflict:
            if any(
                _table_of(entry) == table and change(entry.id, entry.payload) for entry, _ in journal.scan(segment.name)
            ):
                still_open.append(segment.name)
    rows = []
    for row in history_rows(history, table, ("id", "segment", "record", "exact")):
        new = change(row["id"], _payload(row))
        if new is not None:
            changed.add(row["id"])
            rows.append(row_of(table, row["id"], new, row["segment"]))
    history.replace(table, table_of(table, rows), key="id")
    return changed, still_open


def _table_of(entry: Entry) -> str:
    return RECEIPTS if entry.kind == "receipt" else EVENTS


def _payload(row: dict[str, Any]) -> bytes:
    exact: bytes | None = row["exact"]
    return exact if exact is not None else msgspec.msgpack.encode(msgspec.json.decode(row["record"]))


def _receipt(id: str, old: bytes, wanted: frozenset[str], at_us: int) -> bytes | None:
    """The receipt without key and inputs, in less room than before, so that it fits where the old one stood."""
    if id not in wanted:
        return None
    record = msgspec.msgpack.decode(old)
    named = record.get("key") is not None or any(one.get("key") is not None for one in record.get("views") or ())
    if not named and record.get("inputs") is None and record.get("erased_us"):
        return None
    record.update(key=None, inputs=None, erased_us=at_us)
    for name in ("fed", "imputed", "filled"):
        record.pop(name, None)
    if record.get("views"):
        record["views"] = [{**one, "key": None} for one in record["views"]]
    new = msgspec.msgpack.encode(record)
    if len(new) > len(old):  # a short key and no inputs: fields that say nothing make room
        fields = {field.name: field for field in msgspec.structs.fields(Receipt)}
        new = msgspec.msgpack.encode(
            {
                name: value
                for name, value in record.items()
                if name not in fields or fields[name].required or (value and value != fields[name].default)
            }
        )
    return new


class _Events:
    """Takes the free texts out of events about erased receipts."""

    def __init__(self, receipts: frozenset[str]) -> None:
        self._receipts = receipts
        self._ids: dict[tuple[str, str], dict[str, int]] = {}

    def change(self, _id: str, old: bytes) -> bytes | None:
        event = decoded(old, None, Event)
        if event.receipt not in self._receipts:
            return None
        body = {name: value for name, value in event.body.items() if name in KEPT_OF_BODY}
        given = event.body.get("id")
        if isinstance(given, str) and given:  # callers' ids may hold a key; equal ones must stay equal
            known = self._ids.setdefault((event.receipt, event.kind), {})
            body["id"] = str(known.setdefault(given, len(known) + 1))
        if body == event.body:
            return None
        record = msgspec.msgpack.decode(old)
        record["body"] = body
        return msgspec.msgpack.encode(record)
