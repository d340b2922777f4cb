"""What a caller is told when something raised, whichever door it came through: no values, no secrets, no traces."""

from __future__ import annotations

import traceback

import msgspec

from mainstay.core.errors import MainstayError, NotFound, StoreError
from mainstay.serving.answer import NotReady
from mainstay.serving.card_tokens import BadToken
from mainstay.serving.model_queue import Overloaded, TooLate
from mainstay.serving.request import BadRequest
from mainstay.serving.retirement import ApiRetired


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An error for a caller. `status` is HTTP's; other doors translate it."""

    code: str
    status: int
    detail: str
    mend: str = ""
    where: str = ""
    retry_after: int | None = None
    """Seconds."""
    successor: str = ""
    """With 410 of a retired API version: where the next one is."""


CODES = {400: "bad_request", 405: "method", 415: "media_type", 501: "not_supported"}
"""The codes of a BadRequest by its status; every other is `invalid`."""


def fault_of(error: MainstayError) -> Fault:
    """Any of our errors. Where it happened is told only when it is a field of the request."""
    match error:
        case BadRequest():
            code = CODES.get(error.status, "invalid")
            return Fault(code=code, status=error.status, detail=error.sentence, mend=error.mend, where=error.where)
        case BadToken():
            code = "card_expired" if error.expired else "card_token"
            return Fault(code=code, status=401, detail=error.sentence, mend=error.mend)
        case ApiRetired():
            return Fault(
                code="api_retired", status=410, detail=error.sentence, mend=error.mend, successor=error.successor
            )
        case NotFound():
            return Fault(code="not_found", status=404, detail=error.sentence, mend=error.mend)
        case Overloaded():
            return Fault(
                code="overloaded", status=503, detail=error.sentence, mend=error.mend, retry_after=error.retry_after
            )
        case TooLate():
            return Fault(code="deadline", status=504, detail=error.sentence, mend=error.mend)
        case NotReady():
            return Fault(code="not_ready", status=503, detail=error.sentence, retry_after=2)
        case StoreError():
            detail = "one of our stores could not do what was asked; nothing was recorded"
            return Fault(code="not_ready", status=503, detail=detail, retry_after=2)
        case _:
            return Fault(code="internal", status=500, detail="the request could not be answered")


def unforeseen(error: Exception, request: str) -> str:
    """The line for the operator's log about an exception nobody meant: where, without its text or values."""
    frames = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__)))
    return f"request {request} failed with {type(error).__name__} in {frames}"
