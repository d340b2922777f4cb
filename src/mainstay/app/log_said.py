"""What `status` says of logs that nobody takes."""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.core.clock import MINUTE, span
from mainstay.core.verdicts import Finding, Verdict
from mainstay.serving.meter import Counts

LATELY_US = 5 * MINUTE
"""For how long it is said."""


def findings(counts: Counts, now_us: int) -> Iterator[Finding]:
    """A warning after lines of workers' logs were dropped."""
    ago_us = now_us - counts.unheard_us
    if not counts.unheard or ago_us > LATELY_US:
        return
    yield Finding(
        check="logs", verdict=Verdict.WARN,
        sentence=f"lines of workers' logs were dropped, {counts.unheard:,} so far, the last {span(max(0, ago_us))} ago"
        ": whatever the output of `mainstay up` goes to did not take them",
        mend="see that it is read, or that its disk has space; answers do not wait for it",
    )  # fmt: skip
