"""The page for the morning: what is wrong first, each with its mend, then everything else.

Facts come from state, never from the source.

`judge_status` is pure; `read_status` gathers the facts it judges.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mainstay import spec
from mainstay.app import (
    backfills,
    clock_said,
    disk,
    issuers,
    journal_lag,
    lock_said,
    log_said,
    online_said,
    sunset_said,
    tls,
    up_said,
)
from mainstay.app.callers import CallerLine, callers
from mainstay.app.place import Place, opened, read_applied, record_of
from mainstay.app.standing import standing
from mainstay.core.clock import DAY, SECOND, Clock, iso, span
from mainstay.core.counts import counted
from mainstay.core.errors import FileError
from mainstay.core.nouns import Integration
from mainstay.core.records import (
    Answering,
    Backfill,
    BatchRecord,
    CheckResult,
    DatasetState,
    DiskSample,
    FeatureSetState,
    ModelVersion,
    NotApplied,
    ProcessState,
)
from mainstay.core.verdicts import Finding, Verdict
from mainstay.quality.checks import freshness_finding
from mainstay.serving.meter import BUCKETS_US, FAILED, Counts, merged
from mainstay.store.shelf import ShelfReader

LOUD_DAYS, LOUDER_DAYS = 7, 30
"""After so many days live, an unstated purpose stands first among the warnings; then before everything else."""


class DatasetLine(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    verdict: Verdict
    age: str
    age_seconds: float | None
    promise: str
    as_of: str
    last_run: str
    rows: int
    quarantined: int
    held: int
    waiting: int
    blocked: tuple[int, ...]
    counts: dict[str, int]
    owner: str
    drift: tuple[str, ...] = ()
    """What changed in the source's table since the file was last applied, and did not block."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    requests: int
    errors: int
    """Requests that ended with 5xx through no policy on data: model, receipt or store failed."""
    degraded_share: float | None
    refused: int
    """Keys that a policy refused."""
    refused_by: dict[str, int]
    """The same by policy."""
    mean_ms: float | None
    p50_ms: float | None
    """Upper bound of the bucket that holds the median."""
    p99_ms: float | None
    shed: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that status is judged from."""

    integration: Integration
    applied: str
    on_disk: str | None
    """Digest of the file as it lies on disk; None when it cannot be read."""
    datasets: dict[str, DatasetState]
    waiting: dict[str, tuple[BatchRecord, ...]]
    feature_sets: tuple[FeatureSetState, ...]
    version: ModelVersion | None
    answering: Answering | None
    processes: dict[str, ProcessState]
    gone: bool = False
    """Whether `up` was killed and left its processes' records."""
    counts: Counts
    disk: tuple[DiskSample, ...]
    now_us: int
    unreadable: bool = False
    """Whether there is a file on disk that cannot be read."""
    refused: NotApplied | None = None
    """What `up` did not apply when it started."""
    live_us: int | None = None
    """When the first version came; None before."""
    checks: dict[str, CheckResult] = {}
    """Dataset -> what its checks of the whole said at the last read."""
    backfills: dict[str, Backfill] = {}
    lag: journal_lag.JournalLag | None = None
    """How far a database that keeps the journal is behind; None where files do."""
    doors: tuple[Finding, ...] = ()
    """What is to be said of locked stores, the files that the listeners speak TLS with, and issuers of tokens."""
    callers: tuple[CallerLine, ...] = ()
    """Who calls, where the file says that the API version ends."""
    erase_again: int = 0
    """People whom a restored backup brought back and who are not erased again yet."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What `mainstay status` shows."""

    integration: str
    at: str
    verdict: Verdict
    wrong: tuple[Finding, ...]
    datasets: tuple[DatasetLine, ...]
    model: dict[str, object]
    traffic: Traffic
    processes: dict[str, up_said.ProcessLine]
    disk: str
    disk_days: float | None
    disk_roles: dict[str, int]
    """Role -> bytes."""
    backfills: tuple[str, ...] = ()
    """Those that run, each in a sentence: its range, how far it is, what it waits for."""
    journal: str = ""
    """How far a database that keeps the journal is behind; empty where files do."""


def read_status(place: Place, clock: Clock) -> Status:
    """Gathers and judges. Needs neither the lease nor the source."""
    with opened(place) as state:
        applied = record_of(state)
        integration = read_applied(applied)
        batches = ShelfReader(state, "batch", BatchRecord)
        answering = ShelfReader(state, "answering", Answering).get("champion")
        models = ShelfReader(state, "model", ModelVersion)
        facts = Facts(
            integration=integration,
            applied=applied.digest,
            on_disk=(on_disk := _on_disk(place)),
            unreadable=on_disk is None and place.file is not None,
            refused=ShelfReader(state, "not_applied", NotApplied).get("file"),
            datasets=ShelfReader(state, "dataset", DatasetState).all(),
            waiting={
                name: tuple(
                    one for one in batches.all(f"{name}/").values() if one.status in ("landed", "blocked", "error")
                )
                for name in integration.datasets
            },
            feature_sets=tuple(ShelfReader(state, "feature_set", FeatureSetState).all().values()),
            version=models.get(f"{answering.version:06d}") if answering else None,
            live_us=min((one.created_us for one in models.all().values()), default=None),
            answering=answering,
            checks=ShelfReader(state, "check_result", CheckResult).all(),
            backfills=ShelfReader(state, "backfill", Backfill).all(),
            callers=callers(state) if integration.retired is not None else (),
            erase_again=len(state.scan("erase_again")),
            processes=(processes := ShelfReader(state, "process", ProcessState).all()),
            gone=up_said.is_gone(place.home, processes, clock.now_us()),
            counts=(counts := merged(place.home.meters, now_us=clock.now_us())),
            disk=(*ShelfReader(state, "disk", DiskSample).all().values(), disk.sample(place.home, clock.now_us())),
            now_us=clock.now_us(),
            lag=journal_lag.read_lag(place.home, clock),
            doors=(
                *up_said.hung(place.home, processes, counts.told, clock.now_us()),
                *lock_said.findings(place.home),
                *tls.judge(integration, clock.now_us()),
                *issuers.findings(issuers.failing(state, integration)),
            ),
        )
    return judge_status(facts)


def judge_status(facts: Facts) -> Status:
    """Facts in, the page out."""
    lines = tuple(_dataset_line(facts, name) for name in facts.integration.datasets)
    wrong = [
        *_file_findings(facts),
        *_restore_findings(facts),
        *up_said.findings(facts.processes, facts.now_us, gone=facts.gone),
        *facts.doors,
        *journal_lag.findings(facts.lag),
        *(finding for name in facts.integration.datasets for finding in _dataset_findings(facts, name)),
        *backfills.findings(facts.backfills),
        *_model_findings(facts),
        *_load_findings(facts),
        *online_said.findings(facts.counts, facts.now_us),
        *sunset_said.findings(facts.integration, facts.callers, facts.now_us),
        *clock_said.findings(facts.datasets, facts.processes, facts.now_us),
        *log_said.findings(facts.counts, facts.now_us),
        *disk.findings(facts.disk, facts.integration.settings.free_disk),
    ]
    wrong = _purpose_said([one for one in wrong if one.verdict is not Verdict.PASS], facts)
    return Status(
        integration=facts.integration.name,
        at=iso(facts.now_us),
        verdict=max((one.verdict for one in wrong), key=lambda verdict: verdict.rank, default=Verdict.PASS),
        wrong=tuple(wrong),
        datasets=lines,
        model=_model(facts),
        traffic=traffic(facts.counts),
        processes=up_said.lines(facts.processes, facts.now_us),
        disk=disk.told(facts.disk),
        disk_days=disk.days_left(facts.disk),
        disk_roles=facts.disk[-1].roles,
        backfills=tuple(backfills.line(one) for one in facts.backfills.values() if one.status == "running"),
        journal=journal_lag.told(facts.lag),
    )


def _purpose_said(wrong: list[Finding], facts: Facts) -> list[Finding]:
    """What is wrong, the worst first; an unstated purpose comes the further to the front the longer it is live."""
    wrong = sorted(wrong, key=lambda one: -one.verdict.rank)
    lacking = spec.purpose_summary(facts.integration.purpose)
    if lacking is None or facts.live_us is None:
        return wrong
    days = (facts.now_us - facts.live_us) // DAY
    answers = sum(n for name, n in facts.counts.judged.items() if not name.startswith("refused|"))
    since = f"{counted(days, 'day')} live, {counted(answers, 'answer given', 'answers given')}"
    said = msgspec.structs.replace(lacking, sentence=f"{since}, and nobody can say what it earns. {lacking.sentence}")
    if days >= LOUDER_DAYS:
        return [said, *wrong]
    place = sum(one.verdict.rank > Verdict.WARN.rank for one in wrong) if days >= LOUD_DAYS else len(wrong)
    return [*wrong[:place], said, *wrong[place:]]


def traffic(counts: Counts) -> Traffic:
    """Requests, errors, latency and shares since the counters began."""
    predict = {name.split("|")[1]: n for name, n in counts.requests.items() if name.startswith("predict|")}
    total = sum(predict.values())
    by_outcome: dict[str, int] = {}
    refused: dict[str, int] = {}
    flagged = 0
    for name, n in counts.judged.items():
        outcome, reason, verdict = name.split("|")
        by_outcome[outcome] = by_outcome.get(outcome, 0) + n
        if outcome == "refused" and reason not in FAILED:
            refused[reason] = refused.get(reason, 0) + n
        flagged += n if outcome == "answered" and verdict in ("WARN", "FAIL", "ERROR") else 0
    given = by_outcome.get("answered", 0) + by_outcome.get("fallback", 0)
    return Traffic(
        requests=total,
        errors=sum(n for status, n in predict.items() if status.startswith("5")) - counts.policy,
        degraded_share=(by_outcome.get("fallback", 0) + flagged) / given if given else None,
        refused=sum(refused.values()),
        refused_by=dict(sorted(refused.items())),
        mean_ms=counts.latency_us / total / 1000 if total else None,
        p50_ms=_quantile(counts, 0.50),
        p99_ms=_quantile(counts, 0.99),
        shed=counts.shed,
    )


def _quantile(counts: Counts, share: float) -> float | None:
    total = sum(counts.buckets)
    if not total:
        return None
    seen = 0
    for bound, n in zip((*BUCKETS_US, BUCKETS_US[-1]), counts.buckets, strict=True):
        seen += n
        if seen >= share * total:
            return bound / 1000
    return None


def _dataset_line(facts: Facts, name: str) -> DatasetLine:
    dataset = facts.integration.datasets[name]
    state = facts.datasets.get(name, DatasetState())
    age = None if state.as_of_us is None else facts.now_us - state.as_of_us
    promises = {
        "warn": dataset.freshness.warn_us,
        "fail": dataset.freshness.fail_us,
        "newest": dataset.freshness.newest_us,
    }
    promised = [f"{word} {span(value)}" for word, value in promises.items() if value is not None]
    waiting = facts.waiting.get(name, ())
    return DatasetLine(
        name=name,
        verdict=_freshness(facts, name).verdict,
        age="never published" if age is None else span(age),
        age_seconds=None if age is None else age / SECOND,
        promise=", ".join(promised) or "none",
        as_of="" if state.as_of_us is None else iso(state.as_of_us),
        last_run="never" if state.last_read_us is None else f"{span(max(0, facts.now_us - state.last_read_us))} ago",
        rows=state.rows,
        quarantined=state.quarantined,
        held=state.held,
        waiting=len(waiting),
        blocked=tuple(one.number for one in waiting if one.status == "blocked"),
        counts=state.counts,
        owner=dataset.owner,
        drift=tuple(one.sentence for one in state.drift),
    )


def _freshness(facts: Facts, name: str) -> Finding:
    dataset = facts.integration.datasets[name]
    state = facts.datasets.get(name, DatasetState())
    age = None if state.as_of_us is None else facts.now_us - state.as_of_us
    newest = None if state.newest_us is None else facts.now_us - state.newest_us
    found = freshness_finding(dataset.freshness, age, newest)
    return msgspec.structs.replace(found, check=f"{name}.freshness", sentence=f"{name}: {found.sentence}")


def _dataset_findings(facts: Facts, name: str) -> list[Finding]:
    state = facts.datasets.get(name, DatasetState())
    found = [_freshness(facts, name), *_standing(facts, name)]
    found += _schema_findings(name, state)
    if state.error and not state.blocked:
        since = span(facts.now_us - state.error_since_us) if state.error_since_us else "a moment"
        found.append(
            Finding(
                check=f"{name}.source", verdict=Verdict.ERROR,
                sentence=f"{name} could not be read for {since}, {state.failures} tries: {state.error}",
            )
        )  # fmt: skip
    config = facts.integration.sources.get(facts.integration.datasets[name].source)
    hours = "" if config is None else config.guard.backfill_hours or config.guard.allowed_hours
    every = facts.integration.datasets[name].every_us
    if hours and not state.error and state.next_us > facts.now_us + 2 * every:
        found.append(
            Finding(
                check=f"{name}.hours", verdict=Verdict.WARN,
                sentence=f"{name} is read again at {iso(state.next_us)}: its source may be read {hours} only",
                mend="give the dataset a cursor, so that it needs no full reads, or widen the hours under `guard:`",
            )
        )  # fmt: skip
    for batch in facts.waiting.get(name, ()):
        if batch.status in ("blocked", "error"):
            why = "; ".join(
                one.sentence for one in batch.findings if one.on_fail == "block" and one.verdict is not Verdict.PASS
            )
            found.append(
                Finding(
                    check=f"{name}.batch", verdict=Verdict.FAIL,
                    sentence=f"batch {name}/{batch.number} is blocked: {why}",
                    mend=f"mainstay batch release {name}/{batch.number} --reason '...', or batch discard",
                )
            )  # fmt: skip
    if state.quarantined:
        found.append(
            Finding(
                check=f"{name}.quarantine", verdict=Verdict.WARN,
                sentence=f"{name} has {counted(state.quarantined, 'quarantined row')}; "
                f"{counted(state.held, 'key is held', 'keys are held')}",
                mend=f"mainstay quarantine list --dataset {name}",
            )
        )  # fmt: skip
    return found


def _standing(facts: Facts, name: str) -> Iterator[Finding]:
    return standing(facts.integration.datasets[name], facts.checks.get(name), facts.now_us)


def _schema_findings(name: str, state: DatasetState) -> list[Finding]:
    blocked = [
        Finding(
            check=f"{name}.schema", verdict=Verdict.FAIL, sentence=f"{name} cannot be read: {state.blocked}",
            mend=state.blocked_mend
            or "mend the source; it lifts by itself. Or change the file and run `mainstay apply`",
        )
    ]  # fmt: skip
    drifted = [
        Finding(
            check=f"{name}.schema", verdict=one.verdict, column=one.column, mend=one.mend,
            sentence=f"{name}: {one.sentence}, since {iso(one.at_us)}",
        )
        for one in state.drift
    ]  # fmt: skip
    return [*(blocked if state.blocked else []), *drifted]


def _restore_findings(facts: Facts) -> list[Finding]:
    if not facts.erase_again:
        return []
    return [
        Finding(
            check="restore", verdict=Verdict.FAIL,
            sentence="the restored backup brought back "
            f"{counted(facts.erase_again, 'person who was', 'people who were')} erased after it was made",
            mend="mainstay up: it erases them before anything is answered",
        )
    ]  # fmt: skip


def _file_findings(facts: Facts) -> list[Finding]:
    refused = facts.refused
    if refused is not None and (facts.unreadable or refused.digest == facts.on_disk != facts.applied):
        return [
            Finding(
                check="file", verdict=Verdict.FAIL,
                sentence=f"the changed file is not applied, the one before it runs: {refused.sentence}",
                mend=refused.mend or "mend the file, then mainstay apply",
            )
        ]  # fmt: skip
    if facts.unreadable:
        return [
            Finding(
                check="file", verdict=Verdict.WARN, sentence="mainstay.yaml cannot be read; the applied one runs",
                mend="mainstay check",
            )
        ]  # fmt: skip
    if facts.on_disk is not None and facts.on_disk != facts.applied:
        return [
            Finding(
                check="file", verdict=Verdict.WARN, sentence="mainstay.yaml has changed and is not applied",
                mend="mainstay apply",
            )
        ]  # fmt: skip
    return []


def _load_findings(facts: Facts) -> Iterator[Finding]:
    """What workers could not take over from state: a version that does not load, a file that cannot be read."""
    told: dict[str, list[str]] = {}
    for worker, problem in facts.counts.problems.items():
        told.setdefault(problem, []).append(worker)
    previous = "" if facts.answering is None or not facts.answering.previous else str(facts.answering.previous)
    back = f"; to go back: mainstay model use {previous}" if previous else ""
    for problem, workers in told.items():
        yield Finding(
            check="model.load", verdict=Verdict.FAIL, sentence=f"{', '.join(workers)}: {problem}",
            mend=f"mend what it says, workers try again by themselves{back}",
        )  # fmt: skip


def _model_findings(facts: Facts) -> list[Finding]:
    if facts.answering is None or facts.version is None:
        return [
            Finding(
                check="model", verdict=Verdict.FAIL, sentence="no model version answers",
                mend="mainstay model add FILE, then mainstay model use N",
            )
        ]  # fmt: skip
    if facts.counts.left_alone:
        sentence = (
            f"{facts.version.runtime} version {facts.version.number}: workers that leave its server alone for a while, "
            f"because it failed several times in a row: {facts.counts.left_alone}"
        )
        mend = "see to that server; its failures are in mainstay why RECEIPT, and `on_error` says what is answered"
        return [Finding(check="model.http", verdict=Verdict.WARN, sentence=sentence, mend=mend)]
    warns = [one.warn for one in facts.feature_sets if one.digest in facts.version.feature_sets and one.warn]
    if warns:
        return [
            Finding(check="features", verdict=Verdict.WARN, sentence=f"every answer carries WARN: {'; '.join(warns)}")
        ]
    return []


def _model(facts: Facts) -> dict[str, object]:
    if facts.version is None or facts.answering is None:
        return {}
    return {
        "version": facts.version.number,
        "name": facts.version.name,
        "runtime": facts.version.runtime,
        "since": iso(facts.answering.since_us),
        "by": facts.answering.by,
        "previous": facts.answering.previous,
    }


def _on_disk(place: Place) -> str | None:
    if place.file is None:
        return None
    try:
        return spec.digest(spec.file_texts(place.file))
    except (FileError, OSError):
        return None
