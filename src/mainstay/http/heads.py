"""Heads of requests that were read before. A client sends the same lines with each request: they are parsed once.

The parser calls into Python for each line, and we walk over the lines to learn who asks. What a head comes to depends
on its bytes alone, so whoever sends the very bytes that were read before gets the same. Whether its caller may still
ask is looked up each time.
"""

from __future__ import annotations

from typing import NamedTuple

from mainstay.http import auth
from mainstay.http.naming import PASSING, Named, named_in

Headers = list[tuple[bytes, bytes]]

MOST = 2048
"""Heads that are remembered: one for each client program, API key and length of a body. With one more all go."""
_LONGEST = 2048
_END = b"\r\n\r\n"


class Said(NamedTuple):
    """What the headers of a plain predict request say."""

    token: bytes | None
    """Who asks, unchecked."""
    named: Named
    """The id is empty where none came."""

    @classmethod
    def by(cls, headers: Headers) -> Said:
        return cls(auth.token(headers, ""), named_in(headers))


class Head(NamedTuple):
    """The line and headers of a plain predict request."""

    url: bytes
    said: Said
    length: int
    """Bytes of its body."""


class Heads:
    """The heads that one worker remembers."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the body of `data`, where it is one whole request whose head was read before."""
        end = data.find(_END) + 4
        head = self._known.get(data[:end])
        return None if head is None or len(data) - end != head.length else (head, data[end:])

    def learn(self, data: bytes, url: bytes, headers: Headers, body: bytes) -> None:
        """Remembers the head of `data`, if that is one whole request and the next one may begin with the same bytes.

        Args:
            data: What came at once, from the first byte of a request.
            url: What the parser found in it; likewise the others.
            headers: In order.
            body: Ends with the last byte that was parsed.
        """
        size = len(data) - len(body)
        if not 4 <= size <= _LONGEST or data.find(_END) != size - 4 or data[size:] != body:
            return
        if any(name in PASSING for name, _ in headers):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[data[:size]] = Head(url, Said.by(headers), len(body))
