"""What a request says of itself beside its body: its id, the caller's trace, and how long the caller waits."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

from mainstay.core.clock import SECOND
from mainstay.core.ids import new_id
from mainstay.http.trace_context import trace_id
from mainstay.serving.request import BadRequest

TIMEOUTS = (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
"""How many milliseconds the caller waits; the second is what Envoy tells of its own timeout."""

PASSING = frozenset((b"x-request-id", b"traceparent"))
"""Headers that are others with each request."""
NAMES = PASSING.union(TIMEOUTS)
"""Headers that are read here."""

_FINE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_LONGEST_MS = 24 * 60 * 60 * 1000


class Named(NamedTuple):
    """What a request says of itself."""

    request: str
    """The request's id: the caller's own, or one that is made; empty before."""
    trace: str
    """The trace id of `traceparent`; empty where there is none."""
    timeout: bytes
    """As it came; empty where the caller has said nothing."""

    def deadline_us(self, began_us: int) -> int | None:
        """When the caller waits no longer, on the monotonic clock. Raises BadRequest for what is no time."""
        if not self.timeout:
            return None
        if not self.timeout.isdigit() or len(self.timeout) > 8 or not 0 < int(self.timeout) <= _LONGEST_MS:
            sentence = "`X-Request-Timeout-Ms`: wanted whole milliseconds, at least 1 and at most a day"
            raise BadRequest(sentence, mend="send 250, say", status=400)
        return began_us + int(self.timeout) * SECOND // 1000


def named_in(headers: Iterable[tuple[bytes, bytes]]) -> Named:
    """What the headers of a request say, the id empty where they have none."""
    request = trace = ""
    timeout = b""
    for name, value in headers:
        if name in NAMES:
            if name == b"traceparent":
                trace = trace_id(value)
            elif name == b"x-request-id":
                if _FINE.fullmatch(value):
                    request = value.decode()
            elif not timeout or name == TIMEOUTS[0]:
                timeout = value
    return Named(request, trace, timeout)


class Naming:
    """Gives ids to requests that have none: of one worker, no two alike."""

    def __init__(self) -> None:
        self._boot = new_id("q")[:8]
        self._numbers = itertools.count(1)

    def make(self) -> str:
        """An id."""
        return f"{self._boot}-{next(self._numbers):x}"

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Named:
        """What the headers of a request say, with an id in any case."""
        found = named_in(headers)
        return found if found.request else Named(self.make(), found.trace, found.timeout)
