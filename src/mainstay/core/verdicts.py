"""Verdicts, findings, and the one order in which verdicts are compared."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

import msgspec

OnFail = Literal["warn", "quarantine", "block"]


class Verdict(StrEnum):
    """The answer to a question about data. ERROR: could not look. UNKNOWN: cannot tell."""

    PASS = "PASS"
    WARN = "WARN"
    UNKNOWN = "UNKNOWN"
    ERROR = "ERROR"
    FAIL = "FAIL"

    @property
    def rank(self) -> int:
        """0 (PASS) to 4 (FAIL): worst wins, FAIL > ERROR > UNKNOWN > WARN > PASS."""
        return _RANK[self]


_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The highest ranked of `verdicts`; PASS when there are none."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.PASS)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one check, with its numbers."""

    check: str
    """The check's name, unique in its dataset, e.g. `tenure.max` or `row_count`."""
    verdict: Verdict
    sentence: str
    """One sentence of evidence, with numbers and no personal data."""
    column: str | None = None
    on_fail: OnFail | None = None
    failed: int = 0
    """How many rows failed, by the check's stated counting rule."""
    total: int = 0
    mend: str = ""
