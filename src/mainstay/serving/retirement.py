"""An API version that goes: what its callers read beside every answer, and what they are told once it is gone.

`Deprecation` is RFC 9745, `Sunset` RFC 8594, the links RFC 8288 with the relations `deprecation` (RFC 9745) and
`successor-version` (RFC 5829).
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from mainstay.core.clock import SECOND, iso
from mainstay.core.errors import MainstayError
from mainstay.core.nouns import Integration, Retired

DOCS = "/docs"
"""What a caller is pointed to where the file names no page."""


class ApiRetired(MainstayError):
    """The API version answers no more. `successor`: where the next one is."""

    def __init__(self, sentence: str, *, successor: str) -> None:
        super().__init__(sentence, mend=f"use {successor}")
        self.successor = successor


@lru_cache(maxsize=8)
def told(retired: Retired) -> tuple[tuple[str, str], ...]:
    """Names and values beside each answer; the same as headers and as metadata."""
    links = f'<{retired.link or DOCS}>; rel="deprecation", <{retired.successor}>; rel="successor-version"'
    sunset = () if retired.sunset_us is None else (("sunset", formatdate(retired.sunset_us // SECOND, usegmt=True)),)
    return (("deprecation", f"@{retired.on_us // SECOND}"), *sunset, ("link", links))


def sentence(retired: Retired) -> str:
    """For people: from when on, until when, and what is next."""
    ends = "without an end yet" if retired.sunset_us is None else f"and ends on {iso(retired.sunset_us)[:10]}"
    return f"This API version is retired from {iso(retired.on_us)[:10]} on, {ends}; next: {retired.successor}"


def still_open(integration: Integration, now_us: int) -> None:
    """Raises ApiRetired from the sunset on."""
    retired = integration.retired
    if retired is not None and retired.sunset_us is not None and now_us >= retired.sunset_us:
        raise ApiRetired(
            f"version {integration.api} of the API of `{integration.name}` ended on {iso(retired.sunset_us)[:10]}",
            successor=retired.successor,
        )
