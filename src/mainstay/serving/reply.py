"""What a caller gets back, as records. The doors turn them into bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.core.verdicts import Verdict
from mainstay.serving.request import Key


class Answer(msgspec.Struct, frozen=True):
    """An answer that was given: by the model, or by the fallback when `degraded` says so."""

    output: dict[str, Any]
    receipt: str | None
    """None only where the file says `without_receipt: answer` and none could be written."""
    model_version: int
    as_of: str | None
    """ISO 8601, UTC. None: the inputs came with the request, or nothing was ever published."""
    age_seconds: float | None
    verdict: Verdict
    sentence: str
    degraded: bool
    reason: str
    """The policy that flagged or replaced the answer; empty otherwise."""
    imputed: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Inputs that were null and that `model.pre` gave a value; unset where there were none."""
    filled: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    """Dataset -> columns whose `fill` stood in for an absent value; unset where there were none."""


class Refusal(msgspec.Struct, frozen=True):
    """A key that was judged and not answered."""

    status: int
    reason: str
    sentence: str
    mend: str
    receipt: str | None
    as_of: str | None
    age_seconds: float | None
    verdict: Verdict
    retry_after: int | None


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key of `keys`, or one of `rows`: its own status, and an answer's or a refusal's fields."""

    status: int
    key: Key | None = None
    output: dict[str, Any] | None = None
    receipt: str | None = None
    model_version: int | None = None
    as_of: str | None = None
    age_seconds: float | None = None
    verdict: Verdict | None = None
    sentence: str = ""
    degraded: bool | None = None
    reason: str = ""
    imputed: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    filled: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET
    mend: str = ""
    retry_after: int | None = None


class Batch(msgspec.Struct, frozen=True):
    """The reply to `keys` and `rows`: one item for each, in order."""

    results: list[Item]


def item(reply: Answer | Refusal, key: Key | None = None) -> Item:
    """The reply as one of several."""
    if isinstance(reply, Answer):
        return Item(
            status=200,
            key=key,
            output=reply.output,
            receipt=reply.receipt,
            model_version=reply.model_version,
            as_of=reply.as_of,
            age_seconds=reply.age_seconds,
            verdict=reply.verdict,
            sentence=reply.sentence,
            degraded=reply.degraded,
            reason=reply.reason,
            imputed=reply.imputed,
            filled=reply.filled,
        )
    return Item(
        status=reply.status,
        key=key,
        receipt=reply.receipt,
        as_of=reply.as_of,
        age_seconds=reply.age_seconds,
        verdict=reply.verdict,
        sentence=reply.sentence,
        reason=reply.reason,
        mend=reply.mend,
        retry_after=reply.retry_after,
    )


MEND: dict[str, str] = {
    "on_warn": "the data owner sees the warning in `mainstay status`",
    "on_held": "mend the row in the source, or see `mainstay quarantine list`",
    "on_missing": "check the key; a new row can be asked for after its dataset's next read",
    "on_deleted": "the source deleted this row; ask for a key that exists",
    "on_stale": "try again after Retry-After; the operator sees the cause in `mainstay status`",
    "on_error": "try again after Retry-After; the operator sees the cause in `mainstay status`",
    "beside": "send the other rows again, without the one that was refused",
    "no_receipt": "the operator must free space in the journal's folder",
}
"""What to do about each refusal."""
