"""What a caller of the control API is told when something did not go: RFC 9457, with the same words as commands."""

from __future__ import annotations

import msgspec

from mainstay.app.commands import LoopAway
from mainstay.app.control import NotAllowed
from mainstay.core.errors import LeaseOwned, MainstayError, NotFound, Refused, StoreError
from mainstay.http.body import TooLarge
from mainstay.http.control_operations import DOCUMENT
from mainstay.http.control_words import over_http
from mainstay.http.problems import TITLES, Problem, Told, report
from mainstay.serving.faults import Fault, fault_of, unforeseen
from mainstay.serving.request import BadRequest

OURS = {
    "refused": "It would break a promise, so nothing was changed",
    "not_done": "It could not be done now",
    "loop": "The loop does not answer",
}
"""The problem types that the prediction API does not have."""
CODES = (
    "unauthorized", "forbidden", "not_found", "method", "bad_request", "invalid", "too_large", "media_type", "timeout",
    "overloaded", "not_ready", "internal", *OURS,
)  # fmt: skip
TITLED = {**TITLES, **OURS, "invalid": "What was sent does not fit"}
"""Of each type what it says; here not only bodies can be wrong."""
_INTERNAL = 70
"""The exit code of a command that failed by a fault of ours."""

_encode = msgspec.json.Encoder().encode


def told(fault: Fault, request: str) -> Told:
    """The response."""
    problem = Problem(
        type=f"{DOCUMENT}#{fault.code}",
        title=TITLED[fault.code],
        status=fault.status,
        detail=fault.detail,
        mend=fault.mend,
        where=fault.where,
        request=request,
    )
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if fault.retry_after is not None:
        headers += ((b"retry-after", str(fault.retry_after).encode()),)
    if fault.status == 401:
        headers += ((b"www-authenticate", b'Bearer realm="mainstay control"'),)
    return Told(fault.status, _encode(problem), headers)


def fault(error: Exception, request: str) -> Fault:
    """Any exception, with routes for what to do; one that nobody meant goes to the log, without its text or values."""
    found = _fault(error, request)
    return msgspec.structs.replace(found, mend=over_http(found.mend))


def _fault(error: Exception, request: str) -> Fault:
    match error:
        case TooLarge():
            return Fault(code="too_large", status=413, detail="the body is larger than 1 MiB", mend="send fewer ids")
        case TimeoutError():
            return Fault(code="timeout", status=408, detail="the body did not arrive in time")
        case BadRequest() | StoreError():
            return fault_of(error)
        case MainstayError():
            return _refusal(error)
        case _:
            report(unforeseen(error, request))
            detail = "the operator finds the cause in the log under this request"
            return Fault(code="internal", status=500, detail=detail)


def _refusal(error: MainstayError) -> Fault:
    """What the loop raised comes with its exit code alone."""
    sentence, mend = error.sentence, error.mend
    if isinstance(error, NotAllowed):
        return Fault(code="forbidden", status=403, detail=sentence, mend=mend)
    if isinstance(error, LoopAway | LeaseOwned):
        return Fault(code="loop", status=503, detail=sentence, mend=mend, retry_after=5)
    if error.exit_code == NotFound.exit_code:
        return Fault(code="not_found", status=404, detail=sentence, mend=mend)
    if error.exit_code == Refused.exit_code:
        return Fault(code="refused", status=409, detail=sentence, mend=mend)
    if error.exit_code == _INTERNAL:
        return Fault(code="internal", status=500, detail=sentence, mend=mend)
    return Fault(code="not_done", status=503, detail=sentence, mend=mend, retry_after=5)
