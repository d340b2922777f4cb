"""Pinning a profile: what `distribution` compares with, written beside mainstay.yaml, and what `profile` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from mainstay.app.new.columns import personal
from mainstay.core.clock import iso
from mainstay.core.counts import counted
from mainstay.core.errors import Refused
from mainstay.core.nouns import Check, Column, Dataset
from mainstay.core.ports import SourceColumn
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.whole import judge_distributions
from mainstay.quality.distribution import ENOUGH, PinnedProfile, pin
from mainstay.quality.profile import ColumnProfile
from mainstay.quality.volume import counts_sql, judge_volume, windows
from mainstay.store.durable import write_whole

FOLDER = "profiles"


def pinned_path(folder: Path, dataset: str) -> Path:
    """Where the pinned profile of a dataset lies."""
    return folder / FOLDER / f"{dataset}.json"


def make(desk: Desk, dataset: Dataset, relation: str, seen: dict[str, tuple[SourceColumn, ColumnProfile]]) -> str:
    """The file's text: every column of the rows in `relation`, personal ones by the share of empty values alone.

    Raises Refused below 100 rows.
    """
    rows = int(desk.current.one(f"SELECT count(*) FROM {relation}")[0])
    if rows < ENOUGH:
        mend = "pin it when there are more: of fewer, shares say little"
        raise Refused(f"{dataset.name} has {counted(rows, 'row')}, and a profile takes {ENOUGH}", mend=mend)
    found = PinnedProfile(
        dataset=dataset.name,
        pinned_at=iso(desk.clock.now_us()),
        rows=rows,
        columns={
            column.name: pin(
                desk.current.sql, relation, column, left_out=_left_out(dataset, column, *seen[column.name])
            )
            for column in dataset.columns
        },
    )
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def _left_out(dataset: Dataset, column: Column, source: SourceColumn, seen: ColumnProfile) -> str:
    if column.pii:
        return "pii"
    if column.name in dataset.key_names:
        return "the key"
    return "looks personal" if personal(source, seen) else ""


def write(folder: Path, dataset: str, content: str) -> Path:
    """Writes the text beside mainstay.yaml, in place of an older one. Returns the path."""
    path = pinned_path(folder, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.encode(), mode=0o644)
    return path


def distances(desk: Desk, dataset: Dataset, relation: str) -> dict[str, str]:
    """Check -> what it says of the rows now."""
    return {one.check: one.sentence for one in judge_distributions(desk.current, dataset, relation)}


def proposed(desk: Desk, dataset: Dataset, relation: str, folder: Path) -> Iterator[str]:
    """Checks of the whole that the rows would bear, as entries of `checks:`; each only where there is evidence."""
    yield from _volume(desk, dataset, relation)
    yield from _distributions(dataset, folder)


def _volume(desk: Desk, dataset: Dataset, relation: str) -> Iterator[str]:
    """A count by day of the event time, where three weeks of such days were alike."""
    of = next((one for one in dataset.columns if one.name == dataset.event_time), None)
    if of is None or any(check.kind == "volume" for check in dataset.checks):
        return
    state = desk.dataset_state(dataset.name)
    zone = ZoneInfo(desk.integration.sources[dataset.source].timezone or "UTC")
    wanted = windows(state.as_of_us or 0, "day", zone, 28)
    check = Check(name="volume", kind="volume", args={"of": of.name, "within": 0.5})
    least, *counts = desk.current.one(counts_sql(check, wanted, relation=relation, day=of.type == "date"))
    past = [
        n for one, n in zip(wanted[1:], counts[1:], strict=True) if least is not None and one.begins_us > least and n
    ]
    if judge_volume(check, wanted[0], counts[0], past).verdict is Verdict.PASS:
        yield f"{{volume: {{per: day, of: {of.name}, within: 50%}}}}"


def _distributions(dataset: Dataset, folder: Path) -> Iterator[str]:
    """One for each column that a profile was pinned of, with bins."""
    path = pinned_path(folder, dataset.name)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=PinnedProfile)
    except (OSError, msgspec.DecodeError):
        return
    has = {check.column for check in dataset.checks if check.kind == "distribution"}
    for column in dataset.columns:
        pinned = found.columns.get(column.name)
        if pinned is not None and not pinned.left_out and column.name not in has:
            where = f"{FOLDER}/{dataset.name}.json"
            yield f"{{distribution: {{column: {column.name}, profile: {where}, psi: 0.2}}}}"
