"""Counts of what a worker answered. Plain integers on the hot path; snapshots are merged when somebody asks.

A worker's slot keeps its file across restarts, so that counters never go back.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mainstay.core.clock import SECOND
from mainstay.core.verdicts import Verdict

BUCKETS_US = (250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000)

RECENT_US = 10 * SECOND
"""A worker writes every second; what one told before this is of one that is gone."""
FAILED = ("on_error", "no_receipt")
"""Reasons of a refusal that are failures of ours: the model, or the place where receipts go."""


class Counts(msgspec.Struct, kw_only=True):
    """What one worker slot has counted. Names of a label's values are joined by `|`."""

    v: int = 1
    requests: dict[str, int] = {}
    """route|status -> requests."""
    judged: dict[str, int] = {}
    """outcome|reason|verdict -> judged keys."""
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS_US) + 1))
    """Predict requests by latency, not cumulated."""
    latency_us: int = 0
    """Sum over predict requests."""
    shed: int = 0
    """Requests refused because too many were waiting."""
    calls: int = 0
    """Calls of models in other processes."""
    rows: int = 0
    """Rows in them: of several requests where they are asked together."""
    policy: int = 0
    """Predict requests that ended with 503 because a policy on data refused, e.g. `on_stale`: no error of ours."""
    outgoing: dict[str, int] = {}
    """Requests to a model that is served elsewhere, by what became of them."""
    left_alone: int = 0
    """1 while this worker does not ask that model, because it failed several times in a row."""
    rated: dict[str, int] = {}
    """API key's id -> requests taken of its rate; read by the other workers."""
    used: dict[str, int] = {}
    """Digest of an API key -> when it was last seen."""
    unheard: int = 0
    """Lines of the log that nobody took."""
    unheard_us: int = 0
    """When that happened last."""
    unread: int = 0
    """Keys whose feature rows could not be read."""
    unread_us: int = 0
    """When that happened last."""
    unread_why: str = ""
    """Why, that time."""
    problem: str = ""
    """Why the newest state does not answer here; empty when it does."""
    problems: dict[str, str] = {}
    """Only where several workers' counts are merged: worker -> its `problem`, of those that told lately."""
    told: dict[str, int] = {}
    """Only where several workers' counts are merged: worker -> when it told last."""
    at_us: int = 0


class Meter:
    """One worker's counters, kept in `file` when there is one."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        # Requests are counted on the event loop; keys also in the threads that wait for the disk.
        self._lock = threading.Lock()
        self.counts = (read_counts(file) if file is not None else None) or Counts()
        self._unheard = 0

    def request(self, route: str, status: int, count: int = 1) -> None:
        """Requests to anything but predict."""
        name = f"{route}|{status}"
        self.counts.requests[name] = self.counts.requests.get(name, 0) + count

    def predicted(self, status: int, latency_us: int, *, reason: str = "") -> None:
        """A predict request that ended with `status` after `latency_us`; `reason`: the policy that refused it."""
        if status >= 500 and reason and reason not in FAILED:
            self.counts.policy += 1
        name = "predict|200" if status == 200 else f"predict|{status}"
        self.counts.requests[name] = self.counts.requests.get(name, 0) + 1
        self.counts.buckets[bisect_left(BUCKETS_US, latency_us)] += 1
        self.counts.latency_us += latency_us

    def judged(self, outcome: str, reason: str, verdict: Verdict) -> None:
        """A key that was judged: `answered`, `fallback` or `refused`, by which policy, on which verdict."""
        name = "answered||PASS" if verdict is Verdict.PASS and not reason else f"{outcome}|{reason}|{verdict.value}"
        with self._lock:
            self.counts.judged[name] = self.counts.judged.get(name, 0) + 1

    def shed(self) -> None:
        """A request refused because too many were waiting."""
        self.counts.shed += 1

    def asked(self, rows: int) -> None:
        """A call of a model in another process, for so many rows."""
        self.counts.calls += 1
        self.counts.rows += rows

    def unheard(self, lines: int, now_us: int) -> None:
        """How many lines of this process' log nobody took, since it began."""
        if lines > self._unheard:
            self.counts.unheard += lines - self._unheard
            self.counts.unheard_us = now_us
            self._unheard = lines

    def unread(self, keys: int, why: str, now_us: int) -> None:
        """So many keys whose feature rows could not be read."""
        with self._lock:
            self.counts.unread += keys
            self.counts.unread_us, self.counts.unread_why = now_us, why

    def used(self, seen: Mapping[str, int]) -> None:
        """When API keys were last seen here, by their digests."""
        self.counts.used.update(seen)

    def save(self, now_us: int) -> None:
        """Writes the counts beside the others, whole or not at all."""
        if self.file is None:
            return
        self.counts.at_us = now_us
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(self.counts))
        beside.replace(self.file)


def read_counts(file: Path) -> Counts | None:
    """The counts in a file; None when there is none or it cannot be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Counts)
    except (OSError, msgspec.DecodeError):
        return None


def merged(folder: Path, own: Meter | None = None, own_file: Path | None = None, *, now_us: int = 0) -> Counts:
    """The sum over every worker's file in `folder`, with `own` in place of `own_file`. `now_us`: for `problems`."""
    whole = Counts(problems={}, told={})
    parts = [] if own is None else [own.counts]
    for file in sorted(folder.glob("*.json")):
        if file == own_file:
            continue
        counts = read_counts(file)
        if counts is not None:
            parts.append(counts)
            whole.told[file.stem] = counts.at_us
            if counts.problem and now_us - counts.at_us < RECENT_US:
                whole.problems[file.stem] = counts.problem
    for part in parts:
        for table, into in (
            (part.requests, whole.requests),
            (part.judged, whole.judged),
            (part.outgoing, whole.outgoing),
        ):
            for name, count in table.items():
                into[name] = into.get(name, 0) + count
        whole.buckets = [old + new for old, new in zip(whole.buckets, part.buckets, strict=True)]
        whole.latency_us += part.latency_us
        whole.shed += part.shed
        whole.calls += part.calls
        whole.rows += part.rows
        whole.policy += part.policy
        whole.unheard += part.unheard
        whole.unheard_us = max(whole.unheard_us, part.unheard_us)
        whole.left_alone += part.left_alone
        whole.unread += part.unread
        if part.unread_us > whole.unread_us:
            whole.unread_us, whole.unread_why = part.unread_us, part.unread_why
        for name, at_us in part.used.items():
            whole.used[name] = max(at_us, whole.used.get(name, 0))
        whole.at_us = max(whole.at_us, part.at_us)
    return whole
