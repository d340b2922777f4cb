"""Checks of a dataset that look beyond one batch: `volume`, asked at each read, an empty one too, and `distribution`.

`volume` without `of` counts versions as they land. The counts lie in state, by quarters of an hour, which begin where
hours and days do in every time zone; each is written in the commit that records its batch, so that a batch counts once,
and making current anew does not touch them. With `of` current itself is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

import msgspec

from mainstay.core.clock import DAY, HOUR, MINUTE
from mainstay.core.nouns import Check, Dataset
from mainstay.core.ports import Write
from mainstay.core.records import BatchRecord, CheckResult, LandedDay
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines.desk import Desk
from mainstay.quality.distribution import in_bins, judge_distribution, outdated, pinned_of
from mainstay.quality.volume import Window, counts_sql, judge_volume, windows
from mainstay.store.current import Current, schema_of
from mainstay.store.shelf import Shelf

QUARTER = 15 * MINUTE
_UNITS = {"hour": HOUR, "day": DAY, "week": 7 * DAY}


class WholeChecks:
    """The wider checks of one dataset, over the desk's stores."""

    def __init__(self, desk: Desk, dataset: Dataset) -> None:
        self.desk = desk
        self.dataset = dataset
        self.zone = ZoneInfo(desk.integration.sources[dataset.source].timezone or "UTC")
        self.volumes = tuple(check for check in dataset.checks if check.kind == "volume")
        self._landed = [check for check in self.volumes if not check.args.get("of")]
        self._days = Shelf(desk.state, "landed", LandedDay)
        self._results = Shelf(desk.state, "check_result", CheckResult)

    # --- what lands ---------------------------------------------------------------------------------------------

    def count(self, began_us: int, rows: int) -> tuple[Write, ...]:
        """What notes that a read which began then landed so many versions; for the commit that records the read."""
        if not self._landed:
            return ()
        day, quarter = began_us // DAY, began_us % DAY // QUARTER
        found = self._days.get(self._name(day))
        if found is not None and not rows and quarter in found.quarters:
            return ()
        before = found or LandedDay()
        quarters = {**before.quarters, quarter: before.quarters.get(quarter, 0) + rows}
        writes = [self._days.write(self._name(day), msgspec.structs.replace(before, quarters=quarters))]
        if found is None:
            first = self._name(day - self._keep_us() // DAY)
            writes += [self._days.remove(name) for name in self._days.all(f"{self.dataset.name}/") if name < first]
        return tuple(writes)

    def _name(self, day: int) -> str:
        return f"{self.dataset.name}/{day:06d}"

    def _keep_us(self) -> int:
        """How far back anything asks, and a window more, and a day for the zone."""
        return 2 * DAY + max(int(one.args["past"] + 2) * _UNITS[one.args["per"]] for one in self._landed)

    def _quarters(self) -> dict[int, int]:
        """Quarter since 1970 -> versions, where anything was read."""
        days = self._days.all(f"{self.dataset.name}/")
        return {
            int(name.rpartition("/")[2]) * (DAY // QUARTER) + quarter: rows
            for name, day in days.items()
            for quarter, rows in day.quarters.items()
        }

    # --- judging ------------------------------------------------------------------------------------------------

    def judge(self, relation: str, began_us: int) -> tuple[Finding, ...]:
        """The findings on current as it would be, `relation`, after a read that began then."""
        found = [self._volume(check, relation, began_us) for check in self.volumes]
        return (*found, *judge_distributions(self.desk.current, self.dataset, relation))

    def judge_empty(self, began_us: int) -> tuple[Finding, ...]:
        """The findings after a read that brought nothing, so that only time has passed. Noted, unless one blocks."""
        if not self.volumes:
            return ()
        relation = f"(SELECT * FROM {schema_of(self.dataset.name)}.rows WHERE NOT _deleted)"
        found = tuple(self._volume(check, relation, began_us) for check in self.volumes)
        if not any(blocks(one) for one in found):
            self.note(found, began_us)
        return found

    def note(self, findings: Iterable[Finding], began_us: int) -> None:
        """Keeps what these checks said at a read, for `status`, where it is another thing than before."""
        names = {check.name for check in self.dataset.checks if check.kind in ("volume", "distribution")}
        if not names:
            return
        before = self._results.get(self.dataset.name)
        found = {one.check: one for one in before.findings if one.check in names} if before else {}
        found |= {one.check: one for one in findings if one.check in names}
        until = {check.name: self._until_us(check, began_us) for check in self.volumes}
        after = CheckResult(at_us=began_us, findings=tuple(found.values()), until_us=until)
        if before is None and not found:
            return
        if before is None or (before.findings, before.until_us) != (after.findings, after.until_us):
            self._results.put(self.dataset.name, after, token=self.desk.token)

    def _until_us(self, check: Check, began_us: int) -> int:
        (last, *_) = self._windows(check, began_us)
        per = check.args["per"]
        later = windows(last.ends_us + 3 * _UNITS[per] // 2, per, self.zone, 0)[0]
        return later.ends_us + int(check.args["late_us"])

    def _windows(self, check: Check, now_us: int) -> tuple[Window, ...]:
        return windows(now_us - check.args["late_us"], check.args["per"], self.zone, check.args["past"])

    def _volume(self, check: Check, relation: str, began_us: int) -> Finding:
        wanted = self._windows(check, began_us)
        counts = self._of_current(check, relation, wanted) if check.args.get("of") else self._of_landed(wanted)
        past = [count for count in counts[1:] if count is not None]
        finding = judge_volume(check, wanted[0], counts[0], past)
        if blocks(finding) and (batch := self._released(check, wanted[0])):
            sentence = f"{finding.sentence}; answered for with batch {batch.number}"
            return msgspec.structs.replace(finding, verdict=Verdict.WARN, sentence=sentence)
        return finding

    def _of_current(self, check: Check, relation: str, wanted: Sequence[Window]) -> list[int | None]:
        day = self.dataset.column(str(check.args["of"])).type == "date"
        least, *counts = self.desk.current.one(counts_sql(check, wanted, relation=relation, day=day))
        # The window that holds the first row of all began before it did, as far as we can see.
        return [counts[0], *(n if least is not None and one.begins_us > least else None
                             for one, n in zip(wanted[1:], counts[1:], strict=True))]  # fmt: skip

    def _of_landed(self, wanted: Sequence[Window]) -> list[int | None]:
        quarters = self._quarters()
        first = min(quarters, default=0) * QUARTER
        found: list[int | None] = []
        for one in wanted:
            inside = [quarters[q] for q in range(one.begins_us // QUARTER, one.ends_us // QUARTER) if q in quarters]
            found.append(sum(inside) if inside and one.begins_us >= first else None)
        return found

    def _released(self, check: Check, window: Window) -> BatchRecord | None:
        """The batch by which a person has answered for this very window already, released or discarded."""
        for batch in self.desk.batches.all(f"{self.dataset.name}/").values():
            overridden = check.name in batch.released or (
                batch.status == "discarded" and any(one.check == check.name and blocks(one) for one in batch.findings)
            )
            if overridden and self._windows(check, batch.began_us)[0] == window:
                return batch
        return None


def judge_distributions(current: Current, dataset: Dataset, relation: str) -> tuple[Finding, ...]:
    """The findings of the dataset's `distribution` checks on the rows of a relation."""
    found = []
    for check in dataset.checks:
        if check.kind == "distribution":
            column, pinned = dataset.column(str(check.column)), pinned_of(check)
            counts = () if outdated(check, column) else in_bins(current.sql, relation, column.name, pinned)
            found.append(judge_distribution(check, column, counts))
    return tuple(found)


def blocks(finding: Finding) -> bool:
    """Whether the finding stops a batch, unless a person overrides it."""
    return finding.on_fail == "block" and finding.verdict in (Verdict.FAIL, Verdict.ERROR)
