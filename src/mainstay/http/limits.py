"""What callers read of their rate: RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers), and 429."""

from __future__ import annotations

import msgspec

from mainstay.core.clock import SECOND
from mainstay.http.headers import Lines
from mainstay.http.problems import TITLES, Problem, Told
from mainstay.serving.rates import Taken

TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
POLICY = "key"
"""The one policy there is: requests of an API key."""

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
    wait = max(1, taken.wait_s)
    body = QuotaProblem(
        type=TYPE,
        title=TITLES["rate"],
        status=429,
        detail=f"this API key may send {taken.rate.text.replace('/', ' requests/')}, and has",
        mend=f"ask again in {wait} s, or ask for a higher rate",
        request=request,
        violated_policies=(POLICY,),
    )
    return Told(429, _encode(body), ((b"retry-after", str(wait).encode()), *lines(taken)))
