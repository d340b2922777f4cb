"""What `mainstay check` makes of a source: does it answer, read-only, how fast, by which clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time

from mainstay.core.clock import DAY, SECOND, span
from mainstay.core.errors import MainstayError
from mainstay.core.nouns import Dataset, SourceConfig
from mainstay.core.ports import Capabilities, SourceHealth
from mainstay.core.verdicts import Finding, Verdict
from mainstay.sources.guard import parse_hours

SLOW_US = SECOND // 10
"""A round trip above this is worth a look: a read makes about ten before its first row."""
SKEW_US = 5 * SECOND
"""Clocks further apart than this make `newest:` and `$as_of` say something else than they seem to."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What looking at one source gave."""

    config: SourceConfig
    capabilities: Capabilities | None = None
    """None: it could not be opened."""
    health: SourceHealth | None = None
    """None: it did not answer, and `error` says why."""
    error: MainstayError | None = None
    asked_us: int = 0
    """Our clock before it was asked."""
    answered_us: int = 0
    """Our clock after it answered."""


def not_looked(check: str, error: MainstayError, *, mend: str = "") -> Finding:
    """The finding of what failed: ERROR for what may pass by itself, FAIL for what a person must mend."""
    verdict = Verdict.ERROR if error.transient else Verdict.FAIL
    return Finding(check=check, verdict=verdict, sentence=error.sentence, mend=error.mend or mend)


def judge_source(facts: SourceFacts) -> Iterator[Finding]:
    """Connection, read-only, latency and clock of one source."""
    name, health = facts.config.name, facts.health
    if health is None:
        error = facts.error or MainstayError("it was not asked")
        yield not_looked(f"{name}.connection", error, mend="check its options under `sources:`")
        return
    yield _passed(f"{name}.connection", f"{health.version} answers")
    yield _read_only(name, health)
    yield _latency(name, health)
    yield _clock(name, facts, health)


def _read_only(name: str, health: SourceHealth) -> Finding:
    if health.read_only:
        return _passed(f"{name}.read_only", "our session can only read")
    return Finding(
        check=f"{name}.read_only",
        verdict=Verdict.WARN,
        sentence="our session could write into this system",
        mend="give Mainstay a login that may only read",
    )


def _latency(name: str, health: SourceHealth) -> Finding:
    sentence = f"a round trip takes {span(health.latency_us)}"
    if health.latency_us <= SLOW_US:
        return _passed(f"{name}.latency", sentence)
    return Finding(
        check=f"{name}.latency",
        verdict=Verdict.WARN,
        sentence=f"{sentence}, which each read pays about ten times",
        mend="run Mainstay nearer to this system, or raise `every` and `freshness`",
    )


def _clock(name: str, facts: SourceFacts, health: SourceHealth) -> Finding:
    check = f"{name}.clock"
    if health.clock_us is None:
        return _passed(check, "it has no clock of its own; ours is used")
    # It read its clock at some instant between the two of ours: only what lies outside is a difference.
    ahead, behind = health.clock_us - facts.answered_us, facts.asked_us - health.clock_us
    skew = max(ahead, behind, 0)
    if skew <= SKEW_US:
        return _passed(check, f"its clock and ours differ by at most {span(skew + facts.answered_us - facts.asked_us)}")
    return Finding(
        check=check,
        verdict=Verdict.WARN,
        sentence=f"its clock is {span(skew)} {'ahead of' if ahead > behind else 'behind'} ours; "
        "`newest` and `$as_of` are off by as much (age is not, it uses ours only)",
        mend="let both machines keep time by NTP",
    )


def closed_us(config: SourceConfig, dataset: Dataset) -> tuple[int, str]:
    """How long in a day the guard lets no read of this dataset begin, and which setting says so; 0 and empty."""
    windows = [("guard.allowed_hours", config.guard.allowed_hours)]
    if dataset.cursor is None:  # each of its reads is a full one
        windows.append(("guard.backfill_hours", config.guard.backfill_hours))
    longest = (0, "")
    for setting, text in windows:
        if text:
            hours = parse_hours(text)
            closed = (_of_day(hours.begins) - _of_day(hours.ends)) % DAY
            longest = max(longest, (closed, f"{setting}: {text}"))
    return longest


def _of_day(moment: time) -> int:
    return (moment.hour * 60 + moment.minute) * 60 * SECOND


def _passed(check: str, sentence: str) -> Finding:
    return Finding(check=check, verdict=Verdict.PASS, sentence=sentence)
