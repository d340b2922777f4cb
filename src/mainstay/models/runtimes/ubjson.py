"""Whether a UBJSON document is whole. XGBoost reads past the end of one that was cut short, and the process dies of it.

A walk over the markers of the Universal Binary JSON specification, draft 12: nothing is decoded, packed arrays are
stepped over.
"""

from __future__ import annotations

import struct

_WIDTH = {"Z": 0, "T": 0, "F": 0, "i": 1, "U": 1, "C": 1, "I": 2, "l": 4, "d": 4, "L": 8, "D": 8}
_INTEGERS = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q"}
_TEXTS = frozenset("SH")


def whole(data: bytes) -> bool:
    """Whether the bytes are one object, closed, with nothing after it."""
    try:
        return data[:1] == b"{" and _Walk(data).over() == len(data)
    except (_Cut, struct.error):
        return False


class _Cut(Exception):
    """The document ends before it should, or has a marker that there is none of."""


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def over(self) -> int:
        """Where the document ends. Open containers stand on a list of our own: a deep document is no deep recursion."""
        open_: list[list[object]] = []  # [whether an object, items left or None, type of each or ""]
        self._value(self._marker(), open_)
        while open_:
            is_object, left, of = open_[-1]
            if left == 0:
                open_.pop()
                continue
            if left is None and self._peek() == ("}" if is_object else "]"):
                self._at += 1
                open_.pop()
                continue
            if isinstance(left, int):
                open_[-1][1] = left - 1
            if is_object:
                self._skip(self._integer(self._marker()))
            self._value(str(of) or self._marker(), open_)
        return self._at

    def _value(self, marker: str, open_: list[list[object]]) -> None:
        if marker in _WIDTH:
            self._skip(_WIDTH[marker])
        elif marker in _TEXTS:
            self._skip(self._integer(self._marker()))
        elif marker in {"{", "["}:
            self._container(marker == "{", open_)
        else:
            raise _Cut

    def _container(self, is_object: bool, open_: list[list[object]]) -> None:
        of, left = "", None
        if self._peek() == "$":
            self._at += 1
            of = self._marker()
        if self._peek() == "#":
            self._at += 1
            left = self._integer(self._marker())
        elif of:
            raise _Cut
        if of in _WIDTH and left is not None and not is_object:
            self._skip(_WIDTH[of] * left)
        else:
            open_.append([is_object, left, of])

    def _peek(self) -> str:
        return chr(self._data[self._at]) if self._at < len(self._data) else ""

    def _marker(self) -> str:
        marker = self._peek()
        self._at += 1
        return marker

    def _integer(self, marker: str) -> int:
        shape = _INTEGERS.get(marker)
        if shape is None:
            raise _Cut
        (number,) = struct.unpack_from(shape, self._data, self._at)
        self._at += _WIDTH[marker]
        if number < 0:
            raise _Cut
        return int(number)

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise _Cut
