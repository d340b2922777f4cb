"""Errors as RFC 9457 problems: a type, a title, a sentence, what to do."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException

from mainstay.core.errors import MainstayError
from mainstay.http.body import TooLarge
from mainstay.serving.faults import fault_of, unforeseen
from mainstay.serving.reply import Refusal

PROBLEM = b"application/problem+json"

TITLES: dict[str, str] = {
    "on_warn": "The row carries a warning",
    "on_held": "The row is held",
    "on_missing": "No row with this key",
    "on_deleted": "The row was deleted",
    "api_retired": "This version of the API has ended",
    "on_stale": "The data is older than promised",
    "on_error": "The model did not answer",
    "no_receipt": "No receipt can be written",
    "not_ready": "Not ready to answer",
    "overloaded": "Too many requests are waiting",
    "deadline": "No answer in the time that was given",
    "rate": "The rate of this caller is used up",
    "unauthorized": "It is not known who asks",
    "forbidden": "This caller may not do that",
    "card_token": "The card may not be shown",
    "card_expired": "The card's time is over",
    "card_origin": "This page may not show the card",
    "not_found": "Not found",
    "method": "Wrong method",
    "media_type": "The body's type or encoding is not taken",
    "not_supported": "Not supported here",
    "too_large": "The body is too large",
    "malformed": "The request cannot be read",
    "head_too_large": "The headers are too large",
    "bad_request": "A header or the body cannot be read",
    "invalid": "The body does not fit",
    "timeout": "The body did not arrive",
    "repeat_key": "The Idempotency-Key cannot be read",
    "repeat_running": "The first request is still being answered",
    "repeat_other": "The Idempotency-Key names another request",
    "internal": "Something went wrong on our side",
}
"""Every problem type by its code; /docs lists them."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """`type` is a reference into /docs; `reason`, `receipt` and the rest come with keys that were judged."""

    type: str
    title: str
    status: int
    detail: str
    mend: str = ""
    where: str = ""
    request: str = ""
    reason: str = ""
    receipt: str | None = None
    verdict: str = ""
    as_of: str | None = None
    age_seconds: float | None = None
    successor: str = ""


class Told(msgspec.Struct, frozen=True):
    """A response, ready for any door of this family."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


_encode = msgspec.json.Encoder().encode


def told(code: str, status: int, detail: str, *, retry_after: int | None = None, **more: Any) -> Told:
    """A problem of type `code`."""
    title = TITLES.get(code) or HTTPStatus(status).phrase
    body = _encode(Problem(type=f"/docs#{code}", title=title, status=status, detail=detail, **more))
    headers = () if retry_after is None else ((b"retry-after", str(retry_after).encode()),)
    return Told(status, body, headers)


def refused(refusal: Refusal, request: str) -> Told:
    """A judged key that is not answered."""
    return told(
        refusal.reason,
        refusal.status,
        refusal.sentence,
        retry_after=refusal.retry_after,
        mend=refusal.mend,
        request=request,
        reason=refusal.reason,
        receipt=refusal.receipt,
        verdict=refusal.verdict.value,
        as_of=refusal.as_of,
        age_seconds=refusal.age_seconds,
    )


def failed(error: MainstayError, request: str) -> Told:
    """Any of our errors."""
    fault = fault_of(error)
    more = {"mend": fault.mend, "where": fault.where, "request": request, "successor": fault.successor}
    return told(fault.code, fault.status, fault.detail, retry_after=fault.retry_after, **more)


def report(line: str) -> None:
    """One line for the operator on standard error."""
    sys.stderr.write(line + "\n")


def problem_of(error: Exception, request: str) -> Told:
    """What the caller reads of an exception; what is ours to mend goes to the log, without its text or values."""
    if isinstance(error, MainstayError):
        return failed(error, request)
    if isinstance(error, TooLarge):
        return told("too_large", 413, "the body is larger than 1 MiB", mend="send fewer keys", request=request)
    if isinstance(error, TimeoutError):
        return told("timeout", 408, "the body did not arrive in time", request=request)
    if isinstance(error, HTTPException):
        code = {404: "not_found", 405: "method"}.get(error.status_code, "internal")
        plain = told(code, error.status_code, error.detail, request=request)
        headers = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
        return msgspec.structs.replace(plain, headers=headers)
    report(unforeseen(error, request))
    return told("internal", 500, "the operator finds the cause in the log under this request", request=request)
