"""The keys and rows of a request as works, validated before any is looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainstay.serving.inputs import InputPlan, OneRow, key_text
from mainstay.serving.request import Key, PredictRequest, Scalar
from mainstay.serving.view import Snapshot
from mainstay.serving.view_rows import key_texts, named
from mainstay.serving.work import Work


def of_only(snap: Snapshot, plan: InputPlan, request: PredictRequest | OneRow) -> Work:
    """A work for the only key or row of the request. Raises BadRequest."""
    if isinstance(request, OneRow):
        if request.plan is plan:
            work = Work(None)
            work.inputs = request.inputs
            return work
        request = request.again()
    if request.rows is not msgspec.UNSET:
        return of_rows(plan, request.rows, "rows")[0]
    assert request.key is not msgspec.UNSET
    return of_key(snap, plan, request.key, request.inputs)


def of_key(snap: Snapshot, plan: InputPlan, key: Key, inputs: dict[str, Scalar] | None) -> Work:
    """A work for the key and its request-time inputs. Raises BadRequest."""
    sent = plan.check_sent(inputs) if inputs or plan.request else None
    if snap.keyed is not None or isinstance(key, dict):
        work = of_named(snap, key, "key")
    else:
        work = Work(key if snap.key_type == "string" and type(key) is str else key_text(key, snap.key_type))
    work.sent = sent
    return work


def of_rows(plan: InputPlan, rows: Sequence[Mapping[str, Any]], where: str) -> list[Work]:
    """A work for each of the caller's own rows. Raises BadRequest."""
    works = []
    for place, given in enumerate(rows):
        work = Work(None)
        work.inputs = plan.given(given, f"{where}[{place}]")
        works.append(work)
    return works


def of_named(snap: Snapshot, key: Key, where: str) -> Work:
    """A work for the key, in the text that stores use. Raises BadRequest."""
    if snap.keyed is None:
        (text,) = key_texts(key, snap.key_columns, where)
        return Work(text)
    found = named(key, snap.keyed, where)
    work = Work(found.whole)
    work.keys = found.keys
    return work
