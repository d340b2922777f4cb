"""The gate: `stage` is cleaned and every check put to it in one pass, then a verdict decides.

`judged` holds each staged version with its cleaned columns and `_f0`, `_f1`, ...: bit masks of the failed row checks,
60 to a mask. `_super` marks rows that lose to another row of their key. Nothing durable is written here.

Three kinds of checks need more than their row: `references` another dataset's keys, `monotone` the version that current
shows, `unique` current as it would be. They are judged in this order, each after the rows' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from mainstay.core.counts import counted
from mainstay.core.nouns import Check, Dataset
from mainstay.core.sql import identifier, literal
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines.currency import converted, rated_sql, rates_in_current
from mainstay.pipelines.lost import lost_checks, lost_findings
from mainstay.pipelines.stage import EVENT, Shape, repeats, winner_sql
from mainstay.quality.checks import (
    RowCheck,
    fallen,
    judge_aggregate,
    judge_row_count,
    judge_rows,
    judge_share,
    judge_unique,
    named_columns,
    orphans,
    unique_failures,
)
from mainstay.quality.checks import row_checks as checks_of
from mainstay.quality.frequent import SAMPLE, WORTH, costly, eased_all, sample_sql
from mainstay.store.current import Current, schema_of

BITS = 60

DUPLICATES = "duplicates"
MAX_SHARE = "deletes.max_share"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate found in one batch."""

    findings: tuple[Finding, ...]
    blocking: tuple[Finding, ...]
    """The findings that stop the batch: FAIL of a blocking check, or ERROR of one."""
    superseded: int
    quarantined: int
    passed: int
    checks: tuple[Check, ...]
    """Row checks by bit."""

    @property
    def waits_for_a_person(self) -> bool:
        """Whether any blocking finding is a FAIL; ERROR alone lifts by itself."""
        return any(finding.verdict is Verdict.FAIL for finding in self.blocking)


class Gate:
    """Judges what is in `stage`.

    Args:
        current: The open DuckDB file.
        form: The dataset's shape.
        released: Names of checks whose findings a person overrode for this batch.
        deleted_before: Keys that earlier chunks of the same backfill deleted, counted with this batch's deletes.
        deletes_checked: Whether this batch's deletes came from comparing keys, so that `deletes.max_share` applies.
        others: What `references` and `monotone` compare with. `now`: current. `again`: current that is being made anew,
            where a row that was deleted since counts as there. `never`: they are not asked, since current has moved on.
        row_checks: The dataset's, where the caller has them at hand: reading SQL conditions costs 10 ms.
        wider: Gives the findings of checks that look beyond the batch, over a bracketed query of current as it would
            be. None: they are not asked.
    """

    def __init__(
        self,
        current: Current,
        form: Shape,
        *,
        released: frozenset[str] = frozenset(),
        deletes_checked: bool = False,
        deleted_before: int = 0,
        others: Literal["now", "again", "never"] = "now",
        row_checks: tuple[RowCheck, ...] | None = None,
        wider: Callable[[str], Sequence[Finding]] | None = None,
    ) -> None:
        self.current = current
        self.form = form
        self.released = released
        self.deletes_checked = deletes_checked
        self.deleted_before = deleted_before
        self.others = others
        self.wider = wider
        self.schema = schema_of(form.dataset.name)
        self.rows_table = f"{self.schema}.rows"
        self.row_checks = (*(checks_of(form.dataset) if row_checks is None else row_checks), *lost_checks(form))
        self.checks: tuple[Check, ...] = (
            *(one.check for one in self.row_checks),
            *(
                check
                for kind in ("references", "monotone", "unique")
                for check in form.dataset.checks
                if check.kind == kind
            ),
            _one_row_each(form.dataset),
        )
        self.masks = (len(self.checks) + BITS - 1) // BITS
        self.broken: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        """Check -> the dataset that it refers to and that was never published."""

    def judge(self) -> Judgement:
        """Makes `judged` out of `stage` and says what follows."""
        self._clean_and_check()
        self._mark_losers()
        if self.others != "never":
            self._check_rates()
            self._check_references()
            self._check_monotone()
        unique = self._check_unique()
        failed = self._count_failed()
        found = self.current.one(
            "SELECT count(*), count(*) FILTER (_op = 'u' AND NOT _super), count(*) FILTER (_super), "
            f"count(*) FILTER ({self.rejected()}) FROM judged"
        )
        everything, total, superseded, quarantined = (int(n) for n in found)
        findings = [
            *self._row_findings(failed, total),
            *lost_findings(self.form, failed, total),
            *(judge_unique(check, n, total) for check, n in unique),
            *self._dataset_findings(),
        ]
        duplicates = failed.get(DUPLICATES, 0)
        if self.form.dataset.duplicates.keep == "none":
            findings.append(judge_unique(self.checks[-1], duplicates, total))
        blocking = tuple(
            one
            for one in findings
            if one.on_fail == "block"
            and one.verdict in (Verdict.FAIL, Verdict.ERROR)
            and one.check not in self.released
        )
        return Judgement(
            findings=tuple(findings),
            blocking=blocking,
            superseded=superseded,
            quarantined=quarantined,
            passed=everything - superseded - quarantined,
            checks=self.checks,
        )

    # --- SQL that publishing uses on `judged` --------------------------------------------------------------------

    def failing(self, *severities: str) -> str:
        """A condition: any check of these severities failed (released ones left out)."""
        parts = []
        for mask in range(self.masks):
            bits = sum(
                1 << (index % BITS)
                for index, check in enumerate(self.checks)
                if index // BITS == mask and check.on_fail in severities and check.name not in self.released
            )
            if bits:
                parts.append(f"(_f{mask} & {bits}) <> 0")
        return "(" + " OR ".join(parts) + ")" if parts else "FALSE"

    def rejected(self) -> str:
        """A condition: this version goes to quarantine."""
        return f"(_op = 'u' AND NOT _super AND {self.failing('quarantine')})"

    def accepted(self) -> str:
        """A condition: this version is published."""
        return f"(NOT _super AND NOT {self.rejected()})"

    def reasons(self, *severities: str) -> str:
        """An expression: names of the failed checks of these severities, joined by commas; NULL when none."""
        named = [
            f"CASE WHEN (_f{index // BITS} & {1 << (index % BITS)}) <> 0 THEN {literal(check.name)} END"
            for index, check in enumerate(self.checks)
            if check.on_fail in severities
        ]
        return f"nullif(concat_ws(', ', {', '.join(named)}), '')" if named else "NULL"

    # --- the steps ----------------------------------------------------------------------------------------------

    def _clean_and_check(self) -> None:
        import duckdb

        try:
            self._ease_patterns()
            self._make_judged(frozenset())
        except duckdb.Error:
            self.broken = self._broken_checks()
            self._make_judged(frozenset(self.broken))

    def _ease_patterns(self) -> None:
        asked = costly(self.row_checks)
        if not asked or int(self.current.one("SELECT count(*) FROM stage")[0]) < WORTH:
            return
        few = self.form.cleaning.select(f"(SELECT * FROM stage WHERE _op = 'u' LIMIT {SAMPLE})")
        self.row_checks = eased_all(self.row_checks, self.current.sql(sample_sql(asked, f"({few})")))

    def _make_judged(self, without: frozenset[str]) -> None:
        names = [column.name for column in self.form.dataset.columns]
        cursor = f"CAST({identifier(self.form.raw_cursor)} AS VARCHAR)" if self.form.raw_cursor else "NULL"
        kept = ("_k", "_ord", "_op", "_digest", f"{cursor} AS _cursor")
        has_event = any(one.name == EVENT for one in self.form.cleaning.columns)
        event = f"CASE WHEN isfinite({EVENT}) THEN epoch_us({EVENT}) END" if has_event else "NULL::BIGINT"
        names_filled = [
            f"CASE WHEN {identifier(one.name + '__filled')} THEN {literal(one.name)} END"
            for one in self.form.cleaning.columns
            if one.filled
        ]
        filled = "NULL::VARCHAR"
        if names_filled:
            filled = f"CASE WHEN _op = 'u' THEN nullif(concat_ws(', ', {', '.join(names_filled)}), '') END"
        dataset, zone = self.form.dataset, self.form.timezone
        rated = rated_sql(dataset)
        masks = []
        for mask in range(self.masks):
            terms = [
                f"CASE WHEN {one.failed_sql} THEN {1 << (index % BITS)} ELSE 0 END"
                for index, one in enumerate(self.row_checks)
                if index // BITS == mask and one.check.name not in without
            ]
            bits = " + ".join(f"({term})::BIGINT" for term in terms) or "0::BIGINT"
            masks.append(f"CASE WHEN _op = 'u' THEN {bits} ELSE 0::BIGINT END AS _f{mask}")
        self.current.sql(
            "CREATE OR REPLACE TEMP TABLE judged AS "
            f"SELECT _k, _ord, _op, _digest, _cursor, {event} AS _event, {filled} AS _filled, {rated} AS _rates, "
            f"FALSE AS _super, "
            f"{', '.join(masks)}, {', '.join(identifier(name) for name in names)} FROM "
            f"({converted(dataset, self.form.cleaning.select('stage', keep=kept), zone, rates_in_current)})"
        )

    def _broken_checks(self) -> dict[str, str]:
        """Checks whose own SQL raises on this batch, with DuckDB's sentence: they could not look."""
        import duckdb

        broken = {}
        self._make_judged(frozenset(one.check.name for one in self.row_checks if one.check.kind == "sql"))
        for one in self.row_checks:
            if one.check.kind != "sql":
                continue
            try:
                self.current.sql(f"SELECT count(*) FROM judged WHERE _op = 'u' AND {one.failed_sql}")
            except duckdb.Error as error:
                broken[one.check.name] = str(error).splitlines()[0]
        return broken

    def _mark_losers(self) -> None:
        if not repeats(self.current, "stage"):
            return
        duplicates = self.form.dataset.duplicates
        if duplicates.keep == "none":
            self._fail_rows(len(self.checks) - 1, "_k IN (SELECT _k FROM judged GROUP BY _k HAVING count(*) > 1)")
            return
        winners = f"SELECT {winner_sql(self.form, '_ord')} FROM stage GROUP BY _k"
        self.current.sql(f"UPDATE judged SET _super = TRUE WHERE _ord NOT IN ({winners})")

    def _fail_rows(self, index: int, condition: str) -> int:
        mask, bit = f"_f{index // BITS}", 1 << (index % BITS)
        return int(self.current.one(f"UPDATE judged SET {mask} = {mask} | {bit} WHERE _op = 'u' AND {condition}")[0])

    def _check_rates(self) -> None:
        for check in self.checks if self.others == "now" else ():
            if check.kind == "currency" and not self.current.last_applied(str(check.args["rates"])):
                self.absent[check.name] = str(check.args["rates"])

    def _check_references(self) -> None:
        for index, check in enumerate(self.checks):
            if check.kind != "references":
                continue
            other = str(check.args["dataset"])
            there = "TRUE" if self.others == "again" else "NOT _deleted"
            if other != self.form.dataset.name:
                if self.others == "now" and not self.current.last_applied(other):
                    self.absent[check.name] = other
                keys = f"SELECT _k FROM {schema_of(other)}.rows WHERE {there}"
            else:
                coming = f"SELECT _k FROM judged WHERE {self.accepted()}"
                keys = (
                    f"SELECT _k FROM {self.rows_table} WHERE {there} AND _k NOT IN ({coming}) "
                    f"UNION ALL {coming} AND _op = 'u'"
                )
            self._fail_rows(index, orphans(check, keys_sql=keys))

    def _check_monotone(self) -> None:
        for index, check in enumerate(self.checks):
            if check.kind == "monotone":
                falls = (
                    f"SELECT j._ord FROM judged j JOIN {self.rows_table} r ON r._k = j._k "
                    f"WHERE NOT r._deleted AND {fallen(check, before='r', after='j')}"
                )
                self._fail_rows(index, f"_ord IN ({falls})")

    def _check_unique(self) -> list[tuple[Check, int]]:
        found = []
        for index, check in enumerate(self.checks[:-1]):
            if check.kind != "unique":
                continue
            column = ", ".join(named_columns(check))
            accepted = f"SELECT _k AS k, _ord, {column} FROM judged WHERE {self.accepted()}"
            relation = (
                f"(SELECT _k AS k, {column} FROM {self.rows_table} "
                f"WHERE NOT _deleted AND _k NOT IN (SELECT k FROM ({accepted})) "
                f"UNION ALL SELECT k, {column} FROM ({accepted} AND _op = 'u'))"
            )
            incoming = f"{accepted} AND _op = 'u'"
            failures = unique_failures(check, relation_sql=relation, key="k", incoming_sql=incoming)
            found.append((check, self._fail_rows(index, f"_ord IN (SELECT _ord FROM ({failures}))")))
        return found

    def _count_failed(self) -> dict[str, int]:
        if not any(
            self.current.one("SELECT " + ", ".join(f"bit_or(_f{m})" for m in range(self.masks)) + " FROM judged")
        ):
            return {check.name: 0 for check in self.checks}
        sums = ", ".join(
            f"coalesce(sum((_f{index // BITS} >> {index % BITS}) & 1), 0)::BIGINT" for index in range(len(self.checks))
        )
        any_failed = " OR ".join(f"_f{mask} <> 0" for mask in range(self.masks))
        found = self.current.one(f"SELECT {sums} FROM judged WHERE _op = 'u' AND NOT _super AND ({any_failed})")
        return {check.name: int(n) for check, n in zip(self.checks, found, strict=True)}

    def _row_findings(self, failed: dict[str, int], total: int) -> list[Finding]:
        findings = []
        for finding in judge_rows(self.form.dataset, failed, total):
            why, other = self.broken.get(finding.check), self.absent.get(finding.check)
            if other is not None:
                findings.append(_waits_for(finding, other))
            else:
                findings.append(finding if why is None else _could_not(finding, why))
        return findings

    def _aggregate(self, check: Check) -> Finding:
        import duckdb

        try:
            answer, rows = self.current.one(
                f"SELECT CAST(({check.args['condition']}\n) AS BOOLEAN), count(*) FROM {self._as_it_would_be()}"
            )
        except duckdb.Error as error:
            return _could_not(check, str(error).splitlines()[0])
        return judge_aggregate(check, answer, int(rows))

    def _as_it_would_be(self) -> str:
        """Current's rows, the batch published, as a bracketed query of the contract's columns."""
        names = ", ".join(identifier(column.name) for column in self.form.dataset.columns)
        return (
            f"(SELECT {names} FROM {self.rows_table} "
            f"WHERE NOT _deleted AND _k NOT IN (SELECT _k FROM judged WHERE {self.accepted()}) "
            f"UNION ALL SELECT {names} FROM judged WHERE {self.accepted()} AND _op = 'u')"
        )

    def _share(self, index: int, check: Check) -> Finding:
        """How many keys fail the check as current would be: newest versions, shown or held, each counted once."""
        coming = "SELECT _k FROM judged WHERE NOT _super"
        held = f"SELECT _k FROM {self.schema}.held"
        failed = f"(_f{index // BITS} & {1 << (index % BITS)}) <> 0"
        found = self.current.one(
            "SELECT count(DISTINCT _k) FILTER (failed), count(DISTINCT _k), count(DISTINCT _k) FILTER (failed AND new) "
            f"FROM (SELECT _k, {failed} AS failed, TRUE AS new FROM judged WHERE NOT _super AND _op = 'u' "
            f"UNION ALL SELECT _k, {names(check, '_warn')}, FALSE FROM {self.rows_table} "
            f"WHERE NOT _deleted AND _k NOT IN ({coming}) AND _k NOT IN ({held}) "
            f"UNION ALL SELECT _k, {names(check, 'sentence')}, FALSE FROM {self.schema}.held "
            f"WHERE _k NOT IN ({coming}))"
        )
        return judge_share(check, int(found[0]), int(found[1]), coming=int(found[2]))

    def _dataset_findings(self) -> list[Finding]:
        before = int(self.current.one(f"SELECT count(*) FROM {self.rows_table} WHERE NOT _deleted")[0])
        there = f"(SELECT _k FROM {self.rows_table} WHERE NOT _deleted)"
        found = self.current.one(
            f"SELECT count(*) FILTER (_op = 'u' AND {self.accepted()} AND NOT there), "
            "count(*) FILTER (_op = 'd' AND NOT _super AND there) "
            f"FROM (SELECT *, _k IN {there} AS there FROM judged)"
        )
        added, removed = (int(n) for n in found)
        findings = [
            judge_row_count(check, before + added - removed)
            for check in self.form.dataset.checks
            if check.kind == "row_count"
        ]
        findings += [self._aggregate(check) for check in self.form.dataset.checks if check.kind == "aggregate"]
        findings += [
            self._share(index, check) for index, check in enumerate(self.checks) if check.max_share is not None
        ]
        findings += () if self.wider is None else self.wider(self._as_it_would_be())
        most = self.form.dataset.deletes.max_share
        if removed:
            removed, before = removed + self.deleted_before, before + self.deleted_before
        if self.deletes_checked and before and removed / before > most:
            findings.append(
                Finding(
                    check=MAX_SHARE,
                    verdict=Verdict.FAIL,
                    on_fail="block",
                    failed=removed,
                    total=before,
                    sentence=f"{removed} of {counted(before, 'key')} would be deleted, {removed / before:.0%}; "
                    f"the most is {most:.0%}",
                    mend="if they are really gone, mainstay batch release ID --reason ...",
                )
            )
        return findings


def _could_not(asked: Check | Finding, error: str) -> Finding:
    """ERROR. DuckDB's sentence may quote a value, so only its kind is told: `Conversion Error`."""
    name = asked.name if isinstance(asked, Check) else asked.check
    return Finding(
        check=name,
        verdict=Verdict.ERROR,
        column=asked.column,
        on_fail=asked.on_fail,
        sentence=f"{name} could not be evaluated: {error.partition(':')[0]}",
        mend="correct the condition under `checks:` and run `mainstay apply`",
    )


def _waits_for(finding: Finding, other: str) -> Finding:
    """ERROR that blocks whatever `on_fail` says, since every row would be an orphan; it lifts by itself."""
    return msgspec.structs.replace(
        finding,
        verdict=Verdict.ERROR,
        on_fail="block",
        sentence=f"{finding.check} could not be asked: {other} was never published",
        mend=f"it lifts by itself once {other} is; see `mainstay status`",
    )


def names(check: Check, reasons: str) -> str:
    """A condition: the check is among the reasons in this column, as `Gate.reasons` and publishing join them."""
    among = f"'; ' || replace({reasons}, ', ', '; ') || '; '"
    return f"coalesce(contains({among}, {literal('; ' + check.name.replace(', ', '; ') + '; ')}), FALSE)"


def _one_row_each(dataset: Dataset) -> Check:
    """The check behind `duplicates: {keep: none}`."""
    names = dataset.key_names
    return Check(
        name=DUPLICATES,
        kind="unique",
        column=names[0] if len(names) == 1 else None,
        args={"columns": list(names)} if len(names) > 1 else {},
        on_fail=dataset.duplicates.on_fail,
    )
