"""The page for the morning: every branch of the judgement, and what is wrong comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app.callers import CallerLine
from mainstay.app.disk import days_left
from mainstay.app.status import Facts, Status, judge_status, read_status, traffic
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND, SystemClock
from mainstay.core.errors import NotFound
from mainstay.core.nouns import Dataset, Freshness, Integration, Kpi, ModelConfig, Purpose, Retired, Signature
from mainstay.core.records import (
    Answering,
    BatchRecord,
    DatasetState,
    DiskSample,
    FeatureSetState,
    ModelVersion,
    NotApplied,
    ProcessState,
)
from mainstay.core.verdicts import Finding, Verdict
from mainstay.serving.meter import BUCKETS_US, Counts
from tests.app.shop import Shop

NOW = 20_780 * DAY
GB = 1_000_000_000
GOOD = DatasetState(as_of_us=NOW - SECOND, last_read_us=NOW - SECOND, rows=10, counts={"landed": 10, "published": 10})


STATED = Purpose(
    problem="They learn of it afterwards.",
    workflow="The risk stands on the account page.",
    users_who="account managers",
    users_seats=40,
    kpis=(Kpi(name="kept", unit="customers", baseline=31, target=45),),
    agreed_by=(("head of retention", "2026-11-01"),),
    review_after_us=90 * DAY,
)


def dataset(**changes: Any) -> Dataset:
    plain = Dataset(
        name="customers",
        source="crm",
        table="customers",
        key="id",
        columns=(),
        freshness=Freshness(warn_us=MINUTE, fail_us=HOUR),
        owner="crm@example.com",
    )
    return msgspec.structs.replace(plain, **changes)


def facts(**changes: Any) -> Facts:
    version = ModelVersion(
        number=2, name="churn", digest="sha256:a", runtime="onnx", signature=Signature(inputs=(), outputs=()),
        feature_set="set", origin="imported", created_us=NOW,
    )  # fmt: skip
    plain = Facts(
        integration=Integration(
            name="churn", api=1, purpose=STATED, sources={}, datasets={"customers": dataset()}, features={},
            model=ModelConfig(name="churn", input="customer"),
        ),
        applied="sha256:f",
        on_disk="sha256:f",
        datasets={"customers": GOOD},
        waiting={},
        feature_sets=(),
        version=version,
        answering=Answering(version=2, previous=1, since_us=NOW - DAY, by="ann"),
        processes={"loop": ProcessState(name="loop", pid=7, since_us=NOW - DAY, seen_us=NOW - SECOND)},
        counts=Counts(),
        disk=(DiskSample(at_us=NOW, used=GB, free=50 * GB, total=100 * GB),),
        now_us=NOW,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def state(**changes: Any) -> dict[str, DatasetState]:
    return {"customers": msgspec.structs.replace(GOOD, **changes)}


def batch(status: Any, *findings: Finding) -> BatchRecord:
    return BatchRecord(
        dataset="customers", number=7, mode="increment", status=status, began_us=NOW, began_source_us=NOW,
        landed_us=NOW, rows=3, digest="sha256:b", findings=findings,
    )  # fmt: skip


def feature_set(warn: str = "") -> FeatureSetState:
    return FeatureSetState(
        digest="set", view="customer", key="id", key_type="string", sql="", mapping={}, columns=(), warn=warn
    )


def process(name: str, **more: Any) -> dict[str, ProcessState]:
    alive = facts().processes
    return alive | {name: ProcessState(name=name, pid=8, since_us=NOW, seen_us=NOW, **more)}


def disk(free: int, *, used: int = GB, before: int | None = None) -> tuple[DiskSample, ...]:
    now = DiskSample(at_us=NOW, used=used, free=free, total=100 * GB)
    return (now,) if before is None else (DiskSample(at_us=NOW - DAY, used=before, free=free, total=100 * GB), now)


def test_when_nothing_is_wrong_it_says_so_and_shows_the_rest() -> None:
    page = judge_status(facts())
    assert (page.verdict, page.wrong) == (Verdict.PASS, ())
    (line,) = page.datasets
    assert (line.verdict, line.age, line.promise, line.last_run) == (
        Verdict.PASS, "1 s", "warn 1 min, fail 1 h", "1 s ago",
    )  # fmt: skip
    assert (line.rows, line.owner, line.waiting, line.blocked) == (10, "crm@example.com", 0, ())
    assert (page.model["version"], page.model["previous"], page.model["by"]) == (2, 1, "ann")
    loop = page.processes["loop"]
    assert (loop.pid, loop.restarts, loop.note, loop.sentence) == (7, 0, "", "pid 7, seen 1 s ago, 0 restarts")
    assert page.disk == "1,000 MB used here, 50.0 GB free; growth not known yet"


@pytest.mark.parametrize(
    ("changes", "check", "verdict", "words"),
    [
        ({"datasets": state(as_of_us=NOW - 2 * MINUTE)}, "customers.freshness", Verdict.WARN, "2 min"),
        ({"datasets": state(as_of_us=NOW - 2 * HOUR)}, "customers.freshness", Verdict.FAIL, "2 h"),
        ({"datasets": {}}, "customers.freshness", Verdict.UNKNOWN, "customers"),
        ({"datasets": state(as_of_us=NOW + HOUR)}, "customers.freshness", Verdict.UNKNOWN, "customers"),
        ({"datasets": state(blocked="column plan is gone")}, "customers.schema", Verdict.FAIL, "column plan is gone"),
        (
            {"datasets": state(error="no route", error_since_us=NOW - MINUTE, failures=4)},
            "customers.source", Verdict.ERROR, "for 1 min, 4 tries: no route",
        ),
        ({"datasets": state(error="no route", failures=1)}, "customers.source", Verdict.ERROR, "a moment"),
        ({"datasets": state(quarantined=1200, held=3)}, "customers.quarantine", Verdict.WARN, "1,200 quarantined"),
        ({"datasets": state(quarantined=1, held=1)}, "customers.quarantine", Verdict.WARN, "1 quarantined row; 1 key"),
        ({"erase_again": 1}, "restore", Verdict.FAIL, "brought back 1 person who was erased"),
        ({"processes": {}}, "processes.loop", Verdict.FAIL, "`mainstay up` does not run"),
        ({"gone": True}, "processes.loop", Verdict.FAIL, "`mainstay up` was killed: nobody answers"),
        (
            {"processes": {"loop": ProcessState(name="loop", pid=7, since_us=0, seen_us=NOW - MINUTE)}},
            "processes.loop", Verdict.FAIL, "last seen 1 min ago",
        ),
        ({"processes": process("loop", note="history is behind")}, "processes.loop", Verdict.WARN, "history is behind"),
        ({"processes": process("api-1", note="ended with SIGKILL")}, "processes.api-1", Verdict.WARN, "SIGKILL"),
        ({"on_disk": "sha256:other"}, "file", Verdict.WARN, "not applied"),
        ({"on_disk": None, "unreadable": True}, "file", Verdict.WARN, "cannot be read"),
        ({"answering": None, "version": None}, "model", Verdict.FAIL, "no model version answers"),
        ({"feature_sets": (feature_set("blind"),)}, "features", Verdict.WARN, "blind"),
        ({"disk": disk(4 * GB)}, "disk", Verdict.WARN, "4.0 GB free"),
        ({"disk": disk(40 * GB, used=11 * GB, before=1 * GB)}, "disk", Verdict.WARN, "full in 4.0 days"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_found(changes: dict[str, Any], check: str, verdict: Verdict, words: str) -> None:
    page = judge_status(facts(**changes))
    (found,) = [one for one in page.wrong if one.check == check]
    assert (found.verdict, page.verdict) == (verdict, verdict)
    assert words in found.sentence
    assert found.mend or check in ("customers.freshness", "customers.source") or check.startswith(("proc", "feat"))


@pytest.mark.parametrize("status", ["blocked", "error"])
def test_a_blocked_batch_names_what_blocks_it_and_what_to_type(status: str) -> None:
    bad = Finding(check="row_count", verdict=Verdict.FAIL, sentence="3 rows, wanted 1,000", on_fail="block")
    fine = Finding(check="tenure.max", verdict=Verdict.PASS, sentence="all fine", on_fail="block")
    page = judge_status(facts(waiting={"customers": (batch(status, bad, fine),)}))
    (found,) = page.wrong
    assert found.sentence == "batch customers/7 is blocked: 3 rows, wanted 1,000"
    assert "mainstay batch release customers/7" in found.mend
    (line,) = page.datasets
    assert (line.waiting, line.blocked) == (1, (7,) if status == "blocked" else ())


def test_a_batch_that_only_waits_for_its_turn_is_no_fault() -> None:
    page = judge_status(facts(waiting={"customers": (batch("landed"),)}))
    assert page.wrong == ()
    assert page.datasets[0].waiting == 1


def calls(name: str, last_us: int, api: int = 1) -> CallerLine:
    return CallerLine(
        caller=name, key="key", revoked=False, api=api, door="v1", model_version=1, requests=3, first_us=0,
        last_us=last_us,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("in_days", "callers", "words"),
    [
        (15, (calls("crm", NOW),), ""),
        (13, (), ""),
        (13, (calls("crm", NOW - 15 * DAY), calls("next", NOW, api=2)), ""),
        (13, (calls("crm", NOW), calls("crm", NOW - DAY)), "ends on 2026-12-06 and is still called by crm"),
        (0, (calls("crm", NOW),), "ended on 2026-11-23 and is still called by crm"),
        (-20, (), "ended on 2026-11-03 and answers nobody any more"),
        (0, tuple(calls(f"c{n}", NOW) for n in range(7)), "called by c0, c1, c2, c3, c4 and 2 more"),
    ],
)
def test_who_still_calls_a_version_that_ends_is_said_before_and_after(
    in_days: int, callers: tuple[CallerLine, ...], words: str
) -> None:
    retired = Retired(on_us=0, sunset_us=NOW + in_days * DAY, successor="/v2")
    integration = msgspec.structs.replace(facts().integration, retired=retired)
    said = [one.sentence for one in judge_status(facts(integration=integration, callers=callers)).wrong]
    assert [words in one for one in said] == ([True] if words else [])


def test_the_worst_comes_first_and_a_file_that_was_refused_before_all() -> None:
    page = judge_status(
        facts(
            processes={},
            datasets=state(quarantined=1, as_of_us=NOW - 2 * HOUR),
            on_disk="sha256:new",
            refused=NotApplied(digest="sha256:new", sentence="output `risk` is new", mend="raise `api:`", at_us=NOW),
        )
    )
    assert [one.check for one in page.wrong] == [
        "file", "processes.loop", "customers.freshness", "customers.quarantine",
    ]  # fmt: skip
    assert "output `risk` is new" in page.wrong[0].sentence
    assert page.wrong[0].mend == "raise `api:`"


def test_a_refusal_is_over_when_the_file_on_disk_is_another_or_the_applied_one() -> None:
    refused = NotApplied(digest="sha256:new", sentence="no", at_us=NOW)
    assert [one.verdict for one in judge_status(facts(refused=refused, on_disk="sha256:x")).wrong] == [Verdict.WARN]
    assert judge_status(facts(refused=refused)).wrong == ()


def test_days_until_the_disk_is_full() -> None:
    assert days_left(disk(40 * GB, used=3 * GB, before=1 * GB)) == pytest.approx(20)
    assert days_left(disk(40 * GB, used=1 * GB, before=1 * GB)) is None  # nothing grows
    assert days_left(disk(40 * GB)) is None  # one look says nothing


def test_traffic_counts_refusals_errors_and_what_was_degraded() -> None:
    buckets = [0] * (len(BUCKETS_US) + 1)
    buckets[0], buckets[-1] = 9, 1
    counts = Counts(
        requests={"predict|200": 8, "predict|409": 4, "predict|503": 3, "receipts|404": 5},
        judged={
            "answered||PASS": 6,
            "answered|on_warn|WARN": 1,
            "fallback|on_error|PASS": 1,
            "refused|on_stale|FAIL": 2,
            "refused|on_held|WARN": 4,
            "refused|on_error|PASS": 1,
        },
        policy=2,
        latency_us=20_000,
        buckets=buckets,
        shed=3,
    )
    found = traffic(counts)
    assert (found.requests, found.errors, found.refused, found.shed) == (15, 1, 6, 3)
    assert found.refused_by == {"on_held": 4, "on_stale": 2}
    assert found.degraded_share == pytest.approx(2 / 8)
    assert found.mean_ms == pytest.approx(20 / 15)
    assert (found.p50_ms, found.p99_ms) == (BUCKETS_US[0] / 1000, BUCKETS_US[-1] / 1000)
    none = traffic(Counts())
    assert (none.degraded_share, none.mean_ms, none.p50_ms) == (None, None, None)


def test_a_purpose_that_is_not_stated_is_said_the_further_in_front_the_longer_it_is_live() -> None:
    unstated = msgspec.structs.replace(facts().integration, purpose=msgspec.structs.replace(STATED, kpis=()))
    worse = {"datasets": state(blocked="gone", quarantined=3, held=2), "integration": unstated}

    def seen(days: int) -> list[str]:
        return [one.check for one in judge_status(facts(live_us=NOW - days * DAY, **worse)).wrong]

    assert seen(1) == ["customers.schema", "customers.quarantine", "purpose"]
    assert seen(7) == ["customers.schema", "purpose", "customers.quarantine"]
    assert seen(30) == ["purpose", "customers.schema", "customers.quarantine"]
    counts = Counts(judged={"answered||PASS": 1_200, "refused|on_stale|FAIL": 7})
    (said,) = judge_status(facts(live_us=NOW - DAY, integration=unstated, counts=counts)).wrong
    assert said.sentence.startswith("1 day live, 1,200 answers given, and nobody can say what it earns.")
    assert said.sentence.endswith("what is missing: kpis.")
    assert judge_status(facts(integration=unstated)).wrong == ()  # nothing answers yet: `check` and `apply` say it


def test_the_facts_of_an_installation_are_read_without_lease_or_source(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.write()
    with pytest.raises(NotFound, match="nothing has been applied"):
        read_status(world.place, SystemClock())
    world.begin()
    (tmp_path / "crm.db").unlink()
    page: Status = read_status(world.place, SystemClock())
    assert [one.check for one in page.wrong] == ["processes.loop", "purpose"]
    assert (page.datasets[0].rows, page.model["version"]) == (6, 1)
