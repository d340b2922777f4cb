"""What `mainstay check` makes of a dataset: its contract against the table and a sample of rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from mainstay.app.check_sources import SourceFacts, closed_us, not_looked
from mainstay.core.clock import SECOND, span
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError, Refused
from mainstay.core.keys import joined_key, shown_names
from mainstay.core.nouns import Check, Dataset
from mainstay.core.ports import SourceColumn, SourceKind, TableInfo
from mainstay.core.records import DatasetState
from mainstay.core.sql import identifier
from mainstay.core.verdicts import Finding, OnFail, Verdict
from mainstay.pipelines import stage
from mainstay.pipelines.clean import cleaning
from mainstay.pipelines.fit import found_in, names_of
from mainstay.quality.checks import freshness_finding, judge_row_count, row_checks
from mainstay.quality.distribution import again, outdated
from mainstay.sources.files_ledger import read_ledger
from mainstay.sources.missing import missing_column, refused_column

ROWS_A_SECOND = 50_000
"""What a run is taken to read and publish in a second, where none has been measured."""
ROUND_TRIPS = 10
"""Statements that a read sends, about."""
FEW_ROWS = 10_000
"""A table of fewer rows is scanned faster than an index is worth."""
_PARSED = frozenset({"integer", "number", "date", "timestamp"})


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the first rows of a dataset came to, read, cleaned, checked and published in memory."""

    rows: int
    complete: bool
    """Whether these were all the rows that there are."""
    findings: tuple[Finding, ...] = ()
    superseded: int = 0
    newest_us: int | None = None
    """max(event time) among them."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What looking at one dataset gave."""

    dataset: Dataset
    source: SourceFacts
    info: TableInfo | None = None
    """None: the table could not be described, and `error` says why."""
    error: MainstayError | None = None
    sample: Sample | None = None
    """None: no rows were read; `sample_error` says why if it was tried, `sample_skipped` if not."""
    sample_error: MainstayError | None = None
    sample_skipped: str = ""
    state: DatasetState | None = None
    """What earlier runs left; None when there were none."""
    now_us: int = 0


def judge_dataset(facts: DatasetFacts) -> Iterator[Finding]:
    """Everything about one dataset that can be known now."""
    name, info = facts.dataset.name, facts.info
    yield from _promises(facts)
    if info is None:
        error = facts.error or MainstayError("its source did not answer, so it was not looked at")
        yield not_looked(f"{name}.table", error, mend="see the source's own findings")
        return
    lost = tuple(misfits(facts.dataset, info, facts.source.config.timezone))
    yield from lost
    for told in info.findings:
        yield msgspec.structs.replace(told, check=f"{name}.{told.check}")
    if not lost:
        count = len(stage.raw_columns(facts.dataset))
        yield _passed(
            f"{name}.columns", f"{counted(count, 'column is there', 'columns are there')} and can be read as declared"
        )
    yield from _rows(facts, info)
    yield from _key(facts, info)
    yield from _cursor(facts, info)
    yield from _freshness(facts, has_event=not lost and _has_event(facts, info))
    yield from _sampled(facts, info)


# --- the table's columns against the contract ----------------------------------------------------------------------


def misfits(dataset: Dataset, info: TableInfo, timezone: str | None) -> Iterator[Finding]:
    """A FAIL for each column that is missing, refused, or can never be read as declared."""
    there = {column.name: column for column in info.columns}
    found = found_in(dataset, there)
    kinds: dict[str, SourceKind] = {}
    for raw in stage.raw_columns(dataset):
        column = found.get(raw)
        if column is None:
            names = " or ".join(names_of(dataset, raw))
            yield _refused(dataset, raw, missing_column(names, dataset.table, list(there), where=""))
        elif column.refused:
            yield _refused(dataset, raw, refused_column(column, dataset.table, where=""))
        else:
            kinds[raw] = column.kind
    told = False
    for declared in dataset.columns:
        if declared.source_name not in kinds:
            continue
        try:
            cleaning(msgspec.structs.replace(dataset, columns=(declared,)), kinds, timezone)
        except Refused as error:
            told = True
            yield _refused(dataset, declared.source_name, error, shown=declared.name)
    if told or len(kinds) < len(stage.raw_columns(dataset)):
        return
    try:
        stage.shape(dataset, kinds, timezone)
    except Refused as error:
        event = stage.source_name(dataset, dataset.event_time or (dataset.cursor.column if dataset.cursor else ""))
        yield _refused(dataset, event, error)


def _refused(dataset: Dataset, raw: str, error: MainstayError, *, shown: str = "") -> Finding:
    name = shown or next((column.name for column in dataset.columns if column.source_name == raw), raw)
    return Finding(
        check=f"{dataset.name}.{name}",
        verdict=Verdict.FAIL,
        sentence=f"{raw}: {error.sentence}",
        column=name,
        mend=error.mend,
    )


def _has_event(facts: DatasetFacts, info: TableInfo) -> bool:
    """Whether rows say when they changed. Asked only when every column fits."""
    kinds = {raw: column.kind for raw, column in _found(facts.dataset, info).items()}
    form = stage.shape(facts.dataset, kinds, facts.source.config.timezone)
    return any(column.name == stage.EVENT for column in form.cleaning.columns)


def _found(dataset: Dataset, info: TableInfo) -> dict[str, SourceColumn]:
    return found_in(dataset, {column.name: column for column in info.columns})


def _in_source(dataset: Dataset, info: TableInfo, name: str) -> str:
    """What the source calls it; the raw name where it has none such."""
    raw = stage.source_name(dataset, name)
    found = _found(dataset, info).get(raw)
    return raw if found is None else found.name


# --- rows, key, cursor ---------------------------------------------------------------------------------------------


def row_estimate(facts: DatasetFacts) -> int | None:
    """How many rows the table has: counted when the sample was all of it, else the source's own estimate."""
    if facts.sample is not None and facts.sample.complete:
        return facts.sample.rows
    return None if facts.info is None else facts.info.rows


def _rows(facts: DatasetFacts, info: TableInfo) -> Iterator[Finding]:
    check, count = f"{facts.dataset.name}.rows", row_estimate(facts)
    if count == 0 and facts.sample is not None and facts.sample.complete:
        mend = "check that this is the right table, and that row-level security does not hide its rows"
        yield Finding(check=check, verdict=Verdict.WARN, sentence=f"{info.name} has no rows", mend=mend)
    elif count is None:
        yield _passed(check, "the source does not say how many rows there are")
    else:
        about = "" if facts.sample is not None and facts.sample.complete else "about "
        yield _passed(check, f"{about}{counted(count, 'row')}")


def _key(facts: DatasetFacts, info: TableInfo) -> Iterator[Finding]:
    dataset, sample = facts.dataset, facts.sample
    keys = tuple(_in_source(dataset, info, name) for name in dataset.key_names)
    check, key = f"{dataset.name}.key", shown_names(joined_key(keys))
    if sample is not None and sample.superseded:
        decided = bool(dataset.duplicates.by)
        yield Finding(
            check=check,
            verdict=Verdict.PASS if decided else Verdict.WARN,
            sentence=f"{sample.superseded:,} of {counted(sample.rows, 'row')} read repeat a "
            f"{shown_names(dataset.key)}; the {dataset.duplicates.keep} one wins",
            failed=sample.superseded,
            total=sample.rows,
            mend="" if decided else "name what decides (`duplicates: {keep: last, by: COLUMN}`), or another key",
        )
    if dataset.deletes.kind == "reconcile" and not {*info.indexed, *info.primary_key[:1]} & {*keys} and _large(facts):
        yield _unindexed(check, info, keys[0], "each reconciliation looks rows up by it")
    elif set(info.primary_key) == set(keys):
        yield _passed(check, f"{key} is the primary key")
    elif sample is None or not sample.superseded:
        seen = (
            f"no value is repeated among the {counted(sample.rows, 'row read', 'rows read')}"
            if sample
            else "no rows were read"
        )
        yield _passed(check, f"{key} is not the primary key; {seen}")


def _large(facts: DatasetFacts) -> bool:
    count = row_estimate(facts)
    return count is None or count >= FEW_ROWS


def _unindexed(check: str, info: TableInfo, column: str, why: str) -> Finding:
    return Finding(
        check=check,
        verdict=Verdict.WARN,
        sentence=f"no index leads with {column}, and {why}: the whole table is scanned",
        mend=f"ask its owner for CREATE INDEX ON {info.name} ({identifier(column)}); below a view, on its table",
    )


def _cursor(facts: DatasetFacts, info: TableInfo) -> Iterator[Finding]:
    dataset, able = facts.dataset, facts.source.capabilities
    cursor = dataset.cursor
    if able is not None and able.ledger:
        yield _ledger(facts, increments=able.incremental)
        return
    if cursor is None:
        yield _passed(f"{dataset.name}.cursor", f"none: the whole table is read every {span(dataset.every_us)}")
        return
    check, raw = f"{dataset.name}.cursor", _in_source(dataset, info, cursor.column)
    if able is not None and not able.incremental:
        mend = "leave `cursor:` out: the whole table is read each time"
        yield Finding(check=check, verdict=Verdict.FAIL, sentence="this source cannot read increments", mend=mend)
        return
    if able is not None and not able.keys and dataset.deletes.kind == "reconcile":
        yield Finding(
            check=f"{dataset.name}.deletes",
            verdict=Verdict.FAIL,
            sentence="this source cannot read keys alone, which `reconcile` needs",
            mend="write `deletes: {column: COLUMN}` or `deletes: none`",
        )
    column = next((one for one in info.columns if one.name == raw), None)
    if column is None:
        return  # its absence is told already
    if raw not in info.indexed and _large(facts):
        yield _unindexed(check, info, raw, f"every {span(dataset.every_us)} rows are looked for by it")
    else:
        nulls = "; rows without one are read every time" if column.nullable else ""
        leads = "leads an index" if raw in info.indexed else "leads no index, which so few rows do not need"
        yield _passed(check, f"{raw} {leads}{nulls}")
    yield from _late(facts)


def _ledger(facts: DatasetFacts, *, increments: bool) -> Finding:
    """A source that knows by itself what is new, so that a cursor would say nothing to it."""
    dataset = facts.dataset
    check = f"{dataset.name}.cursor"
    if dataset.cursor is not None:
        sentence = "this source knows by itself what is new, and has no cursor"
        mend = "leave `cursor:` and `deletes: {reconcile: ...}` out"
        return Finding(check=check, verdict=Verdict.FAIL, sentence=sentence, mend=mend)
    taken = len(read_ledger(None if facts.state is None else facts.state.cursor).digests())
    so_far = counted(taken, "file was taken", "files were taken") if taken else "nothing was taken yet"
    if not increments:
        return _passed(check, f"none: the whole table is read when its files change; {so_far}")
    mend = ""
    if dataset.deletes.kind == "snapshot":
        mend = "; a row that no file brings again stays, unless `deletes: {column: COLUMN}` marks it"
    return _passed(check, f"none: each file is taken once; {so_far}{mend}")


def _late(facts: DatasetFacts) -> Iterator[Finding]:
    """What commits after its cursor value was passed."""
    dataset, health = facts.dataset, facts.source.health
    cursor = dataset.cursor
    if cursor is None or health is None:
        return
    check, reconciled = f"{dataset.name}.late_commits", dataset.deletes.kind == "reconcile"
    lag = span(cursor.lag_us) if cursor.lag_us else str(cursor.lag_number)
    if not reconciled:
        yield Finding(
            check=f"{dataset.name}.reconcile",
            verdict=Verdict.WARN,
            sentence=f"nothing reconciles: rows committed later than the lag of {lag}"
            + (" and deleted rows are never found" if dataset.deletes.kind == "none" else " are never found"),
            mend="write `deletes: {reconcile: 24h}` in place of `column`, or raise `lag` above the longest transaction"
            if dataset.deletes.kind == "column"
            else "add `deletes: {reconcile: 24h}`",
        )
    found = f"within {span(dataset.deletes.every_us)}, by reconciliation" if reconciled else "never"
    oldest = health.oldest_transaction_us
    bound = dataset.every_us if cursor.lag_number else cursor.lag_us
    if oldest is None:
        yield _passed(check, "the source does not tell whether a long transaction is open")
    elif oldest > bound:
        yield Finding(
            check=check,
            verdict=Verdict.WARN,
            sentence=f"a transaction has been writing for {span(oldest)}, and the lag is {lag}: "
            f"what it commits may be found {found}",
            mend=f"raise `cursor.lag` above {span(oldest)}, or end such transactions sooner",
        )
    else:
        yield _passed(check, f"no transaction has been writing for longer than the lag of {lag}")


# --- freshness -----------------------------------------------------------------------------------------------------


def _promises(facts: DatasetFacts) -> Iterator[Finding]:
    dataset = facts.dataset
    if not dataset.owner:
        mend = "add `owner: WHO@example.com`: whom to ask when its data is bad"
        yield Finding(check=f"{dataset.name}.owner", verdict=Verdict.WARN, sentence="nobody owns it", mend=mend)
    broken = False
    for one in dataset.checks:
        try:
            row_checks(msgspec.structs.replace(dataset, checks=(one,)))
        except Refused as error:
            broken = True
            yield Finding(
                check=f"{dataset.name}.{one.name}",
                verdict=Verdict.FAIL,
                sentence=error.sentence,
                column=one.column,
                mend=error.mend,
            )
        if one.kind == "distribution" and (why := outdated(one, dataset.column(str(one.column)))):
            broken = True
            mend = "type `mainstay apply`, then " + again(one)
            yield Finding(
                check=f"{dataset.name}.{one.name}", verdict=Verdict.FAIL, sentence=why, column=one.column, mend=mend
            )
    if not broken:
        yield _passed(f"{dataset.name}.checks", f"{counted(len(dataset.checks), 'check')} can be asked")


def run_us(facts: DatasetFacts) -> tuple[int, str]:
    """How long a run takes, and how we know."""
    if facts.state is not None and facts.state.run_us:
        return facts.state.run_us, "the last run took"
    health = facts.source.health
    took = 0 if health is None else ROUND_TRIPS * health.latency_us
    able = facts.source.capabilities
    takes_new = able is not None and able.ledger and able.incremental
    if facts.dataset.cursor is None and not takes_new:  # each run reads the whole table
        took += (row_estimate(facts) or 0) * SECOND // ROWS_A_SECOND
    return took, "a run is taken to last"


def _freshness(facts: DatasetFacts, *, has_event: bool) -> Iterator[Finding]:
    dataset, promised = facts.dataset, facts.dataset.freshness
    check = f"{dataset.name}.freshness"
    took, known = run_us(facts)
    oldest = dataset.every_us + took
    sentence = f"age reaches {span(oldest)} between two reads (every {span(dataset.every_us)}, {known} {span(took)})"
    mend = f"raise it above {span(oldest)}, or lower `every`"
    if promised.warn_us is None and promised.fail_us is None:
        yield Finding(
            check=check,
            verdict=Verdict.WARN,
            sentence="no age is promised, so no answer is ever stale",
            mend="add `freshness: {warn: 5m, fail: 1h}`",
        )
    elif promised.fail_us is not None and promised.fail_us < oldest:
        told = f"{sentence}, past `fail` of {span(promised.fail_us)}: `on_stale` acts in between"
        yield Finding(check=check, verdict=Verdict.FAIL, sentence=told, mend=mend)
    elif promised.warn_us is not None and promised.warn_us < oldest:
        told = f"{sentence}, past `warn` of {span(promised.warn_us)}: `on_warn` acts in between"
        yield Finding(check=check, verdict=Verdict.WARN, sentence=told, mend=mend)
    else:
        yield _passed(check, sentence)
    closed, setting = closed_us(facts.source.config, dataset)
    least = promised.warn_us if promised.warn_us is not None else promised.fail_us
    if closed and least is not None and closed > least:
        yield Finding(
            check=f"{dataset.name}.hours",
            verdict=Verdict.WARN,
            sentence=f"`{setting}` lets no read begin for {span(closed)} a day, longer than the {span(least)} promised",
            mend="widen the hours, raise `freshness`, or add a `cursor:` if only full reads are kept to hours",
        )
    if promised.newest_us is not None and facts.info is not None:
        yield from _newest(facts, has_event=has_event)


def _newest(facts: DatasetFacts, *, has_event: bool) -> Iterator[Finding]:
    check, sample = f"{facts.dataset.name}.newest", facts.sample
    if not has_event:
        mend = "name a column that is a date or timestamp: `event_time: COLUMN`"
        sentence = "`newest` is promised, and no column says when a row changed: every answer would be stale"
        yield Finding(check=check, verdict=Verdict.FAIL, sentence=sentence, mend=mend)
    elif sample is not None and sample.complete and sample.rows:
        age = None if sample.newest_us is None else facts.now_us - sample.newest_us
        only = msgspec.structs.replace(facts.dataset.freshness, warn_us=None, fail_us=None)
        found = freshness_finding(only, 0, age)
        mend = "" if found.verdict is Verdict.PASS else "find out why nothing new comes in, or raise `newest`"
        yield msgspec.structs.replace(found, check=check, mend=mend)
    else:
        yield _passed(check, "rows say when they changed")


# --- the sample ----------------------------------------------------------------------------------------------------


def _sampled(facts: DatasetFacts, info: TableInfo) -> Iterator[Finding]:
    dataset, sample = facts.dataset, facts.sample
    check = f"{dataset.name}.sample"
    if sample is None:
        if facts.sample_error is not None:
            yield not_looked(check, facts.sample_error)
        elif facts.sample_skipped:
            sentence = f"no rows were read: {facts.sample_skipped}"
            yield Finding(check=check, verdict=Verdict.UNKNOWN, sentence=sentence, mend="check again when it may be")
        yield from _unparsed(dataset, info)
        return
    yield _passed(check, f"{'all' if sample.complete else 'the first'} {sample.rows:,} rows were read and judged")
    declared = {one.name: one for one in dataset.checks}
    for finding in sample.findings:
        one = declared.get(finding.check)
        if one is not None and one.kind == "row_count" and not sample.complete:
            yield from _row_count(dataset, one, row_estimate(facts))
        elif one is None or one.kind != "aggregate" or sample.complete:  # the first rows say nothing of a sum over all
            yield as_declared(dataset, one, finding)


def _unparsed(dataset: Dataset, info: TableInfo) -> Iterator[Finding]:
    found = _found(dataset, info)
    for column in dataset.columns:
        read = found.get(column.source_name)
        if read is not None and column.type in _PARSED and read.kind == "text" and not column.clean:
            yield Finding(
                check=f"{dataset.name}.{column.name}.type",
                verdict=Verdict.WARN,
                column=column.name,
                sentence=f"{read.name} is text in the source and declared {column.type}, with no cleaning",
                mend="look at its values; add `clean:` for blanks and formats",
            )


def as_declared(dataset: Dataset, check: Check | None, finding: Finding) -> Finding:
    """A sample's finding as it would bear on the running integration.

    FAIL when the batch would be blocked or no row would pass; WARN when some rows would be marked or put aside.
    """
    on_fail = finding.on_fail if check is None else check.on_fail
    verdict = finding.verdict
    mend = finding.mend
    if verdict in (Verdict.WARN, Verdict.FAIL):
        every_row = on_fail == "quarantine" and finding.failed == finding.total
        most = 1.0 if check is None or check.max_share is None else check.max_share
        verdict = Verdict.FAIL if on_fail == "block" or every_row else Verdict.WARN
        if finding.failed > most * finding.total:
            verdict = Verdict.FAIL
            mend = (
                mend or f"more than `max_share` of {most:g} fail, which would block the batch: mend them, or raise it"
            )
        mend = mend or _mend(check, on_fail)
    return msgspec.structs.replace(
        finding, check=f"{dataset.name}.{finding.check}", verdict=verdict, on_fail=on_fail, mend=mend
    )


def _mend(check: Check | None, on_fail: OnFail | None) -> str:
    if check is not None and check.kind == "row_count":
        return "find out which rows are missing or too many, or change its limits"
    if check is not None and check.kind == "aggregate":
        return "find out why in the source, or change the condition"
    then = {"block": "block the batch", "quarantine": "put these rows aside", "warn": "mark these rows"}
    return (
        f"`on_fail` would {then[on_fail or 'quarantine']}: add `clean:`, mend them in the source, or change the check"
    )


def _row_count(dataset: Dataset, check: Check, estimate: int | None) -> Iterator[Finding]:
    if estimate is None:
        return
    found = judge_row_count(check, estimate)
    verdict = Verdict.PASS if found.verdict is Verdict.PASS else Verdict.WARN
    yield msgspec.structs.replace(
        found,
        check=f"{dataset.name}.{check.name}",
        verdict=verdict,
        sentence=f"about {found.sentence}",
        mend="" if verdict is Verdict.PASS else "count the rows, and change the limits if they are right",
    )


def _passed(check: str, sentence: str) -> Finding:
    return Finding(check=check, verdict=Verdict.PASS, sentence=sentence)
