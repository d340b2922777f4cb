"""What `status` says of a clock that was set back: nothing that was written can be later than now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mainstay.core.clock import SECOND, span
from mainstay.core.records import DatasetState, ProcessState
from mainstay.core.verdicts import Finding, Verdict

SLACK_US = 2 * SECOND
"""Clocks are corrected by small steps all the time."""


def findings(
    datasets: Mapping[str, DatasetState], processes: Mapping[str, ProcessState], now_us: int
) -> Iterator[Finding]:
    """A warning while an as-of or a sign of life lies in the future."""
    ahead = {name: one.as_of_us - now_us for name, one in datasets.items() if one.as_of_us is not None}
    late = sorted(name for name, by_us in ahead.items() if by_us > SLACK_US)
    seen = [one.seen_us - now_us for one in processes.values()]
    most = max([*ahead.values(), *seen], default=0)
    if most <= SLACK_US:
        return
    unknown = f"; the age of {', '.join(late)} is UNKNOWN until the next read" if late else ""
    yield Finding(
        check="clock", verdict=Verdict.WARN,
        sentence=f"the clock of this machine was set back by {span(most)} or more{unknown}",
        mend="let the machine keep its time (NTP); the loop reads again at once, nothing has to be repeated",
    )  # fmt: skip
