"""The receipt of one judged key, as a record and, for the road of almost every request, as bytes at once.

Most of a receipt is the same for every key of a snapshot. That part is encoded once per snapshot and joined to the
rest; fields that have their default are left out. What comes out decodes to the very record of `receipt_of`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.core.records import Receipt, ReceiptOutcome
from mainstay.serving import judge as judging
from mainstay.serving.blobs import recorded
from mainstay.serving.judge import Terms
from mainstay.serving.judge_views import view_facts
from mainstay.serving.view import Snapshot
from mainstay.serving.view_rows import filled_of, newest_positions, seen_of, used_rows
from mainstay.serving.work import Call, Work

_OUTCOME: dict[str, ReceiptOutcome] = {
    "answer": "answered",
    "flag": "answered",
    "fallback": "fallback",
    "refuse": "refused",
}
_positions = msgspec.json.Decoder(dict[str, list[int]])
_encode = msgspec.msgpack.Encoder().encode


class _Own(msgspec.Struct, omit_defaults=True):
    """What differs from receipt to receipt where a model answered by key. Names and defaults are Receipt's."""

    id: str
    at_us: int
    key: str | None
    caller: str
    request: str
    outcome: str
    status: int
    verdict: str
    reason: str = ""
    sentence: str = ""
    inputs: Any = None
    plan: int = 0
    positions: dict[str, list[int]] = {}
    as_of_us: int | None = None
    age_us: int | None = None
    event_us: int | None = None
    landed_us: int | None = None
    output: dict[str, Any] | None = None
    latency_us: int = 0
    batch: int = 1
    build: str = ""
    raw: dict[str, Any] | None = None
    filled: dict[str, list[str]] = {}
    trace: str = ""


def receipt_of(given: str, snap: Snapshot, work: Work, call: Call, latency_us: int) -> Receipt:
    """The record of one judged key, with the id it is `given`."""
    judged = work.judged or judging.judge_given(snap.terms, work.now_us)
    version, model, plan, feature_set, row = snap.version, snap.model, snap.plan, snap.feature_set, work.row
    views = used_rows(snap.keyed, work.keys, work.rows, work.now_us, snap.erased) if snap.keyed and work.keys else ()
    erased = any(one.key is None for one in views)
    if not views:
        erased = row is None and work.key is not None and snap.erased(work.key, feature_set)
    return Receipt(
        id=given,
        at_us=work.now_us,
        integration=snap.integration.name,
        api=snap.integration.api,
        key=None if erased else work.key,
        erased_us=work.now_us if erased else None,
        caller=call.caller,
        request=call.request,
        trace=call.trace,
        outcome=_OUTCOME[judged.action],
        status=judged.status,
        reason=judged.reason,
        verdict=judged.verdict,
        sentence=judged.sentence,
        inputs=plan.recorded(work.inputs) if plan and work.inputs is not None else None,
        fed=_fed(snap, work),
        imputed=work.fed.imputed if work.fed else {},
        filled=filled_of(row),
        views=views,
        feature_set=feature_set.digest if feature_set and work.key is not None else "",
        plan=row.plan if row else 0,
        positions=_positions.decode(row.positions) if row else newest_positions(work.rows),
        as_of_us=judged.as_of_us,
        age_us=judged.age_us,
        event_us=row.event_us if row else None,
        landed_us=row.landed_us if row else None,
        policy=_facts(snap, work) if judged.action in ("fallback", "refuse") else {},
        version=version.number if version else 0,
        artifact=version.digest if version else "",
        runtime=version.runtime if version else "",
        build=model.build if model else "",
        cleaning=snap.cleaning,
        output=work.answer,
        raw=_raw(snap, work),
        latency_us=latency_us,
        batch=work.batch,
    )


def payload(given: str, snap: Snapshot, work: Work, call: Call, latency_us: int) -> bytes:
    """The receipt's bytes (MessagePack), with the id it is `given`."""
    judged, row, plan = work.judged, work.row, snap.plan
    if judged is None or row is None or plan is None or work.inputs is None or judged.status != 200 or work.error:
        return _encode(receipt_of(given, snap, work, call, latency_us))
    if judged.action == "fallback" or work.fed is not None or work.rows:
        return _encode(receipt_of(given, snap, work, call, latency_us))
    own = _encode(
        _Own(
            given,
            work.now_us,
            work.key,
            call.caller,
            call.request,
            "answered",
            200,
            judged.verdict,
            judged.reason,
            judged.sentence,
            plan.packed(work.inputs),
            row.plan,
            _positions.decode(row.positions),
            judged.as_of_us,
            judged.age_us,
            row.event_us,
            row.landed_us,
            work.answer,
            latency_us,
            work.batch,
            snap.model.build if snap.model else "",
            _raw(snap, work),
            filled_of(row),
            call.trace,
        )
    )
    fields, shared = snap.shared_receipt
    # A map of up to 15 fields has a header of one byte, a longer one of three: 0xde and how many.
    head, count = (1, own[0] & 0x0F) if own[0] != 0xDE else (3, int.from_bytes(own[1:3], "big"))
    return b"".join((b"\xde", (fields + count).to_bytes(2, "big"), shared, own[head:]))


def _raw(snap: Snapshot, work: Work) -> dict[str, Any] | None:
    return None if work.raw is None else dict(zip(snap.given, work.raw, strict=True))


def _fed(snap: Snapshot, work: Work) -> dict[str, Any] | None:
    if work.fed is None:
        return None
    return recorded(snap.plan.images if snap.plan else {}, snap.fed, work.fed.row)


def _facts(snap: Snapshot, work: Work) -> dict[str, Any]:
    """What a refusal or fallback was judged from; for a caller's own row, only that the model failed on it."""
    terms = snap.terms
    if work.key is None:
        terms = Terms(policy=terms.policy, has_fallback=terms.has_fallback, datasets=(), unread=terms.unread)
    given = work.key is None
    told = judging.facts(work.row, terms, work.now_us, error=work.error, unseen=work.unseen, given=given)
    if snap.keyed is not None and not given:
        told |= {"row": None, "views": view_facts(seen_of(snap.keyed, work.rows)) if work.rows else []}
    return told
