"""How many requests in how long: `100/s`, `6000/m`, `50000/h`, `1000000/d`."""

from __future__ import annotations

import re

import msgspec

from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND

PATTERN = r"^[1-9][0-9]{0,8}/(s|m|h|d)$"
WANTED = "a rate such as 100/s, 6000/m, 50000/h or 1000000/d"

_RATE = re.compile(PATTERN)
_SPANS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


class Rate(msgspec.Struct, frozen=True):
    """At most `requests` in each `per_us`; as many at once, when there were none for so long."""

    requests: int
    per_us: int

    @property
    def text(self) -> str:
        """What `read_rate` reads as this."""
        unit = next(name for name, span in _SPANS.items() if span == self.per_us)
        return f"{self.requests}/{unit}"


def read_rate(text: str) -> Rate | None:
    """The rate; None where the text is none."""
    found = _RATE.fullmatch(text.strip())
    if found is None:
        return None
    requests, _, unit = found[0].partition("/")
    return Rate(int(requests), _SPANS[unit])
