"""What callers read of their rate: RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers), and 429."""

from __future__ import annotations

import msgspec

from mainstay.core.clock import SECOND
from mainstay.http.headers import Lines
from mainstay.http.problems import TITLES, Problem, Told
from mainstay.serving.rates import Taken, spent

TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
POLICY = "key"
"""The one policy there is: requests of a caller."""

_encode = msgspec.json.Encoder().encode


class QuotaProblem(Problem, frozen=True, omit_defaults=True, kw_only=True):
    violated_policies: tuple[str, ...] = msgspec.field(default=(), name="violated-policies")


def lines(taken: Taken) -> Lines:
    """The headers of an answer to a caller that has a rate."""
    policy = f'"{POLICY}";q={taken.rate.requests};w={taken.rate.per_us // SECOND}'
    return (
        (b"ratelimit-policy", policy.encode()),
        (b"ratelimit", f'"{POLICY}";r={taken.left};t={taken.reset_s}'.encode()),
    )


def refused(taken: Taken, request: str) -> Told:
    """429: the caller's rate is used up."""
    fault = spent(taken)
    body = QuotaProblem(
        type=TYPE,
        title=TITLES[fault.code],
        status=fault.status,
        detail=fault.detail,
        mend=fault.mend,
        request=request,
        violated_policies=(POLICY,),
    )
    return Told(fault.status, _encode(body), ((b"retry-after", str(fault.retry_after).encode()), *lines(taken)))
