"""What each role takes of the disk, what is left, and when that is too little: said before a write fails."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mainstay.core.clock import DAY, SECOND
from mainstay.core.counts import counted
from mainstay.core.nouns import FreeDisk
from mainstay.core.records import DiskSample
from mainstay.core.verdicts import Finding, Verdict
from mainstay.store.home import Home

SOON_DAYS = 7
FULL = 1 << 20
"""With less left than these bytes, writes begin to fail."""
OTHER = "other"
"""Logs, plans, counters: what is no role's."""
_ROLES = {
    "landing": "landing", "history": "history", "journal": "journal", "artifacts": "artifacts", "state": "state",
    "online": "online", "current": "current",
}  # fmt: skip
"""How a name in an integration's folder begins, up to a dot -> its role."""
_KEPT_BY = {"landing", "history", "journal"}
"""Roles that `retention:` makes smaller."""


def sample(home: Home, now_us: int) -> DiskSample:
    """What the home takes now, role by role, and what is left on its disk."""
    usage = shutil.disk_usage(home.folder)
    roles = dict.fromkeys((*_ROLES.values(), OTHER), 0)
    for path in home.folder.iterdir():
        roles[_ROLES.get(path.name.partition(".")[0], OTHER)] += _size(path)
    return DiskSample(at_us=now_us, used=sum(roles.values()), free=usage.free, total=usage.total, roles=roles)


def _size(path: Path) -> int:
    total = 0
    for one in (path, *path.rglob("*")):
        try:
            total += one.stat().st_size if one.is_file() else 0
        except OSError:  # a file that went while we looked takes nothing
            continue
    return total


def days_left(samples: Sequence[DiskSample]) -> float | None:
    """Days until the disk is full at the pace of the samples; None while the pace is not known or nothing grows."""
    first, last = samples[0], samples[-1]
    elapsed = last.at_us - first.at_us
    grown = last.used - first.used
    if elapsed < 600 * SECOND or grown <= 0:
        return None
    return last.free / (grown / elapsed) / DAY


def told(samples: Sequence[DiskSample]) -> str:
    """The newest sample in a line."""
    newest, days = samples[-1], days_left(samples)
    pace = "; growth not known yet" if days is None else f"; full in {counted(round(days), 'day')} at this pace"
    return f"{amount(newest.used)} used here, {newest.free / 1e9:,.1f} GB free{pace}"


def amount(size: int) -> str:
    """Bytes for a person to read: megabytes, with one decimal where that says something."""
    return f"{size / 1e6:,.0f} MB" if size >= 10_000_000 or not size else f"{size / 1e6:,.1f} MB"


def findings(samples: Sequence[DiskSample], limit: FreeDisk) -> list[Finding]:
    """FAIL when it is full, WARN when less is free than the file allows or when it is full within a week."""
    newest, days = samples[-1], days_left(samples)
    if newest.free < FULL:
        sentence = f"the disk is full, {newest.free / 1e6:.1f} MB free: nothing is published, receipts cannot be given"
        return [Finding(check="disk", verdict=Verdict.FAIL, sentence=sentence, mend=_mend(newest))]
    least = limit.bytes_of(newest.total)
    if newest.free >= least and (days is None or days >= SOON_DAYS):
        return []
    left = f"{newest.free / 1e9:.1f} GB free, {least / 1e9:.1f} GB is the least (settings.free_disk)"
    left += "" if days is None else f", full in {days:.1f} days at this pace"
    return [Finding(check="disk", verdict=Verdict.WARN, sentence=f"the disk fills up: {left}", mend=_mend(newest))]


def _mend(newest: DiskSample) -> str:
    role, most = max(newest.roles.items(), key=lambda one: one[1], default=(OTHER, 0))
    if not most or most < newest.total * 0.01:
        return "free space on this disk, or give the home a larger one: little of it is taken by this home"
    if role in _KEPT_BY:
        return f"{role} takes most, {amount(most)}: lower `retention: {{{role}: ...}}`, or give the home a larger disk"
    return f"{role} takes most, {amount(most)}: give the home a larger disk"
