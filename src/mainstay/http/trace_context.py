"""The caller's trace (W3C Trace Context): its id goes into the receipt, with traces of our own or without."""

from __future__ import annotations

import re

_VERSION_0 = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LATER = re.compile(rb"(?!00|ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id(traceparent: bytes) -> str:
    """The trace that `traceparent` names; empty for one that is not valid, which counts as none (section 2.2.4).

    Later versions may say more behind what version 00 says.
    """
    found = _VERSION_0.fullmatch(traceparent) or _LATER.fullmatch(traceparent)
    return found[1].decode() if found else ""
