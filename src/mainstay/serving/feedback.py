"""What people did with an answer, and what came true: facts for the journal, tied to a receipt."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import NotFound, StoreAway
from mainstay.core.ports import Entry, Journal
from mainstay.core.records import Event
from mainstay.serving.request import BadRequest, DecisionRequest, OutcomeRequest, Scalar

DECISIONS = ("accepted", "overridden", "ignored")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REMEMBERED = 10_000
TEXT_MOST = 2_000


class Recorded(msgspec.Struct, frozen=True):
    """What the caller gets back."""

    event: str
    """The event's own id in the journal."""
    receipt: str
    repeated: bool = False
    """Whether the same `id` had been sent before, so that nothing was written."""


class Feedback:
    """Takes decisions and outcomes.

    A repeated `id` is answered from memory while this process lives; across processes the event's body carries the
    id, and whoever counts takes each (receipt, kind, id) once.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._encoder = msgspec.msgpack.Encoder()
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def decide(self, request: DecisionRequest, caller: str) -> Recorded:
        """Records a decision. Raises BadRequest, NotFound for a receipt that is not ours, StoreFull."""
        if request.decision not in DECISIONS:
            raise BadRequest(f"`decision`: wanted one of {', '.join(DECISIONS)}", where="decision")
        if request.decision == "overridden" and not request.reason.strip():
            raise BadRequest("`reason` is required when the answer is overridden", where="reason")
        _short(request.reason, "reason")
        body = {"decision": request.decision, "reason": request.reason, "by": request.by}
        return self._record("decision", request.receipt, request.id, caller, body, by=request.by or caller)

    def come_true(self, request: OutcomeRequest, caller: str) -> Recorded:
        """Records an outcome. Raises BadRequest, NotFound for a receipt that is not ours, StoreFull."""
        observed_us = _observed(request.observed_at)
        _storable(request.outcome)
        body = {"outcome": request.outcome, "observed_us": observed_us}
        return self._record("outcome", request.receipt, request.id, caller, body, by=caller)

    def _record(self, kind: str, receipt: str, id: str, caller: str, body: dict[str, Any], *, by: str) -> Recorded:
        _short(id, "id")
        _short(by, "by")
        # A signed id whose record has left the journal is in history: `get` tells it from one that is not ours.
        entry = self._entry(receipt)
        if entry is not None and entry.kind != "receipt":
            raise NotFound("there is no receipt with this id", mend="use the `receipt` of an answer")
        event = Event(
            kind=kind, at_us=self._clock.now_us(), receipt=receipt, by=by, body={**body, "id": id, "caller": caller}
        )
        with self._lock:
            return self._append((kind, receipt, id), event)

    def _entry(self, receipt: str) -> Entry | None:
        try:
            return self._journal.get(receipt)
        except StoreAway:  # What a person said is not lost for it: the id is ours, which `get` asks first.
            return None

    def _append(self, place: tuple[str, str, str], event: Event) -> Recorded:
        _, receipt, sent = place
        if sent and place in self._seen:
            return Recorded(event=self._seen[place], receipt=receipt, repeated=True)
        written = self._journal.append("event", self._encoder.encode(event))
        if sent:
            self._seen[place] = written
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return Recorded(event=written, receipt=receipt)


def _short(text: str, name: str) -> None:
    if len(text) > TEXT_MOST:
        raise BadRequest(f"`{name}` is longer than {TEXT_MOST} characters", where=name)


def _storable(value: Scalar) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadRequest("`outcome`: wanted an integer of at most 64 bits", where="outcome")
    if isinstance(value, str):
        _short(value, "outcome")


def _observed(text: str) -> int | None:
    """`observed_at` in microseconds; None when it was not sent."""
    if not text:
        return None
    wanted = BadRequest("`observed_at`: wanted an instant as ISO 8601 with its offset", where="observed_at")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise wanted from None
    if moment.tzinfo is None:
        raise wanted
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
