"""What `status` says of feature rows that could not be read."""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.core.clock import MINUTE, span
from mainstay.core.verdicts import Finding, Verdict
from mainstay.serving.meter import Counts

NOW_US = MINUTE
"""For how long the last time counts as now."""
LATELY_US = 5 * MINUTE
"""For how long it is said."""


def findings(counts: Counts, now_us: int) -> Iterator[Finding]:
    """A failure while workers cannot read feature rows, and a warning for some minutes afterwards."""
    ago_us = max(0, now_us - counts.unread_us)
    if not counts.unread or ago_us > LATELY_US:
        return
    yield Finding(
        check="online", verdict=Verdict.FAIL if ago_us <= NOW_US else Verdict.WARN,
        sentence=f"feature rows could not be read, {counts.unread:,} so far, the last {span(ago_us)} ago: "
        f"{counts.unread_why}",
        mend="see to the online store; where its file is damaged, stop `mainstay up`, move online.sqlite* away and "
        "start it again: rows are computed again",
    )  # fmt: skip
